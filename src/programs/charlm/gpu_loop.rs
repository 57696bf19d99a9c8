//! Training steps on a GPU without the host: the text, the order of windows and the counters are in
//! device memory, a step is one captured graph, and its figures wait in a ring until they are read.

use super::step::CharLmStep;
use crate::device::Gpu;
use crate::device::driver::{Arg, DevicePtr, Graph, Launch};
use crate::device::gpu::Pool;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::gpu::pointers;
use crate::optim::adam_gpu::GpuAdamStep;
use crate::rng::{Purpose, Stream};
use crate::tensor::Tensor;
use crate::train::scores::Scores;
use std::sync::Arc;

/// Steps whose figures the ring holds.
pub const SLOTS: usize = 64;
/// Words of a slot: see `kernels/batch.cu`.
const SLOT_WORDS: usize = 16;
/// First word of the optimizer's state in a slot.
const STATE: usize = 8;

/// The feed of a training run, and its captured step.
#[derive(Debug)]
pub struct GpuLoop {
    gpu: Arc<Gpu>,
    seq_length: usize,
    batch_size: usize,
    /// Ids of the training text, one a byte.
    text: Tensor,
    /// Windows in the epoch's order.
    order: Tensor,
    /// Step in the epoch, step of the run.
    counter: Tensor,
    inputs: Tensor,
    targets: Tensor,
    ring: Tensor,
    /// Memory of the step; the graph's once it is captured.
    pool: Pool,
    step: Captured,
    told: bool,
}

#[derive(Debug)]
enum Captured {
    /// This many steps ran without a graph: two warm the memory up.
    NotYet(u32),
    Graph(Graph),
    /// The driver could not capture, for this reason; each step is issued anew.
    Never(String),
}

impl GpuLoop {
    /// Copies the training text `text` (an id a byte), of `windows` windows, to the model's GPU.
    /// None if the model is on the CPU.
    ///
    /// # Errors
    /// If the device fails or has not enough memory.
    pub fn new(
        step: &CharLmStep,
        text: &[u8],
        windows: usize,
        seq_length: usize,
        batch_size: usize,
    ) -> Result<Option<Self>> {
        let Some((gpu, _)) = step.gpu() else {
            return Ok(None);
        };
        let words = |n: usize| Tensor::on_gpu(gpu, DType::U32, [n]);
        let mut padded = text.to_vec();
        padded.resize(text.len().next_multiple_of(4), 0);
        let on_gpu = words(padded.len() / 4)?;
        gpu.driver().upload(on_gpu.ptr()?, &padded)?;
        Ok(Some(GpuLoop {
            gpu: gpu.clone(),
            seq_length,
            batch_size,
            text: on_gpu,
            order: words(windows)?,
            counter: words(2)?,
            inputs: Tensor::on_gpu(gpu, DType::U32, [seq_length, batch_size])?,
            targets: Tensor::on_gpu(gpu, DType::U32, [seq_length, batch_size])?,
            ring: Tensor::on_gpu(gpu, DType::F32, [SLOTS, SLOT_WORDS])?,
            pool: Pool::default(),
            step: Captured::NotYet(0),
            told: false,
        }))
    }

    /// Whether a step is one captured graph; none before the third step, which settles it.
    pub fn is_captured(&self) -> Option<bool> {
        match self.step {
            Captured::Graph(_) => Some(true),
            Captured::Never(_) => Some(false),
            Captured::NotYet(_) => None,
        }
    }

    /// A line for the log once it is settled whether a step is one captured graph.
    pub fn news(&mut self) -> Option<String> {
        let line = match &self.step {
            Captured::Graph(_) => "step: one captured graph".into(),
            Captured::Never(why) => format!("step: no graph, kernels one by one ({why})"),
            Captured::NotYet(_) => return None,
        };
        (!std::mem::replace(&mut self.told, true)).then_some(line)
    }

    /// Sets the order of the epoch's windows and the counters.
    ///
    /// # Errors
    /// If the order has more windows than the text, or the device fails.
    pub fn begin(&mut self, order: &[u32], step_in_epoch: u64, step: u64) -> Result<()> {
        if order.len() > self.order.numel() {
            let message = format!("{} windows of {}", order.len(), self.order.numel());
            return Err(Error::op("epoch", message));
        }
        let driver = self.gpu.driver();
        driver.upload(self.order.ptr()?, bytemuck::cast_slice(order))?;
        let counter = [step_in_epoch as u32, step as u32];
        driver.upload(self.counter.ptr()?, bytemuck::cast_slice(&counter))
    }

    /// Trains `n` steps from step number `first` of the run, at most [`SLOTS`], and returns their
    /// figures in order.
    ///
    /// # Errors
    /// If the device fails.
    pub fn run(&mut self, step: &mut CharLmStep, first: u64, n: usize) -> Result<Vec<Scores>> {
        for _ in 0..n.min(SLOTS) {
            self.one(step)?;
        }
        let ring = self.ring.to_cpu()?;
        let ring = ring.data::<f32>()?;
        let slots = (first..first + n.min(SLOTS) as u64).map(|s| (s as u32 as usize) % SLOTS);
        Ok(slots
            .map(|slot| {
                let words = &ring[slot * SLOT_WORDS..][..SLOT_WORDS];
                let [ce, penalty, correct] = [words[0], words[1], words[2]].map(f64::from);
                let mut scores = Scores {
                    loss: ce + penalty,
                    ce,
                    correct: correct as usize,
                    tokens: (self.seq_length * self.batch_size) as f64,
                    grad_norm: 0.0,
                    scaler: None,
                    skipped: false,
                };
                scores.add_optimizer(GpuAdamStep::from_words(&words[STATE..]), step.is_mixed());
                scores
            })
            .collect())
    }

    fn one(&mut self, step: &mut CharLmStep) -> Result<()> {
        let gpu = self.gpu.clone();
        if let Captured::Graph(graph) = &self.step {
            return gpu.driver().replay(graph);
        }
        let mut pool = std::mem::take(&mut self.pool);
        let result = gpu.with_pool(&mut pool, || match self.step {
            Captured::NotYet(2) => gpu.driver().capture(&mut || self.issue(step)).map(Some),
            _ => self.issue(step).map(|()| None),
        });
        self.pool = pool;
        match (result, &mut self.step) {
            (Ok(None), Captured::NotYet(n)) => *n += 1,
            (Ok(None), _) => {}
            (Ok(Some(graph)), _) => {
                gpu.driver().replay(&graph)?;
                self.step = Captured::Graph(graph);
            }
            // A capture that fails has run nothing: the step is issued as before.
            (Err(e), Captured::NotYet(2)) => {
                self.step = Captured::Never(e.to_string());
                return self.one(step);
            }
            (Err(e), _) => return Err(e),
        }
        Ok(())
    }

    /// Issues one step, from the batch to the record of its figures.
    fn issue(&self, step: &mut CharLmStep) -> Result<()> {
        let positions = (self.seq_length * self.batch_size).div_ceil(256) as u32;
        let tensors = [
            &self.text,
            &self.order,
            &self.counter,
            &self.inputs,
            &self.targets,
        ];
        let mut args = pointers(&tensors)?;
        args.extend([self.seq_length, self.batch_size].map(|n| Arg::from(n as u32)));
        self.gpu
            .launch(&Launch::new("batch_char", positions, 256), &args)?;

        let stream = Stream::new(step.seed(), Purpose::Dropout, 0);
        let counter = self.counter.slice(1, [1])?;
        let issued = step.issue(&self.inputs, &self.targets, stream, Some(counter))?;

        let (_, adam) = step
            .gpu()
            .ok_or_else(|| Error::op("train", "the model left its GPU"))?;
        let penalty = issued
            .penalty
            .as_ref()
            .map_or(Ok(DevicePtr::NULL), Tensor::ptr)?;
        let (ce, correct) = (issued.loss.ce.value().ptr()?, issued.loss.correct.ptr()?);
        let mut args = [ce, penalty, correct].map(Arg::from).to_vec();
        args.extend(pointers(&[adam.state(), &self.ring, &self.counter])?);
        args.push((SLOTS as u32).into());
        self.gpu.launch(&Launch::new("batch_record", 1, 32), &args)
    }
}
