//! add, sub, mul, scale, sigmoid, tanh.

use super::{SIZES, add};
use crate::autograd::{Tape, Var};
use crate::error::Result;
use crate::ops;
use crate::selftest::Case;
use crate::selftest::bounds::{ACTIVATION, Bound, EXACT, ROUNDED, SCALED, TWICE};
use crate::selftest::probe::{Input, probe};

/// The table's cases of this file.
pub(super) fn cases(table: &mut Vec<Case>) {
    pairs(table);
    scales(table);
    activations(table);
}

type Pair = fn(&mut Tape, &Var, &Var) -> Result<Var>;

fn pairs(table: &mut Vec<Case>) {
    let ops: [(_, Pair, Bound); 3] = [
        ("add", ops::add, EXACT),
        ("sub", ops::sub, EXACT),
        ("mul", ops::mul, ROUNDED),
    ];
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

fn scales(table: &mut Vec<Case>) {
    for n in SIZES {
        add(table, "scale", format!("{n}"), move |side| {
            probe(side, &[Input::leaf("x", [n], SCALED)], |tape, v| {
                Ok(vec![("y", ops::scale(tape, &v[0], -0.3)?, SCALED)])
            })
        });
    }
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
