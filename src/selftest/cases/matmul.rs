//! Products of every form.

use super::add;
use crate::ops;
use crate::selftest::Case;
use crate::selftest::bounds::PRODUCT;
use crate::selftest::probe::{Input, probe};

/// The table's cases of this file.
pub(super) fn cases(table: &mut Vec<Case>) {
    for [m, k, n] in [[1, 1, 1], [7, 33, 1], [33, 257, 7], [257, 7, 33]] {
        for (ta, tb, form) in [
            (false, false, "as they are"),
            (true, false, "a transposed"),
            (false, true, "b transposed"),
            (true, true, "both transposed"),
        ] {
            let name = format!("{m}x{k}x{n}, {form}");
            add(table, "matmul", name, move |side| {
                let a = if ta { [k, m] } else { [m, k] };
                let b = if tb { [n, k] } else { [k, n] };
                let inputs = [
                    Input::leaf("a", a, PRODUCT),
                    Input::parameter("b", b, PRODUCT),
                ];
                probe(side, &inputs, |tape, v| {
                    let c = ops::matmul(tape, &v[0], &v[1], ta, tb)?;
                    Ok(vec![("c", c, PRODUCT)])
                })
            });
        }
    }
    // A second gradient is added to the first by the product itself.
    add(table, "matmul", "33x7x33, used twice", |side| {
        let inputs = [
            Input::leaf("a", [33, 7], PRODUCT),
            Input::parameter("b", [7, 33], PRODUCT),
        ];
        probe(side, &inputs, |tape, v| {
            let c = ops::matmul(tape, &v[0], &v[1], false, false)?;
            let d = ops::matmul(tape, &v[0], &v[1], false, false)?;
            Ok(vec![("c", c, PRODUCT), ("d", d, PRODUCT)])
        })
    });
}
