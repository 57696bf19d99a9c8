//! The recurrent layer of each cell: dense input and gate table, with and without an initial state,
//! with gradients that arrive at any of its outputs, and over sequences of one length and of many.

use super::{BOTH, add, add_in};
use crate::autograd::{Tape, Var};
use crate::data::packing::Packing;
use crate::device::Recurrence;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops;
use crate::ops::recurrent::{CellKind, Hidden, Input as From, Output as Layer, State};
use crate::selftest::Case;
use crate::selftest::bounds::{Bound, GRU, LSTM, RNN};
use crate::selftest::probe::{Input, Made, Output, probe, probe_forward};
use crate::selftest::side::{Side, ids};
use crate::tensor::Tensor;

/// The ops of whole sequences in one kernel.
pub(in crate::selftest) const WHOLE: [&str; 3] = ["lstm_whole", "rnn_whole", "attention_whole"];

/// What a case gives with whole sequences in one kernel, where the device can.
pub(super) fn with_whole(
    side: &Side,
    outputs: impl FnOnce() -> Result<Vec<Output>>,
) -> Result<Vec<Output>> {
    let Some(gpu) = &side.gpu else {
        return outputs();
    };
    let wish = gpu.recurrence();
    gpu.set_recurrence(Recurrence::Whole);
    // A kernel that has given up is not tried again: then nothing would be checked.
    if gpu.recurrence() != Recurrence::Whole {
        let message = "a kernel for whole sequences has given up before: not checked";
        return Err(Error::op("recurrent", message));
    }
    let outputs = outputs();
    gpu.set_recurrence(wish);
    match gpu.fault()? {
        Some(fault) => Err(Error::Device(fault.to_string())),
        None => outputs,
    }
}

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
const LENGTHS: [&[usize]; 7] = [
    &[6, 4, 4, 3, 1],
    &[3, 3, 3],
    &[5],
    &[2, 1, 1, 1, 1, 1, 1],
    &[33, 7, 7, 1],
    &[3, 3, 3, 3, 3, 3, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1],
    &[2, 2, 1],
];

/// What a case does with the layer.
#[derive(Clone, Copy)]
struct Plan {
    kind: CellKind,
    sizes: Sizes,
    /// Lengths of packed sequences; none for sequences of one length.
    lengths: Option<&'static [usize]>,
    /// A gate table in place of a dense input.
    table: bool,
    /// An initial state.
    state: bool,
    /// Which of y, h_n and the c_n of a cell that has one get a gradient.
    seeded: [bool; 3],
    /// Whole sequences in one kernel, where the device can.
    whole: bool,
}

/// The table's cases of this file; those of an op stand together.
pub(super) fn cases(table: &mut Vec<Case>) {
    for kind in CellKind::ALL {
        uniform(table, kind);
        packed(table, kind);
    }
    whole(table);
}

/// All sizes of the kernels for whole sequences, which there are in f16; some with more than a group of
/// eight rows. The middle one is the size of the published models.
fn whole(table: &mut Vec<Case>) {
    const SHORT: &[usize] = &[2, 1];
    const LONG: &[usize] = &[5, 5, 4, 4, 3, 3, 2, 2, 2, 1, 1];
    // So many that every buffer is used again.
    const STEPS: &[usize] = &[5, 4, 1];
    let sizes = [
        (64, SHORT),
        (64, LONG),
        (128, LONG),
        (192, SHORT),
        (256, LONG),
        (320, SHORT),
        (384, SHORT),
        (448, SHORT),
        (512, STEPS),
    ];
    let of_rnn = [
        (64, SHORT),
        (64, LONG),
        (128, STEPS),
        (192, SHORT),
        (256, LONG),
    ];
    let sizes = sizes.map(|size| (CellKind::Lstm, size)).into_iter();
    let sizes = sizes.chain(of_rnn.map(|size| (CellKind::Rnn, size)));
    for ((kind, (hidden, lengths)), of_table) in sizes.zip([false, true].into_iter().cycle()) {
        let plan = Plan {
            kind,
            sizes: [lengths[0], lengths.len(), 5, hidden],
            lengths: Some(lengths),
            table: of_table,
            state: true,
            seeded: [true; 3],
            whole: true,
        };
        add_plan(table, plan);
    }
}

/// Dense or of a table, and from a state or from zeros.
const FORMS: [(bool, bool); 4] = [(false, false), (false, true), (true, false), (true, true)];

/// Gradients that arrive at one output alone.
fn alone(kind: CellKind) -> impl Iterator<Item = [bool; 3]> {
    let outputs = if kind.has_c() { 3 } else { 2 };
    (0..outputs).map(|k| [0, 1, 2].map(|of| of == k))
}

fn uniform(table: &mut Vec<Case>, kind: CellKind) {
    let plan = |sizes, of_table, state| Plan {
        kind,
        sizes,
        lengths: None,
        table: of_table,
        state,
        seeded: [true; 3],
        whole: false,
    };
    for sizes in SIZES {
        for (of_table, state) in FORMS {
            add_plan(table, plan(sizes, of_table, state));
        }
    }
    for seeded in alone(kind) {
        for of_table in [false, true] {
            let plan = plan([3, 7, 5, 7], of_table, true);
            add_plan(table, Plan { seeded, ..plan });
        }
    }
    for (of_table, form) in [(false, "dense"), (true, "table")] {
        // The same weights in two layers: the second one's gradients are added.
        let twice = plan([3, 7, 5, 33], of_table, true);
        add(
            table,
            kind.name(),
            format!("{form}, used twice"),
            move |side| {
                let ids = twice.ids(side)?;
                probe(side, &twice.inputs(), |tape, v| {
                    let mut made = twice.made(twice.layer(tape, v, &ids)?);
                    made.extend(twice.made(twice.layer(tape, v, &ids)?));
                    Ok(made)
                })
            },
        );
        let forward = plan([5, 7, 3, 33], of_table, true);
        add(
            table,
            kind.name(),
            format!("{form}, forward"),
            move |side| forward.run_forward(side),
        );
    }
}

/// Each form over packed sequences; a state's gradient then arrives where its sequence ends.
fn packed(table: &mut Vec<Case>, kind: CellKind) {
    let plan = |lengths: &'static [usize], [inputs, hidden]: [usize; 2], of_table, state| Plan {
        kind,
        sizes: [lengths[0], lengths.len(), inputs, hidden],
        lengths: Some(lengths),
        table: of_table,
        state,
        seeded: [true; 3],
        whole: false,
    };
    let units = [[5, 7], [1, 1], [3, 33], [33, 7], [7, 3], [4, 33], [33, 257]];
    for (lengths, units) in LENGTHS.into_iter().zip(units) {
        for (of_table, state) in FORMS {
            add_plan(table, plan(lengths, units, of_table, state));
        }
    }
    let plan = plan(LENGTHS[0], [3, 7], false, true);
    for seeded in alone(kind) {
        add_plan(table, Plan { seeded, ..plan });
    }
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
    let dtypes = if plan.whole { &[DType::F16] } else { BOTH };
    add_in(table, dtypes, plan.op(), name, move |side| plan.run(side));
}

impl Plan {
    fn op(self) -> &'static str {
        match (self.lengths, self.kind) {
            (_, CellKind::Rnn) if self.whole => WHOLE[1],
            _ if self.whole => WHOLE[0],
            (None, kind) => kind.name(),
            (Some(_), CellKind::Rnn) => "rnn_packed",
            (Some(_), CellKind::Lstm) => "lstm_packed",
            (Some(_), CellKind::Gru) => "gru_packed",
        }
    }

    fn bound(self) -> Bound {
        match self.kind {
            CellKind::Rnn => RNN,
            CellKind::Lstm => LSTM,
            CellKind::Gru => GRU,
        }
    }

    /// `[T, B]`, or the number of packed rows.
    fn rows(self) -> Vec<usize> {
        match self.lengths {
            Some(lengths) => vec![lengths.iter().sum()],
            None => self.sizes[..2].to_vec(),
        }
    }

    /// W_hh first, then the input side, the second bias and the state.
    fn inputs(self) -> Vec<Input> {
        let [_, batch, inputs, hidden] = self.sizes;
        let (rows, bound) = (self.kind.gates() * hidden, self.bound());
        // Gates stay away from saturation: z is of the order of one.
        let scale = |n: usize| (1.5 / n as f64).sqrt();
        let parameter = |name, shape: &[usize]| Input::parameter(name, shape, bound);
        let mut list = vec![parameter("w_hh", &[rows, hidden]).scaled(scale(hidden))];
        if self.table {
            list.push(parameter("table", &[inputs, rows]));
        } else {
            list.push(Input::leaf(
                "x",
                [self.rows(), vec![inputs]].concat(),
                bound,
            ));
            list.push(parameter("w_ih", &[rows, inputs]).scaled(scale(inputs)));
            list.push(parameter("b", &[rows]));
        }
        if self.kind.has_b_hh() {
            list.push(parameter("b_hh", &[rows]));
        }
        if self.state {
            list.push(Input::leaf("h0", [batch, hidden], bound));
        }
        if self.state && self.kind.has_c() {
            list.push(Input::leaf("c0", [batch, hidden], bound).wide());
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
        let (b_hh, rest) = rest.split_at(usize::from(self.kind.has_b_hh()));
        let hidden = Hidden {
            w_hh: &v[0],
            b_hh: b_hh.first(),
        };
        let state = rest.first().map(|h| State {
            h: h.clone(),
            c: rest.get(1).cloned(),
        });
        let state = state.as_ref();
        match self.lengths {
            Some(lengths) => {
                let packing = Packing::new(lengths)?;
                ops::recurrent_packed(tape, self.kind, input, hidden, state, &packing)
            }
            None => ops::recurrent(tape, self.kind, input, hidden, state),
        }
    }

    /// The outputs; one that is not seeded is compared without its gradient.
    fn made(self, layer: Layer) -> Made {
        let outputs = [
            Some(("y", layer.y)),
            Some(("h_n", layer.state.h)),
            layer.state.c.map(|c| ("c_n", c)),
        ];
        let pairs = outputs.into_iter().flatten().zip(self.seeded);
        let made = pairs.map(|((name, var), seeded)| match seeded {
            true => (name, var, self.bound()),
            false => (name, Var::constant(var.into_value()), self.bound()),
        });
        made.collect()
    }

    fn run(self, side: &Side) -> Result<Vec<Output>> {
        match self.whole {
            true => with_whole(side, || self.outputs(side)),
            false => self.outputs(side),
        }
    }

    fn outputs(self, side: &Side) -> Result<Vec<Output>> {
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
