//! One training step of the character LM: forward, backward, clip, update.

use crate::autograd::Tape;
use crate::error::Result;
use crate::models::char_lstm::{CharLstm, DropoutPlan};
use crate::optim::{Adam, Clip};
use crate::rng::{Purpose, Stream};
use crate::tensor::Tensor;

/// What a training step needs to know besides the model and the batch.
#[derive(Clone, Copy, Debug)]
pub struct StepConfig {
    /// Probability of dropping, in [0, 1).
    pub dropout: f64,
    /// Factor of the output kernel's sum of squares in the loss.
    pub l2: f64,
    /// Gradient clipping.
    pub clip: Clip,
    /// Seed of the dropout masks.
    pub seed: u64,
}

/// The model, its optimizer and its flat gradient.
#[derive(Debug)]
pub struct CharLmStep {
    /// The model.
    pub model: CharLstm,
    /// The optimizer.
    pub adam: Adam,
    config: StepConfig,
    gradient: Option<Tensor>,
}

/// The figures of one batch.
#[derive(Clone, Copy, Debug)]
pub struct Scores {
    /// Loss in nats a character, L2 included.
    pub loss: f64,
    /// Cross-entropy in nats a character.
    pub ce: f64,
    /// Characters predicted right.
    pub correct: usize,
    /// Norm of the gradient over all tensors, before clipping; not finite after a bad step, which
    /// then changed nothing. Zero where there was no backward pass.
    pub grad_norm: f64,
}

impl CharLmStep {
    /// Joins a model and its optimizer, both f32.
    pub fn new(model: CharLstm, adam: Adam, config: StepConfig) -> Self {
        CharLmStep {
            model,
            adam,
            config,
            gradient: None,
        }
    }

    /// Trains on one batch: ids and targets `[T, B]`.
    ///
    /// # Errors
    /// If the batch does not fit the model.
    pub fn train(&mut self, ids: &Tensor, targets: &Tensor) -> Result<Scores> {
        let flat = match self.gradient.take() {
            Some(flat) => flat,
            None => Tensor::zeros::<f32>([self.model.params().layout().len()]),
        };
        let mut tape = Tape::with_flat_gradients(flat);
        let params = self.model.params().bind(&mut tape)?;
        let dropout = (self.config.dropout > 0.0).then(|| DropoutPlan {
            p: self.config.dropout,
            stream: Stream::new(self.config.seed, Purpose::Dropout, self.adam.step as u32),
        });
        let loss = self
            .model
            .loss(&mut tape, &params, ids, targets, self.config.l2, dropout)?;
        drop(params);
        let mut scores = Scores {
            loss: loss.total.value().item()?,
            ce: loss.ce.value().item()?,
            correct: loss.correct,
            grad_norm: 0.0,
        };
        let gradient = tape
            .backward(&loss.total, Tensor::scalar(1.0f32))?
            .into_flat()?;
        let clipping = self
            .adam
            .update(self.model.params_mut(), &gradient, self.config.clip)?;
        scores.grad_norm = clipping.norm;
        self.gradient = Some(gradient);
        Ok(scores)
    }

    /// Scores one batch without dropout, and without changing anything.
    ///
    /// # Errors
    /// If the batch does not fit the model.
    pub fn evaluate(&self, ids: &Tensor, targets: &Tensor) -> Result<Scores> {
        let mut tape = Tape::inference();
        let params = self.model.params().bind(&mut tape)?;
        let loss = self
            .model
            .loss(&mut tape, &params, ids, targets, 0.0, None)?;
        let ce = loss.ce.value().item()?;
        Ok(Scores {
            loss: ce,
            ce,
            correct: loss.correct,
            grad_norm: 0.0,
        })
    }
}
