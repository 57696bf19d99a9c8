//! Concatenation of columns.

use super::add;
use crate::ops;
use crate::selftest::Case;
use crate::selftest::bounds::{EXACT, ROUNDED};
use crate::selftest::probe::{Input, probe};

/// Rows and the widths of the parts; a block has at most 256 threads for the columns.
const PARTS: [(usize, &[usize]); 5] = [
    (1, &[1]),
    (7, &[33, 7]),
    (33, &[257, 1, 33]),
    (257, &[7, 7]),
    (7, &[1, 600, 32]),
];

/// The table's cases of this file.
pub(super) fn cases(table: &mut Vec<Case>) {
    for (rows, widths) in PARTS {
        let name = format!("{rows} rows of {widths:?}");
        add(table, "concat", name, move |side| {
            let names = ["a", "b", "c"].into_iter().zip(widths);
            let parts = names.map(|(name, &w)| Input::leaf(name, [rows, w], EXACT));
            probe(side, &parts.collect::<Vec<_>>(), |tape, v| {
                let y = ops::concat(tape, &v.iter().collect::<Vec<_>>())?;
                Ok(vec![("y", y, EXACT)])
            })
        });
    }
    add(table, "concat", "7 rows, one part twice", |side| {
        let parts = [
            Input::leaf("a", [7, 33], ROUNDED),
            Input::leaf("b", [7, 5], EXACT),
        ];
        probe(side, &parts, |tape, v| {
            Ok(vec![(
                "y",
                ops::concat(tape, &[&v[0], &v[1], &v[0]])?,
                EXACT,
            )])
        })
    });
}
