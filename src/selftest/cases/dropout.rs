//! The same mask on every side.

use super::{SIZES, add};
use crate::ops;
use crate::rng::{Purpose, Stream};
use crate::selftest::Case;
use crate::selftest::bounds::SCALED;
use crate::selftest::probe::{Input, probe};

/// The table's cases of this file.
pub(super) fn cases(table: &mut Vec<Case>) {
    for n in SIZES {
        add(table, "dropout", format!("{n}"), move |side| {
            let stream = Stream::new(9, Purpose::Dropout, 4).lane(2);
            probe(side, &[Input::leaf("x", [n], SCALED)], |tape, v| {
                Ok(vec![("y", ops::dropout(tape, &v[0], 0.3, stream)?, SCALED)])
            })
        });
    }
    for shape in [[5, 3, 7], [9, 4, 32]] {
        let name = format!("{}x{}x{}, variational", shape[0], shape[1], shape[2]);
        add(table, "dropout", name, move |side| {
            let stream = Stream::new(9, Purpose::Dropout, 4).lane(2);
            probe(side, &[Input::leaf("x", shape, SCALED)], |tape, v| {
                let y = ops::variational_dropout(tape, &v[0], 0.3, stream, None)?;
                Ok(vec![("y", y, SCALED)])
            })
        });
    }
}
