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
pub(super) mod context;
pub(super) mod cpu;
pub(super) mod forward;
mod gpu;
mod kind;
mod layer;
pub(super) mod pack;
pub(super) mod packed;
pub(super) mod slab;
mod weights;

pub use kind::CellKind;
pub use layer::{Hidden, Input, Output, State};

use crate::autograd::Tape;
use crate::data::packing::Packing;
use crate::error::Result;
use crate::shape::Shape;
use crate::tensor::for_float;
use kind::for_cell;
use layer::{Layer, fail};

/// Runs a layer over sequences of one length. `state` is the initial state; zero if absent.
///
/// # Errors
/// [`Error::Op`](crate::Error::Op) for shapes or data types that do not fit, parts that the cell does not have or
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
