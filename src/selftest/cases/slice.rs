//! Parts of a tensor, and their way back into its gradient.

use super::{add, add_in};
use crate::dtype::DType;
use crate::ops;
use crate::selftest::Case;
use crate::selftest::bounds::{EXACT, TWICE};
use crate::selftest::probe::{Input, probe};

/// Extents, axis, first place and end; the last two are past one block's 2048 columns.
const SLICES: [(&[usize], usize, [usize; 2]); 8] = [
    (&[1], 0, [0, 1]),
    (&[7, 33], 1, [5, 12]),
    (&[33, 7], 0, [32, 33]),
    (&[257, 7], 1, [6, 7]),
    (&[3, 5, 7], 1, [1, 4]),
    (&[5, 33, 7], 0, [1, 3]),
    (&[3, 5000], 1, [33, 4999]),
    (&[7, 1000, 5], 0, [2, 5]),
];

/// The table's cases of this file.
pub(super) fn cases(table: &mut Vec<Case>) {
    for (shape, axis, [first, end]) in SLICES {
        let name = format!("{shape:?}, {first}..{end} along axis {axis}");
        add(table, "slice", name, move |side| {
            probe(side, &[Input::leaf("x", shape, EXACT)], |tape, v| {
                let y = ops::slice(tape, &v[0], axis, first..end)?;
                Ok(vec![("y", y, EXACT)])
            })
        });
    }
    // Parts that overlap: the second gradient is added where the first one is.
    add(table, "slice", "33x7, used twice", |side| {
        probe(side, &[Input::leaf("x", [33, 7], TWICE)], |tape, v| {
            let a = ops::slice(tape, &v[0], 1, 0..5)?;
            let b = ops::slice(tape, &v[0], 1, 3..7)?;
            let c = ops::slice(tape, &v[0], 0, 8..20)?;
            Ok(vec![("a", a, EXACT), ("b", b, EXACT), ("c", c, EXACT)])
        })
    });
    // The gradient of an f16 parameter is f32: there is no kernel for a part of one.
    add_in(
        table,
        &[DType::F32],
        "slice",
        "33x7, of a parameter",
        |side| {
            probe(side, &[Input::parameter("x", [33, 7], EXACT)], |tape, v| {
                let y = ops::slice(tape, &v[0], 1, 2..5)?;
                Ok(vec![("y", y, EXACT)])
            })
        },
    );
}
