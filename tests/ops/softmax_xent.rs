use super::{assert_refused, check_op, f32s, f64s, ids, u32s};
use crate::support::{random, values};
use rnnx::autograd::{Tape, Var};
use rnnx::ops::softmax_xent::{Targets, softmax_xent};
use rnnx::ops::{add, matmul, tanh};
use rnnx::tensor::Tensor;
use serde_json::Value;

/// Vocabularies below, at and above a vector register, and the character model's.
const VOCABS: [usize; 7] = [1, 2, 7, 15, 16, 17, 95];

/// Errors of a sum of 100 doubles, relative to its terms.
const F64_SUMS: f64 = 1e-14;

/// (loss, correct, gradient) of logits, with a seed of one.
fn score(logits: Tensor, targets: &[u32]) -> (f64, usize, Vec<f64>) {
    let mut tape = Tape::new();
    let logits = tape.leaf(logits);
    let targets = u32s(targets, [targets.len()]);
    let scored = softmax_xent(&mut tape, logits.clone(), &targets).unwrap();
    let one = rnnx::ops::cast::convert(&Tensor::scalar(1.0f64), logits.value().dtype()).unwrap();
    let mut grads = tape.backward(&scored.loss, one).unwrap();
    let gradient = values(&grads.take(logits.slot()).unwrap());
    (
        scored.loss.value().item().unwrap(),
        scored.correct.item().unwrap() as usize,
        gradient,
    )
}

#[test]
fn gradients_and_threads() {
    for vocab in VOCABS {
        // 257 rows are more than two tasks.
        for rows in [1, 7, 257] {
            let targets = ids(0, [rows], vocab as u32);
            let op = format!("softmax_xent {rows} {vocab}");
            check_op(&op, &[random(0, [rows, vocab])], |tape, v| {
                Ok(vec![softmax_xent(tape, v[0].clone(), &targets)?.loss])
            });
        }
    }
}

fn smoothed(ids: &Tensor, smoothing: f64) -> Targets<'_> {
    Targets { ids, smoothing }
}

#[test]
fn gradients_with_smoothed_labels() {
    // Of one class the gradient is zero, but for rounding.
    for vocab in VOCABS.into_iter().filter(|&vocab| vocab > 1) {
        for (rows, smoothing) in [(7, 0.1), (130, 0.6)] {
            let targets = ids(0, [rows], vocab as u32);
            let op = format!("softmax_xent {rows} {vocab} {smoothing}");
            check_op(&op, &[random(0, [rows, vocab])], |tape, v| {
                let targets = smoothed(&targets, smoothing);
                Ok(vec![softmax_xent(tape, v[0].clone(), targets)?.loss])
            });
        }
    }
}

/// torch's loss and gradient, in f64 and, but for rounding, in f32.
#[test]
fn smoothed_labels_are_pytorchs() {
    let golden: Value =
        serde_json::from_str(include_str!("../golden/label_smoothing.json")).unwrap();
    for (k, case) in golden["cases"].as_array().unwrap().iter().enumerate() {
        let [n, v] = ["N", "V"].map(|key| case[key].as_u64().unwrap() as usize);
        let [smoothing, loss, nll] =
            ["smoothing", "loss", "nll"].map(|key| case[key].as_f64().unwrap());
        let logit = |i: usize| 4.0 * (0.7 * i as f64 + 1.3 * k as f64 + 0.1).sin();
        let wide = f64s(&(0..n * v).map(logit).collect::<Vec<f64>>(), [n, v]);
        let targets: Vec<u32> = (0..n).map(|i| ((7 * i + 3) % v) as u32).collect();
        let targets = u32s(&targets, [n]);
        let narrow = rnnx::ops::cast::convert(&wide, rnnx::dtype::DType::F32).unwrap();
        for (logits, tolerance) in [(wide, 1e-12), (narrow, 1e-5)] {
            let mut tape = Tape::new();
            let logits = tape.leaf(logits);
            let targets = smoothed(&targets, smoothing);
            let scored = softmax_xent(&mut tape, logits.clone(), targets).unwrap();
            let near = |a: f64, b: f64| (a - b).abs() <= tolerance * b.abs().max(1.0);
            assert!(near(scored.loss.value().item().unwrap(), loss), "case {k}");
            assert!(near(scored.nll.item().unwrap(), nll), "case {k}");
            let one = Tensor::scalar(1.0f64);
            let one = rnnx::ops::cast::convert(&one, logits.value().dtype()).unwrap();
            let mut grads = tape.backward(&scored.loss, one).unwrap();
            let gradient = values(&grads.take(logits.slot()).unwrap());
            let wanted = case["gradient"].as_array().unwrap();
            assert_eq!(gradient.len(), wanted.len());
            for (i, (g, w)) in gradient.iter().zip(wanted).enumerate() {
                assert!(
                    near(*g, w.as_f64().unwrap()),
                    "case {k}, element {i}: {g} {w}"
                );
            }
        }
    }
}

#[test]
fn logits_of_other_ops_and_logits_used_twice() {
    let inputs = [random(0, [6, 5]), random(1, [9, 5])];
    let targets = ids(0, [2, 3], 9); // [T, B] is as good as [N]
    check_op("matmul, then softmax_xent", &inputs, |tape, v| {
        let logits = matmul(tape, &v[0], &v[1], false, true)?;
        Ok(vec![softmax_xent(tape, logits, &targets)?.loss])
    });
    check_op("tanh, then softmax_xent twice", &inputs[..1], |tape, v| {
        let logits = tanh(tape, &v[0])?;
        let targets = ids(0, [6], 5);
        let a = softmax_xent(tape, logits.clone(), &targets)?.loss;
        let b = softmax_xent(tape, logits, &targets)?.loss;
        Ok(vec![add(tape, &a, &b)?])
    });
}

#[test]
fn known_values() {
    // Softmax of (0, ln 2, ln 5) is (1, 2, 5) / 8.
    let row = [0.0, 2f64.ln(), 5f64.ln()];
    let logits = f64s(&[row, row].concat(), [2, 3]);
    let (loss, correct, gradient) = score(logits, &[2, 0]);
    let expected = 0.5 * ((8.0f64 / 5.0).ln() + 8f64.ln());
    assert!((loss - expected).abs() < F64_SUMS, "{loss} {expected}");
    assert_eq!(correct, 1);
    let expected = [0.125, 0.25, -0.375, -0.875, 0.25, 0.625].map(|x| x / 2.0);
    for (i, (a, e)) in gradient.iter().zip(expected).enumerate() {
        assert!((a - e).abs() < F64_SUMS, "element {i}: {a} {e}");
    }
}

/// Large logits and a constant added to a row leave the loss as exact as small ones.
#[test]
fn extreme_logits() {
    for (row, target, expected) in [
        ([1e4, -1e4], 0, 0.0),
        ([1e4, -1e4], 1, 2e4),
        ([-1e4, -1e4], 1, 2f64.ln()),
        ([1e4, 1e4], 0, 2f64.ln()),
        ([1e4 + 1.0, 1e4], 1, (1.0 + 1f64.exp()).ln()),
    ] {
        let narrow = row.map(|x| x as f32);
        for (logits, tolerance) in [(f64s(&row, [1, 2]), 1e-12), (f32s(&narrow, [1, 2]), 5e-7)] {
            let dtype = logits.dtype();
            let (loss, _, gradient) = score(logits, &[target]);
            let error = (loss - expected).abs() / f64::max(1.0, expected);
            assert!(
                error <= tolerance,
                "{dtype} {row:?} {target}: {loss}, not {expected}"
            );
            let p_target = (-expected).exp();
            let d_target = gradient[target as usize];
            assert!(
                (d_target - (p_target - 1.0)).abs() <= tolerance,
                "{dtype} {row:?}: {d_target}"
            );
        }
    }
    for vocab in VOCABS {
        for level in [-1e4f32, 0.0, 1e4] {
            let (loss, _, gradient) = score(f32s(&vec![level; vocab], [1, vocab]), &[0]);
            let expected = (vocab as f64).ln();
            assert!(
                (loss - expected).abs() <= 1e-6,
                "V = {vocab}, {level}: {loss}"
            );
            let p = 1.0 / vocab as f64;
            for g in &gradient[1..] {
                assert!((g - p).abs() <= 1e-6 * p, "V = {vocab}, {level}: {g} {p}");
            }
        }
    }
}

#[test]
fn rows_of_the_gradient_sum_to_zero() {
    for vocab in VOCABS {
        let targets: Vec<u32> = ids(0, [33], vocab as u32).data::<u32>().unwrap().to_vec();
        let (_, _, gradient) = score(random(0, [33, vocab]), &targets);
        for (r, row) in gradient.chunks(vocab).enumerate() {
            let sum: f64 = row.iter().sum();
            assert!(sum.abs() < F64_SUMS, "V = {vocab}, row {r}: {sum}");
        }
    }
}

#[test]
fn ties_go_to_the_lowest_index() {
    let logits = f64s(&[3.0, 3.0, 1.0, 0.0, 2.0, 2.0], [2, 3]);
    assert_eq!(score(logits.clone(), &[0, 1]).1, 2);
    assert_eq!(score(logits.clone(), &[1, 2]).1, 0);
    assert_eq!(score(logits, &[0, 2]).1, 1);
    // The tie lies in two registers, and in the rest behind them.
    let mut wide = vec![0.0f32; 40];
    (wide[3], wide[20], wide[39]) = (1.0, 1.0, 1.0);
    for (target, correct) in [(3, 1), (20, 0), (39, 0)] {
        assert_eq!(
            score(f32s(&wide, [1, 40]), &[target]).1,
            correct,
            "{target}"
        );
    }
}

/// The memory of logits that somebody else holds is not overwritten by their gradient.
#[test]
fn shared_logits_stay() {
    let logits = random(0, [3, 5]);
    let before = values(&logits);
    score(logits.clone(), &[0, 1, 2]);
    assert_eq!(values(&logits), before);
}

#[test]
fn refused() {
    let mut tape = Tape::new();
    let mut run =
        |logits: Tensor, targets: &Tensor| softmax_xent(&mut tape, Var::constant(logits), targets);
    let result = run(random(0, [2, 3, 4]), &u32s(&[0; 6], [6]));
    assert_refused(result, &["softmax_xent", "[2, 3, 4]", "[N, V]"]);
    let result = run(random(0, [2, 3]), &u32s(&[0; 3], [3]));
    assert_refused(result, &["softmax_xent", "3 targets", "[2, 3]"]);
    let result = run(random(0, [2, 3]), &u32s(&[0, 3], [2]));
    assert_refused(result, &["softmax_xent", "target 3", "3 classes"]);
    let result = run(random(0, [0, 3]), &u32s(&[], [0]));
    assert_refused(result, &["softmax_xent", "0 targets", "[0, 3]"]);
    let result = run(u32s(&[0; 2], [1, 2]), &u32s(&[0], [1]));
    assert_refused(result, &["softmax_xent", "u32"]);
    for smoothing in [-0.1, 1.0, f64::NAN] {
        let logits = Var::constant(random(0, [1, 2]));
        let result = softmax_xent(&mut tape, logits, smoothed(&u32s(&[0], [1]), smoothing));
        assert_refused(result, &["softmax_xent", "label smoothing", "[0, 1)"]);
    }
}
