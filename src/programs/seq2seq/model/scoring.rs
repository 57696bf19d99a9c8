//! From what a decoder's layers give to logits and losses: what all decoders have.

use super::decoder::{Decoded, DecoderState};
use super::inputs::Steps;
use super::kind::Dropout;
use super::output::Output;
use crate::autograd::{Tape, Var};
use crate::data::packing::Packing;
use crate::error::Result;
use crate::nn::{Bound, Embedding, Linear, Place, Positions};
use crate::ops;
use crate::ops::dot_attention::Sequences;
use crate::ops::softmax_xent::SoftmaxXent;
use crate::tensor::Tensor;

/// What all decoders have: the previous token's embedding, and the projection to the vocabulary.
#[derive(Clone, Debug)]
pub(super) struct Decoder {
    /// V, tokens of the target vocabulary.
    pub(super) vocab: usize,
    /// E, numbers that stand for a token.
    pub(super) width: usize,
    pub(super) embedding: Embedding,
    /// Of a Transformer.
    pub(super) positions: Option<Positions>,
    pub(super) out: Output,
    /// Its sigmoid is p_gen; of a model that copies.
    pub(super) gate: Option<Linear>,
}

impl Decoder {
    /// Vectors of tokens `[N]`, which are below V, giving `[N, E]`; `place` says where they stand, for a
    /// model that is told.
    pub(super) fn embed(
        &self,
        tape: &mut Tape,
        params: &Bound,
        tokens: &Tensor,
        place: Place,
    ) -> Result<Var> {
        let x = self.embedding.forward(tape, params, tokens)?;
        match &self.positions {
            Some(positions) => positions.add(tape, &x, place),
            None => Ok(x),
        }
    }

    /// Runs from a state; see [`DecoderState::run`].
    pub(super) fn run(
        &self,
        tape: &mut Tape,
        params: &Bound,
        from: &DecoderState,
        steps: Steps,
    ) -> Result<Decoded> {
        let (features, state, alpha) = from.run(tape, params, steps, None)?;
        let mut logits = self.out.forward(tape, params, &features, None)?;
        let mut gate = None;
        if let (Some(layer), Some(alpha)) = (&self.gate, &alpha) {
            let z = layer.forward(tape, params, &features)?.into_value();
            let rows = match steps.rows {
                Some(rows) => rows.clone(),
                None => each_row(&z)?,
            };
            let copies = from.copies(&rows)?;
            let mixture = ops::copy_mixture(logits.value(), &z, alpha.value(), copies)?;
            (logits, gate) = (Var::constant(mixture), Some(z));
        }
        Ok(Decoded {
            logits,
            state,
            alpha: alpha.map(Var::into_value),
            gate,
        })
    }

    /// Runs from a state over whole targets, and scores them.
    pub(super) fn loss(
        &self,
        tape: &mut Tape,
        params: &Bound,
        from: &DecoderState,
        (steps, rows): (Steps, &Tensor),
        targets: &Tensor,
        dropout: Option<&Dropout>,
    ) -> Result<SoftmaxXent> {
        let (features, _, alpha) = from.run(tape, params, steps, dropout)?;
        match (&self.gate, &alpha) {
            (Some(gate), Some(alpha)) => {
                let logits = self.out.forward(tape, params, &features, dropout)?;
                let z = gate.forward(tape, params, &features)?;
                let copies = from.copies(rows)?;
                ops::copy_xent(tape, logits, &z, alpha, copies, targets)
            }
            _ => self.out.loss(tape, params, &features, targets, dropout),
        }
    }

    /// One step from the embeddings x `[B, E]` of the previous tokens, one a row.
    pub(super) fn step(
        &self,
        tape: &mut Tape,
        params: &Bound,
        from: &DecoderState,
        x: &Var,
    ) -> Result<Decoded> {
        let batch = x.value().shape().rows();
        let steps = Steps {
            x,
            rows: None,
            packing: &Packing::uniform(1, batch)?,
            sequences: &Sequences::steps(1, batch)?,
        };
        self.run(tape, params, from, steps)
    }
}

/// 0, 1, .. for the rows of a single step, where x is.
fn each_row(x: &Tensor) -> Result<Tensor> {
    let numbers: Vec<u32> = (0..x.shape().rows() as u32).collect();
    let numbers = Tensor::from_slice(&numbers, [numbers.len()])?;
    match x.gpu() {
        Some(gpu) => numbers.to_gpu(gpu),
        None => Ok(numbers),
    }
}
