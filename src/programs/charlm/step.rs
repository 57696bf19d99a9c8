//! One training step of the character LM: forward, backward, clip, update.

use crate::autograd::Tape;
use crate::device::Gpu;
use crate::error::Result;
use crate::files::state::LossScaler;
use crate::files::tensors::TensorFile;
use crate::optim::adam_gpu::GpuAdam;
use crate::optim::{Adam, Clip};
use crate::programs::charlm::model::{CharLstm, DropoutPlan, Loss};
use crate::rng::{Purpose, Stream};
use crate::tensor::Tensor;
use crate::train::scores::Scores;
use crate::train::updater::Updater;
use std::sync::Arc;

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

/// A model and its optimizer, on one device.
#[derive(Debug)]
pub struct CharLmStep {
    model: CharLstm,
    updater: Updater,
    config: StepConfig,
}

impl CharLmStep {
    /// Joins a model and its optimizer, both f32, on the CPU.
    pub fn new(model: CharLstm, adam: Adam, config: StepConfig) -> Self {
        CharLmStep {
            model,
            updater: Updater::new(adam, config.clip),
            config,
        }
    }

    /// Moves model and optimizer to a GPU. With a scaler, products and activations are f16.
    ///
    /// # Errors
    /// If the device fails or has not enough memory.
    pub fn to_gpu(mut self, gpu: &Arc<Gpu>, scaler: Option<LossScaler>) -> Result<Self> {
        let l2 = |name: &str| {
            if name == CharLstm::L2_WEIGHT {
                self.config.l2
            } else {
                0.0
            }
        };
        let params = self.model.params_mut();
        self.updater.move_to_gpu(params, gpu, scaler, l2)?;
        Ok(self)
    }

    /// Trains on one batch: ids and targets `[T, B]` in host memory. `step` numbers the dropout
    /// masks.
    ///
    /// # Errors
    /// If the batch does not fit the model, or the device fails.
    pub fn train(&mut self, ids: &Tensor, targets: &Tensor, step: u64) -> Result<Scores> {
        let (ids, targets) = (self.updater.place(ids)?, self.updater.place(targets)?);
        let stream = Stream::new(self.config.seed, Purpose::Dropout, step as u32);
        let issued = self.issue(&ids, &targets, stream, None)?;
        let mut scores = scores_of(&issued.loss, &targets)?;
        scores.loss += issued.penalty.map_or(Ok(0.0), |p| p.item())?;
        scores.grad_norm = issued.grad_norm;
        if let Some((_, adam)) = self.updater.gpu() {
            scores.add_optimizer(adam.read()?, self.is_mixed());
        }
        Ok(scores)
    }

    /// Issues a step's work: on a GPU, nothing of it is waited for.
    pub(super) fn issue(
        &mut self,
        ids: &Tensor,
        targets: &Tensor,
        stream: Stream,
        counter: Option<Tensor>,
    ) -> Result<Issued> {
        let mut tape = self.updater.tape(self.model.params())?;
        let params = self.model.params().bind(&mut tape)?;
        let dropout = (self.config.dropout > 0.0).then(|| DropoutPlan {
            p: self.config.dropout,
            stream,
            step: counter,
        });
        // On a GPU the optimizer adds the gradient of the L2 term, and its value comes from beside
        // the tape.
        let l2 = self.config.l2;
        let on_gpu = self.updater.gpu().is_some();
        let on_tape = if on_gpu { 0.0 } else { l2 };
        let loss = self
            .model
            .loss(&mut tape, &params, ids, targets, on_tape, dropout)?;
        let penalty = match on_gpu && l2 > 0.0 {
            true => Some(self.model.l2_penalty(&params, l2)?),
            false => None,
        };
        drop(params);
        let params = self.model.params_mut();
        let grad_norm = self.updater.update(tape, &loss.total, params)?;
        Ok(Issued {
            loss,
            penalty,
            grad_norm,
        })
    }

    /// The GPU and its optimizer, if the model is on one.
    pub(super) fn gpu(&self) -> Option<(&Arc<Gpu>, &GpuAdam)> {
        self.updater.gpu()
    }

    /// Products and activations are f16.
    pub(super) fn is_mixed(&self) -> bool {
        self.model.params().half().is_some()
    }

    /// The seed of the dropout masks.
    pub(super) fn seed(&self) -> u64 {
        self.config.seed
    }

    /// Scores one batch without dropout, and without changing anything.
    ///
    /// # Errors
    /// If the batch does not fit the model, or the device fails.
    pub fn evaluate(&self, ids: &Tensor, targets: &Tensor) -> Result<Scores> {
        let (ids, targets) = (self.updater.place(ids)?, self.updater.place(targets)?);
        let mut tape = Tape::inference();
        let params = self.model.params().bind(&mut tape)?;
        let loss = self
            .model
            .loss(&mut tape, &params, &ids, &targets, 0.0, None)?;
        scores_of(&loss, &targets)
    }

    /// The weights under torch's names.
    ///
    /// # Errors
    /// If the device fails.
    pub fn weights(&self) -> Result<TensorFile> {
        self.model.export()
    }

    /// The optimizer's moments under the parameters' names.
    ///
    /// # Errors
    /// If the device fails.
    pub fn moments(&self) -> Result<TensorFile> {
        self.updater.moments(self.model.params())
    }
}

/// A step's results, which on a GPU may still be on their way.
pub(super) struct Issued {
    pub(super) loss: Loss,
    /// The L2 term, where it is not part of the loss.
    pub(super) penalty: Option<Tensor>,
    /// Norm of the gradient; on a GPU it is in the optimizer's state.
    grad_norm: f64,
}

fn scores_of(loss: &Loss, targets: &Tensor) -> Result<Scores> {
    Ok(Scores {
        loss: loss.total.value().item()?,
        ce: loss.ce.value().item()?,
        correct: loss.correct.item()? as usize,
        tokens: targets.numel() as f64,
        grad_norm: 0.0,
        scaler: None,
        skipped: false,
    })
}
