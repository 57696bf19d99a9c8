//! The layers' numbers against other ways to them: an embedding, pieces of the sequence.

use super::{Layer, all, every};
use crate::support::{assert_close, projected, random, values};
use crate::{f64s, ids};
use rnnx::autograd::{Tape, Var};
use rnnx::dtype::DType;
use rnnx::ops::cast::convert;
use rnnx::ops::recurrent::CellKind;
use rnnx::ops::{add, add_bias, embedding, matmul, mul, sum};
use rnnx::tensor::Tensor;

/// What is left between two orders of the same sums in f64, relative to the largest element.
pub const F64_ORDER: f64 = 1e-12;

/// A gate table E W_ih^T + b with ids is an embedding E followed by the dense layer.
#[test]
fn a_table_is_an_embedding() {
    for layer in every(13, 18, 6, 9) {
        let Layer { t, b, .. } = layer;
        let mut inputs = layer.dense();
        inputs[0] = random(0, [11, 6]); // E [V, I] in place of x
        let picked = ids(7, [t, b], 11);
        let dense = projected(&inputs, |tape, v| {
            let mut v = v.to_vec();
            v[0] = embedding(tape, &v[0], &picked)?;
            Ok(all(layer.run_dense(tape, &v, None)?))
        })
        .unwrap();
        let table = projected(&inputs, |tape, v| {
            let rows = matmul(tape, &v[0], &v[1], false, true)?;
            let rows = add_bias(tape, rows, &v[3])?;
            let v = [&[rows, v[2].clone()], &v[4..]].concat();
            Ok(all(layer.run_table(tape, &v, &picked, None)?))
        })
        .unwrap();
        for (a, e) in table.outputs.iter().zip(&dense.outputs) {
            assert_close(&format!("{layer:?}: output"), a, e, F64_ORDER);
        }
        for (k, (a, e)) in table.gradients.iter().zip(&dense.gradients).enumerate() {
            assert_close(&format!("{layer:?}: gradient {k}"), a, e, F64_ORDER);
        }
    }
}

/// Pieces of a sequence with the state carried from one to the next are the whole sequence.
#[test]
fn carried_state() {
    for layer in every(7, 3, 2, 5) {
        let Layer { t, b, i, h, .. } = layer;
        let inputs = layer.dense();
        let states = inputs.len() - layer.states();
        let ends = [0, 1, 5, 7];
        // y of step t is weighted alike in both, by the products with this tensor.
        let weights = random(9, [t, b, h]);
        let weighted = |tape: &mut _, y: &Var, first: usize| {
            let r = weights.slice(first * b * h, y.value().shape().clone())?;
            let product = mul(tape, y, &Var::constant(r))?;
            sum(tape, &product)
        };
        let whole = projected(&inputs, |tape, v| {
            let mut out = all(layer.run_dense(tape, v, None)?);
            out[0] = weighted(tape, &out[0], 0)?;
            Ok(out)
        });
        let pieces = projected(&inputs, |tape, v| {
            let mut v = v.to_vec();
            let mut total = Var::constant(Tensor::scalar(0.0f64));
            let x = v[0].value().clone();
            for (&begin, &end) in ends.iter().zip(&ends[1..]) {
                v[0] = Var::constant(x.slice(begin * b * i, [end - begin, b, i])?);
                let mut out = all(layer.run_dense(tape, &v, None)?);
                let part = weighted(tape, &out[0], begin)?;
                total = add(tape, &total, &part)?;
                v.splice(states.., out.drain(1..));
            }
            Ok([vec![total], v.split_off(states)].concat())
        });
        let (whole, pieces) = (whole.unwrap(), pieces.unwrap());
        for (a, e) in pieces.outputs.iter().zip(&whole.outputs) {
            assert_close(&format!("{layer:?}: output of pieces"), a, e, F64_ORDER);
        }
        // x is a constant in the pieces.
        for k in 1..inputs.len() {
            let what = format!("{layer:?}: gradient {k} of pieces");
            assert_close(&what, &pieces.gradients[k], &whole.gradients[k], F64_ORDER);
        }
    }
}

// ---- one cell's formula --------------------------------------------------------------------

/// The arguments of a unit's gates from the input, with b, and from the hidden state, with b_hh.
pub type Sides = (Vec<f64>, Vec<f64>);

/// That a layer is `unit(sides, h, c)`, which gives a unit's next (h, c), in plain loops.
pub fn check_formula(kind: CellKind, unit: impl Fn(Sides, f64, f64) -> (f64, f64)) {
    for [t, b, i, h] in [[5, 3, 4, 7], [2, 33, 9, 33]] {
        let layer = Layer { kind, t, b, i, h };
        let inputs = layer.dense();
        let mut tape = Tape::inference();
        let v: Vec<Var> = inputs.iter().cloned().map(Var::constant).collect();
        let out = all(layer.run_dense(&mut tape, &v, None).unwrap());
        for (k, (out, expected)) in out.iter().zip(by_hand(layer, &unit)).enumerate() {
            let expected = f64s(&expected, out.value().dims());
            let what = format!("output {k} of {layer:?}");
            assert_close(&what, out.value(), &expected, F64_ORDER);
        }
    }
}

/// y, h_n and c_n.
fn by_hand(layer: Layer, unit: &impl Fn(Sides, f64, f64) -> (f64, f64)) -> [Vec<f64>; 3] {
    let Layer { kind, t, b, i, h } = layer;
    let data: Vec<Vec<f64>> = layer.dense().iter().map(values).collect();
    let [x, w_ih, w_hh, bias] = [0, 1, 2, 3].map(|k| &data[k]);
    let none = vec![0.0; layer.rows().max(b * h)];
    let b_hh = if kind.has_b_hh() { &data[4] } else { &none };
    let mut states = data[data.len() - layer.states()..].iter().cloned();
    let mut now = states.next().expect("h0");
    let (mut cells, mut y) = (states.next().unwrap_or(none.clone()), Vec::new());
    for step in 0..t {
        let before = now.clone();
        for row in 0..b {
            for u in 0..h {
                let gates = (0..kind.gates()).map(|gate| gate * h + u);
                let from_x = |g: usize| {
                    let products = (0..i).map(|k| x[(step * b + row) * i + k] * w_ih[g * i + k]);
                    bias[g] + products.sum::<f64>()
                };
                let from_h = |g: usize| {
                    let products = (0..h).map(|k| before[row * h + k] * w_hh[g * h + k]);
                    b_hh[g] + products.sum::<f64>()
                };
                let sides = (
                    gates.clone().map(from_x).collect(),
                    gates.map(from_h).collect(),
                );
                let at = row * h + u;
                (now[at], cells[at]) = unit(sides, before[at], cells[at]);
            }
        }
        y.extend_from_slice(&now);
    }
    [y, now, cells]
}

// ---- goldens -------------------------------------------------------------------------------

/// Tolerances of `tests/golden/README.md`, relative to the largest element of a tensor: for f64
/// the order of sums, for f32 its rounding.
pub const GOLDEN: [(DType, f64, f64); 2] = [(DType::F64, 1e-12, 1e-12), (DType::F32, 1e-5, 1e-4)];

/// Tensor number k of the goldens: 0.5 sin(0.7 i + 1.3 k + 0.1) at flat index i.
pub fn fill(k: usize, shape: &[usize]) -> Tensor {
    let n: usize = shape.iter().product();
    let data: Vec<f64> = (0..n)
        .map(|i| 0.5 * (0.7 * i as f64 + 1.3 * k as f64 + 0.1).sin())
        .collect();
    f64s(&data, shape)
}

/// A layer against PyTorch's. `inputs` are those of [`Layer::dense`] that the recipe makes, by their
/// names there.
pub fn check_golden(kind: CellKind, text: &str, inputs: &[&str]) {
    let golden: serde_json::Value = serde_json::from_str(text).expect("JSON");
    let cases = golden["cases"].as_array().expect("cases");
    assert_eq!(cases.len(), 3);
    for case in cases {
        for (dtype, outputs, gradients) in GOLDEN {
            let size = |name: &str| case[name].as_u64().expect("a size") as usize;
            let [t, b, i, h] = ["T", "B", "I", "H"].map(size);
            let layer = Layer { kind, t, b, i, h };
            let fill = |name: &str, shape: &[usize]| {
                let k = golden["inputs"][name].as_u64().expect("a number") as usize;
                convert(&fill(k, shape), dtype).expect("a floating tensor")
            };
            golden_case(layer, case, inputs, fill, [outputs, gradients]);
        }
    }
}

fn golden_case(
    layer: Layer,
    case: &serde_json::Value,
    inputs: &[&str],
    fill: impl Fn(&str, &[usize]) -> Tensor,
    [outputs, gradients]: [f64; 2],
) {
    let mut tape = Tape::new();
    let shapes = layer.dense();
    let named = inputs.iter().zip(&shapes);
    let v: Vec<Var> = named
        .map(|(name, like)| tape.leaf(fill(name, like.dims())))
        .collect();
    let out = all(layer.run_dense(&mut tape, &v, None).unwrap());
    // The loss is sum(y * R) + sum(last state * Q).
    let last = out.last().expect("a state");
    let mut weighted = |name: &str, of: &Var| {
        let weights = Var::constant(fill(name, of.value().dims()));
        let product = mul(&mut tape, of, &weights).unwrap();
        sum(&mut tape, &product).unwrap()
    };
    let (from_y, from_state) = (weighted("R", &out[0]), weighted("Q", last));
    let loss = add(&mut tape, &from_y, &from_state).unwrap();

    let what = |name: &str| format!("golden of {layer:?} in {}: {name}", loss.value().dtype());
    let check = |name: &str, actual: &Tensor, tolerance: f64| {
        let list = case[name].as_array().expect("a list");
        let data: Vec<f64> = list.iter().map(|x| x.as_f64().expect("a number")).collect();
        assert_close(&what(name), actual, &f64s(&data, actual.dims()), tolerance);
    };
    let expected = Tensor::scalar(case["loss"].as_f64().expect("a loss"));
    assert_close(&what("loss"), loss.value(), &expected, outputs);
    for (out, name) in out.iter().zip(["y", "h_n", "c_n"]) {
        check(name, out.value(), outputs);
    }
    let one = convert(&Tensor::scalar(1.0f64), loss.value().dtype()).unwrap();
    let mut grads = tape.backward(&loss, one).unwrap();
    for (v, name) in v.iter().zip(inputs) {
        let gradient = grads.take(v.slot()).expect("a gradient");
        assert_eq!(gradient.shape(), v.value().shape(), "{}", what(name));
        check(&format!("grad_{name}"), &gradient, gradients);
    }
}
