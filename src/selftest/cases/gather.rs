//! Rows by number.

use super::add;
use crate::ops;
use crate::selftest::Case;
use crate::selftest::bounds::{EXACT, ROUNDED, ROUNDED_SUM};
use crate::selftest::probe::{Input, probe};
use crate::selftest::side::ids;
use crate::tensor::Tensor;

/// Rows, width and rows picked: more columns than a block has threads, more picked rows than a
/// block looks at in one go (256), and more than a chunk of 4096.
const PICKED: [[usize; 3]; 5] = [
    [1, 1, 1],
    [33, 7, 33],
    [257, 33, 100],
    [7, 257, 300],
    [5, 3, 5000],
];

/// The table's cases of this file.
pub(super) fn cases(table: &mut Vec<Case>) {
    for [rows, width, picked] in PICKED {
        let name = format!("{picked} of {rows}x{width}");
        add(table, "gather", name, move |side| {
            let picked = side.place(&ids(4, [picked], rows)?)?;
            let inputs = [Input::leaf("x", [rows, width], ROUNDED_SUM)];
            probe(side, &inputs, |tape, v| {
                Ok(vec![("y", ops::gather(tape, &v[0], &picked)?, EXACT)])
            })
        });
    }
    // All rows in reverse, next to themselves: two gradients are added.
    add(table, "gather", "33x7, used twice", |side| {
        let order: Vec<u32> = (0..33).collect();
        let reverse: Vec<u32> = (0..33).rev().collect();
        let [order, reverse] = [order, reverse].map(|rows| Tensor::from_slice(&rows, [33]));
        let [order, reverse] = [side.place(&order?)?, side.place(&reverse?)?];
        probe(side, &[Input::leaf("x", [33, 7], ROUNDED)], |tape, v| {
            let same = ops::gather(tape, &v[0], &order)?;
            let turned = ops::gather(tape, &v[0], &reverse)?;
            Ok(vec![("same", same, EXACT), ("turned", turned, EXACT)])
        })
    });
}
