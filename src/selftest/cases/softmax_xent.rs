//! Losses of rows: a warp a row and a block a row.

use super::add;
use crate::autograd::Var;
use crate::ops;
use crate::selftest::Case;
use crate::selftest::bounds::{EXACT, SOFTMAX, SOFTMAX_GRADIENT};
use crate::selftest::probe::{Input, probe};
use crate::selftest::side::ids;

/// Rows and columns: a warp takes a row of up to 512 columns, a block a longer one.
const LOGITS: [[usize; 2]; 8] = [
    [1, 1],
    [7, 33],
    [33, 7],
    [1, 257],
    [257, 33],
    [33, 512],
    [33, 513],
    [7, 1300],
];

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
    for vocab in [33, 513] {
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
}
