//! One training step of a seq2seq model: forward, backward, clip, update.

use crate::autograd::Tape;
use crate::device::Gpu;
use crate::error::Result;
use crate::files::state::LossScaler;
use crate::files::tensors::TensorFile;
use crate::ops::softmax_xent::SoftmaxXent;
use crate::optim::{Adam, Clip};
use crate::programs::seq2seq::data::SeqBatch;
use crate::programs::seq2seq::model::{Dropout, Inputs, Seq2Seq, TeacherForcing};
use crate::rng::{Purpose, Stream};
use crate::train::scores::Scores;
use crate::train::updater::Updater;
use std::sync::Arc;

/// What a training step needs to know besides the model and the batch.
#[derive(Clone, Copy, Debug)]
pub struct Seq2SeqStepConfig {
    /// Probability of dropping an element of an embedding, in [0, 1).
    pub dropout: f64,
    /// Gradient clipping.
    pub clip: Clip,
    /// Seed of the dropout masks and of the choice of the decoder's inputs.
    pub seed: u64,
    /// Probability that the decoder reads the true previous token.
    pub teacher_forcing: f64,
}

/// A model and its optimizer, on one device.
#[derive(Debug)]
pub struct Seq2SeqStep {
    model: Seq2Seq,
    updater: Updater,
    config: Seq2SeqStepConfig,
}

impl Seq2SeqStep {
    /// Joins a model and its optimizer, both f32, on the CPU.
    pub fn new(model: Seq2Seq, adam: Adam, config: Seq2SeqStepConfig) -> Self {
        Seq2SeqStep {
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
        let params = self.model.params_mut();
        self.updater.move_to_gpu(params, gpu, scaler, |_| 0.0)?;
        Ok(self)
    }

    /// The model.
    pub fn model(&self) -> &Seq2Seq {
        &self.model
    }

    /// Trains on one batch. `step` numbers the random streams.
    ///
    /// # Errors
    /// If the batch does not fit the model, or the device fails.
    pub fn train(&mut self, batch: &SeqBatch, step: u64) -> Result<Scores> {
        let inputs = self.place(batch)?;
        let stream = |purpose| Stream::new(self.config.seed, purpose, step as u32);
        let dropout = (self.config.dropout > 0.0).then(|| Dropout {
            p: self.config.dropout,
            stream: stream(Purpose::Dropout),
        });
        let teacher = TeacherForcing {
            ratio: self.config.teacher_forcing,
            stream: stream(Purpose::TeacherForcing),
        };
        let mut tape = self.updater.tape(self.model.params())?;
        let params = self.model.params().bind(&mut tape)?;
        let model = &self.model;
        let loss = model.loss(
            &mut tape,
            &params,
            &inputs,
            dropout.as_ref(),
            Some(&teacher),
        )?;
        drop(params);
        let params = self.model.params_mut();
        let grad_norm = self.updater.update(tape, &loss.loss, params)?;
        let mut scores = scores_of(&loss, &inputs)?;
        scores.grad_norm = grad_norm;
        if let Some((_, adam)) = self.updater.gpu() {
            let mixed = self.model.params().half().is_some();
            scores.add_optimizer(adam.read()?, mixed);
        }
        Ok(scores)
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

    fn place(&self, batch: &SeqBatch) -> Result<Inputs> {
        Inputs::new(batch, self.model.vocab(), self.model.gpu())
    }
}

/// Scores one batch with a model, teacher forced and without dropout.
///
/// # Errors
/// If the batch does not fit the model, or the device fails.
pub fn evaluate(model: &Seq2Seq, batch: &SeqBatch) -> Result<Scores> {
    let inputs = Inputs::new(batch, model.vocab(), model.gpu())?;
    let mut tape = Tape::inference();
    let params = model.params().bind(&mut tape)?;
    scores_of(
        &model.loss(&mut tape, &params, &inputs, None, None)?,
        &inputs,
    )
}

fn scores_of(loss: &SoftmaxXent, inputs: &Inputs) -> Result<Scores> {
    let mean = loss.loss.value().item()?;
    Ok(Scores {
        loss: mean,
        ce: mean,
        correct: loss.correct.item()? as usize,
        tokens: inputs.target_tokens() as f64,
        grad_norm: 0.0,
        scaler: None,
        skipped: false,
    })
}
