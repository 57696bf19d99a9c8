use super::{assert_refused, check_op, ids, u32s};
use crate::support::random;
use rnnx::autograd::{Tape, Var};
use rnnx::ops::softmax_xent::{SoftmaxXent, Targets};
use rnnx::ops::{add_bias, linear_xent, matmul, softmax_xent};

/// The output layer with its loss has the gradients of the three ops, and their bits.
#[test]
fn a_projection_and_its_loss() {
    for (rows, vocab) in [(1, 1), (7, 16), (257, 95)] {
        let inputs = [
            random(0, [rows, 6]),
            random(1, [vocab, 6]),
            random(2, [vocab]),
        ];
        let targets = ids(0, [rows], vocab as u32);
        check_op("linear_xent", &inputs, |tape, v| {
            Ok(vec![linear_xent(tape, &v[0], &v[1], &v[2], &targets)?.loss])
        });
        // Of one class the gradients are zero, but for rounding.
        if vocab > 1 {
            check_op("linear_xent, smoothed", &inputs, |tape, v| {
                let targets = Targets {
                    ids: &targets,
                    smoothing: 0.2,
                };
                Ok(vec![linear_xent(tape, &v[0], &v[1], &v[2], targets)?.loss])
            });
        }
        let mut tape = Tape::inference();
        let [x, w, b] = inputs.map(Var::constant);
        let logits = matmul(&mut tape, &x, &w, false, true).unwrap();
        let logits = add_bias(&mut tape, logits, &b).unwrap();
        let apart = softmax_xent(&mut tape, logits, &targets).unwrap();
        let joined = linear_xent(&mut tape, &x, &w, &b, &targets).unwrap();
        let loss = |scored: &SoftmaxXent| {
            (
                scored.loss.value().item().unwrap(),
                scored.correct.item().unwrap(),
            )
        };
        assert_eq!(loss(&joined), loss(&apart), "{rows} {vocab}");
    }
}

#[test]
fn refused() {
    let mut tape = Tape::new();
    let mut run = |x: [usize; 2], w: [usize; 2], b: usize, targets: &[u32]| {
        let [x, w, b] = [random(0, x), random(1, w), random(2, [b])].map(Var::constant);
        linear_xent(&mut tape, &x, &w, &b, &u32s(targets, [targets.len()]))
    };
    assert_refused(run([2, 3], [4, 5], 4, &[0, 1]), &["[2, 3]", "[5, 4]"]);
    assert_refused(run([2, 3], [4, 3], 3, &[0, 1]), &["bias [3]"]);
    assert_refused(run([2, 3], [4, 3], 4, &[0]), &["1 targets"]);
    assert_refused(run([2, 3], [4, 3], 4, &[0, 4]), &["target 4", "4 classes"]);
}
