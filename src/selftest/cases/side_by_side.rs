//! Two recurrent layers of one shape side by side, each with an input of its own.

use super::add;
use crate::autograd::{Tape, Var};
use crate::data::packing::Packing;
use crate::error::Result;
use crate::ops;
use crate::ops::recurrent::{CellKind, Hidden, Input as From};
use crate::selftest::Case;
use crate::selftest::bounds::{Bound, GRU, LSTM, RNN};
use crate::selftest::probe::{Input, Made, probe, probe_forward};

/// Lengths of the sequences, inputs and units; the last is past one block of 256 units.
const SIZES: [(&[usize], [usize; 2]); 3] = [
    (&[2, 1], [1, 3]),
    (&[6, 4, 4, 3, 1], [3, 7]),
    (&[3, 3, 3], [5, 47]),
];

/// The table's cases of this file; those of an op stand together.
pub(super) fn cases(table: &mut Vec<Case>) {
    for kind in CellKind::ALL {
        let (op, bound) = match kind {
            CellKind::Rnn => ("rnn_side_by_side", RNN),
            CellKind::Lstm => ("lstm_side_by_side", LSTM),
            CellKind::Gru => ("gru_side_by_side", GRU),
        };
        let plans = SIZES.map(|(lengths, [inputs, hidden])| Plan {
            kind,
            lengths,
            inputs,
            hidden,
            bound,
        });
        for plan in plans {
            let (lengths, inputs, hidden) = (plan.lengths, plan.inputs, plan.hidden);
            let name = format!("{lengths:?}x{inputs}, {hidden} units each");
            add(table, op, name, move |side| {
                probe(side, &plan.inputs(), |tape, v| plan.run(tape, v))
            });
        }
        // Nothing is saved for a backward pass.
        let plan = plans[1];
        add(table, op, "forward", move |side| {
            probe_forward(side, &plan.inputs(), |tape, v| plan.run(tape, v))
        });
    }
}

/// What a case does with the layers.
#[derive(Clone, Copy)]
struct Plan {
    kind: CellKind,
    lengths: &'static [usize],
    inputs: usize,
    hidden: usize,
    bound: Bound,
}

impl Plan {
    /// Of each layer x, W_ih, b, W_hh and the second bias of a cell that has one.
    fn inputs(self) -> Vec<Input> {
        let Plan {
            inputs,
            hidden,
            bound,
            ..
        } = self;
        let (rows, packed) = (self.kind.gates() * hidden, self.lengths.iter().sum());
        // Gates stay away from saturation: z is of the order of one.
        let scale = |n: usize| (1.5 / n as f64).sqrt();
        let parameter = |name, shape: &[usize]| Input::parameter(name, shape, bound);
        let mut list = Vec::new();
        for _ in 0..2 {
            list.push(Input::leaf("x", [packed, inputs], bound));
            list.push(parameter("w_ih", &[rows, inputs]).scaled(scale(inputs)));
            list.push(parameter("b", &[rows]));
            list.push(parameter("w_hh", &[rows, hidden]).scaled(scale(hidden)));
            if self.kind.has_b_hh() {
                list.push(parameter("b_hh", &[rows]));
            }
        }
        list
    }

    fn run(self, tape: &mut Tape, v: &[Var]) -> Result<Made> {
        let each = v.len() / 2;
        let layers = [&v[..each], &v[each..]].map(|v| {
            let input = From::Dense {
                x: &v[0],
                w_ih: &v[1],
                bias: &v[2],
            };
            let hidden = Hidden {
                w_hh: &v[3],
                b_hh: v.get(4),
            };
            (input, hidden)
        });
        let packing = Packing::new(self.lengths)?;
        let out = ops::recurrent_side_by_side(tape, self.kind, &layers, &packing)?;
        let mut made = vec![("y", out.y, self.bound), ("h_n", out.state.h, self.bound)];
        made.extend(out.state.c.map(|c| ("c_n", c, self.bound)));
        Ok(made)
    }
}
