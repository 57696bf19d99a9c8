//! The LSTM's numbers against other ways to them: the formula in plain loops, an embedding, pieces
//! of the sequence, PyTorch.

use super::{Sizes, all, dense, table};
use crate::support::{assert_close, projected, random, values};
use crate::{f64s, ids};
use rnnx::autograd::{Tape, Var};
use rnnx::dtype::DType;
use rnnx::ops::cast::convert;
use rnnx::ops::lstm::{Input, lstm};
use rnnx::ops::{add, add_bias, embedding, matmul, mul, sum};
use rnnx::tensor::Tensor;

/// What is left between two orders of the same sums in f64, relative to the largest element.
pub const F64_ORDER: f64 = 1e-12;

/// The cell of Hochreiter and Schmidhuber written from the formula in plain loops.
fn by_hand(inputs: &[Tensor], s: Sizes) -> [Vec<f64>; 3] {
    let data: Vec<Vec<f64>> = inputs.iter().map(values).collect();
    let [x, w_ih, w_hh, bias, h0, c0] = &data[..] else {
        panic!("six inputs");
    };
    let (mut h, mut c, mut y) = (h0.clone(), c0.clone(), Vec::new());
    let sigmoid = |z: f64| 1.0 / (1.0 + (-z).exp());
    for t in 0..s.t {
        let before = h.clone();
        for b in 0..s.b {
            for unit in 0..s.h {
                let z = |gate: usize| {
                    let row = gate * s.h + unit;
                    let from_x = (0..s.i).map(|k| x[(t * s.b + b) * s.i + k] * w_ih[row * s.i + k]);
                    let from_h = (0..s.h).map(|k| before[b * s.h + k] * w_hh[row * s.h + k]);
                    bias[row] + from_x.sum::<f64>() + from_h.sum::<f64>()
                };
                let at = b * s.h + unit;
                c[at] = sigmoid(z(1)) * c[at] + sigmoid(z(0)) * z(2).tanh();
                h[at] = sigmoid(z(3)) * c[at].tanh();
            }
        }
        y.extend_from_slice(&h);
    }
    [y, h, c]
}

#[test]
fn the_formula_in_plain_loops() {
    for s in [Sizes::new(5, 3, 4, 7), Sizes::new(2, 33, 9, 33)] {
        let inputs = s.dense();
        let mut tape = Tape::inference();
        let v: Vec<Var> = inputs.iter().cloned().map(Var::constant).collect();
        let out = all(dense(&mut tape, &v).unwrap());
        for ((out, expected), name) in out.iter().zip(by_hand(&inputs, s)).zip(["y", "h_n", "c_n"])
        {
            let expected = f64s(&expected, out.value().dims());
            assert_close(
                &format!("{name} of {s:?}"),
                out.value(),
                &expected,
                F64_ORDER,
            );
        }
    }
}

/// A gate table E W_ih^T + b with ids is an embedding E followed by the dense layer.
#[test]
fn a_table_is_an_embedding() {
    let s = Sizes::new(13, 18, 6, 9);
    let mut inputs = s.dense();
    inputs[0] = random(0, [11, 6]); // E [V, I] in place of x
    let picked = ids(7, [s.t, s.b], 11);
    let dense = projected(&inputs, |tape, v| {
        let x = embedding(tape, &v[0], &picked)?;
        let v = [
            x,
            v[1].clone(),
            v[2].clone(),
            v[3].clone(),
            v[4].clone(),
            v[5].clone(),
        ];
        Ok(all(dense(tape, &v)?))
    })
    .unwrap();
    let table = projected(&inputs, |tape, v| {
        let rows = matmul(tape, &v[0], &v[1], false, true)?;
        let rows = add_bias(tape, rows, &v[3])?;
        Ok(all(table(
            tape,
            &[rows, v[2].clone(), v[4].clone(), v[5].clone()],
            &picked,
        )?))
    })
    .unwrap();
    for (a, e) in table.outputs.iter().zip(&dense.outputs) {
        assert_close("table output", a, e, F64_ORDER);
    }
    for (k, (a, e)) in table.gradients.iter().zip(&dense.gradients).enumerate() {
        assert_close(&format!("table gradient {k}"), a, e, F64_ORDER);
    }
}

/// Pieces of a sequence with the state carried from one to the next are the whole sequence.
#[test]
fn carried_state() {
    let s = Sizes::new(7, 3, 2, 5);
    let inputs = s.dense();
    let ends = [0, 1, 5, 7];
    // y of step t is weighted alike in both, by the products with this tensor.
    let weights = random(9, [s.t, s.b, s.h]);
    let weighted = |tape: &mut Tape, y: &Var, first: usize| {
        let r = weights.slice(first * s.b * s.h, y.value().shape().clone())?;
        let product = mul(tape, y, &Var::constant(r))?;
        sum(tape, &product)
    };
    let whole = projected(&inputs, |tape, v| {
        let out = dense(tape, v)?;
        Ok(vec![weighted(tape, &out.y, 0)?, out.h_n, out.c_n])
    });
    let pieces = projected(&inputs, |tape, v| {
        let mut state = (v[4].clone(), v[5].clone());
        let mut total = Var::constant(Tensor::scalar(0.0f64));
        for (&begin, &end) in ends.iter().zip(&ends[1..]) {
            let x = v[0]
                .value()
                .slice(begin * s.b * s.i, [end - begin, s.b, s.i])?;
            let x = Var::constant(x);
            let input = Input::Dense {
                x: &x,
                w_ih: &v[1],
                bias: &v[3],
            };
            let out = lstm(tape, input, &v[2], Some((&state.0, &state.1)))?;
            let part = weighted(tape, &out.y, begin)?;
            total = add(tape, &total, &part)?;
            state = (out.h_n, out.c_n);
        }
        Ok(vec![total, state.0, state.1])
    });
    let (whole, pieces) = (whole.unwrap(), pieces.unwrap());
    for (a, e) in pieces.outputs.iter().zip(&whole.outputs) {
        assert_close("output of pieces", a, e, F64_ORDER);
    }
    // x is a constant in the pieces.
    for k in 1..inputs.len() {
        let what = format!("gradient {k} of pieces");
        assert_close(&what, &pieces.gradients[k], &whole.gradients[k], F64_ORDER);
    }
}

// ---- goldens -------------------------------------------------------------------------------

/// Tolerances of `tests/golden/README.md`, relative to the largest element of a tensor: for f64
/// the order of sums, for f32 its rounding.
const GOLDEN: [(DType, f64, f64); 2] = [(DType::F64, 1e-12, 1e-12), (DType::F32, 1e-5, 1e-4)];

/// Tensor number k of the goldens: 0.5 sin(0.7 i + 1.3 k + 0.1) at flat index i.
fn fill(k: u32, shape: &[usize]) -> Tensor {
    let n: usize = shape.iter().product();
    let data: Vec<f64> = (0..n)
        .map(|i| 0.5 * (0.7 * i as f64 + 1.3 * f64::from(k) + 0.1).sin())
        .collect();
    f64s(&data, shape)
}

#[test]
fn goldens_of_pytorch() {
    let text = include_str!("../../golden/lstm.json");
    let golden: serde_json::Value = serde_json::from_str(text).expect("JSON");
    let cases = golden["cases"].as_array().expect("cases");
    assert_eq!(cases.len(), 3);
    for case in cases {
        for (dtype, outputs, gradients) in GOLDEN {
            golden_case(case, dtype, outputs, gradients);
        }
    }
}

fn golden_case(case: &serde_json::Value, dtype: DType, outputs: f64, gradients: f64) {
    let size = |name: &str| case[name].as_u64().expect("a size") as usize;
    let (t, b, i, h) = (size("T"), size("B"), size("I"), size("H"));
    let numbers = |name: &str, shape: &[usize]| {
        let list = case[name].as_array().expect("a list");
        let data: Vec<f64> = list.iter().map(|x| x.as_f64().expect("a number")).collect();
        f64s(&data, shape)
    };
    let as_type = |t: &Tensor| convert(t, dtype).expect("a floating tensor");
    let shapes: [&[usize]; 6] = [
        &[t, b, i],
        &[4 * h, i],
        &[4 * h, h],
        &[4 * h],
        &[t, b, h],
        &[b, h],
    ];
    let filled: Vec<Tensor> = (0..6)
        .map(|k| as_type(&fill(k, shapes[k as usize])))
        .collect();

    let mut tape = Tape::new();
    let v: Vec<Var> = filled[..4].iter().map(|t| tape.leaf(t.clone())).collect();
    let out = dense(&mut tape, &v).unwrap();
    let [r, q] = [4, 5].map(|k| Var::constant(filled[k].clone()));
    let from_y = mul(&mut tape, &out.y, &r)
        .and_then(|p| sum(&mut tape, &p))
        .unwrap();
    let from_c = mul(&mut tape, &out.c_n, &q)
        .and_then(|p| sum(&mut tape, &p))
        .unwrap();
    let loss = add(&mut tape, &from_y, &from_c).unwrap();

    let what = |name: &str| format!("golden lstm {t} {b} {i} {h} in {dtype}: {name}");
    let check = |name: &str, actual: &Tensor, tolerance: f64| {
        assert_close(
            &what(name),
            actual,
            &numbers(name, actual.dims()),
            tolerance,
        );
    };
    let expected = Tensor::scalar(case["loss"].as_f64().expect("a loss"));
    assert_close(&what("loss"), loss.value(), &expected, outputs);
    check("y", out.y.value(), outputs);
    check("h_n", out.h_n.value(), outputs);
    check("c_n", out.c_n.value(), outputs);
    let mut grads = tape
        .backward(&loss, as_type(&Tensor::scalar(1.0f64)))
        .unwrap();
    for (v, name) in v.iter().zip(["grad_x", "grad_w_ih", "grad_w_hh", "grad_b"]) {
        let gradient = grads.take(v.slot()).expect("a gradient");
        assert_eq!(gradient.shape(), v.value().shape(), "{}", what(name));
        check(name, &gradient, gradients);
    }
}
