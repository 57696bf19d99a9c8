//! A whole-sequence layer of any recurrent cell as one node.
//!
//! **op**: z_t = x_t W_ih^T + b + h_{t-1} W_hh^T, from which a `cell::Cell` makes the states of
//! step t; its formula is in its own file: [`super::rnn`], [`super::lstm`], [`super::gru`].
//!
//! **cpu** (`cpu.rs`, `forward.rs`, `backward.rs`, `weights.rs`): batch rows are independent through
//! the recurrence, so each task owns a slab of rows for the whole sequence and the slabs' weight
//! gradients are summed in their order. The slabs depend on the batch size alone, so the bits do not
//! depend on the number of threads. In a packed batch the rows that have ended are the last ones of
//! their slab: they are left out of its tiles.
//!
//! **gpu** (`gpu.rs`): a product and a fused gate kernel a step, and large products over all steps.

pub(super) mod backward;
pub(super) mod cell;
pub(super) mod cpu;
pub(super) mod forward;
pub(super) mod gpu;
pub(super) mod pack;
pub(super) mod packed;
pub(super) mod slab;
mod weights;

use super::gru::Gru;
use super::lstm::Lstm;
use super::rnn::Rnn;
use crate::autograd::{Slot, Tape, Var};
use crate::data::packing::Packing;
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::{Tensor, for_float};
use cell::Cell;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The recurrent cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CellKind {
    /// tanh RNN.
    Rnn,
    /// LSTM.
    Lstm,
    /// GRU.
    Gru,
}

/// Runs `$body` with `$cell` bound to the [`Cell`] of a kind.
macro_rules! for_cell {
    ($kind:expr, $cell:ident => $body:expr) => {
        match $kind {
            CellKind::Rnn => {
                type $cell = Rnn;
                $body
            }
            CellKind::Lstm => {
                type $cell = Lstm;
                $body
            }
            CellKind::Gru => {
                type $cell = Gru;
                $body
            }
        }
    };
}

impl CellKind {
    /// All of them, the simplest first.
    pub const ALL: [CellKind; 3] = [CellKind::Rnn, CellKind::Lstm, CellKind::Gru];

    /// Their words, in the same order.
    pub const NAMES: [&str; 3] = [Rnn::NAME, Lstm::NAME, Gru::NAME];

    /// Its word: `rnn`, `lstm` or `gru`.
    pub fn name(self) -> &'static str {
        CellKind::NAMES[self as usize]
    }

    /// G, the number of gates: the weights have G H rows.
    pub fn gates(self) -> usize {
        for_cell!(self, C => C::GATES.count())
    }

    /// Whether there is a cell state beside the hidden state.
    pub fn has_c(self) -> bool {
        for_cell!(self, C => C::HAS_C)
    }

    /// Whether the hidden side has a bias of its own, because its product is not only added to that
    /// of the input.
    pub fn has_b_hh(self) -> bool {
        for_cell!(self, C => C::GATES.input != C::GATES.hidden)
    }
}

impl fmt::Display for CellKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for CellKind {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let named = CellKind::ALL.into_iter().find(|kind| kind.name() == s);
        named.ok_or_else(|| format!("give {}", CellKind::NAMES.join(" or ")))
    }
}

/// Where the gates' input side comes from.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// x `[T, B, I]` or packed `[N, I]`, W_ih `[G H, I]`, b `[G H]`.
    Dense {
        /// Input sequence, time first.
        x: &'a Var,
        /// Input weights.
        w_ih: &'a Var,
        /// Bias.
        bias: &'a Var,
    },
    /// A gate table E W_ih^T + b `[V, G H]`, of which ids `[T, B]` or `[N]` pick the rows: a gather in
    /// place of a product over the whole sequence.
    Table {
        /// Gate table.
        table: &'a Var,
        /// Ids, time first.
        ids: &'a Tensor,
    },
}

/// The parameters of the product with the hidden state.
#[derive(Clone, Copy, Debug)]
pub struct Hidden<'a> {
    /// Recurrent weights W_hh `[G H, H]`.
    pub w_hh: &'a Var,
    /// b_hh `[G H]`, of a cell for which [`CellKind::has_b_hh`].
    pub b_hh: Option<&'a Var>,
}

/// The state of a layer between two steps.
#[derive(Clone, Debug)]
pub struct State {
    /// Hidden state `[B, H]`.
    pub h: Var,
    /// Cell state `[B, H]` of a cell that has one; f32 on a GPU, whatever the layer's data type.
    pub c: Option<Var>,
}

impl State {
    /// Hidden and cell state of an LSTM.
    ///
    /// # Errors
    /// [`Error::Op`] for the state of a cell that has no cell state.
    pub fn of_lstm(self) -> Result<(Var, Var)> {
        let c = self
            .c
            .ok_or_else(|| Error::op("lstm", "a state without a cell state"))?;
        Ok((self.h, c))
    }
}

/// The outputs of a layer.
#[derive(Clone, Debug)]
pub struct Output {
    /// Hidden states `[T, B, H]`, packed `[N, H]`.
    pub y: Var,
    /// The state after each row's last element.
    pub state: State,
}

/// Runs a layer over sequences of one length. `state` is the initial state; zero if absent.
///
/// # Errors
/// [`Error::Op`] for shapes or data types that do not fit, parts that the cell does not have or
/// lacks, or an id outside the table.
pub fn recurrent(
    tape: &mut Tape,
    kind: CellKind,
    input: Input,
    hidden: Hidden,
    state: Option<&State>,
) -> Result<Output> {
    let op = kind.name();
    let (steps, batch) = match input {
        Input::Dense { x, .. } => match *x.value().dims() {
            [steps, batch, _] => (steps, batch),
            _ => return fail(op, format!("x is {}, not [T, B, I]", x.value().shape())),
        },
        Input::Table { ids, .. } => match *ids.dims() {
            [steps, batch] => (steps, batch),
            _ => return fail(op, format!("ids are {}, not [T, B]", ids.shape())),
        },
    };
    if steps == 0 || batch == 0 {
        let message = format!("an empty sequence: {steps} steps of {batch} rows");
        return fail(op, message);
    }
    let packing = Packing::uniform(steps, batch)?;
    let y = [steps, batch, hidden.w_hh.value().shape().last()];
    run(
        tape,
        kind,
        Layer::new(input, hidden, state, packing),
        y.into(),
    )
}

/// Runs a layer over packed sequences of any lengths: x is `[N, I]`, or ids are `[N]`. The rows of
/// the states are those of step 0.
///
/// # Errors
/// As [`recurrent`], or if there are not N rows.
pub fn recurrent_packed(
    tape: &mut Tape,
    kind: CellKind,
    input: Input,
    hidden: Hidden,
    state: Option<&State>,
    packing: &Packing,
) -> Result<Output> {
    let rows = packing.rows();
    let (name, shape, rank) = match input {
        Input::Dense { x, .. } => ("x is", x.value().shape(), 2),
        Input::Table { ids, .. } => ("ids are", ids.shape(), 1),
    };
    if shape.dims().len() != rank || shape.dims()[0] != rows {
        let want = ["[N]", "[N, I]"][rank - 1];
        let message = format!("{name} {shape}, not {want} with N = {rows} rows of the packing");
        return fail(kind.name(), message);
    }
    let y = [rows, hidden.w_hh.value().shape().last()];
    let layer = Layer::new(input, hidden, state, packing.clone());
    run(tape, kind, layer, y.into())
}

fn fail<T>(op: &'static str, message: String) -> Result<T> {
    Err(Error::op(op, message))
}

fn run(tape: &mut Tape, kind: CellKind, layer: Layer, y: Shape) -> Result<Output> {
    layer.check(kind)?;
    let mut output = match layer.w_hh.value().gpu().cloned() {
        Some(gpu) => for_cell!(kind, C => gpu::run::<C>(&gpu, tape, layer)),
        None => for_float!(kind.name(), layer.w_hh.value().dtype(), T => {
            for_cell!(kind, C => cpu::run::<T, C>(tape, layer))
        }),
    }?;
    output.y = output.y.reshape(y)?;
    Ok(output)
}

/// What a layer computes from; the backward pass needs it again.
struct Layer {
    input: LayerInput,
    w_hh: Var,
    b_hh: Option<Var>,
    state: Option<State>,
    packing: Packing,
}

enum LayerInput {
    Dense { x: Var, w_ih: Var, bias: Var },
    Table { table: Var, ids: Tensor },
}

impl Layer {
    fn new(input: Input, hidden: Hidden, state: Option<&State>, packing: Packing) -> Self {
        Layer {
            input: match input {
                Input::Dense { x, w_ih, bias } => LayerInput::Dense {
                    x: x.clone(),
                    w_ih: w_ih.clone(),
                    bias: bias.clone(),
                },
                Input::Table { table, ids } => LayerInput::Table {
                    table: table.clone(),
                    ids: ids.clone(),
                },
            },
            w_hh: hidden.w_hh.clone(),
            b_hh: hidden.b_hh.cloned(),
            state: state.cloned(),
            packing,
        }
    }

    /// H.
    fn hidden(&self) -> usize {
        self.w_hh.value().shape().last()
    }

    /// I; zero for a table.
    fn inputs(&self) -> usize {
        match &self.input {
            LayerInput::Dense { x, .. } => x.value().shape().last(),
            LayerInput::Table { .. } => 0,
        }
    }

    /// The initial cell state.
    fn c0(&self) -> Option<&Var> {
        self.state.as_ref().and_then(|state| state.c.as_ref())
    }

    /// All inputs that may want a gradient but the cell state, which may have a data type of its own.
    fn vars(&self) -> Vec<&Var> {
        let mut vars = vec![&self.w_hh];
        match &self.input {
            LayerInput::Dense { x, w_ih, bias } => vars.extend([x, w_ih, bias]),
            LayerInput::Table { table, .. } => vars.push(table),
        }
        vars.extend(&self.b_hh);
        vars.extend(self.state.as_ref().map(|state| &state.h));
        vars
    }

    fn check(&self, kind: CellKind) -> Result<()> {
        let (op, gates) = (kind.name(), kind.gates());
        let w_hh = self.w_hh.value().shape();
        let (rows, hidden) = match *w_hh.dims() {
            [rows, hidden] if rows == gates * hidden && hidden > 0 => (rows, hidden),
            _ if gates == 1 => return fail(op, format!("W_hh is {w_hh}, not [H, H]")),
            _ => return fail(op, format!("W_hh is {w_hh}, not [{gates}H, H]")),
        };
        match &self.input {
            LayerInput::Dense { x, w_ih, bias } => {
                let [x, w_ih, bias] = [x, w_ih, bias].map(|v| v.value().shape());
                let inputs = x.last();
                if w_ih.dims() != [rows, inputs] || bias.dims() != [rows] || inputs == 0 {
                    return fail(
                        op,
                        format!("x {x}, W_ih {w_ih}, b {bias} and W_hh {w_hh} do not fit together"),
                    );
                }
            }
            LayerInput::Table { table, ids } => self.check_ids(op, table, ids)?,
        }
        let b_hh = self.b_hh.as_ref().map(|b| b.value().shape());
        let want_b_hh = kind.has_b_hh().then_some(rows);
        if b_hh.map(Shape::dims) != want_b_hh.as_ref().map(std::slice::from_ref) {
            let shape = |dims: Option<String>| dims.unwrap_or_else(|| "absent".to_owned());
            let want = shape(want_b_hh.map(|rows| format!("[{rows}]")));
            let is = shape(b_hh.map(Shape::to_string));
            return fail(op, format!("b_hh is {is}, not {want}"));
        }
        if let Some(state) = &self.state {
            let shape = [self.packing.batch(), hidden];
            for (name, var) in [("h0", Some(&state.h)), ("c0", state.c.as_ref())] {
                if let Some(is) = var.map(|v| v.value().shape())
                    && is.dims() != shape
                {
                    return fail(op, format!("{name} is {is}, not {shape:?}"));
                }
            }
            match (state.c.is_some(), kind.has_c()) {
                (true, false) => return fail(op, "an initial state with a cell state".into()),
                (false, true) => return fail(op, "an initial state without a cell state".into()),
                _ => {}
            }
        }
        // The cell state is f32 on a GPU, whatever the layer's data type.
        let mut operands: Vec<&Tensor> = self.vars().into_iter().map(Var::value).collect();
        if self.w_hh.value().gpu().is_none() {
            operands.extend(self.c0().map(Var::value));
        }
        super::one_dtype(op, &operands)
    }

    fn check_ids(&self, op: &'static str, table: &Var, ids: &Tensor) -> Result<()> {
        let w_hh = self.w_hh.value().shape();
        let vocab = match *table.value().dims() {
            [vocab, width] if width == w_hh.rows() => vocab,
            _ => {
                let table = table.value().shape();
                return fail(op, format!("a table {table} for W_hh {w_hh}"));
            }
        };
        // Ids on a GPU were checked before they were copied there.
        let outside = |id: &&u32| **id as usize >= vocab;
        if ids.gpu().is_none()
            && let Some(id) = ids.data::<u32>()?.iter().find(outside)
        {
            return fail(op, format!("id {id} is outside a table of {vocab} rows"));
        }
        Ok(())
    }

    /// Puts y and the final states on the tape.
    fn outputs(&self, tape: &mut Tape, y: Tensor, h_n: Tensor, c_n: Option<Tensor>) -> Output {
        let inputs: Vec<Option<Slot>> = self
            .vars()
            .into_iter()
            .chain(self.c0())
            .map(Var::slot)
            .collect();
        let mut output = |t: Tensor| tape.output(t, inputs.iter().copied());
        Output {
            y: output(y),
            state: State {
                h: output(h_n),
                c: c_n.map(output),
            },
        }
    }
}

impl Output {
    /// The slots of y, h and c.
    fn slots(&self) -> [Option<Slot>; 3] {
        let c = self.state.c.as_ref().and_then(Var::slot);
        [self.y.slot(), self.state.h.slot(), c]
    }
}
