//! The likeliest columns of rows of logits.

use super::add;
use crate::autograd::Var;
use crate::ops;
use crate::selftest::Case;
use crate::selftest::bounds::{EXACT, SOFTMAX};
use crate::selftest::probe::{Input, probe_forward};

/// Rows, columns and those that are not chosen: one, less than a warp's, and more than a block's.
const LOGITS: [([usize; 2], u32); 5] = [
    ([1, 1], 0),
    ([7, 33], 0b11),
    ([257, 7], 0b1011),
    ([33, 257], 0),
    ([7, 1300], 0b11),
];

/// The table's cases of this file.
pub(super) fn cases(table: &mut Vec<Case>) {
    for ([rows, width], never) in LOGITS {
        let name = format!("{rows}x{width}, never {never:#b}");
        add(table, "likeliest", name, move |side| {
            let inputs = [Input::leaf("logits", [rows, width], SOFTMAX).scaled(8.0)];
            probe_forward(side, &inputs, |_, v| {
                let found = ops::likeliest(v[0].value(), never)?;
                Ok(vec![
                    ("columns", Var::constant(found.columns), EXACT),
                    ("gains", Var::constant(found.gains), SOFTMAX),
                ])
            })
        });
    }
}
