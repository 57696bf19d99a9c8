//! Rows that fit a block's threads or not, and the sums over them.

use super::add;
use crate::ops;
use crate::selftest::Case;
use crate::selftest::bounds::{EXACT, ROUNDED, SUM, TWICE};
use crate::selftest::probe::{Input, probe};

/// Rows and columns; the last is past one block's 1024 rows.
const BIASED: [[usize; 2]; 5] = [[1, 1], [7, 33], [33, 257], [257, 7], [2100, 3]];

/// The table's cases of this file.
pub(super) fn cases(table: &mut Vec<Case>) {
    for [rows, columns] in BIASED {
        let inputs = move || {
            [
                Input::leaf("x", [rows, columns], EXACT),
                Input::parameter("b", [columns], SUM),
            ]
        };
        add(
            table,
            "add_bias",
            format!("{rows}x{columns}"),
            move |side| {
                probe(side, &inputs(), |tape, v| {
                    let y = ops::add_bias(tape, v[0].clone(), &v[1])?;
                    Ok(vec![("y", y, ROUNDED)])
                })
            },
        );
    }
    add(table, "add_bias", "33x7, in place, used twice", |side| {
        let inputs = [
            Input::leaf("x", [33, 7], TWICE),
            Input::parameter("b", [7], SUM),
        ];
        probe(side, &inputs, |tape, v| {
            // Nobody else holds the sum, nor the first result.
            let x = ops::add(tape, &v[0], &v[0])?;
            let y = ops::add_bias(tape, x, &v[1])?;
            let y = ops::add_bias(tape, y, &v[1])?;
            Ok(vec![("y", y, TWICE)])
        })
    });
}
