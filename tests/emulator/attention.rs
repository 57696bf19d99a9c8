//! kernels/attention.cu against the formulas in f64, over several decoder steps.

use crate::support::*;
use half::f16;
use rnnx::device::driver::Launch;

/// Rounding in f32 of an energy, a sum of up to 64 terms below 1, and of what follows from it.
const ARITHMETIC: f32 = 2e-6;

#[derive(Clone, Copy, Debug)]
struct Sizes {
    rows: usize,
    positions: usize,
    units: usize,
    depth: usize,
    steps: usize,
}

/// What an optional argument holds: the bias, dy, dcontext, dalpha.
type Given = [bool; 4];
const ALL: Given = [true; 4];

/// The inputs of all steps. Keys, values and dalpha are NaN from a row's length on: nobody may
/// read them. An argument that is not given is zero.
#[derive(Clone)]
struct Case {
    sizes: Sizes,
    lengths: Vec<u32>,
    q: Vec<f64>,        // [T, B, A]
    bias: Vec<f64>,     // [A]
    keys: Vec<f64>,     // [B, S, A]
    values: Vec<f64>,   // [B, S, D]
    v: Vec<f64>,        // [A]
    dy: Vec<f64>,       // [T, B, D]
    dcontext: Vec<f64>, // [T, B, D]
    dalpha: Vec<f64>,   // [T, B, S]
}

impl Case {
    /// Row r has the length S, 1, 0 or about S / 2, by (r + shift) mod 4.
    fn new<T: Storage>(sizes: Sizes, shift: usize, given: Given) -> Case {
        let (rows, s) = (sizes.rows, sizes.positions);
        let lengths: Vec<u32> = (0..rows)
            .map(|r| [s, 1, 0, s.div_ceil(2)][(r + shift) % 4] as u32)
            .collect();
        let wide = |x: Vec<f32>, given: bool| -> Vec<f64> {
            let zero_or = |x| if given { f64::from(x) } else { 0.0 };
            x.into_iter().map(zero_or).collect()
        };
        let (all, n) = (sizes.steps * rows, rows * s);
        let mut case = Case {
            sizes,
            q: wide(values::<f32>(all * sizes.units, 1, 1.0), true),
            bias: wide(values::<T>(sizes.units, 2, 0.5), given[0]),
            keys: wide(values::<T>(n * sizes.units, 3, 1.5), true),
            values: wide(values::<T>(n * sizes.depth, 4, 1.0), true),
            v: wide(values::<T>(sizes.units, 5, 0.5), true),
            dy: wide(values::<T>(all * sizes.depth, 6, 0.5), given[1]),
            dcontext: wide(values::<f32>(all * sizes.depth, 7, 0.5), given[2]),
            dalpha: wide(values::<f32>(all * s, 8, 0.5), given[3]),
            lengths,
        };
        for r in 0..rows {
            for j in case.lengths[r] as usize..s {
                let p = r * s + j;
                case.keys[p * sizes.units..(p + 1) * sizes.units].fill(f64::NAN);
                case.values[p * sizes.depth..(p + 1) * sizes.depth].fill(f64::NAN);
                for t in 0..sizes.steps {
                    case.dalpha[t * n + p] = f64::NAN;
                }
            }
        }
        case
    }

    /// tanh(q + b + k_j) of unit a.
    fn hidden(&self, t: usize, r: usize, j: usize, a: usize) -> f64 {
        let Sizes { rows, units, .. } = self.sizes;
        let key = self.keys[(r * self.sizes.positions + j) * units + a];
        (self.q[(t * rows + r) * units + a] + self.bias[a] + key).tanh()
    }

    /// alpha [T, B, S] and the context [T, B, D].
    fn forward(&self) -> (Vec<f64>, Vec<f64>) {
        let s = self.sizes;
        let mut alpha = vec![0.0; s.steps * s.rows * s.positions];
        let mut context = vec![0.0; s.steps * s.rows * s.depth];
        for (t, r) in (0..s.steps).flat_map(|t| (0..s.rows).map(move |r| (t, r))) {
            let (row, length) = (t * s.rows + r, self.lengths[r] as usize);
            let e = (0..length).map(|j| {
                let terms = (0..s.units).map(|a| self.v[a] * self.hidden(t, r, j, a));
                terms.sum::<f64>().exp()
            });
            let e: Vec<f64> = e.collect();
            for j in 0..length {
                let weight = e[j] / e.iter().sum::<f64>();
                alpha[row * s.positions + j] = weight;
                for d in 0..s.depth {
                    context[row * s.depth + d] +=
                        weight * self.values[(r * s.positions + j) * s.depth + d];
                }
            }
        }
        (alpha, context)
    }

    /// The sum of what the gradients are gradients of.
    fn loss(&self) -> f64 {
        let (alpha, context) = self.forward();
        let through = |i: usize| (self.dy[i] + self.dcontext[i]) * context[i];
        let of_context: f64 = (0..context.len()).map(through).sum();
        let used = (0..alpha.len()).filter(|&i| alpha[i] > 0.0);
        of_context + used.map(|i| self.dalpha[i] * alpha[i]).sum::<f64>()
    }

    fn backward(&self) -> Gradients {
        let s = self.sizes;
        let (alpha, _) = self.forward();
        let mut g = Gradients {
            q: vec![0.0; self.q.len()],
            keys: vec![0.0; self.keys.len()],
            values: vec![0.0; self.values.len()],
            v: vec![0.0; s.rows * s.units],
        };
        for (t, r) in (0..s.steps).flat_map(|t| (0..s.rows).map(move |r| (t, r))) {
            let (row, length) = (t * s.rows + r, self.lengths[r] as usize);
            let weight = &alpha[row * s.positions..][..length];
            let mut d_alpha = self.dalpha[row * s.positions..][..length].to_vec();
            for j in 0..length {
                for d in 0..s.depth {
                    let dc = self.dy[row * s.depth + d] + self.dcontext[row * s.depth + d];
                    let at = (r * s.positions + j) * s.depth + d;
                    d_alpha[j] += dc * self.values[at];
                    g.values[at] += weight[j] * dc;
                }
            }
            let mean: f64 = weight.iter().zip(&d_alpha).map(|(w, d)| w * d).sum();
            for j in 0..length {
                let de = weight[j] * (d_alpha[j] - mean);
                for a in 0..s.units {
                    let h = self.hidden(t, r, j, a);
                    let du = de * self.v[a] * (1.0 - h * h);
                    g.keys[(r * s.positions + j) * s.units + a] += du;
                    g.q[row * s.units + a] += du;
                    g.v[r * s.units + a] += de * h;
                }
            }
        }
        g
    }
}

struct Gradients {
    q: Vec<f64>,      // [T, B, A]
    keys: Vec<f64>,   // [B, S, A]
    values: Vec<f64>, // [B, S, D]
    v: Vec<f64>,      // [B, A]
}

/// Buffers that all steps share, in the order of [`buffers`]; then come a step's own.
const SHARED: usize = 11;
const A_STEP: usize = 7;

/// Step t's part of a tensor over all steps.
fn part(x: &[f64], t: usize, steps: usize) -> Vec<f32> {
    let n = x.len() / steps;
    x[t * n..(t + 1) * n].iter().map(|&x| x as f32).collect()
}

fn buffers<T: Storage>(case: &Case, given: Given, start: &[Vec<f32>; 3]) -> Vec<Buf> {
    let s = case.sizes;
    let narrow = |x: &[f64]| store::<T>(&part(x, 0, 1));
    let or_null = |given: bool, buf: Buf| if given { buf } else { Buf::Null };
    let mut bufs = vec![
        or_null(given[0], narrow(&case.bias)),
        narrow(&case.keys),
        narrow(&case.values),
        narrow(&case.v),
        give(&case.lengths),
        number(s.positions as u32),
        number(s.units as u32),
        number(s.depth as u32),
        give(&start[0]),
        give(&start[1]),
        give(&start[2]),
    ];
    for t in 0..s.steps {
        bufs.extend([
            give(&part(&case.q, t, s.steps)),
            or_null(given[1], store::<T>(&part(&case.dy, t, s.steps))),
            or_null(given[2], give(&part(&case.dcontext, t, s.steps))),
            or_null(given[3], give(&part(&case.dalpha, t, s.steps))),
            fresh::<f32>(s.rows * s.positions),
            fresh::<T>(s.rows * s.depth),
            fresh::<f32>(s.rows * s.units),
        ]);
    }
    bufs
}

/// All steps forward and then backward, last step first, under every schedule.
fn run_steps<T: Storage>(
    case: &Case,
    given: Given,
    threads: u32,
    start: &[Vec<f32>; 3],
) -> Vec<Vec<u8>> {
    let s = case.sizes;
    let names = ["fwd", "bwd"].map(|way| format!("attention_{way}_{}", T::SUFFIX));
    let mut places: Vec<(&str, Vec<usize>)> = Vec::new();
    for t in 0..s.steps {
        let own = SHARED + t * A_STEP;
        let forward = vec![own, 0, 1, 2, 3, 4, own + 4, own + 5, 5, 6, 7];
        places.push((&names[0], forward));
    }
    for t in (0..s.steps).rev() {
        let own = SHARED + t * A_STEP;
        let mut backward = vec![own + 1, own + 2, own + 3, own];
        backward.extend([0, 1, 2, 3, 4, own + 4, own + 6, 8, 9, 10, 5, 6, 7]);
        places.push((&names[1], backward));
    }
    let launches: Vec<(Launch, &[usize])> = places
        .iter()
        .map(|(name, places)| {
            let mut launch = Launch::new(name, s.rows as u32, threads);
            launch.shared_bytes = 4 * s.positions as u32;
            (launch, places.as_slice())
        })
        .collect();
    run_all(&launches, &buffers::<T>(case, given, start))
}

fn check<T: Storage>(sizes: Sizes, shift: usize, given: Given, threads: u32) {
    let case = Case::new::<T>(sizes, shift, given);
    let s = sizes;
    let n = s.rows * s.positions;
    let start = [
        values::<f32>(n * s.units, 11, 1.0),
        values::<f32>(n * s.depth, 12, 1.0),
        values::<f32>(s.rows * s.units, 13, 1.0),
    ];
    let out = run_steps::<T>(&case, given, threads, &start);
    let (alpha, context) = case.forward();
    let want = case.backward();
    let what = |name: &str| format!("{name} {} {sizes:?} shift {shift}", T::SUFFIX);
    let (mut got_alpha, mut got_context, mut dq) = (Vec::new(), Vec::new(), Vec::new());
    for t in 0..s.steps {
        let own = SHARED + t * A_STEP;
        got_alpha.extend(get::<f32>(&out[own + 4]));
        got_context.extend(load::<T>(&out[own + 5]));
        dq.extend(get::<f32>(&out[own + 6]));
    }
    for (i, row) in got_alpha.chunks(s.positions).enumerate() {
        let length = case.lengths[i % s.rows] as usize;
        let sum: f64 = row.iter().map(|&x| f64::from(x)).sum();
        let one = if length > 0 { 1.0 } else { 0.0 };
        assert!((sum - one).abs() < 1e-6, "{}: sum {sum}", what("alpha"));
        assert!(row[length..].iter().all(|x| x.to_bits() == 0));
    }
    assert_close(&what("alpha"), &got_alpha, &alpha, 0.0, ARITHMETIC);
    // Halves: the context is rounded once more; all else is f32.
    let rounding = T::ROUNDING;
    assert_close(
        &what("context"),
        &got_context,
        &context,
        rounding,
        ARITHMETIC,
    );
    // A gradient of all steps and positions is the sum of so many f32 numbers.
    let bound = ARITHMETIC * (1 + s.steps) as f32;
    assert_close(&what("dq"), &dq, &want.q, 1e-6, bound);
    for (i, gradient) in [&want.keys, &want.values, &want.v].into_iter().enumerate() {
        let sum = |(&a, &b): (&f32, &f64)| f64::from(a) + b;
        let total: Vec<f64> = start[i].iter().zip(gradient).map(sum).collect();
        let name = ["dkeys", "dvalues", "dv"][i];
        let got = get::<f32>(&out[8 + i]);
        assert_close(&what(name), &got, &total, 1e-6, bound);
        if name != "dv" {
            let width = gradient.len() / n;
            for p in (0..n).filter(|p| p % s.positions >= case.lengths[p / s.positions] as usize) {
                let at = p * width..(p + 1) * width;
                assert_eq!(got[at.clone()], start[i][at], "{} of padding", what(name));
            }
        }
    }
}

#[test]
fn attention_steps() {
    #[rustfmt::skip]
    let cases = [
        // B, S, A, D, steps, block
        (1, 1, 1, 1, 1, 32), (7, 1, 33, 70, 3, 32), (1, 7, 7, 33, 3, 128), (7, 7, 64, 1, 2, 64),
        (7, 33, 33, 33, 3, 128), (1, 33, 1, 70, 2, 512), (7, 33, 64, 70, 3, 256),
        (1, 257, 33, 33, 3, 128), (7, 257, 7, 1, 2, 32), (7, 257, 64, 70, 1, 512),
        (3, 1024, 3, 5, 2, 128), (2, 5, 300, 600, 2, 64),
    ];
    for (rows, positions, units, depth, steps, threads) in cases {
        let sizes = Sizes {
            rows,
            positions,
            units,
            depth,
            steps,
        };
        for shift in if rows == 1 { 0..4 } else { 0..1 } {
            check::<f32>(sizes, shift, ALL, threads);
            check::<f16>(sizes, shift, ALL, threads);
        }
    }
}

#[test]
fn what_is_not_given_counts_as_zero() {
    let sizes = small();
    for absent in 0..4 {
        let mut given = ALL;
        given[absent] = false;
        check::<f32>(sizes, 0, given, 64);
        check::<f16>(sizes, 0, given, 64);
    }
    check::<f16>(sizes, 0, [false; 4], 64);
}

fn small() -> Sizes {
    Sizes {
        rows: 4,
        positions: 3,
        units: 4,
        depth: 5,
        steps: 2,
    }
}

/// The formulas that the kernels are held against are the derivatives of the forward pass.
#[test]
fn reference_gradients_are_differences() {
    let case = Case::new::<f32>(small(), 0, ALL);
    let g = case.backward();
    let over = |x: &[f64], a: usize| x.iter().skip(a).step_by(4).sum::<f64>();
    let rows_of_v: Vec<f64> = (0..4).map(|a| over(&g.v, a)).collect();
    let bias: Vec<f64> = (0..4).map(|a| over(&g.q, a)).collect();
    type Field = fn(&mut Case) -> &mut Vec<f64>;
    let fields: [(&str, Field, &[f64]); 5] = [
        ("q", |c| &mut c.q, &g.q),
        ("bias", |c| &mut c.bias, &bias),
        ("keys", |c| &mut c.keys, &g.keys),
        ("values", |c| &mut c.values, &g.values),
        ("v", |c| &mut c.v, &rows_of_v),
    ];
    for (name, field, gradient) in fields {
        assert!(gradient.iter().any(|g| g.abs() > 1e-3), "{name}");
        for (i, want) in gradient.iter().enumerate() {
            let shifted = |by: f64| {
                let mut case = case.clone();
                field(&mut case)[i] += by;
                case.loss()
            };
            let slope = (shifted(1e-5) - shifted(-1e-5)) / 2e-5;
            assert!((slope - want).abs() < 1e-9, "{name}[{i}]: {want}, {slope}");
        }
    }
}

/// A key that is not a number makes its row's weights and context so, and no other row's.
#[test]
fn nan_stays_in_its_row() {
    let mut sizes = small();
    sizes.steps = 1;
    let mut case = Case::new::<f32>(sizes, 0, ALL);
    case.lengths = vec![3; 4];
    case.keys.fill(0.5);
    case.values.fill(0.5);
    case.dalpha.fill(0.5);
    case.keys[(sizes.positions + 2) * sizes.units] = f64::NAN; // row 1, position 2
    let zeros = [48, 60, 16].map(|n| vec![0.0f32; n]);
    let out = run_steps::<f32>(&case, ALL, 32, &zeros);
    for (place, width) in [(4, 3), (5, 5), (6, 4)] {
        for (row, x) in get::<f32>(&out[SHARED + place]).chunks(width).enumerate() {
            assert!(x.iter().all(|x| x.is_nan() == (row == 1)), "{row}: {x:?}");
        }
    }
}
