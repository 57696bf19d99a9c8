//! The attention decoder. Sizes are chosen for the kernels' blocks: a panel is 16 columns in f64 and
//! 16, 32 or 64 in f32, a slab 16 batch rows, a chunk of the backward pass 192 rows of dz.

use super::{assert_refused, check_op, f32_matches_f64, f64s, narrow, same_bits_with_any_pool};
use crate::support::{assert_close, gradcheck, projected, random, values};
use rnnx::Result;
use rnnx::autograd::{Tape, Var};
use rnnx::data::packing::Packing;
use rnnx::data::spans::Spans;
use rnnx::dtype::DType;
use rnnx::ops::attention::{AttentionOutput, Memory, Query, Weights, attention_lstm};
use rnnx::ops::cast::convert;
use rnnx::tensor::Tensor;

/// What is left between two orders of the same sums in f64, relative to the largest element.
const F64_ORDER: f64 = 1e-12;
/// A softmax in f32: up to 40 rounded terms.
const F32_SUM: f64 = 2e-6;

/// A decoder and a batch.
#[derive(Clone, Debug)]
struct Sizes {
    packing: Packing,
    spans: Spans,
    /// Columns of x, units, width of the query, columns of the context.
    ehad: [usize; 4],
}

/// Positions of inputs in [`Sizes::inputs`].
const NAMES: [&str; 11] = [
    "x", "W_ih", "b", "W_hh", "h0", "c0", "W_q", "b_q", "v", "keys", "values",
];

impl Sizes {
    fn new(lengths: &[usize], positions: &[usize], ehad: [usize; 4]) -> Self {
        Sizes {
            packing: Packing::new(lengths).unwrap(),
            spans: Spans::new(positions).unwrap(),
            ehad,
        }
    }

    /// Five rows, odd sizes.
    fn small() -> Self {
        Sizes::new(&[5, 4, 4, 2, 1], &[3, 1, 4, 2, 6], [3, 9, 5, 7])
    }

    /// Three slabs (16, 16 and 8 rows); the last one ends early.
    fn forty() -> Self {
        let lengths: Vec<usize> = (0..40).map(|b| 1 + (39 - b) * (39 - b) / 180).collect();
        let positions: Vec<usize> = (0..40).map(|b| 1 + b * 7 % 5).collect();
        Sizes::new(&lengths, &positions, [3, 7, 5, 6])
    }

    fn inputs(&self) -> Vec<Tensor> {
        let [e, h, a, d] = self.ehad;
        let (b, n, m) = (
            self.packing.batch(),
            self.packing.rows(),
            self.spans.total(),
        );
        vec![
            random(0, [n, e]),
            scaled(1, [4 * h, e + d], e + d),
            random(2, [4 * h]),
            scaled(3, [4 * h, h], h),
            random(4, [b, h]),
            random(5, [b, h]),
            scaled(6, [a, h], h),
            random(7, [a]),
            random(8, [1, a]),
            random(9, [m, a]),
            random(10, [m, d]),
        ]
    }

    fn run(&self, tape: &mut Tape, v: &[Var]) -> Result<AttentionOutput> {
        let [x, w_ih, bias, w_hh, h0, c0, w_q, b_q, v, keys, values] = v else {
            panic!("eleven inputs");
        };
        let weights = Weights { w_ih, bias, w_hh };
        let memory = Memory {
            keys,
            values,
            spans: &self.spans,
            offsets: None,
        };
        let query = Query { w_q, b_q, v };
        attention_lstm(tape, x, weights, (h0, c0), query, memory, &self.packing)
    }

    fn all(&self, tape: &mut Tape, v: &[Var]) -> Result<Vec<Var>> {
        let o = self.run(tape, v)?;
        Ok(vec![o.y, o.context, o.h_n, o.c_n, o.alpha])
    }

    fn infer(&self, inputs: &[Tensor]) -> AttentionOutput {
        let v: Vec<Var> = inputs.iter().cloned().map(Var::constant).collect();
        self.run(&mut Tape::inference(), &v).unwrap()
    }
}

/// Weights of order 1 / sqrt(inputs).
fn scaled(k: u32, shape: [usize; 2], inputs: usize) -> Tensor {
    let scale = 1.5 / (inputs as f64).sqrt();
    let data = values(&random(k, shape));
    f64s(&data.iter().map(|x| x * scale).collect::<Vec<_>>(), shape)
}

// ---- gradients -----------------------------------------------------------------------------

fn check(sizes: &Sizes) {
    let op = format!("attention {sizes:?}");
    check_op(&op, &sizes.inputs(), |tape, v| sizes.all(tape, v));
}

#[test]
fn odd_sizes() {
    check(&Sizes::small());
    check(&Sizes::new(&[1], &[1], [1, 1, 1, 1]));
    check(&Sizes::new(&[3], &[17], [2, 4, 16, 4]));
    check(&Sizes::new(&[2, 2], &[2, 3], [4, 5, 1, 3]));
}

#[test]
fn several_slabs() {
    check(&Sizes::forty());
}

/// Everything wider than a panel, and not a multiple of one.
#[test]
fn several_panels() {
    check(&Sizes::new(&[3, 2, 2], &[4, 9, 1], [17, 20, 70, 130]));
    check(&Sizes::new(&[2, 1], &[2, 7], [70, 66, 64, 9]));
}

/// A slab of 16 rows takes chunks of 12 steps.
#[test]
fn several_chunks() {
    let mut lengths = vec![30, 29, 25, 13, 12, 12, 11];
    lengths.resize(17, 3);
    check(&Sizes::new(&lengths, &[2; 17], [2, 5, 3, 4]));
}

#[test]
fn f32_on_larger_sizes() {
    let lengths: Vec<usize> = (0..50).map(|b| 40 - b * 3 / 4).collect();
    let positions: Vec<usize> = (0..50).map(|b| 1 + b * 11 % 30).collect();
    let sizes = Sizes::new(&lengths, &positions, [24, 48, 40, 72]);
    let run = |tape: &mut Tape, v: &[Var]| sizes.all(tape, v);
    f32_matches_f64("attention", &sizes.inputs(), run);
    same_bits_with_any_pool("attention", &narrow(&sizes.inputs()), run);
}

#[test]
fn each_output_alone() {
    let sizes = Sizes::small();
    for k in 0..5 {
        gradcheck(
            &format!("attention output {k}"),
            &sizes.inputs(),
            |tape, v| Ok(vec![sizes.all(tape, v)?.swap_remove(k)]),
        );
    }
}

/// Each input's gradient is the same whether or not the others want theirs.
#[test]
fn each_input_alone() {
    let sizes = Sizes::forty();
    let inputs = sizes.inputs();
    let run = |wanted: &dyn Fn(usize) -> bool| {
        let gradients = projected(&inputs, |tape, v| {
            let some = |(k, v): (usize, &Var)| match wanted(k) {
                true => v.clone(),
                false => Var::constant(v.value().clone()),
            };
            sizes.all(tape, &v.iter().enumerate().map(some).collect::<Vec<_>>())
        });
        gradients.unwrap().gradients
    };
    let together = run(&|_| true);
    for (k, name) in NAMES.iter().enumerate() {
        let alone = run(&|i| i == k);
        let what = format!("gradient of {name}");
        assert_close(&what, &alone[k], &together[k], 0.0);
        let other = (k + 1) % NAMES.len();
        assert!(values(&alone[other]).iter().all(|&x| x == 0.0));
    }
}

#[test]
fn one_value_as_several_inputs() {
    let sizes = Sizes::new(&[3, 1], &[2, 3], [3, 5, 4, 4]);
    let inputs = sizes.inputs();
    check_op("attention with keys = values", &inputs[..10], |tape, v| {
        let v = [0, 1, 2, 3, 4, 4, 6, 7, 8, 9, 9].map(|k| v[k].clone());
        sizes.all(tape, &v)
    });
}

// ---- numbers -------------------------------------------------------------------------------

/// y, context, alpha, h_n and c_n from the formulas in plain loops.
fn by_hand(sizes: &Sizes, inputs: &[Tensor]) -> [Vec<f64>; 5] {
    let data: Vec<Vec<f64>> = inputs.iter().map(values).collect();
    let [x, w_ih, bias, w_hh, h0, c0, w_q, b_q, v, keys, memory] = &data[..] else {
        panic!("eleven inputs");
    };
    let [e, h, a, d] = sizes.ehad;
    let (n, longest) = (sizes.packing.rows(), sizes.spans.longest());
    let (mut s, mut c) = (h0.clone(), c0.clone());
    let mut y = vec![0.0; n * h];
    let mut context = vec![0.0; n * d];
    let mut alpha = vec![0.0; n * longest];
    let dot = |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
    let sigmoid = |z: f64| 1.0 / (1.0 + (-z).exp());
    for b in 0..sizes.packing.batch() {
        let s = &mut s[b * h..][..h];
        for t in 0..sizes.packing.length(b) {
            let at = sizes.packing.row(t, b).unwrap();
            let query: Vec<f64> = (0..a)
                .map(|i| b_q[i] + dot(&w_q[i * h..][..h], s))
                .collect();
            let positions = sizes.spans.start(b)..sizes.spans.start(b) + sizes.spans.len(b);
            let energy = |j: usize| -> f64 {
                let k = &keys[j * a..][..a];
                (0..a).map(|i| v[i] * (query[i] + k[i]).tanh()).sum()
            };
            let energies: Vec<f64> = positions.clone().map(energy).collect();
            let largest = energies.iter().fold(f64::NEG_INFINITY, |m, &x| m.max(x));
            let total: f64 = energies.iter().map(|x| (x - largest).exp()).sum();
            let ctx = &mut context[at * d..][..d];
            for (j, (position, x)) in positions.zip(energies).enumerate() {
                let weight = (x - largest).exp() / total;
                alpha[at * longest + j] = weight;
                for (to, m) in ctx.iter_mut().zip(&memory[position * d..][..d]) {
                    *to += weight * m;
                }
            }
            let z = |row: usize| {
                let w = &w_ih[row * (e + d)..][..e + d];
                let from_h = dot(&w_hh[row * h..][..h], s);
                bias[row] + dot(&w[..e], &x[at * e..][..e]) + dot(&w[e..], ctx) + from_h
            };
            let gates: Vec<f64> = (0..4 * h).map(z).collect();
            for unit in 0..h {
                let [i, f, g, o] = [0, 1, 2, 3].map(|gate| gates[gate * h + unit]);
                let c = &mut c[b * h + unit];
                *c = sigmoid(f) * *c + sigmoid(i) * g.tanh();
                s[unit] = sigmoid(o) * c.tanh();
            }
            y[at * h..][..h].copy_from_slice(s);
        }
    }
    [y, context, alpha, s, c]
}

#[test]
fn the_formulas_in_plain_loops() {
    let wide = Sizes::new(&[3, 2, 2], &[4, 9, 1], [17, 20, 70, 130]);
    for sizes in [Sizes::small(), Sizes::forty(), wide] {
        let mut inputs = sizes.inputs();
        for sharpness in [1.0, 1000.0] {
            // Energies of up to thousands: the largest is subtracted before exp.
            let v: Vec<f64> = values(&inputs[8]).iter().map(|x| x * sharpness).collect();
            inputs[8] = f64s(&v, inputs[8].dims());
            let o = sizes.infer(&inputs);
            let [y, context, h_n, c_n] = [o.y, o.context, o.h_n, o.c_n].map(Var::into_value);
            let actual = [y, context, o.alpha.into_value(), h_n, c_n];
            let names = ["y", "context", "alpha", "h_n", "c_n"];
            let expected = by_hand(&sizes, &inputs);
            for ((actual, expected), name) in actual.iter().zip(expected).zip(names) {
                let expected = f64s(&expected, actual.dims());
                // Errors of the energies are relative to their size.
                let tolerance = F64_ORDER * sharpness;
                assert_close(
                    &format!("{name} of {sizes:?}"),
                    actual,
                    &expected,
                    tolerance,
                );
            }
        }
    }
}

#[test]
fn weights_are_a_distribution_over_the_positions_of_a_row() {
    let lengths: Vec<usize> = (0..20).map(|b| 9 - b / 3).collect();
    let positions: Vec<usize> = (0..20).map(|b| 1 + b * 13 % 40).collect();
    let sizes = Sizes::new(&lengths, &positions, [5, 12, 33, 20]);
    for inputs in [sizes.inputs(), narrow(&sizes.inputs())] {
        let alpha = sizes.infer(&inputs).alpha.into_value();
        assert_eq!(alpha.dims(), [sizes.packing.rows(), sizes.spans.longest()]);
        let alpha = values(&alpha);
        for b in 0..lengths.len() {
            for t in 0..lengths[b] {
                let at = sizes.packing.row(t, b).unwrap();
                let row = &alpha[at * sizes.spans.longest()..][..sizes.spans.longest()];
                let (of_row, past) = row.split_at(positions[b]);
                assert!(
                    of_row.iter().all(|&x| x > 0.0),
                    "row {b}, step {t}: {row:?}"
                );
                assert!(past.iter().all(|&x| x == 0.0), "row {b}, step {t}: {row:?}");
                let sum: f64 = of_row.iter().sum();
                assert!((sum - 1.0).abs() < F32_SUM, "row {b}, step {t}: {sum}");
            }
        }
    }
}

// ---- refused -------------------------------------------------------------------------------

#[test]
fn refused() {
    let sizes = Sizes::small(); // N 16, B 5, M 16, E 3, H 9, A 5, D 7
    let good = sizes.inputs();
    let run = |sizes: &Sizes, k: usize, tensor: Tensor| {
        let mut inputs = good.clone();
        inputs[k] = tensor;
        let v: Vec<Var> = inputs.into_iter().map(Var::constant).collect();
        sizes.run(&mut Tape::new(), &v)
    };
    let wrong: [(usize, &[usize], &str); 13] = [
        (0, &[15, 3], "[16, 3]"),
        (0, &[16, 4], "[36, 11]"),
        (1, &[36, 9], "[36, 10]"),
        (2, &[9], "[36]"),
        (3, &[35, 9], "[36, 9]"),
        (4, &[4, 9], "[5, 9]"),
        (5, &[5, 8], "[5, 9]"),
        (6, &[9, 5], "[5, 9]"),
        (7, &[9], "[5]"),
        (8, &[5, 1], "[1, 5]"),
        (9, &[15, 5], "[16, 5]"),
        (10, &[17, 7], "[16, 7]"),
        (0, &[16, 0], "no columns"),
    ];
    for (k, shape, asked) in wrong {
        let result = run(&sizes, k, random(0, shape));
        assert_refused(result, &["attention", asked]);
    }
    for (k, tensor) in good.iter().enumerate() {
        let single = convert(tensor, DType::F32).unwrap();
        assert_refused(run(&sizes, k, single), &["attention", "f32", "f64"]);
    }
    let few = Sizes {
        spans: Spans::new(&[16]).unwrap(),
        ..sizes.clone()
    };
    let result = run(&few, 0, good[0].clone());
    assert_refused(result, &["attention", "1 spans", "5 rows"]);
    let half: Vec<Var> = good
        .iter()
        .map(|t| Var::constant(convert(t, DType::F16).unwrap()))
        .collect();
    let result = sizes.run(&mut Tape::new(), &half);
    assert_refused(result, &["attention", "f16"]);
}
