//! One training step of any model on any device: forward, backward, clip, update.

mod local;
mod objective;
mod state;

pub use objective::{objective, score};

use super::model::{Draws, Loss, Model};
use super::scores::Scores;
use super::shards::Shards;
use crate::autograd::{Tape, Var};
use crate::device::Gpu;
use crate::device::driver::{Arg, Launch};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::files::state::LossScaler;
use crate::files::tensors::TensorFile;
use crate::nn::Layout;
use crate::ops::gpu::pointers;
use crate::optim::adam_gpu::{GpuAdam, RATES};
use crate::optim::{Adam, Clip};
use crate::tensor::Tensor;
use objective::{besides, with_l2};
use std::collections::VecDeque;
use std::sync::Arc;

/// A model, its optimizer and its flat gradient, on one device.
#[derive(Debug)]
pub struct Step<M> {
    model: M,
    optimizer: Optimizer,
    clip: Clip,
    seed: u64,
    gradient: Option<Tensor>,
    /// What the gradient holds since the last update.
    added: Option<Added>,
    /// On the CPU, the learning rates of the next steps.
    rates: VecDeque<f64>,
    /// How the rows of a step are divided.
    shards: Shards,
    /// The outer optimizer's momentum `[P]`, at rank 0 of ranks that train by themselves.
    outer: Option<Tensor>,
}

#[derive(Debug)]
enum Optimizer {
    Cpu(Adam),
    Gpu(Arc<Gpu>, Box<GpuAdam>),
}

/// Batches whose gradients have been added up. Each counts by its tokens, relative to the first, so
/// that the sums of a GPU's f16 gradients have the loss scale of one batch.
#[derive(Clone, Copy, Debug)]
struct Added {
    /// Tokens of the first.
    first: usize,
    /// Tokens of all.
    tokens: usize,
}

/// A step's results, which on a GPU may still be on their way.
#[derive(Debug)]
pub struct Issued {
    /// The loss, without the L2 term.
    pub loss: Loss,
    /// What the tape ran backward from, a scalar.
    pub total: Tensor,
    /// What the whole loss has besides the cross-entropy, where that is not the total: on a GPU the L2
    /// term, and what smoothed labels add.
    pub penalty: Option<Tensor>,
}

impl<M: Model> Step<M> {
    /// Joins a model and its optimizer, both f32, on the CPU. The seed is that of everything drawn
    /// in training.
    pub fn new(model: M, adam: Adam, clip: Clip, seed: u64) -> Self {
        Step {
            model,
            optimizer: Optimizer::Cpu(adam),
            clip,
            seed,
            gradient: None,
            added: None,
            rates: VecDeque::new(),
            shards: Shards::default(),
            outer: None,
        }
    }

    /// The same with rows that are divided among shards, and these among ranks, as
    /// [`Step::train_next`] trains them.
    #[must_use]
    pub fn with_shards(self, shards: Shards) -> Self {
        let takes = shards.local().is_some() && shards.ranks().is_first();
        let outer = takes.then(|| Tensor::zeros::<f32>([self.layout().len()]));
        Step {
            shards,
            outer,
            ..self
        }
    }

    /// How the rows of a step are divided.
    pub fn shards(&self) -> &Shards {
        &self.shards
    }

    /// Moves model and optimizer to a GPU. With a scaler, products and activations are f16.
    ///
    /// # Errors
    /// If the device fails or has not enough memory.
    pub fn to_gpu(mut self, gpu: &Arc<Gpu>, scaler: Option<LossScaler>) -> Result<Self> {
        self.move_to(gpu, scaler)?;
        Ok(self)
    }

    fn move_to(&mut self, gpu: &Arc<Gpu>, scaler: Option<LossScaler>) -> Result<()> {
        if let Optimizer::Cpu(adam) = &self.optimizer {
            let (l2, layout) = (self.model.l2(), self.layout());
            let factor = |name: &str| {
                let mut named = l2.iter().filter(|(id, _)| layout.segment(*id).name == name);
                named.next().map_or(0.0, |(_, factor)| *factor)
            };
            let adam = GpuAdam::new(gpu, adam, layout, factor, scaler)?;
            self.model.params_mut().to_gpu(gpu, scaler.is_some())?;
            self.optimizer = Optimizer::Gpu(gpu.clone(), Box::new(adam));
        }
        Ok(())
    }

    /// Sets the learning rates of the next steps, at most [`RATES`] of them; the last one stays. Until
    /// then it is the optimizer's own.
    ///
    /// # Errors
    /// If the device fails.
    pub fn set_rates(&mut self, rates: &[f64]) -> Result<()> {
        match &mut self.optimizer {
            Optimizer::Cpu(_) => self.rates = rates.iter().take(RATES).copied().collect(),
            Optimizer::Gpu(gpu, adam) => adam.set_rates(gpu, rates)?,
        }
        Ok(())
    }

    /// Trains on one batch. `step` numbers the random streams.
    ///
    /// # Errors
    /// If the batch does not fit the model, or the device fails.
    pub fn train(&mut self, batch: &M::Batch, step: u64) -> Result<Scores> {
        self.train_all(std::slice::from_ref(batch), step)
    }

    /// Trains one step on several batches, in the memory of one. Their gradients are added up, each
    /// weighted by its tokens, and the sum is clipped: it is the step on one batch of all their
    /// examples, but for rounding and for what is drawn at random. `first` numbers the random streams
    /// of the first batch, which the next numbers follow.
    ///
    /// # Errors
    /// If there is no batch, one does not fit the model, or the device fails.
    pub fn train_all(&mut self, batches: &[M::Batch], first: u64) -> Result<Scores> {
        // A call that failed may have left something.
        self.forget();
        let mut parts = Vec::with_capacity(batches.len());
        for (number, batch) in (first..).zip(batches) {
            parts.push(self.add_scored(batch, number)?);
        }
        self.finish_scored(&parts)
    }

    /// As [`Step::add`], with the draws of this number, and the figures of the batch.
    pub(super) fn add_scored(&mut self, batch: &M::Batch, number: u64) -> Result<Scores> {
        let issued = self.add(batch, &Draws::new(self.seed, number))?;
        let mut scores = Scores::of(&issued.loss)?;
        scores.loss = match issued.penalty {
            None => issued.total.item()?,
            Some(penalty) => scores.ce + penalty.item()?,
        };
        Ok(scores)
    }

    /// As [`Step::finish`], and the figures of the step, whose batches have these.
    pub(super) fn finish_scored(&mut self, parts: &[Scores]) -> Result<Scores> {
        let grad_norm = self.finish()?;
        let scores = Scores::joined(parts);
        let mut scores = scores.ok_or_else(|| Error::op("train", "no batch to train on"))?;
        scores.grad_norm = grad_norm;
        if let Some((gpu, adam)) = self.gpu() {
            gpu.check_fault()?;
            scores.add_optimizer(adam.read()?, self.is_mixed());
        }
        Ok(scores)
    }

    /// Issues the work of a step on one batch: on a GPU, nothing of it is waited for.
    ///
    /// # Errors
    /// If the batch does not fit the model, or the device fails.
    pub fn issue(&mut self, batch: &M::Batch, draws: &Draws) -> Result<Issued> {
        self.forget();
        let issued = self.add(batch, draws)?;
        self.finish()?;
        Ok(issued)
    }

    /// Forgets what has been added since the last [`Step::finish`].
    pub fn forget(&mut self) {
        self.added = None;
    }

    /// Issues a forward and a backward pass, and adds the gradient to what has been added since the
    /// last [`Step::finish`].
    ///
    /// # Errors
    /// If the batch does not fit the model, or the device fails.
    pub fn add(&mut self, batch: &M::Batch, draws: &Draws) -> Result<Issued> {
        let flat = match self.gradient.take() {
            Some(flat) => flat,
            None => self.place(&Tensor::zeros::<f32>([self.layout().len()]))?,
        };
        let mut tape = match self.added {
            None => Tape::with_flat_gradients(flat),
            Some(_) => Tape::adding_to(flat),
        };
        let params = self.model.params().bind(&mut tape);
        let loss = self.model.loss(&mut tape, &params, batch, Some(draws))?;
        let (total, penalty) = match &self.optimizer {
            Optimizer::Cpu(_) => (with_l2(&self.model, &mut tape, &params, &loss)?, None),
            // The optimizer of a GPU adds the gradient of the L2 term, and its value comes from
            // beside the tape.
            Optimizer::Gpu(..) => {
                let beside = besides(&self.model, &mut Tape::inference(), &params, &loss)?;
                (loss.minimised().clone(), beside.map(Var::into_value))
            }
        };
        drop(params);
        let added = self.added.unwrap_or(Added {
            first: loss.tokens,
            tokens: 0,
        });
        let share = loss.tokens as f64 / added.first as f64;
        let seed = match &self.optimizer {
            Optimizer::Cpu(_) => Tensor::scalar(share as f32),
            Optimizer::Gpu(gpu, adam) => adam.seed(gpu, share)?,
        };
        self.gradient = Some(tape.backward(&total, seed)?.into_flat()?);
        self.added = Some(Added {
            tokens: added.tokens + loss.tokens,
            ..added
        });
        Ok(Issued {
            loss,
            total: total.into_value(),
            penalty,
        })
    }

    /// What has been added since the last [`Step::finish`], times tokens, in memory of its own where the
    /// model is: the gradient of the sum over them, on a GPU times its loss scale. None where nothing has
    /// been added.
    pub(super) fn take_sum(&mut self) -> Result<Option<Tensor>> {
        let (Some(added), Some(gradient)) = (self.added.take(), &self.gradient) else {
            return Ok(None);
        };
        let (tokens, n) = (added.first as f32, gradient.numel());
        let Some(gpu) = gradient.gpu() else {
            let gradient = gradient.data::<f32>()?;
            return Ok(Some(Tensor::zeros_with([n], |sum| {
                sum.iter_mut()
                    .zip(gradient)
                    .for_each(|(sum, g)| *sum = g * tokens);
            })));
        };
        let sum = Tensor::on_gpu(gpu, DType::F32, [n])?;
        let mut args = pointers(&[gradient, &sum])?;
        args.extend([Arg::from(tokens), Arg::from(n as u64)]);
        gpu.launch(&Launch::per_element("scale_f32", n as u64), &args)?;
        Ok(Some(sum))
    }

    /// Puts such a sum over `tokens`, of whichever batches, in the place of what has been added.
    pub(super) fn put_sum(&mut self, sum: Tensor, tokens: usize) {
        self.gradient = Some(sum);
        self.added = Some(Added { first: 1, tokens });
    }

    /// Updates the parameters, none of which may be bound any more, with the mean over the tokens of
    /// what has been added, and returns its norm; on a GPU zero, as it is in the optimizer's state.
    ///
    /// # Errors
    /// If nothing has been added, or the device fails.
    pub fn finish(&mut self) -> Result<f64> {
        let nothing = || Error::op("train", "no batch to train on");
        let added = self.added.take().ok_or_else(nothing)?;
        let mut gradient = self.gradient.take().ok_or_else(nothing)?;
        let mean = added.first as f64 / added.tokens as f64;
        let params = self.model.params_mut();
        let norm = match &mut self.optimizer {
            Optimizer::Cpu(adam) => {
                if added.tokens != added.first {
                    let sums = gradient.data_mut::<f32>()?;
                    sums.iter_mut().for_each(|g| *g *= mean as f32);
                }
                if let Some(rate) = self.rates.pop_front() {
                    adam.config.learning_rate = rate;
                }
                adam.update(params, &gradient, self.clip)?.norm
            }
            Optimizer::Gpu(gpu, adam) => {
                adam.update_mean(gpu, params, (&gradient, mean), self.clip)?;
                0.0
            }
        };
        self.gradient = Some(gradient);
        Ok(norm)
    }

    /// The model.
    pub fn model(&self) -> &M {
        &self.model
    }

    /// The seed of everything drawn in training.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The GPU and its optimizer, if the model is on one.
    pub fn gpu(&self) -> Option<(&Arc<Gpu>, &GpuAdam)> {
        match &self.optimizer {
            Optimizer::Cpu(_) => None,
            Optimizer::Gpu(gpu, adam) => Some((gpu, adam)),
        }
    }

    /// Whether products and activations are f16.
    pub fn is_mixed(&self) -> bool {
        self.model.params().half().is_some()
    }

    /// Another model of the same sizes with these weights, where the model is.
    ///
    /// # Errors
    /// If the weights do not fit, or the device fails.
    pub fn placed(&self, mut model: M, weights: &TensorFile) -> Result<M> {
        model.import(weights)?;
        if let Some((gpu, _)) = self.gpu() {
            model.params_mut().to_gpu(gpu, self.is_mixed())?;
        }
        Ok(model)
    }

    /// A tensor where the model is.
    ///
    /// # Errors
    /// If the device fails or has not enough memory.
    pub fn place(&self, t: &Tensor) -> Result<Tensor> {
        match &self.optimizer {
            Optimizer::Cpu(_) => Ok(t.clone()),
            Optimizer::Gpu(gpu, _) => t.to_gpu(gpu),
        }
    }

    pub(super) fn layout(&self) -> &Layout {
        self.model.params().layout()
    }
}
