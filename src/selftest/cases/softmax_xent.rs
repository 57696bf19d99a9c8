//! Losses of rows, some lanes a row and a block a row; and of a projection's rows.

use super::add;
use crate::autograd::{Tape, Var};
use crate::error::Error;
use crate::ops;
use crate::ops::softmax_xent::Targets;
use crate::selftest::Case;
use crate::selftest::bounds::{EXACT, HEAD, HEAD_GRADIENT, SOFTMAX, SOFTMAX_GRADIENT};
use crate::selftest::probe::{Input, probe};
use crate::selftest::side::ids;
use crate::tensor::Tensor;

/// Rows and columns: lanes of a warp take a row of up to 256 columns, a block a longer one.
const LOGITS: [[usize; 2]; 9] = [
    [1, 1],
    [7, 33],
    [33, 7],
    [1, 257],
    [257, 33],
    [33, 255],
    [33, 256],
    [33, 513],
    [7, 1300],
];

/// Labels of which a tenth is spread over all classes.
fn smoothed(ids: &Tensor) -> Targets<'_> {
    Targets {
        ids,
        smoothing: 0.1,
    }
}

/// What a case takes the loss of a projection of.
#[derive(Clone, Copy, PartialEq)]
enum Loss {
    /// The targets.
    Once,
    /// The same, used twice.
    Twice,
    /// The targets, smoothed.
    Smoothed,
}

impl Loss {
    /// The end of the case's name.
    fn words(self) -> &'static str {
        match self {
            Loss::Once => "",
            Loss::Twice => ", used twice",
            Loss::Smoothed => ", smoothed",
        }
    }
}

/// The table's cases of this file.
pub(super) fn cases(table: &mut Vec<Case>) {
    for [rows, vocab] in LOGITS {
        add(
            table,
            "softmax_xent",
            format!("{rows}x{vocab}"),
            move |side| {
                let targets = side.place(&ids(2, [rows], vocab)?)?;
                let inputs = [Input::leaf("logits", [rows, vocab], SOFTMAX_GRADIENT).scaled(8.0)];
                probe(side, &inputs, |tape, v| {
                    let scored = ops::softmax_xent(tape, v[0].clone(), &targets)?;
                    let correct = Var::constant(scored.correct);
                    Ok(vec![
                        ("loss", scored.loss, SOFTMAX),
                        ("correct", correct, EXACT),
                    ])
                })
            },
        );
    }
    for [rows, vocab] in [[7, 33], [33, 7], [33, 513]] {
        let name = format!("{rows}x{vocab}, smoothed");
        add(table, "softmax_xent", name, move |side| {
            let targets = side.place(&ids(2, [rows], vocab)?)?;
            let inputs = [Input::leaf("logits", [rows, vocab], SOFTMAX_GRADIENT).scaled(8.0)];
            probe(side, &inputs, |tape, v| {
                let scored = ops::softmax_xent(tape, v[0].clone(), smoothed(&targets))?;
                let nll = Var::constant(scored.nll);
                Ok(vec![("loss", scored.loss, SOFTMAX), ("nll", nll, SOFTMAX)])
            })
        });
    }
    for vocab in [33, 257] {
        let name = format!("7x{vocab}, in place");
        add(table, "softmax_xent", name, move |side| {
            let targets = side.place(&ids(2, [7], vocab)?)?;
            let inputs = [Input::leaf("x", [7, vocab], SOFTMAX_GRADIENT).scaled(4.0)];
            probe(side, &inputs, |tape, v| {
                // A sum of equals is exact, and nobody else holds it.
                let logits = ops::add(tape, &v[0], &v[0])?;
                let loss = ops::softmax_xent(tape, logits, &targets)?.loss;
                Ok(vec![("loss", loss, SOFTMAX)])
            })
        });
    }
    for [rows, inputs, vocab] in [[1, 1, 1], [33, 7, 13], [257, 33, 95], [7, 33, 301]] {
        for how in [Loss::Once, Loss::Twice, Loss::Smoothed] {
            // Of one class the labels' shares are 1 but for their rounding, and all else is zero.
            if how == Loss::Smoothed && vocab == 1 {
                continue;
            }
            let name = format!("{rows}x{inputs}x{vocab}{}", how.words());
            add(table, "linear_xent", name, move |side| {
                let targets = side.place(&ids(2, [rows], vocab)?)?;
                let inputs = [
                    Input::leaf("x", [rows, inputs], HEAD_GRADIENT),
                    Input::parameter("weight", [vocab, inputs], HEAD_GRADIENT).scaled(4.0),
                    Input::parameter("bias", [vocab], HEAD_GRADIENT),
                ];
                probe(side, &inputs, |tape, v| {
                    let score = |tape: &mut Tape| {
                        let targets = match how {
                            Loss::Smoothed => smoothed(&targets),
                            Loss::Once | Loss::Twice => (&targets).into(),
                        };
                        let scored = ops::linear_xent(tape, &v[0], &v[1], &v[2], targets)?;
                        Ok::<_, Error>(scored.loss)
                    };
                    let mut loss = score(tape)?;
                    if how == Loss::Twice {
                        let again = score(tape)?;
                        loss = ops::add(tape, &loss, &again)?;
                    }
                    Ok(vec![("loss", loss, HEAD)])
                })
            });
        }
    }
}
