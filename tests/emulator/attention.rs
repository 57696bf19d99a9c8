//! kernels/attention.cu against the formulas in f64, over several decoder steps.

use crate::support::*;
use half::f16;
use rnnx::data::packing::Packing;
use rnnx::device::driver::Launch;
use std::ops::Range;

/// Rounding in f32 of an energy, a sum of up to 64 terms below 1, and of what follows from it.
const ARITHMETIC: f32 = 2e-6;

#[derive(Clone, Copy, Debug)]
struct Sizes {
    rows: usize,
    /// The most positions of a row.
    positions: usize,
    units: usize,
    depth: usize,
    steps: usize,
}

/// The inputs of all steps.
#[derive(Clone)]
struct Case {
    sizes: Sizes,
    /// The steps' rows: later steps have fewer.
    packing: Packing,
    /// First position of each row, and behind the last one their number M.
    offsets: Vec<u32>,
    q: Vec<f64>,        // [N, A]
    bias: Vec<f64>,     // [A]
    keys: Vec<f64>,     // [M, A]
    values: Vec<f64>,   // [M, D]
    v: Vec<f64>,        // [A]
    dy: Vec<f64>,       // [N, D], zero if it is not given
    dcontext: Vec<f64>, // [N, D]
    above: Vec<f64>,    // [N, S], what arrives at alpha; zero if dy is not given
}

impl Case {
    /// Row r has S, 1, 0 or about S / 2 positions, by (r + shift) mod 4.
    fn new<T: Storage>(sizes: Sizes, shift: usize, with_dy: bool) -> Case {
        let (rows, s) = (sizes.rows, sizes.positions);
        let targets: Vec<usize> = (0..rows)
            .map(|r| sizes.steps.saturating_sub(r / 2).max(1))
            .collect();
        let packing = Packing::new(&targets).unwrap();
        let mut offsets = vec![0];
        for r in 0..rows {
            let positions = [s, 1, 0, s.div_ceil(2)][(r + shift) % 4] as u32;
            offsets.push(offsets[r] + positions);
        }
        let wide = |x: Vec<f32>| -> Vec<f64> { x.into_iter().map(f64::from).collect() };
        let (n, m) = (packing.rows(), offsets[rows] as usize);
        let given = if with_dy { 0.5 } else { 0.0 };
        let dy = values::<T>(n * sizes.depth, 6, given);
        Case {
            sizes,
            packing,
            offsets,
            q: wide(values::<f32>(n * sizes.units, 1, 1.0)),
            bias: wide(values::<T>(sizes.units, 2, 0.5)),
            keys: wide(values::<T>(m * sizes.units, 3, 1.5)),
            values: wide(values::<T>(m * sizes.depth, 4, 1.0)),
            v: wide(values::<T>(sizes.units, 5, 0.5)),
            dy: wide(dy),
            dcontext: wide(values::<f32>(n * sizes.depth, 7, 0.5)),
            above: wide(values::<f32>(n * s, 8, given)),
        }
    }

    /// Each step's rows: packed row, batch row, and that one's positions.
    fn packed(&self) -> Vec<(usize, usize, Range<usize>)> {
        let of_step = |t| (0..self.packing.active(t)).map(move |r| (t, r));
        let all = (0..self.packing.steps()).flat_map(of_step);
        let positions = |r: usize| self.offsets[r] as usize..self.offsets[r + 1] as usize;
        all.map(|(t, r)| (self.packing.offset(t) + r, r, positions(r)))
            .collect()
    }

    /// tanh(q + b + k_p) of unit a.
    fn hidden(&self, row: usize, p: usize, a: usize) -> f64 {
        let units = self.sizes.units;
        (self.q[row * units + a] + self.bias[a] + self.keys[p * units + a]).tanh()
    }

    /// alpha `[N, S]` and the context `[N, D]`.
    fn forward(&self) -> (Vec<f64>, Vec<f64>) {
        let s = self.sizes;
        let n = self.packing.rows();
        let (mut alpha, mut context) = (vec![0.0; n * s.positions], vec![0.0; n * s.depth]);
        for (row, _, positions) in self.packed() {
            let e = positions.clone().map(|p| {
                let terms = (0..s.units).map(|a| self.v[a] * self.hidden(row, p, a));
                terms.sum::<f64>().exp()
            });
            let e: Vec<f64> = e.collect();
            for (j, p) in positions.enumerate() {
                let weight = e[j] / e.iter().sum::<f64>();
                alpha[row * s.positions + j] = weight;
                for d in 0..s.depth {
                    context[row * s.depth + d] += weight * self.values[p * s.depth + d];
                }
            }
        }
        (alpha, context)
    }

    /// The sum of what the gradients are gradients of.
    fn loss(&self) -> f64 {
        let (alpha, context) = self.forward();
        let through = |i: usize| (self.dy[i] + self.dcontext[i]) * context[i];
        let at_alpha = alpha.iter().zip(&self.above).map(|(a, d)| a * d);
        (0..context.len()).map(through).sum::<f64>() + at_alpha.sum::<f64>()
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
        for (row, r, positions) in self.packed() {
            let weight = &alpha[row * s.positions..][..positions.len()];
            let mut d_alpha = self.above[row * s.positions..][..positions.len()].to_vec();
            for (j, p) in positions.clone().enumerate() {
                for d in 0..s.depth {
                    let dc = self.dy[row * s.depth + d] + self.dcontext[row * s.depth + d];
                    d_alpha[j] += dc * self.values[p * s.depth + d];
                    g.values[p * s.depth + d] += weight[j] * dc;
                }
            }
            let mean: f64 = weight.iter().zip(&d_alpha).map(|(w, d)| w * d).sum();
            for (j, p) in positions.enumerate() {
                let de = weight[j] * (d_alpha[j] - mean);
                for a in 0..s.units {
                    let h = self.hidden(row, p, a);
                    let du = de * self.v[a] * (1.0 - h * h);
                    g.keys[p * s.units + a] += du;
                    g.q[row * s.units + a] += du;
                    g.v[r * s.units + a] += de * h;
                }
            }
        }
        g
    }
}

struct Gradients {
    q: Vec<f64>,      // [N, A]
    keys: Vec<f64>,   // [M, A]
    values: Vec<f64>, // [M, D]
    v: Vec<f64>,      // [B, A]
}

/// Buffers that all steps share, in the order of [`buffers`]; then come a step's own.
const SHARED: usize = 12;
/// Elements behind the queries of a row, and behind their gradients.
const BEHIND: usize = 2;
const A_STEP: usize = 7;

fn buffers<T: Storage>(case: &Case, with_dy: bool, start: &[Vec<f32>; 3]) -> Vec<Buf> {
    let s = case.sizes;
    let single = |x: &[f64]| -> Vec<f32> { x.iter().map(|&x| x as f32).collect() };
    let narrow = |x: &[f64]| store::<T>(&single(x));
    let mut bufs = vec![
        narrow(&case.bias),
        narrow(&case.keys),
        narrow(&case.values),
        narrow(&case.v),
        give(&case.offsets),
        number(s.positions as u32),
        number(s.units as u32),
        number(s.depth as u32),
        give(&start[0]),
        give(&start[1]),
        give(&start[2]),
        number((s.units + BEHIND) as u32),
    ];
    for t in 0..case.packing.steps() {
        let rows = case.packing.active(t);
        let own = case.packing.offset(t)..case.packing.offset(t) + rows;
        let part = |x: &[f64], width: usize| single(&x[own.start * width..own.end * width]);
        bufs.extend([
            give(&with_behind(&part(&case.q, s.units), s.units)),
            match with_dy {
                true => store::<T>(&part(&case.dy, s.depth)),
                false => Buf::Null,
            },
            give(&part(&case.dcontext, s.depth)),
            fresh::<f32>(rows * s.positions),
            fresh::<T>(rows * s.depth),
            store::<T>(&vec![7.0; rows * (s.units + BEHIND)]),
            match with_dy {
                true => give(&part(&case.above, s.positions)),
                false => Buf::Null,
            },
        ]);
    }
    bufs
}

/// Rows of `width` elements, with others behind each.
fn with_behind(x: &[f32], width: usize) -> Vec<f32> {
    let rows = x.chunks(width);
    rows.flat_map(|row| [row, &[9.0; BEHIND]].concat())
        .collect()
}

/// Rows of `width` elements without those behind each, which must be as they were.
fn without_behind(x: &[f32], width: usize) -> Vec<f32> {
    let rows = x.chunks(width + BEHIND).map(|row| row.split_at(width));
    rows.flat_map(|(own, behind)| {
        assert_eq!(behind, [7.0; BEHIND]);
        own.to_vec()
    })
    .collect()
}

/// All steps forward and then backward, last step first, under every schedule.
fn run_steps<T: Storage>(
    case: &Case,
    with_dy: bool,
    threads: u32,
    start: &[Vec<f32>; 3],
) -> Vec<Vec<u8>> {
    let names = ["fwd", "bwd"].map(|way| format!("attention_{way}_{}", T::SUFFIX));
    let mut places: Vec<(&str, usize, Vec<usize>)> = Vec::new();
    for t in 0..case.packing.steps() {
        let own = SHARED + t * A_STEP;
        let forward = vec![own, 0, 1, 2, 3, 4, own + 3, own + 4, 5, 6, 7, 11];
        places.push((&names[0], t, forward));
    }
    for t in (0..case.packing.steps()).rev() {
        let own = SHARED + t * A_STEP;
        let mut backward = vec![own + 1, own + 6, own + 2, own];
        backward.extend([0, 1, 2, 3, 4, own + 3, own + 5, 8, 9, 10, 5, 6, 7, 11]);
        places.push((&names[1], t, backward));
    }
    let launches: Vec<(Launch, &[usize])> = places
        .iter()
        .map(|(name, t, places)| {
            let mut launch = Launch::new(name, case.packing.active(*t) as u32, threads);
            launch.shared_bytes = 4 * case.sizes.positions as u32;
            (launch, places.as_slice())
        })
        .collect();
    run_all(&launches, &buffers::<T>(case, with_dy, start))
}

fn check<T: Storage>(sizes: Sizes, shift: usize, with_dy: bool, threads: u32) {
    let case = Case::new::<T>(sizes, shift, with_dy);
    let s = sizes;
    let start = [
        values::<f32>(case.keys.len(), 11, 1.0),
        values::<f32>(case.values.len(), 12, 1.0),
        values::<f32>(s.rows * s.units, 13, 1.0),
    ];
    let out = run_steps::<T>(&case, with_dy, threads, &start);
    let (alpha, context) = case.forward();
    let want = case.backward();
    let what = |name: &str| format!("{name} {} {sizes:?} shift {shift}", T::SUFFIX);
    let (mut got_alpha, mut got_context, mut dq) = (Vec::new(), Vec::new(), Vec::new());
    for t in 0..case.packing.steps() {
        let own = SHARED + t * A_STEP;
        got_alpha.extend(get::<f32>(&out[own + 3]));
        got_context.extend(load::<T>(&out[own + 4]));
        dq.extend(without_behind(&load::<T>(&out[own + 5]), s.units));
    }
    for (weights, (_, _, positions)) in got_alpha.chunks(s.positions).zip(case.packed()) {
        let sum: f64 = weights.iter().map(|&x| f64::from(x)).sum();
        let one = if positions.is_empty() { 0.0 } else { 1.0 };
        assert!((sum - one).abs() < 1e-6, "{}: sum {sum}", what("alpha"));
        let past = &weights[positions.len()..];
        assert!(past.iter().all(|x| x.to_bits() == 0));
    }
    assert_close(&what("alpha"), &got_alpha, &alpha, 0.0, ARITHMETIC);
    // Halves: the context and dq are rounded once more; all else is f32.
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
    assert_close(&what("dq"), &dq, &want.q, rounding.max(1e-6), bound);
    for (i, gradient) in [&want.keys, &want.values, &want.v].into_iter().enumerate() {
        let sum = |(&a, &b): (&f32, &f64)| f64::from(a) + b;
        let total: Vec<f64> = start[i].iter().zip(gradient).map(sum).collect();
        let name = ["dkeys", "dvalues", "dv"][i];
        let got = get::<f32>(&out[8 + i]);
        assert_close(&what(name), &got, &total, 1e-6, bound);
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
            check::<f32>(sizes, shift, true, threads);
            check::<f16>(sizes, shift, true, threads);
        }
    }
}

#[test]
fn a_gradient_that_is_not_given_counts_as_zero() {
    check::<f32>(small(), 0, false, 64);
    check::<f16>(small(), 0, false, 64);
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
    let case = Case::new::<f32>(small(), 0, true);
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
    let mut case = Case::new::<f32>(sizes, 0, true);
    case.offsets = vec![0, 3, 6, 9, 12];
    case.keys = vec![0.5; 12 * sizes.units];
    case.values = vec![0.5; 12 * sizes.depth];
    case.keys[5 * sizes.units] = f64::NAN; // row 1, position 2
    let zeros = [48, 60, 16].map(|n| vec![0.0f32; n]);
    let out = run_steps::<f32>(&case, true, 32, &zeros);
    let dq = without_behind(&get::<f32>(&out[SHARED + 5]), sizes.units);
    let [alpha, context] = [3, 4].map(|place| get::<f32>(&out[SHARED + place]));
    for (x, width) in [(alpha, 3), (context, 5), (dq, 4)] {
        for (row, x) in x.chunks(width).enumerate() {
            assert!(x.iter().all(|x| x.is_nan() == (row == 1)), "{row}: {x:?}");
        }
    }
}
