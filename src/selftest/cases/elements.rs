//! Ops that take elements one by one, and sums over all of them.

use super::{add, add_in};
use crate::autograd::{Tape, Var};
use crate::dtype::DType;
use crate::error::Result;
use crate::ops;
use crate::rng::{Purpose, Stream};
use crate::selftest::Case;
use crate::selftest::bounds::{ACTIVATION, Bound, EXACT, ROUNDED, SCALED, SUM, TWICE};
use crate::selftest::probe::{Input, probe, probe_forward};

/// The last is past one block of 2048 elements.
const SIZES: [usize; 5] = [1, 7, 33, 257, 5000];
/// The last is past one block's 16384 elements.
const SUMMED: [usize; 5] = [1, 7, 33, 257, 20_000];

/// The table's cases of this file.
pub(super) fn cases(table: &mut Vec<Case>) {
    pairs(table);
    activations(table);
    casts(table);
    dropouts(table);
    sums(table);
}

type Pair = fn(&mut Tape, &Var, &Var) -> Result<Var>;

fn pairs(table: &mut Vec<Case>) {
    let ops: [(_, Pair, Bound); 2] = [("add", ops::add, EXACT), ("mul", ops::mul, ROUNDED)];
    for (name, op, gradient) in ops {
        for n in SIZES {
            add(table, name, format!("{n}"), move |side| {
                let inputs = ["a", "b"].map(|name| Input::leaf(name, [n], gradient));
                probe(side, &inputs, |tape, v| {
                    Ok(vec![("c", op(tape, &v[0], &v[1])?, ROUNDED)])
                })
            });
        }
        add(table, name, "257, both operands the same", move |side| {
            let inputs = [Input::leaf("a", [257], TWICE)];
            probe(side, &inputs, |tape, v| {
                Ok(vec![("c", op(tape, &v[0], &v[0])?, ROUNDED)])
            })
        });
    }
    // The gradient of a sum is one tensor for both operands, until another is added to one of them.
    add(table, "add", "257, a gradient that is shared", |side| {
        let inputs = ["a", "b"].map(|name| Input::leaf(name, [257], TWICE));
        probe(side, &inputs, |tape, v| {
            let product = ops::mul(tape, &v[0], &v[1])?;
            let sum = ops::add(tape, &v[0], &v[1])?;
            Ok(vec![("sum", sum, ROUNDED), ("product", product, ROUNDED)])
        })
    });
}

fn activations(table: &mut Vec<Case>) {
    type Op = fn(&mut Tape, &Var) -> Result<Var>;
    let ops: [(_, Op); 2] = [("sigmoid", ops::sigmoid), ("tanh", ops::tanh)];
    for (name, op) in ops {
        let run = move |table: &mut Vec<Case>, case: String, input: Input| {
            add(table, name, case, move |side| {
                probe(side, std::slice::from_ref(&input), |tape, v| {
                    Ok(vec![("y", op(tape, &v[0])?, ACTIVATION)])
                })
            });
        };
        for n in SIZES {
            // Up to 4; but a gradient that is alone is to be compared with one that is not small.
            let scale = if n == 1 { 0.5 } else { 4.0 };
            let input = Input::leaf("x", [n], ACTIVATION).scaled(scale);
            run(table, format!("{n}"), input);
        }
        // Where exp overflows, and where tanh is nearly x.
        let extreme = [
            -6e4, -100.0, -20.0, -9.0, -1e-3, 0.0, 1e-4, 0.25, 9.0, 20.0, 100.0, 6e4,
        ];
        let input = Input::leaf("x", [12], ACTIVATION).of(&extreme);
        run(table, "12, extreme".into(), input);
        let small = [1e-4, -2e-4, 5e-5, 3e-3];
        let input = Input::leaf("x", [4], ACTIVATION).of(&small);
        run(table, "4, small".into(), input);
    }
}

fn casts(table: &mut Vec<Case>) {
    // Each direction's forward kernel is the other's backward one.
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

fn dropouts(table: &mut Vec<Case>) {
    for n in SIZES {
        add(table, "dropout", format!("{n}"), move |side| {
            let stream = Stream::new(9, Purpose::Dropout, 4).lane(2);
            probe(side, &[Input::leaf("x", [n], SCALED)], |tape, v| {
                Ok(vec![("y", ops::dropout(tape, &v[0], 0.3, stream)?, SCALED)])
            })
        });
    }
}

/// Forward only: a GPU has no kernels for the gradients of sums.
fn sums(table: &mut Vec<Case>) {
    type Op = fn(&mut Tape, &Var) -> Result<Var>;
    let squares: Op = |tape, x| ops::sum_squares(tape, x, 0.25);
    for (name, op) in [("sum", ops::sum as Op), ("sum_squares", squares)] {
        for n in SUMMED {
            add(table, name, format!("{n}, forward"), move |side| {
                // Of one sign, so that the sum is not a small difference.
                let values: Vec<f64> = (0..n).map(|i| ((i * 37) % 101) as f64 / 101.0).collect();
                let input = Input::leaf("x", [n], SUM).of(&values);
                probe_forward(side, &[input], |tape, v| {
                    Ok(vec![("y", op(tape, &v[0])?, SUM)])
                })
            });
        }
    }
}
