//! The decoders: previous tokens and the encoder's states to logits of the next token.

use super::inputs::Steps;
use super::kind::Dropout;
use super::layers::Dropped;
use super::output::Output;
use super::state::RecurrentState;
use super::transformer::Standing;
use crate::autograd::{Tape, Var};
use crate::data::packing::Packing;
use crate::error::{Error, Result};
use crate::nn::{Bound, Embedding, Linear, Place, Positions};
use crate::ops;
use crate::ops::copy_xent::Copies;
use crate::ops::dot_attention::Sequences;
use crate::ops::softmax_xent::{SoftmaxXent, Targets};
use crate::tensor::Tensor;

/// Where a decoder stands between two steps. Rows are the decoder's.
#[derive(Clone, Debug)]
pub enum DecoderState {
    /// Recurrent layers.
    Recurrent(Box<RecurrentState>),
    /// Transformer.
    Transformer(Box<Standing>),
}

/// What a decoder gives for some steps.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// Logits of the next tokens `[N, V]`; of a model that copies log-probabilities of the extended
    /// vocabulary `[N, V + S]`, without a gradient.
    pub logits: Var,
    /// State after each row's last step.
    pub state: DecoderState,
    /// Attention weights `[N, S]`, of a model that attends: of a Transformer those of the last layer, as the
    /// mean of its heads.
    pub alpha: Option<Tensor>,
    /// The logit of p_gen `[N, 1]`, of a model that copies.
    pub gate: Option<Tensor>,
}

impl DecoderState {
    /// Runs over the embeddings of the previous tokens. Gives what the logits are computed from, the state
    /// after each row's last step, and attention weights.
    pub(super) fn run(
        &self,
        tape: &mut Tape,
        params: &Bound,
        steps: Steps,
        dropped: Dropped,
    ) -> Result<(Var, Self, Option<Var>)> {
        match self {
            Self::Recurrent(state) => {
                let (features, state, alpha) = state.run(tape, params, steps, dropped)?;
                Ok((features, Self::Recurrent(Box::new(state)), alpha))
            }
            Self::Transformer(standing) => {
                let dropout = match dropped {
                    Dropped::Nothing => None,
                    Dropped::Drawn(dropout) => Some(dropout),
                    Dropped::Masked(_) => return Err(Error::op("seq2seq", NO_PREDICTIONS)),
                };
                let (features, after, alpha) = standing.run(tape, params, steps, dropout)?;
                Ok((features, Self::Transformer(Box::new(after)), Some(alpha)))
            }
        }
    }

    /// The place of the next step's tokens in their targets, where that counts.
    pub(super) fn place(&self) -> Place<'static> {
        match self {
            Self::Recurrent(_) => Place::At(0),
            Self::Transformer(standing) => Place::At(standing.steps),
        }
    }

    /// Recurrent layers above the first.
    pub(super) fn upper(&self) -> usize {
        match self {
            Self::Recurrent(state) => state.upper.len(),
            Self::Transformer(_) => 0,
        }
    }

    /// Moves what each row has read to other rows: row i continues row `order[i]`, which is of the same
    /// source.
    ///
    /// # Errors
    /// If the device fails.
    pub fn reorder(&mut self, order: &[u32]) -> Result<()> {
        match self {
            Self::Recurrent(state) => state.reorder(order),
            Self::Transformer(standing) => standing.reorder(order),
        }
    }

    /// Other rows: row i becomes what row `rows[i]` is, with all that it reads. A row may become any
    /// number of rows.
    ///
    /// # Errors
    /// If the device fails.
    pub fn select(&mut self, rows: &[u32]) -> Result<()> {
        match self {
            Self::Recurrent(state) => state.select(rows),
            Self::Transformer(standing) => standing.select(rows),
        }
    }

    /// What can be copied in rows of the decoder, each in the row of the batch that `rows` `[N]` names;
    /// without those, in one step of the whole batch.
    fn copies<'a>(&'a self, rows: Option<&'a Tensor>) -> Result<Copies<'a>> {
        match self {
            Self::Recurrent(state) => state.copies(rows),
            Self::Transformer(standing) => standing.copies(rows),
        }
    }

    /// The same as if nothing had been read: zeros, through which no gradient flows, and nothing to copy.
    pub(super) fn blank(&self) -> Result<Self> {
        match self {
            Self::Recurrent(state) => Ok(Self::Recurrent(Box::new(state.blank()?))),
            Self::Transformer(standing) => Ok(Self::Transformer(Box::new(standing.blank()?))),
        }
    }

    /// The first rows, as constants: nothing is copied, and no gradient flows through them.
    pub(super) fn first_rows(&self, rows: usize) -> Result<Self> {
        match self {
            Self::Recurrent(state) => Ok(Self::Recurrent(Box::new(state.first_rows(rows)?))),
            Self::Transformer(_) => Err(Error::op("seq2seq", NO_PREDICTIONS)),
        }
    }
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
    /// Of a Transformer.
    pub(super) positions: Option<Positions>,
    pub(super) out: Output,
    /// Its sigmoid is p_gen; of a model that copies.
    pub(super) gate: Option<Linear>,
}

/// Why a Transformer's targets are the true ones.
pub(super) const NO_PREDICTIONS: &str = "a Transformer is trained on all steps of its targets at once, \
                                         and reads none of its own predictions: teacher forcing is 1";

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
        dropped: Dropped,
    ) -> Result<Decoded> {
        let (features, state, alpha) = from.run(tape, params, steps, dropped)?;
        let mut logits = self.out.forward(tape, params, &features, None)?;
        let mut gate = None;
        if let (Some(layer), Some(alpha)) = (&self.gate, &alpha) {
            let z = layer.forward(tape, params, &features)?.into_value();
            let copies = from.copies(steps.rows)?;
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
        targets: Targets,
        dropout: Option<&Dropout>,
    ) -> Result<SoftmaxXent> {
        let dropped = dropout.map_or(Dropped::Nothing, Dropped::Drawn);
        let (features, _, alpha) = from.run(tape, params, steps, dropped)?;
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
        let steps = Steps {
            x,
            rows: None,
            packed: (&packing).into(),
            sequences: &Sequences::steps(1, batch)?,
        };
        self.run(tape, params, from, steps, dropped)
    }
}
