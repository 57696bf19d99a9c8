//! A whole-sequence LSTM layer as one node.
//!
//! **op** (Hochreiter & Schmidhuber 1997 with the forget gate of Gers et al. 2000; gate order
//! i, f, g, o):
//!
//! ```text
//! z_t = x_t W_ih^T + b + h_{t-1} W_hh^T        [B, 4H]
//! i, f, o = sigmoid(z_i, z_f, z_o)   g = tanh(z_g)
//! c_t = f * c_{t-1} + i * g          h_t = o * tanh(c_t)
//! ```
//!
//! **cpu** (`cpu.rs`, `forward.rs`, `backward.rs`, `weights.rs`): batch rows are independent through
//! the recurrence, so each task owns a slab of rows for the whole sequence and the slabs' weight
//! gradients are summed in their order. The slabs depend on the batch size alone, so the bits do not
//! depend on the number of threads. In a packed batch the rows that have ended are the last ones of
//! their slab: they are left out of its tiles.
//!
//! **gpu** (`gpu.rs`): a product and a fused gate kernel a step, and large products over all steps.

pub(super) mod backward;
pub(super) mod cpu;
pub(super) mod forward;
mod gpu;
pub(super) mod pack;
mod weights;

use crate::autograd::{Tape, Var};
use crate::data::packing::Packing;
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::{Stored, Tensor, for_float};
use forward::Start;

/// Where the gates' input side comes from.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// x `[T, B, I]` or packed `[N, I]`, W_ih `[4H, I]`, b `[4H]`.
    Dense {
        /// Input sequence, time first.
        x: &'a Var,
        /// Input weights.
        w_ih: &'a Var,
        /// Bias.
        bias: &'a Var,
    },
    /// A gate table E W_ih^T + b `[V, 4H]`, of which ids `[T, B]` or `[N]` pick the rows: a gather in place
    /// of a product over the whole sequence.
    Table {
        /// Gate table.
        table: &'a Var,
        /// Ids, time first.
        ids: &'a Tensor,
    },
}

/// The outputs of a layer.
#[derive(Clone, Debug)]
pub struct Output {
    /// Hidden states `[T, B, H]`, packed `[N, H]`.
    pub y: Var,
    /// Hidden state after each row's last element `[B, H]`.
    pub h_n: Var,
    /// Cell state after each row's last element `[B, H]`.
    pub c_n: Var,
}

/// Runs a layer over sequences of one length. `state` is the initial (h, c), each `[B, H]`; zero if
/// absent.
///
/// # Errors
/// [`Error::Op`] for shapes or data types that do not fit, or an id outside the table.
pub fn lstm(
    tape: &mut Tape,
    input: Input,
    w_hh: &Var,
    state: Option<(&Var, &Var)>,
) -> Result<Output> {
    let (steps, batch) = match input {
        Input::Dense { x, .. } => match *x.value().dims() {
            [steps, batch, _] => (steps, batch),
            _ => return fail(format!("x is {}, not [T, B, I]", x.value().shape())),
        },
        Input::Table { ids, .. } => match *ids.dims() {
            [steps, batch] => (steps, batch),
            _ => return fail(format!("ids are {}, not [T, B]", ids.shape())),
        },
    };
    if steps == 0 || batch == 0 {
        return fail(format!("an empty sequence: {steps} steps of {batch} rows"));
    }
    let packing = Packing::uniform(steps, batch)?;
    let shape = [steps, batch, w_hh.value().shape().last()];
    run(tape, input, w_hh, state, packing, shape.into())
}

/// Runs a layer over packed sequences of any lengths: x is `[N, I]`, or ids are `[N]`. The rows of
/// `state` and of the final states are those of step 0.
///
/// # Errors
/// As [`lstm`], or if there are not N rows.
pub fn lstm_packed(
    tape: &mut Tape,
    input: Input,
    w_hh: &Var,
    state: Option<(&Var, &Var)>,
    packing: &Packing,
) -> Result<Output> {
    let shape = [packing.rows(), w_hh.value().shape().last()];
    run(tape, input, w_hh, state, packing.clone(), shape.into())
}

fn fail<T>(message: String) -> Result<T> {
    Err(Error::op("lstm", message))
}

fn run(
    tape: &mut Tape,
    input: Input,
    w_hh: &Var,
    state: Option<(&Var, &Var)>,
    packing: Packing,
    y: Shape,
) -> Result<Output> {
    let sizes = check(input, w_hh, state, packing)?;
    let mut output = match w_hh.value().gpu().cloned() {
        Some(gpu) => gpu::run(&gpu, tape, input, w_hh, state, sizes),
        None => for_float!("lstm", w_hh.value().dtype(), T => {
            cpu::run::<T>(tape, input, w_hh, state, sizes)
        }),
    }?;
    output.y = output.y.reshape(y)?;
    Ok(output)
}

/// What both devices work with.
#[derive(Clone, Debug)]
struct Sizes {
    packing: Packing,
    hidden: usize,
}

fn check(input: Input, w_hh: &Var, state: Option<(&Var, &Var)>, packing: Packing) -> Result<Sizes> {
    let (rows, hidden) = match *w_hh.value().dims() {
        [rows, hidden] if rows == 4 * hidden && hidden > 0 => (rows, hidden),
        _ => return fail(format!("W_hh is {}, not [4H, H]", w_hh.value().shape())),
    };
    match input {
        Input::Dense { x, w_ih, bias } => {
            let (packed, inputs) = (x.value().shape().rows(), x.value().shape().last());
            let fits = w_ih.value().dims() == [rows, inputs] && bias.value().dims() == [rows];
            if !fits || inputs == 0 || packed != packing.rows() {
                return fail(format!(
                    "x {}, W_ih {}, b {} and W_hh {} do not fit together over {} rows",
                    x.value().shape(),
                    w_ih.value().shape(),
                    bias.value().shape(),
                    w_hh.value().shape(),
                    packing.rows()
                ));
            }
        }
        Input::Table { table, ids } => {
            let vocab = match *table.value().dims() {
                [vocab, width] if width == rows && ids.numel() == packing.rows() => vocab,
                _ => {
                    return fail(format!(
                        "ids {} and table {} for W_hh {} over {} rows",
                        ids.shape(),
                        table.value().shape(),
                        w_hh.value().shape(),
                        packing.rows()
                    ));
                }
            };
            // Ids on a GPU were checked before they were copied there.
            let outside = |id: &&u32| **id as usize >= vocab;
            if ids.gpu().is_none()
                && let Some(id) = ids.data::<u32>()?.iter().find(outside)
            {
                return fail(format!("id {id} is outside a table of {vocab} rows"));
            }
        }
    }
    let state_shape = [packing.batch(), hidden];
    if let Some((h0, c0)) = state
        && (h0.value().dims() != state_shape || c0.value().dims() != state_shape)
    {
        return fail(format!(
            "initial states {} and {} are not {state_shape:?}",
            h0.value().shape(),
            c0.value().shape()
        ));
    }
    let mut operands = vec![w_hh.value()];
    match input {
        Input::Dense { x, w_ih, bias } => operands.extend([x, w_ih, bias].map(Var::value)),
        Input::Table { table, .. } => operands.push(table.value()),
    }
    operands.extend(state.iter().map(|(h, _)| h.value()));
    // The cell state is f32 on a GPU, whatever the layer's data type.
    let on_cpu = w_hh.value().gpu().is_none();
    operands.extend(state.iter().filter(|_| on_cpu).map(|(_, c)| c.value()));
    super::one_dtype("lstm", &operands)?;
    Ok(Sizes { packing, hidden })
}

enum SavedInput {
    Dense { x: Var, w_ih: Var, bias: Var },
    Table { table: Var, ids: Tensor },
}

impl SavedInput {
    fn of(input: Input) -> Self {
        match input {
            Input::Dense { x, w_ih, bias } => SavedInput::Dense {
                x: x.clone(),
                w_ih: w_ih.clone(),
                bias: bias.clone(),
            },
            Input::Table { table, ids } => SavedInput::Table {
                table: table.clone(),
                ids: ids.clone(),
            },
        }
    }

    /// The gates' start in blocked order. `rows` is the packed bias or table.
    fn start<'a, T: Stored>(&'a self, rows: &'a [T]) -> Result<Start<'a, T>> {
        Ok(match self {
            SavedInput::Dense { x, .. } => Start::Dense {
                bias: rows,
                x: x.value().data::<T>()?,
                inputs: x.value().shape().last(),
            },
            SavedInput::Table { ids, .. } => Start::Table {
                table: rows,
                ids: ids.data::<u32>()?,
            },
        })
    }

    /// The bias or the table.
    fn start_var(&self) -> &Var {
        match self {
            SavedInput::Dense { bias, .. } => bias,
            SavedInput::Table { table, .. } => table,
        }
    }
}

/// Puts y, h_n and c_n on the tape.
fn outputs(
    tape: &mut Tape,
    input: Input,
    w_hh: &Var,
    state: Option<(&Var, &Var)>,
    [y, h_n, c_n]: [Tensor; 3],
) -> Output {
    let mut inputs = vec![w_hh.slot()];
    match input {
        Input::Dense { x, w_ih, bias } => inputs.extend([x.slot(), w_ih.slot(), bias.slot()]),
        Input::Table { table, .. } => inputs.push(table.slot()),
    }
    inputs.extend(state.iter().flat_map(|(h, c)| [h.slot(), c.slot()]));
    Output {
        y: tape.output(y, inputs.iter().copied()),
        h_n: tape.output(h_n, inputs.iter().copied()),
        c_n: tape.output(c_n, inputs),
    }
}
