//! What models of packed sequences are made of: the tanh RNN, columns side by side, rows picked
//! from activations.

use super::add;
use crate::autograd::{Tape, Var};
use crate::data::packing::Packing;
use crate::error::Result;
use crate::ops::{self, RnnOutput};
use crate::selftest::Case;
use crate::selftest::bounds::{EXACT, RNN, ROUNDED, ROUNDED_SUM};
use crate::selftest::probe::{Input, Made, Output, probe, probe_forward};
use crate::selftest::side::{Side, ids};
use crate::tensor::Tensor;

/// The table's cases of this file.
pub(super) fn cases(table: &mut Vec<Case>) {
    layers(table);
    concats(table);
    gathers(table);
}

// ---- rnn -----------------------------------------------------------------------------------

/// Lengths, inputs and units.
const LAYERS: [(&[usize], usize, usize); 6] = [
    (&[1], 1, 1),
    (&[3, 3, 3, 2, 1, 1, 1], 5, 33),
    (&[2; 33], 7, 7),
    (&[33, 5], 3, 7),
    (&[2, 2, 1], 33, 257),
    (&[5, 4, 4, 2, 1], 7, 33),
];

/// What a case does with the layer.
#[derive(Clone, Copy)]
struct Plan {
    lengths: &'static [usize],
    inputs: usize,
    hidden: usize,
    /// An initial state.
    state: bool,
    /// Which of y and h_n get a gradient.
    seeded: [bool; 2],
}

fn layers(table: &mut Vec<Case>) {
    let mut plans = Vec::new();
    for (lengths, inputs, hidden) in LAYERS {
        for state in [false, true] {
            plans.push(Plan {
                lengths,
                inputs,
                hidden,
                state,
                seeded: [true; 2],
            });
        }
    }
    let last = plans[plans.len() - 1];
    for seeded in [[true, false], [false, true]] {
        plans.push(Plan { seeded, ..last });
    }
    for plan in plans {
        add(table, "rnn", plan.name(), move |side| plan.run(side));
    }
    // The same weights in two layers: the second one's gradients are added.
    let name = format!("{}, used twice", last.name());
    add(table, "rnn", name, move |side| {
        probe(side, &last.inputs(), |tape, v| {
            let mut made = last.made(last.layer(tape, v)?);
            made.extend(last.made(last.layer(tape, v)?));
            Ok(made)
        })
    });
    let name = format!("{}, forward", last.name());
    add(table, "rnn", name, move |side| {
        probe_forward(side, &last.inputs(), |tape, v| {
            Ok(last.made(last.layer(tape, v)?))
        })
    });
}

impl Plan {
    fn name(self) -> String {
        let (batch, longest) = (self.lengths.len(), self.lengths[0]);
        let shortest = self.lengths[batch - 1];
        let mut name = format!(
            "{batch} rows of {longest} to {shortest} steps, {} to {} units",
            self.inputs, self.hidden
        );
        if self.state {
            name += ", from a state";
        }
        match self.seeded {
            [true, false] => name += ", gradient of y",
            [false, true] => name += ", gradient of h_n",
            _ => {}
        }
        name
    }

    fn inputs(self) -> Vec<Input> {
        let (batch, hidden) = (self.lengths.len(), self.hidden);
        let rows = self.lengths.iter().sum();
        // z is of the order of one: tanh is neither flat nor nearly linear.
        let parameter = |name, columns: usize| {
            let input = Input::parameter(name, [hidden, columns], RNN);
            input.scaled((1.5 / columns as f64).sqrt())
        };
        let mut list = vec![
            Input::leaf("x", [rows, self.inputs], RNN),
            parameter("w_ih", self.inputs),
            Input::parameter("b", [hidden], RNN),
            parameter("w_hh", hidden),
        ];
        if self.state {
            list.push(Input::leaf("h0", [batch, hidden], RNN));
        }
        list
    }

    fn layer(self, tape: &mut Tape, v: &[Var]) -> Result<RnnOutput> {
        let packing = Packing::new(self.lengths)?;
        ops::rnn(tape, &v[0], &v[1], &v[2], &v[3], v.get(4), &packing)
    }

    /// The outputs; one that is not seeded is compared without its gradient.
    fn made(self, layer: RnnOutput) -> Made {
        let outputs = [("y", layer.y), ("h_n", layer.h_n)];
        let pairs = outputs.into_iter().zip(self.seeded);
        let made = pairs.map(|((name, var), seeded)| match seeded {
            true => (name, var, RNN),
            false => (name, Var::constant(var.into_value()), RNN),
        });
        made.collect()
    }

    fn run(self, side: &Side) -> Result<Vec<Output>> {
        probe(side, &self.inputs(), |tape, v| {
            Ok(self.made(self.layer(tape, v)?))
        })
    }
}

// ---- concat --------------------------------------------------------------------------------

/// Rows and the widths of the parts; a block has at most 256 threads for the columns.
const PARTS: [(usize, &[usize]); 5] = [
    (1, &[1]),
    (7, &[33, 7]),
    (33, &[257, 1, 33]),
    (257, &[7, 7]),
    (7, &[1, 600, 32]),
];

fn concats(table: &mut Vec<Case>) {
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

// ---- gather --------------------------------------------------------------------------------

/// Rows, width and rows picked: more columns than a block has threads, more picked rows than a
/// block looks at in one go (256), and more than a chunk of 4096.
const PICKED: [[usize; 3]; 5] = [
    [1, 1, 1],
    [33, 7, 33],
    [257, 33, 100],
    [7, 257, 300],
    [5, 3, 5000],
];

fn gathers(table: &mut Vec<Case>) {
    for [rows, width, picked] in PICKED {
        let name = format!("{picked} of {rows}x{width}");
        add(table, "gather", name, move |side| {
            let picked = side.place(&ids(4, [picked], rows)?)?;
            let inputs = [Input::leaf("x", [rows, width], ROUNDED_SUM)];
            probe(side, &inputs, |tape, v| {
                Ok(vec![("y", ops::gather(tape, &v[0], &picked)?, EXACT)])
            })
        });
    }
    // All rows in reverse, next to themselves: two gradients are added.
    add(table, "gather", "33x7, used twice", |side| {
        let order: Vec<u32> = (0..33).collect();
        let reverse: Vec<u32> = (0..33).rev().collect();
        let [order, reverse] = [order, reverse].map(|rows| Tensor::from_slice(&rows, [33]));
        let [order, reverse] = [side.place(&order?)?, side.place(&reverse?)?];
        probe(side, &[Input::leaf("x", [33, 7], ROUNDED)], |tape, v| {
            let same = ops::gather(tape, &v[0], &order)?;
            let turned = ops::gather(tape, &v[0], &reverse)?;
            Ok(vec![("same", same, EXACT), ("turned", turned, EXACT)])
        })
    });
}
