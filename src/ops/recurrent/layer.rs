//! What a layer computes from and what it gives.

use super::kind::CellKind;
use crate::autograd::{Slot, Tape, Var};
use crate::data::packing::Packing;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::Tensor;

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

/// Where the elements of packed sequences lie.
#[derive(Clone, Copy, Debug)]
pub struct Packed<'a> {
    /// Where they lie.
    pub packing: &'a Packing,
    /// [`Packing::offsets`] `[T + 1]`, u32, where the layer is: on a GPU, kernels that take whole sequences
    /// read them. A layer that has none copies them there itself.
    pub offsets: Option<&'a Tensor>,
}

impl<'a> From<&'a Packing> for Packed<'a> {
    fn from(packing: &'a Packing) -> Self {
        Packed {
            packing,
            offsets: None,
        }
    }
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

pub(super) fn fail<T>(op: &'static str, message: String) -> Result<T> {
    Err(Error::op(op, message))
}

/// What a layer computes from; the backward pass needs it again.
pub(super) struct Layer {
    pub(super) input: LayerInput,
    pub(super) w_hh: Var,
    pub(super) b_hh: Option<Var>,
    pub(super) state: Option<State>,
    pub(super) packing: Packing,
    /// See [`Packed::offsets`].
    pub(super) offsets: Option<Tensor>,
}

/// What the gates start from.
pub(super) enum LayerInput {
    Dense { x: Var, w_ih: Var, bias: Var },
    Table { table: Var, ids: Tensor },
}

impl Layer {
    pub(super) fn new(input: Input, hidden: Hidden, state: Option<&State>, packed: Packed) -> Self {
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
            packing: packed.packing.clone(),
            offsets: packed.offsets.cloned(),
        }
    }

    /// H.
    pub(super) fn hidden(&self) -> usize {
        self.w_hh.value().shape().last()
    }

    /// I; zero for a table.
    pub(super) fn inputs(&self) -> usize {
        match &self.input {
            LayerInput::Dense { x, .. } => x.value().shape().last(),
            LayerInput::Table { .. } => 0,
        }
    }

    /// The input side's bias; none of a table, which has it in its rows.
    pub(super) fn bias(&self) -> Option<&Var> {
        match &self.input {
            LayerInput::Dense { bias, .. } => Some(bias),
            LayerInput::Table { .. } => None,
        }
    }

    /// The initial cell state.
    pub(super) fn c0(&self) -> Option<&Var> {
        self.state.as_ref().and_then(|state| state.c.as_ref())
    }

    /// All inputs that may want a gradient but the cell state, which may have a data type of its own.
    pub(super) fn vars(&self) -> Vec<&Var> {
        let mut vars = vec![&self.w_hh];
        match &self.input {
            LayerInput::Dense { x, w_ih, bias } => vars.extend([x, w_ih, bias]),
            LayerInput::Table { table, .. } => vars.push(table),
        }
        vars.extend(&self.b_hh);
        vars.extend(self.state.as_ref().map(|state| &state.h));
        vars
    }

    pub(super) fn check(&self, kind: CellKind) -> Result<()> {
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
        if let Some(offsets) = &self.offsets {
            let (shape, steps) = (offsets.shape(), self.packing.steps());
            if shape.dims() != [steps + 1] || offsets.dtype() != DType::U32 {
                let dtype = offsets.dtype();
                let message = format!("offsets {shape} of {dtype} for {steps} steps");
                return fail(op, message);
            }
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
        crate::ops::common::one_dtype(op, &operands)
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
}

/// Puts y and the final states of some layers on the tape.
pub(super) fn outputs(
    layers: &[Layer],
    tape: &mut Tape,
    y: Tensor,
    h_n: Tensor,
    c_n: Option<Tensor>,
) -> Output {
    let vars = layers
        .iter()
        .flat_map(|layer| layer.vars().into_iter().chain(layer.c0()));
    let inputs: Vec<Option<Slot>> = vars.map(Var::slot).collect();
    let mut output = |t: Tensor| tape.output(t, inputs.iter().copied());
    Output {
        y: output(y),
        state: State {
            h: output(h_n),
            c: c_n.map(output),
        },
    }
}

impl Output {
    /// The slots of y, h and c.
    pub(super) fn slots(&self) -> [Option<Slot>; 3] {
        let c = self.state.c.as_ref().and_then(Var::slot);
        [self.y.slot(), self.state.h.slot(), c]
    }
}
