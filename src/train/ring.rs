//! The figures of batches on a GPU. They wait in device memory until several are read at once, so that
//! the host issues the next batch while the last one still runs.

use super::model::{Draws, Model};
use super::scores::Scores;
use super::step::{Issued, Step};
use crate::device::Gpu;
use crate::device::driver::{Arg, Launch};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::gpu::{or_null, pointers};
use crate::optim::adam_gpu::{GpuAdamStep, RATES};
use crate::tensor::Tensor;
use std::sync::Arc;

/// Batches whose figures there is room for: as many as steps have learning rates of their own.
pub const SLOTS: usize = RATES;
/// Words of a slot: see `kernels/batch.cu`.
const SLOT_WORDS: usize = 16;
/// First word of the optimizer's state in a slot.
const STATE: usize = 8;

/// The figures of the last batches.
#[derive(Debug)]
pub struct Ring {
    gpu: Arc<Gpu>,
    counter: Tensor,
    slots: Tensor,
    /// What says that a kernel has given up, and what to do then.
    check: fn(&Gpu) -> Result<()>,
}

impl Ring {
    /// No figures yet.
    ///
    /// # Errors
    /// If the device has not enough memory.
    pub fn new(gpu: &Arc<Gpu>) -> Result<Self> {
        Ok(Ring {
            gpu: gpu.clone(),
            counter: Tensor::on_gpu(gpu, DType::U32, [2])?,
            slots: Tensor::on_gpu(gpu, DType::F32, [SLOTS, SLOT_WORDS])?,
            check: Gpu::check_fault,
        })
    }

    /// The same of a measurement: see [`Gpu::check_measured`].
    #[must_use]
    pub fn measuring(self) -> Self {
        let check = Gpu::check_measured;
        Ring { check, ..self }
    }

    /// The batch in the epoch and the batch of the run in device memory, `[2]` u32: [`Ring::record`]
    /// moves them on.
    pub fn counter(&self) -> &Tensor {
        &self.counter
    }

    /// Sets the counters.
    ///
    /// # Errors
    /// If the device fails.
    pub fn begin(&self, batch_in_epoch: u64, batch: u64) -> Result<()> {
        let counter = [batch_in_epoch as u32, batch as u32];
        let driver = self.gpu.driver();
        driver.upload(self.counter.ptr()?, bytemuck::cast_slice(&counter))
    }

    /// The random numbers of batch number `batch`, at which the counter stands.
    pub fn draws(&self, seed: u64, batch: u64) -> Draws {
        Draws::new(seed, batch).counted_in(self.counter.part(1, [1]))
    }

    /// Issues the record of the figures of what `step` issued, and counts it.
    ///
    /// # Errors
    /// If the device fails.
    pub fn record<M: Model>(&self, step: &Step<M>, issued: &Issued) -> Result<()> {
        let gone = || Error::op("train", "the model left its GPU");
        let (_, adam) = step.gpu().ok_or_else(gone)?;
        let penalty = or_null(issued.penalty.as_ref())?;
        let (ce, correct) = (issued.loss.ce.value().ptr()?, issued.loss.correct.ptr()?);
        let mut args = [ce, penalty, correct].map(Arg::from).to_vec();
        args.extend(pointers(&[adam.state(), &self.slots, &self.counter])?);
        args.push((SLOTS as u32).into());
        self.gpu.launch(&Launch::new("batch_record", 1, 32), &args)
    }

    /// Waits for the device, and returns the figures of the batches from number `first` of the run on,
    /// which had so many tokens each; at most [`SLOTS`] batches.
    ///
    /// # Errors
    /// If the device fails.
    pub fn read(&self, first: u64, tokens: &[usize], mixed: bool) -> Result<Vec<Scores>> {
        (self.check)(&self.gpu)?;
        let slots = self.slots.to_cpu()?;
        let slots = slots.data::<f32>()?;
        let scores = (first..).zip(tokens).map(|(batch, &tokens)| {
            let words = &slots[(batch as u32 as usize) % SLOTS * SLOT_WORDS..][..SLOT_WORDS];
            let [ce, penalty, correct] = [words[0], words[1], words[2]].map(f64::from);
            let mut scores = Scores {
                loss: ce + penalty,
                ce,
                correct: correct as usize,
                tokens: tokens as f64,
                ..Scores::default()
            };
            scores.add_optimizer(GpuAdamStep::from_words(&words[STATE..]), mixed);
            scores
        });
        Ok(scores.collect())
    }
}
