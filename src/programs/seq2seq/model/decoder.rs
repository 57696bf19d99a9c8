//! The decoders: previous tokens and the encoder's states to logits of the next token.

use super::kind::Dropout;
use super::layers::Dropped;
use super::output::Output;
use super::state::DecoderState;
use crate::autograd::{Tape, Var};
use crate::data::packing::Packing;
use crate::error::{Error, Result};
use crate::nn::{Bound, Embedding, Linear};
use crate::ops;
use crate::ops::softmax_xent::{SoftmaxXent, Targets};
use crate::tensor::Tensor;

/// What a decoder gives for some steps.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// Logits of the next tokens `[N, V]`; of a model that copies log-probabilities of the extended
    /// vocabulary `[N, V + S]`, without a gradient.
    pub logits: Var,
    /// State after each row's last step.
    pub state: DecoderState,
    /// Attention weights `[N, S]`, of the attention model.
    pub alpha: Option<Tensor>,
    /// The logit of p_gen `[N, 1]`, of a model that copies.
    pub gate: Option<Tensor>,
}

/// What all decoders have: the previous token's embedding, and the projection to the vocabulary.
#[derive(Clone, Debug)]
pub(super) struct Decoder {
    /// V, tokens of the target vocabulary.
    pub(super) vocab: usize,
    /// E, numbers that stand for a token.
    pub(super) width: usize,
    /// H, what the layers above the first read.
    pub(super) hidden: usize,
    pub(super) embedding: Embedding,
    pub(super) out: Output,
    /// Its sigmoid is p_gen; of a model that copies.
    pub(super) gate: Option<Linear>,
}

impl Decoder {
    /// Vectors of tokens `[N]`, which are below V, giving `[N, E]`.
    pub(super) fn embed(&self, tape: &mut Tape, params: &Bound, tokens: &Tensor) -> Result<Var> {
        self.embedding.forward(tape, params, tokens)
    }

    /// Runs from a state; see [`DecoderState::run`].
    pub(super) fn run(
        &self,
        tape: &mut Tape,
        params: &Bound,
        from: &DecoderState,
        input: (&Var, Option<&Tensor>),
        packing: &Packing,
        dropped: Dropped,
    ) -> Result<Decoded> {
        let (features, state, alpha) = from.run(tape, params, input, packing, dropped)?;
        let mut logits = self.out.forward(tape, params, &features, None)?;
        let mut gate = None;
        if let (Some(layer), Some(alpha)) = (&self.gate, &alpha) {
            let z = layer.forward(tape, params, &features)?.into_value();
            let copies = from.copies(input.1)?;
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

    /// Runs from a state over whole targets `[N]`, and scores them.
    pub(super) fn loss(
        &self,
        tape: &mut Tape,
        params: &Bound,
        from: &DecoderState,
        (x, rows): (&Var, &Tensor),
        (packing, targets): (&Packing, Targets),
        dropout: Option<&Dropout>,
    ) -> Result<SoftmaxXent> {
        let dropped = dropout.map_or(Dropped::Nothing, Dropped::Drawn);
        let (features, _, alpha) = from.run(tape, params, (x, Some(rows)), packing, dropped)?;
        match (&self.gate, &alpha) {
            (Some(_), Some(_)) if targets.smoothing > 0.0 => Err(Error::op(
                "copy_xent",
                "smoothed labels of a model that copies",
            )),
            (Some(gate), Some(alpha)) => {
                let logits = self.out.forward(tape, params, &features, dropout)?;
                let z = gate.forward(tape, params, &features)?;
                let copies = from.copies(Some(rows))?;
                ops::copy_xent(tape, logits, &z, alpha, copies, targets.ids)
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
        dropped: Dropped,
    ) -> Result<Decoded> {
        let batch = x.value().shape().rows();
        let packing = Packing::uniform(1, batch)?;
        self.run(tape, params, from, (x, None), &packing, dropped)
    }
}
