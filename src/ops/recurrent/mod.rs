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
//! **gpu** (`gpu.rs`, `beside.rs`): a product and a fused gate kernel a step, or one kernel for all of them
//! (`whole.rs`), and large products over all steps.

pub(super) mod backward;
pub(super) mod because;
mod beside;
pub(super) mod cell;
pub(super) mod context;
pub(super) mod cpu;
pub(super) mod forward;
mod gpu;
mod kind;
mod layer;
mod made;
pub(super) mod pack;
pub(super) mod packed;
pub(super) mod slab;
mod weights;
mod whole;

pub use kind::CellKind;
pub use layer::{Hidden, Input, Output, Packed, State};

use crate::autograd::{Tape, Var};
use crate::data::packing::Packing;
use crate::error::Result;
use crate::ops::concat;
use crate::shape::Shape;
use crate::tensor::for_float;
use kind::for_cell;
use layer::{Layer, fail};

/// Runs a layer over sequences of one length. `state` is the initial state; zero if absent.
///
/// # Errors
/// [`Error::Op`](crate::Error::Op) for shapes or data types that do not fit, parts that the cell does
/// not have or lacks, or an id outside the table.
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
        Layer::new(input, hidden, state, (&packing).into()),
        y.into(),
    )
}

/// Runs a layer over packed sequences of any lengths: x is `[N, I]`, or ids are `[N]`. The rows of
/// the states are those of step 0.
///
/// # Errors
/// As [`recurrent`], or if there are not N rows, or not as many offsets as steps and one.
pub fn recurrent_packed<'a>(
    tape: &mut Tape,
    kind: CellKind,
    input: Input,
    hidden: Hidden,
    state: Option<&State>,
    packed: impl Into<Packed<'a>>,
) -> Result<Output> {
    let packed = packed.into();
    let rows = packed.packing.rows();
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
    let layer = Layer::new(input, hidden, state, packed);
    run(tape, kind, layer, y.into())
}

/// Runs layers of one shape side by side over packed inputs `[N, I]` of their own, from a zero state: y
/// is `[N, ways H]` and the states `[B, ways H]`, each layer's columns behind those of the one before.
/// On a GPU a step is one product and one kernel for all of them.
///
/// # Errors
/// As [`recurrent_packed`]; or for no layers, weights of different shapes, or a table.
pub fn recurrent_side_by_side<'a>(
    tape: &mut Tape,
    kind: CellKind,
    layers: &[(Input, Hidden)],
    packed: impl Into<Packed<'a>>,
) -> Result<Output> {
    let packed = packed.into();
    let rows = packed.packing.rows();
    let Some((_, first)) = layers.first() else {
        return fail(kind.name(), "no layers".into());
    };
    let first = first.w_hh.value();
    let mut all = Vec::new();
    for (input, hidden) in layers {
        let w_hh = hidden.w_hh.value();
        match input {
            Input::Dense { x, .. } if x.value().shape().rows() == rows => {}
            _ => {
                let message = format!("layers side by side read x [N, I], with N = {rows} rows");
                return fail(kind.name(), message);
            }
        }
        let layer = Layer::new(*input, *hidden, None, packed);
        layer.check(kind)?;
        if first.shape() != w_hh.shape() || first.dtype() != w_hh.dtype() {
            let message = format!("W_hh {} and {} side by side", first.shape(), w_hh.shape());
            return fail(kind.name(), message);
        }
        all.push(layer);
    }
    if let Some(gpu) = first.gpu().cloned() {
        return for_cell!(kind, C => gpu::run::<C>(&gpu, tape, all));
    }
    let mut outputs = Vec::new();
    for layer in all {
        let y = [rows, layer.hidden()];
        outputs.push(run(tape, kind, layer, y.into())?);
    }
    let mut beside = |parts: Vec<&Var>| concat(tape, &parts);
    let y = beside(outputs.iter().map(|o| &o.y).collect())?;
    let h = beside(outputs.iter().map(|o| &o.state.h).collect())?;
    let c: Option<Vec<&Var>> = outputs.iter().map(|o| o.state.c.as_ref()).collect();
    let c = c.map(beside).transpose()?;
    Ok(Output {
        y,
        state: State { h, c },
    })
}

fn run(tape: &mut Tape, kind: CellKind, layer: Layer, y: Shape) -> Result<Output> {
    layer.check(kind)?;
    let mut output = match layer.w_hh.value().gpu().cloned() {
        Some(gpu) => for_cell!(kind, C => gpu::run::<C>(&gpu, tape, vec![layer])),
        None => for_float!(kind.name(), layer.w_hh.value().dtype(), T => {
            for_cell!(kind, C => cpu::run::<T, C>(tape, layer))
        }),
    }?;
    output.y = output.y.reshape(y)?;
    Ok(output)
}
