//! The recurrent layers above the first one, of encoder and decoder.
//!
//! Layer k reads x_k, which is the first layer's output y_0 where k is 1, and adds its own to that: a
//! residual connection (He et al. 2016; in such models Wu et al. 2016, section 3.1). Dropout is on what
//! it reads, not on what goes past it:
//!
//! ```text
//! x_1     = y_0
//! x_{k+1} = x_k + RNN_k(dropout(x_k))
//! ```

use super::kind::Dropout;
use crate::autograd::{Tape, Var};
use crate::error::Result;
use crate::nn::{Bound, Recurrent, State};
use crate::ops;
use crate::ops::recurrent::Packed;
use crate::tensor::Tensor;

/// Runs layers over the packed outputs x `[N, H]` of the first one, each from its state, or zero. `drop`
/// drops of what the layer of a number from 0 on reads. Gives the outputs, and each layer's state after
/// each row's last element.
pub(super) fn above<'a>(
    tape: &mut Tape,
    params: &Bound,
    mut x: Var,
    layers: impl Iterator<Item = (&'a Recurrent, Option<&'a State>)>,
    packed: Packed,
    drop: impl Fn(&mut Tape, usize, &Var) -> Result<Var>,
) -> Result<(Var, Vec<State>)> {
    let mut states = Vec::new();
    for (k, (layer, state)) in layers.enumerate() {
        let read = drop(tape, k, &x)?;
        let out = layer.forward_packed(tape, params, &read, state, packed)?;
        x = ops::add(tape, &x, &out.y)?;
        states.push(out.state);
    }
    Ok((x, states))
}

/// What is dropped of what the decoder's layers above the first read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Dropped<'a> {
    /// Nothing.
    Nothing,
    /// What is drawn.
    Drawn(&'a Dropout),
    /// What is zero in these, one for each layer, and with which the rest is multiplied: `[N, H]`.
    Masked(&'a [Tensor]),
}

impl Dropped<'_> {
    /// x without what is dropped of what the layer of this number reads.
    pub(super) fn of_layer(self, tape: &mut Tape, k: usize, x: &Var) -> Result<Var> {
        match self {
            Dropped::Nothing => Ok(x.clone()),
            Dropped::Drawn(dropout) => dropout.apply(tape, x, Dropout::decoder(k)),
            Dropped::Masked(masks) => ops::mul(tape, x, &Var::constant(masks[k].clone())),
        }
    }
}
