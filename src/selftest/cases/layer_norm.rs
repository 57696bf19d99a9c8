//! Normalised rows: narrower than eight columns, of a few for each thread, and more rows than one block
//! sums.

use super::add;
use crate::ops;
use crate::selftest::Case;
use crate::selftest::bounds::{NORM, NORM_SUM};
use crate::selftest::probe::{Input, probe};

/// Rows and columns; the last is past one block's 1024 rows.
const SHAPES: [[usize; 2]; 6] = [[1, 3], [7, 33], [33, 256], [5, 257], [3, 2051], [1100, 7]];

/// torch's.
const EPSILON: f64 = 1e-5;

/// The table's cases of this file.
pub(super) fn cases(table: &mut Vec<Case>) {
    for [rows, columns] in SHAPES {
        let name = format!("{rows}x{columns}");
        add(table, "layer_norm", name, move |side| {
            probe(side, &inputs([rows, columns]), |tape, v| {
                let y = ops::layer_norm(tape, &v[0], &v[1], &v[2], EPSILON)?;
                Ok(vec![("y", y, NORM)])
            })
        });
    }
    add(table, "layer_norm", "33x7, beside its rows", |side| {
        probe(side, &inputs([33, 7]), |tape, v| {
            let y = ops::layer_norm(tape, &v[0], &v[1], &v[2], EPSILON)?;
            Ok(vec![("sum", ops::add(tape, &v[0], &y)?, NORM)])
        })
    });
}

fn inputs(shape: [usize; 2]) -> [Input; 3] {
    let parameter = |name| Input::parameter(name, [shape[1]], NORM_SUM);
    [
        Input::leaf("x", shape, NORM),
        parameter("gamma"),
        parameter("beta"),
    ]
}
