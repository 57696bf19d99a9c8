//! The attention decoder over packed targets, each row with a number of source positions of its
//! own, and with gradients that arrive at any of its outputs.

use super::recurrent::{WHOLE, with_whole};
use super::{add, add_in};
use crate::autograd::{Tape, Var};
use crate::data::packing::Packing;
use crate::data::spans::Spans;
use crate::dtype::DType;
use crate::error::Result;
use crate::ops::attention::{AttentionOutput, Memory, Query, Weights, attention_lstm};
use crate::selftest::Case;
use crate::selftest::bounds::ATTENTION;
use crate::selftest::probe::{Input, Made, Output, probe, probe_forward};
use crate::selftest::side::Side;

/// What a case does with the decoder.
#[derive(Clone, Copy)]
struct Plan {
    /// Lengths of the targets.
    targets: &'static [usize],
    /// Source positions of each row.
    sources: &'static [usize],
    /// E, A, D and H.
    sizes: [usize; 4],
    /// Which of y, context, h_n, c_n and alpha get a gradient.
    seeded: [bool; 5],
    /// Whole targets in one kernel, where the device can.
    whole: bool,
}

/// One row and one position; targets and sources of many lengths; one length; more positions than
/// a block has warps; more columns than it has threads.
const PLANS: [(&[usize], &[usize], [usize; 4]); 7] = [
    (&[1], &[1], [1, 1, 1, 1]),
    (&[4, 3, 3, 1], &[2, 7, 1, 3], [5, 7, 3, 5]),
    (&[6, 4, 4, 3, 1], &[3, 1, 5, 5, 2], [3, 33, 7, 7]),
    (&[3, 3, 3], &[4, 4, 4], [7, 1, 33, 33]),
    (&[9, 2], &[33, 1], [1, 7, 1, 33]),
    (
        &[2, 1, 1, 1, 1, 1, 1],
        &[1, 2, 3, 4, 5, 6, 7],
        [33, 5, 5, 1],
    ),
    (&[2, 2, 1], &[3, 9, 2], [7, 257, 300, 33]),
];

/// The table's cases of this file.
pub(super) fn cases(table: &mut Vec<Case>) {
    for (targets, sources, sizes) in PLANS {
        let plan = Plan {
            targets,
            sources,
            sizes,
            seeded: [true; 5],
            whole: false,
        };
        let [e, a, d, h] = sizes;
        let name = format!("{targets:?} from {sources:?}, {e}+{d}, width {a}, {h} units");
        add(table, "attention_lstm", name, move |side| plan.run(side));
    }
    let (targets, sources, sizes) = PLANS[2];
    let plan = move |seeded| Plan {
        targets,
        sources,
        sizes,
        seeded,
        whole: false,
    };
    let outputs = ["y", "context", "h_n", "c_n", "alpha"];
    for (k, of) in outputs.into_iter().enumerate() {
        let mut seeded = [false; 5];
        seeded[k] = true;
        let name = format!("gradient of {of}");
        add(table, "attention_lstm", name, move |side| {
            plan(seeded).run(side)
        });
    }
    add(table, "attention_lstm", "used twice", move |side| {
        let plan = plan([true; 5]);
        probe(side, &plan.inputs(), |tape, v| {
            let mut made = plan.made(plan.decode(tape, v)?);
            made.extend(plan.made(plan.decode(tape, v)?));
            Ok(made)
        })
    });
    // Nothing is saved for a backward pass.
    add(table, "attention_lstm", "forward", move |side| {
        let plan = plan([false; 5]);
        probe_forward(side, &plan.inputs(), |tape, v| {
            Ok(plan.made(plan.decode(tape, v)?))
        })
    });
    whole(table);
}

/// All sizes of the kernels for whole targets, which there are in f16: more rows than a group has, targets and sources
/// of many lengths. The middle one is the size of the published model.
fn whole(table: &mut Vec<Case>) {
    const TARGETS: &[usize] = &[5, 5, 4, 4, 3, 3, 2, 2, 2, 1, 1];
    const SOURCES: &[usize] = &[2, 7, 1, 3, 9, 4, 1, 33, 5, 2, 6];
    let short: (&[usize], &[usize]) = (&[2, 1], &[3, 2]);
    for (units, depth, (targets, sources)) in [
        (64, 7, (TARGETS, SOURCES)),
        (128, 33, short),
        (256, 512, (TARGETS, SOURCES)),
        (192, 64, short),
    ] {
        let plan = Plan {
            targets,
            sources,
            sizes: [5, units, depth, units],
            seeded: [true; 5],
            whole: true,
        };
        let name = format!("{targets:?} from {sources:?}, 5+{depth}, {units} units");
        add_in(table, &[DType::F16], WHOLE[2], name, move |side| {
            plan.run(side)
        });
    }
}

impl Plan {
    fn inputs(self) -> Vec<Input> {
        let [e, a, d, h] = self.sizes;
        let rows = self.targets.iter().sum::<usize>();
        let (batch, positions) = (self.targets.len(), self.sources.iter().sum());
        // Gates and tanh stay away from saturation: their arguments are of the order of one.
        let scale = |n: usize| (1.5 / n as f64).sqrt();
        let leaf = |name, shape: [usize; 2]| Input::leaf(name, shape, ATTENTION);
        let parameter = |name, shape: &[usize]| Input::parameter(name, shape, ATTENTION);
        vec![
            leaf("x", [rows, e]),
            parameter("w_ih", &[4 * h, e + d]).scaled(scale(e + d)),
            parameter("b", &[4 * h]),
            parameter("w_hh", &[4 * h, h]).scaled(scale(h)),
            leaf("h0", [batch, h]),
            leaf("c0", [batch, h]).wide(),
            parameter("w_q", &[a, h]).scaled(scale(h)),
            parameter("b_q", &[a]),
            parameter("v", &[1, a]).scaled(2.0 * scale(a)),
            leaf("keys", [positions, a]),
            leaf("values", [positions, d]),
        ]
    }

    fn decode(self, tape: &mut Tape, v: &[Var]) -> Result<AttentionOutput> {
        let weights = Weights {
            w_ih: &v[1],
            bias: &v[2],
            w_hh: &v[3],
        };
        let query = Query {
            w_q: &v[6],
            b_q: &v[7],
            v: &v[8],
        };
        let memory = Memory {
            keys: &v[9],
            values: &v[10],
            spans: &Spans::new(self.sources)?,
            offsets: None,
        };
        let (state, packing) = ((&v[4], &v[5]), Packing::new(self.targets)?);
        attention_lstm(tape, &v[0], weights, state, query, memory, &packing)
    }

    /// The outputs; one that is not seeded is compared without its gradient.
    fn made(self, out: AttentionOutput) -> Made {
        let outputs = [
            ("y", out.y),
            ("context", out.context),
            ("h_n", out.h_n),
            ("c_n", out.c_n),
            ("alpha", out.alpha),
        ];
        let pairs = outputs.into_iter().zip(self.seeded);
        pairs
            .map(|((name, var), seeded)| match seeded {
                true => (name, var, ATTENTION),
                false => (name, Var::constant(var.into_value()), ATTENTION),
            })
            .collect()
    }

    fn run(self, side: &Side) -> Result<Vec<Output>> {
        let outputs = || {
            probe(side, &self.inputs(), |tape, v| {
                Ok(self.made(self.decode(tape, v)?))
            })
        };
        match self.whole {
            true => with_whole(side, outputs),
            false => outputs(),
        }
    }
}
