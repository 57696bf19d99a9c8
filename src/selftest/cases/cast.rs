//! Conversions both ways: each direction's forward kernel is the other's backward one.

use super::{SIZES, add_in};
use crate::dtype::DType;
use crate::ops;
use crate::selftest::Case;
use crate::selftest::bounds::EXACT;
use crate::selftest::probe::{Input, probe};

/// The table's cases of this file.
pub(super) fn cases(table: &mut Vec<Case>) {
    let ways = [(DType::F32, DType::F16), (DType::F16, DType::F32)];
    for (from, to) in ways {
        let dtypes: &[DType] = if from == DType::F32 {
            &[DType::F32]
        } else {
            &[DType::F16]
        };
        let run = move |table: &mut Vec<Case>, case: String, input: Input| {
            add_in(
                table,
                dtypes,
                "cast",
                format!("to {to}, {case}"),
                move |side| {
                    probe(side, std::slice::from_ref(&input), |tape, v| {
                        // The reference's inputs are doubles that `from` holds: `to` is what is
                        // rounded to on every side.
                        let y = ops::cast(tape, &v[0], to)?;
                        Ok(vec![("y", y, EXACT)])
                    })
                },
            );
        };
        for n in SIZES {
            run(table, format!("{n}"), Input::leaf("x", [n], EXACT));
        }
        // A tie to even either way, just past a tie, the largest f16, what becomes infinite, and
        // subnormals of f16 down to zero.
        let special = [
            1.0 + 2f64.powi(-11),
            1.0 + 3.0 * 2f64.powi(-11),
            1.0 + 2f64.powi(-11) + 2f64.powi(-23),
            65_504.0,
            65_519.0,
            65_520.0,
            -1e5,
            2f64.powi(-24),
            2f64.powi(-25),
            -3.0 * 2f64.powi(-26),
            0.0,
        ];
        run(
            table,
            "11, special".into(),
            Input::leaf("x", [11], EXACT).of(&special),
        );
    }
}
