//! The character language model: embedding, LSTM layers, output projection.
//!
//! Dropout (Zaremba et al. 2014) is on the output of every LSTM layer, so on the connections
//! between layers and before the projection, never on the recurrent ones.

use crate::autograd::{Tape, Var};
use crate::device::cpu::simd::Dispatch;
use crate::error::{Error, Result};
use crate::files::tensors::TensorFile;
use crate::nn::torch_names;
use crate::nn::{self, Bound, CellKind, Embedding, Layout, Linear, Params, Recurrent, Style};
use crate::ops;
use crate::rng::Stream;
use crate::tensor::{Stored, Tensor};

/// Sizes of a character LM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CharLstmSizes {
    /// V, characters.
    pub vocab: usize,
    /// E, numbers that stand for a character.
    pub embedding: usize,
    /// H, units of a layer.
    pub hidden: usize,
    /// LSTM layers.
    pub layers: usize,
}

/// The model and its parameters.
#[derive(Clone, Debug)]
pub struct CharLstm {
    sizes: CharLstmSizes,
    params: Params,
    embedding: Embedding,
    lstm: Vec<Recurrent>,
    out: Linear,
}

/// Dropout in a training step.
#[derive(Clone, Debug)]
pub struct DropoutPlan {
    /// Probability of dropping, in [0, 1).
    pub p: f64,
    /// Random words of this step; layer k uses lane k.
    pub stream: Stream,
    /// In place of the stream's step, where a GPU counts the steps itself: `[1]` u32.
    pub step: Option<Tensor>,
}

/// The state of each layer.
pub type State = Vec<nn::State>;

/// The loss of a batch.
#[derive(Debug)]
pub struct Loss {
    /// Cross-entropy in nats a character, and the L2 term.
    pub total: Var,
    /// Cross-entropy in nats a character.
    pub ce: Var,
    /// Number of characters predicted right, a u32 scalar.
    pub correct: Tensor,
}

impl CharLstm {
    /// The parameter whose sum of squares the L2 term takes.
    pub const L2_WEIGHT: &str = "out.weight";

    /// A model with initial values from the seed.
    ///
    /// # Errors
    /// Never for sizes of at least one.
    pub fn new<T: Stored + Dispatch>(sizes: CharLstmSizes, seed: u64) -> Result<Self> {
        let mut layout = Layout::default();
        let style = Style::Keras;
        let (vocab, dim) = (sizes.vocab, sizes.embedding);
        let embedding = Embedding::new(&mut layout, "embedding", vocab, dim, style);
        let lstm = (0..sizes.layers).map(|k| {
            let inputs = if k == 0 {
                sizes.embedding
            } else {
                sizes.hidden
            };
            let suffix = format!("l{k}");
            let (name, hidden) = (("lstm", &suffix[..]), sizes.hidden);
            Recurrent::new(&mut layout, CellKind::Lstm, name, inputs, hidden, style)
        });
        let lstm = lstm.collect();
        let out = Linear::new(&mut layout, "out", sizes.hidden, sizes.vocab, style);
        Ok(CharLstm {
            sizes,
            params: Params::new::<T>(layout, seed)?,
            embedding,
            lstm,
            out,
        })
    }

    /// The sizes.
    pub fn sizes(&self) -> CharLstmSizes {
        self.sizes
    }

    /// The parameters.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// The parameters, to be changed. No tape that holds them may be alive.
    pub fn params_mut(&mut self) -> &mut Params {
        &mut self.params
    }

    /// Logits `[T * B, V]` of ids `[T, B]`, and the state after them. The state before is zero if
    /// absent.
    ///
    /// # Errors
    /// If an id is outside the vocabulary or the state does not fit.
    pub fn forward(
        &self,
        tape: &mut Tape,
        params: &Bound,
        ids: &Tensor,
        state: Option<&State>,
        dropout: Option<DropoutPlan>,
    ) -> Result<(Var, State)> {
        let mut new_state = Vec::with_capacity(self.lstm.len());
        let mut x: Option<Var> = None;
        for (k, layer) in self.lstm.iter().enumerate() {
            let state = state.and_then(|s| s.get(k));
            let output = match &x {
                None => layer.forward_ids(tape, params, &self.embedding, ids, state)?,
                Some(x) => layer.forward(tape, params, x, state)?,
            };
            new_state.push(output.state);
            x = Some(match &dropout {
                Some(d) => {
                    let stream = d.stream.lane(k as u32);
                    ops::dropout_at(tape, &output.y, d.p, stream, d.step.as_ref())?
                }
                None => output.y,
            });
        }
        let top = x.ok_or_else(|| Error::op("char_lstm", "a model without LSTM layers"))?;
        Ok((self.out.forward(tape, params, &top)?, new_state))
    }

    /// Cross-entropy of `targets` `[T, B]` plus l2 * sum(W_out^2).
    ///
    /// # Errors
    /// As [`CharLstm::forward`], or for targets outside the vocabulary.
    pub fn loss(
        &self,
        tape: &mut Tape,
        params: &Bound,
        ids: &Tensor,
        targets: &Tensor,
        l2: f64,
        dropout: Option<DropoutPlan>,
    ) -> Result<Loss> {
        let (logits, _) = self.forward(tape, params, ids, None, dropout)?;
        let scored = ops::softmax_xent(tape, logits, targets)?;
        let total = if l2 == 0.0 {
            scored.loss.clone()
        } else {
            let penalty = ops::sum_squares(tape, self.out.weight(params), l2)?;
            ops::add(tape, &scored.loss, &penalty)?
        };
        Ok(Loss {
            total,
            ce: scored.loss,
            correct: scored.correct,
        })
    }

    /// l2 * sum(W_out^2), a scalar, without a gradient.
    ///
    /// # Errors
    /// If the device fails.
    pub fn l2_penalty(&self, params: &Bound, l2: f64) -> Result<Tensor> {
        let weight = Var::constant(self.out.master(params).value().clone());
        Ok(ops::sum_squares(&mut Tape::inference(), &weight, l2)?.into_value())
    }

    /// The weights under torch's names.
    ///
    /// # Errors
    /// If the parameters are not f32, or the device fails.
    pub fn export(&self) -> Result<TensorFile> {
        torch_names::export(&self.params)
    }

    /// Takes weights under torch's names.
    ///
    /// # Errors
    /// If a tensor is missing, unexpected, or of another shape.
    pub fn import(&mut self, file: &TensorFile) -> Result<()> {
        torch_names::import(&mut self.params, file)
    }
}
