//! Sums of all elements, and what is made of them.

use super::add;
use crate::autograd::{Tape, Var};
use crate::error::Result;
use crate::ops;
use crate::selftest::Case;
use crate::selftest::bounds::{SUM, TWICE};
use crate::selftest::probe::{Input, probe};

/// The last is past one block's 16384 elements.
const SUMMED: [usize; 5] = [1, 7, 33, 257, 20_000];

/// The table's cases of this file.
pub(super) fn cases(table: &mut Vec<Case>) {
    type Op = fn(&mut Tape, &Var) -> Result<Var>;
    let squares: Op = |tape, x| ops::sum_squares(tape, x, 0.25);
    // A loss is scaled: a share of 1 / 20,000 is below the normal numbers of f16.
    let mean: Op = |tape, x| {
        let y = ops::mean(tape, x)?;
        ops::scale(tape, &y, 1024.0)
    };
    let ops = [
        ("sum", ops::sum as Op),
        ("sum_squares", squares),
        ("mean", mean),
    ];
    // Of one sign, so that a sum is not a small difference.
    let input = |n: usize| {
        let values: Vec<f64> = (0..n).map(|i| ((i * 37) % 101) as f64 / 101.0).collect();
        [Input::leaf("x", [n], TWICE).of(&values)]
    };
    for (name, op) in ops {
        for n in SUMMED {
            add(table, name, format!("{n}"), move |side| {
                probe(side, &input(n), |tape, v| {
                    Ok(vec![("y", op(tape, &v[0])?, SUM)])
                })
            });
        }
    }
    // The gradients are added.
    add(table, "sum_squares", "257, and the sum", move |side| {
        probe(side, &input(257), |tape, v| {
            let (y, sum) = (squares(tape, &v[0])?, ops::sum(tape, &v[0])?);
            Ok(vec![("y", y, SUM), ("sum", sum, SUM)])
        })
    });
}
