//! PyTorch's numbers (`tests/golden/copy_xent.py`), which spreads the mixture out by `scatter_add`.

use super::Case;
use crate::f64s;
use crate::recurrent::numbers::{GOLDEN, fill};
use crate::support::{assert_close, values};
use rnnx::autograd::Tape;
use rnnx::ops::cast::convert;
use rnnx::tensor::Tensor;
use serde_json::Value;

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().expect("a list")
}

fn ids(value: &Value) -> Vec<u32> {
    let ids = list(value).iter();
    ids.map(|id| id.as_u64().expect("an id") as u32).collect()
}

/// The case and its inputs: logits, the gate's and attention weights, the softmax of energies over the
/// positions of each row's source.
fn read(golden: &Value, case: &Value) -> (Case, [Tensor; 3]) {
    let op = Case {
        vocab: case["V"].as_u64().expect("V") as usize,
        held: list(&case["held"]).iter().map(ids).collect(),
        rows: ids(&case["rows"]),
        targets: ids(&case["targets"]),
    };
    let made = |name: &str, shape: [usize; 2], factor: f64| {
        let k = golden["inputs"][name].as_u64().expect("a number") as usize;
        let times: Vec<f64> = values(&fill(k, &shape))
            .iter()
            .map(|x| x * factor)
            .collect();
        f64s(&times, shape)
    };
    let (n, s) = (op.rows.len(), op.longest());
    let mut alpha = values(&made("energies", [n, s], 3.0));
    for (row, &b) in alpha.chunks_mut(s).zip(&op.rows) {
        let (held, behind) = row.split_at_mut(op.held[b as usize].len());
        held.iter_mut().for_each(|e| *e = e.exp());
        let sum: f64 = held.iter().sum();
        held.iter_mut().for_each(|e| *e /= sum);
        behind.fill(0.0);
    }
    let inputs = [
        made("logits", [n, op.vocab], 6.0),
        made("gate", [n, 1], 4.0),
        f64s(&alpha, [n, s]),
    ];
    (op, inputs)
}

#[test]
fn goldens_of_pytorch() {
    let golden = include_str!("../../golden/copy_xent.json");
    let golden: Value = serde_json::from_str(golden).expect("JSON");
    let cases = list(&golden["cases"]);
    assert_eq!(cases.len(), 2);
    for (number, case) in cases.iter().enumerate() {
        let (op, inputs) = read(&golden, case);
        for (dtype, outputs, gradients) in GOLDEN {
            let inputs = inputs
                .each_ref()
                .map(|x| convert(x, dtype).expect("floats"));
            let what = |name: &str| format!("case {number} in {dtype}: {name}");
            let mut tape = Tape::new();
            let v = inputs.clone().map(|x| tape.leaf(x));
            let scored = op.score(&mut tape, &v).expect("a score");
            let loss = Tensor::scalar(case["loss"].as_f64().expect("a loss"));
            assert_close(&what("loss"), scored.loss.value(), &loss, outputs);

            // The file has a column for each token that is unknown in any source, rnnx one for each
            // position of the longest source; what is in one of them alone cannot be written.
            let (mixture, want) = (op.mixture(&inputs), list(&case["log_p"]));
            let [columns, width] = [mixture.shape().last(), want.len() / op.rows.len()];
            let (mut found, mut known) = (Vec::new(), Vec::new());
            for (row, want) in values(&mixture).chunks(columns).zip(want.chunks(width)) {
                for at in 0..columns.max(width) {
                    let of_row = row.get(at).copied().unwrap_or(f64::NEG_INFINITY);
                    match want.get(at).and_then(Value::as_f64) {
                        Some(log_p) => {
                            found.push(of_row);
                            known.push(log_p);
                        }
                        None => assert_eq!(of_row, f64::NEG_INFINITY, "{}", what("log_p")),
                    }
                }
            }
            assert!(
                known.len() > op.rows.len() * op.vocab,
                "some unknown tokens"
            );
            let [found, known] = [found, known].map(|list| f64s(&list, [list.len()]));
            assert_close(&what("log_p"), &found, &known, outputs);

            let one = convert(&Tensor::scalar(1.0f64), dtype).expect("a float");
            let mut grads = tape.backward(&scored.loss, one).expect("gradients");
            for (v, name) in v.iter().zip(["grad_logits", "grad_gate", "grad_alpha"]) {
                let gradient = grads.take(v.slot()).expect("a gradient");
                let want = list(&case[name]).iter();
                let want: Vec<f64> = want.map(|x| x.as_f64().expect("a number")).collect();
                let want = f64s(&want, v.value().shape().clone());
                assert_close(&what(name), &gradient, &want, gradients);
            }
        }
    }
}
