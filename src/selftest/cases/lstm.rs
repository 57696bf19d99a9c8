//! The LSTM layer: dense input and gate table, with and without an initial state, with gradients
//! that arrive at any of its outputs, and over sequences of one length and of many.

use super::add;
use crate::autograd::{Tape, Var};
use crate::data::packing::Packing;
use crate::error::Result;
use crate::ops;
use crate::ops::lstm::{Input as From, Output as Layer};
use crate::selftest::Case;
use crate::selftest::bounds::LSTM;
use crate::selftest::probe::{Input, Made, Output, probe, probe_forward};
use crate::selftest::side::{Side, ids};
use crate::tensor::Tensor;

/// Steps, rows, inputs (or the table's rows) and units.
type Sizes = [usize; 4];

const SIZES: [Sizes; 5] = [
    [1, 1, 1, 1],
    [3, 7, 5, 33],
    [2, 33, 7, 7],
    [33, 2, 3, 7],
    [2, 3, 33, 257],
];

/// Lengths of packed sequences: several end at one step and at others none; one length; a single
/// sequence; some that end at step 0; more rows than a block has units, and the other way round.
const LENGTHS: [&[usize]; 6] = [
    &[6, 4, 4, 3, 1],
    &[3, 3, 3],
    &[5],
    &[2, 1, 1, 1, 1, 1, 1],
    &[33, 7, 7, 1],
    &[3, 3, 3, 3, 3, 3, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1],
];

/// What a case does with the layer.
#[derive(Clone, Copy)]
struct Plan {
    sizes: Sizes,
    /// Lengths of packed sequences; none for sequences of one length.
    lengths: Option<&'static [usize]>,
    /// A gate table in place of a dense input.
    table: bool,
    /// An initial state.
    state: bool,
    /// Which of y, h_n and c_n get a gradient.
    seeded: [bool; 3],
}

/// The table's cases of this file.
pub(super) fn cases(table: &mut Vec<Case>) {
    for sizes in SIZES {
        for (of_table, state) in [(false, false), (false, true), (true, false), (true, true)] {
            add_plan(
                table,
                Plan {
                    sizes,
                    lengths: None,
                    table: of_table,
                    state,
                    seeded: [true; 3],
                },
            );
        }
    }
    let sizes = [3, 7, 5, 7];
    for k in 0..3 {
        let mut seeded = [false; 3];
        seeded[k] = true;
        for of_table in [false, true] {
            add_plan(
                table,
                Plan {
                    sizes,
                    lengths: None,
                    table: of_table,
                    state: true,
                    seeded,
                },
            );
        }
    }
    twice(table);
    inference(table);
    packed(table);
}

/// Each form over packed sequences; a state's gradient then arrives where its sequence ends.
fn packed(table: &mut Vec<Case>) {
    let plans = LENGTHS
        .iter()
        .zip([[5, 7], [1, 1], [3, 33], [33, 7], [7, 3], [4, 33]]);
    for (&lengths, [inputs, hidden]) in plans {
        for (of_table, state) in [(false, false), (false, true), (true, false), (true, true)] {
            let plan = Plan {
                sizes: [lengths[0], lengths.len(), inputs, hidden],
                lengths: Some(lengths),
                table: of_table,
                state,
                seeded: [true; 3],
            };
            add_plan(table, plan);
        }
    }
    for seeded in [
        [true, false, false],
        [false, true, false],
        [false, false, true],
    ] {
        let plan = Plan {
            sizes: [6, 5, 3, 7],
            lengths: Some(LENGTHS[0]),
            table: false,
            state: true,
            seeded,
        };
        add_plan(table, plan);
    }
    let plan = Plan {
        sizes: [6, 5, 3, 7],
        lengths: Some(LENGTHS[0]),
        table: false,
        state: true,
        seeded: [false; 3],
    };
    add(table, plan.op(), "forward", move |side| {
        plan.run_forward(side)
    });
}

fn add_plan(table: &mut Vec<Case>, plan: Plan) {
    let [steps, batch, inputs, hidden] = plan.sizes;
    let rows = match plan.lengths {
        Some(lengths) => format!("{lengths:?}"),
        None => format!("{steps}x{batch}"),
    };
    let mut name = match plan.table {
        true => format!("{rows} of a table of {inputs}, {hidden} units"),
        false => format!("{rows}x{inputs}, {hidden} units"),
    };
    if plan.state {
        name += ", from a state";
    }
    for (of, only) in ["y", "h_n", "c_n"].iter().zip(0..) {
        if plan.seeded.iter().filter(|s| **s).count() == 1 && plan.seeded[only] {
            name += &format!(", gradient of {of}");
        }
    }
    add(table, plan.op(), name, move |side| plan.run(side));
}

impl Plan {
    fn op(self) -> &'static str {
        match self.lengths {
            Some(_) => "lstm_packed",
            None => "lstm",
        }
    }

    /// `[T, B]`, or the number of packed rows.
    fn rows(self) -> Vec<usize> {
        match self.lengths {
            Some(lengths) => vec![lengths.iter().sum()],
            None => self.sizes[..2].to_vec(),
        }
    }

    /// W_hh first, then the input side, then the state.
    fn inputs(self) -> Vec<Input> {
        let [_, batch, inputs, hidden] = self.sizes;
        // Gates stay away from saturation: z is of the order of one.
        let scale = |n: usize| (1.5 / n as f64).sqrt();
        let parameter = |name, shape: &[usize]| Input::parameter(name, shape, LSTM);
        let mut list = vec![parameter("w_hh", &[4 * hidden, hidden]).scaled(scale(hidden))];
        if self.table {
            list.push(parameter("table", &[inputs, 4 * hidden]));
        } else {
            list.push(Input::leaf("x", [self.rows(), vec![inputs]].concat(), LSTM));
            list.push(parameter("w_ih", &[4 * hidden, inputs]).scaled(scale(inputs)));
            list.push(parameter("b", &[4 * hidden]));
        }
        if self.state {
            list.push(Input::leaf("h0", [batch, hidden], LSTM));
            list.push(Input::leaf("c0", [batch, hidden], LSTM).wide());
        }
        list
    }

    fn ids(self, side: &Side) -> Result<Tensor> {
        side.place(&ids(3, self.rows(), self.sizes[2])?)
    }

    fn layer(self, tape: &mut Tape, v: &[Var], ids: &Tensor) -> Result<Layer> {
        let (input, rest) = if self.table {
            (From::Table { table: &v[1], ids }, &v[2..])
        } else {
            let (x, w_ih, bias) = (&v[1], &v[2], &v[3]);
            (From::Dense { x, w_ih, bias }, &v[4..])
        };
        let state = self.state.then(|| (&rest[0], &rest[1]));
        match self.lengths {
            Some(lengths) => ops::lstm_packed(tape, input, &v[0], state, &Packing::new(lengths)?),
            None => ops::lstm(tape, input, &v[0], state),
        }
    }

    /// The outputs; one that is not seeded is compared without its gradient.
    fn made(self, layer: Layer) -> Made {
        let outputs = [("y", layer.y), ("h_n", layer.h_n), ("c_n", layer.c_n)];
        let pairs = outputs.into_iter().zip(self.seeded);
        let made = pairs.map(|((name, var), seeded)| match seeded {
            true => (name, var, LSTM),
            false => (name, Var::constant(var.into_value()), LSTM),
        });
        made.collect()
    }

    fn run(self, side: &Side) -> Result<Vec<Output>> {
        let ids = self.ids(side)?;
        probe(side, &self.inputs(), |tape, v| {
            Ok(self.made(self.layer(tape, v, &ids)?))
        })
    }

    /// Nothing is saved for a backward pass: another path through the same kernel.
    fn run_forward(self, side: &Side) -> Result<Vec<Output>> {
        let ids = self.ids(side)?;
        probe_forward(side, &self.inputs(), |tape, v| {
            Ok(self.made(self.layer(tape, v, &ids)?))
        })
    }
}

/// The same weights in two layers: the second one's gradients are added.
fn twice(table: &mut Vec<Case>) {
    for of_table in [false, true] {
        let plan = Plan {
            sizes: [3, 7, 5, 33],
            lengths: None,
            table: of_table,
            state: true,
            seeded: [true; 3],
        };
        let kind = if of_table { "table" } else { "dense" };
        add(table, "lstm", format!("{kind}, used twice"), move |side| {
            let ids = plan.ids(side)?;
            probe(side, &plan.inputs(), |tape, v| {
                let mut made = plan.made(plan.layer(tape, v, &ids)?);
                made.extend(plan.made(plan.layer(tape, v, &ids)?));
                Ok(made)
            })
        });
    }
}

fn inference(table: &mut Vec<Case>) {
    for of_table in [false, true] {
        let plan = Plan {
            sizes: [5, 7, 3, 33],
            lengths: None,
            table: of_table,
            state: true,
            seeded: [false; 3],
        };
        let kind = if of_table { "table" } else { "dense" };
        let name = format!("{kind}, forward");
        add(table, "lstm", name, move |side| plan.run_forward(side));
    }
}
