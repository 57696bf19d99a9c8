//! The Gaussian error linear unit: near zero, at its bend, and far out.

use super::{SIZES, add};
use crate::ops;
use crate::selftest::Case;
use crate::selftest::bounds::GELU;
use crate::selftest::probe::{Input, probe};

/// The table's cases of this file.
pub(super) fn cases(table: &mut Vec<Case>) {
    let extreme = [-6e4, -100.0, -9.0, -0.75, -1e-3, 0.0, 1e-4, 9.0, 100.0, 6e4];
    let sized = SIZES.map(|n| (n.to_string(), Input::leaf("x", [n], GELU).scaled(4.0)));
    let extreme = Input::leaf("x", [10], GELU).of(&extreme);
    for (name, input) in sized.into_iter().chain([("10, extreme".into(), extreme)]) {
        add(table, "gelu", name, move |side| {
            probe(side, std::slice::from_ref(&input), |tape, v| {
                Ok(vec![("y", ops::gelu(tape, &v[0])?, GELU)])
            })
        });
    }
}
