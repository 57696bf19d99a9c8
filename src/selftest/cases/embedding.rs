//! Rows picked from a table, and the sums of their gradients.

use super::add;
use crate::ops;
use crate::selftest::Case;
use crate::selftest::bounds::{EXACT, SUM};
use crate::selftest::probe::{Input, probe};
use crate::selftest::side::ids;

/// Vocabulary, width and tokens: more columns than a block has threads, and more tokens than a
/// chunk of 4096.
const TABLES: [[usize; 3]; 5] = [
    [1, 1, 1],
    [7, 33, 33],
    [33, 257, 7],
    [257, 7, 257],
    [5, 3, 5000],
];

/// The table's cases of this file.
pub(super) fn cases(table: &mut Vec<Case>) {
    for [vocab, width, tokens] in TABLES {
        let name = format!("{vocab}x{width}, {tokens} tokens");
        add(table, "embedding", name, move |side| {
            let ids = side.place(&ids(1, [tokens], vocab)?)?;
            let inputs = [Input::parameter("table", [vocab, width], SUM)];
            probe(side, &inputs, |tape, v| {
                Ok(vec![("y", ops::embedding(tape, &v[0], &ids)?, EXACT)])
            })
        });
    }
}
