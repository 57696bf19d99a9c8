//! Training steps on a GPU without the host: batches and counters are in device memory, a step is one
//! captured graph, and its figures wait in a ring until they are read.

use super::model::{Draws, Model};
use super::scores::Scores;
use super::step::Step;
use crate::device::Gpu;
use crate::device::driver::{Arg, DevicePtr, Graph, Launch};
use crate::device::gpu::Pool;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::gpu::pointers;
use crate::optim::adam_gpu::GpuAdamStep;
use crate::tensor::Tensor;
use std::sync::Arc;

/// The environment variable that is `off` where steps are to be issued call by call: to compare with
/// the graph, and for tools that see into kernels.
const GRAPH: &str = "RNNX_GRAPH";
/// Steps whose figures the ring holds.
pub const SLOTS: usize = 64;
/// Words of a slot: see `kernels/batch.cu`.
const SLOT_WORDS: usize = 16;
/// First word of the optimizer's state in a slot.
const STATE: usize = 8;

/// Where batches come from without the host.
pub trait Feed {
    /// What the model trains on.
    type Batch;

    /// Issues what brings the next batch into the memory of [`Feed::batch`]. `counter` is `[2]` u32
    /// in device memory: step in the epoch, step of the run.
    ///
    /// # Errors
    /// If the device fails.
    fn issue(&self, gpu: &Gpu, counter: &Tensor) -> Result<()>;

    /// The batch: the same memory for every step.
    fn batch(&self) -> &Self::Batch;
}

/// A feed on a GPU, and the captured step that trains on it.
#[derive(Debug)]
pub struct GpuLoop<F> {
    /// First, so that the graph goes before the memory that it uses.
    step: Captured,
    gpu: Arc<Gpu>,
    feed: F,
    /// Step in the epoch, step of the run.
    counter: Tensor,
    ring: Tensor,
    /// Tokens of a step.
    tokens: usize,
    /// Memory of the step; the graph's once it is captured.
    pool: Pool,
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

impl<F: Feed> GpuLoop<F> {
    /// A loop over `feed`, whose batches are in the memory of `gpu`.
    ///
    /// # Errors
    /// If the device fails or has not enough memory.
    pub fn new(gpu: &Arc<Gpu>, feed: F) -> Result<Self> {
        let is_off = std::env::var_os(GRAPH).is_some_and(|word| word == "off");
        let step = match is_off {
            true => Captured::Never(format!("{GRAPH}=off")),
            false => Captured::NotYet(0),
        };
        Ok(GpuLoop {
            step,
            gpu: gpu.clone(),
            feed,
            counter: Tensor::on_gpu(gpu, DType::U32, [2])?,
            ring: Tensor::on_gpu(gpu, DType::F32, [SLOTS, SLOT_WORDS])?,
            tokens: 0,
            pool: Pool::default(),
            told: false,
        })
    }

    /// The feed.
    pub fn feed(&self) -> &F {
        &self.feed
    }

    /// Whether a step is one captured graph, or why it is not; none before the third step, which
    /// settles it.
    pub fn captured(&self) -> Option<Result<(), &str>> {
        match &self.step {
            Captured::Graph(_) => Some(Ok(())),
            Captured::Never(why) => Some(Err(why)),
            Captured::NotYet(_) => None,
        }
    }

    /// A line for the log once it is settled whether a step is one captured graph.
    pub fn news(&mut self) -> Option<String> {
        let line = match self.captured()? {
            Ok(()) => "step: one captured graph".into(),
            Err(why) => format!("step: no graph, kernels one by one ({why})"),
        };
        (!std::mem::replace(&mut self.told, true)).then_some(line)
    }

    /// Sets the counters.
    ///
    /// # Errors
    /// If the device fails.
    pub fn begin(&mut self, step_in_epoch: u64, step: u64) -> Result<()> {
        let counter = [step_in_epoch as u32, step as u32];
        let driver = self.gpu.driver();
        driver.upload(self.counter.ptr()?, bytemuck::cast_slice(&counter))
    }

    /// Trains `n` steps from step number `first` of the run, at most [`SLOTS`], and returns their
    /// figures in order.
    ///
    /// # Errors
    /// If the device fails.
    pub fn run<M>(&mut self, step: &mut Step<M>, first: u64, n: usize) -> Result<Vec<Scores>>
    where
        M: Model<Batch = F::Batch>,
    {
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
                    tokens: self.tokens as f64,
                    grad_norm: 0.0,
                    scaler: None,
                    skipped: false,
                };
                scores.add_optimizer(GpuAdamStep::from_words(&words[STATE..]), step.is_mixed());
                scores
            })
            .collect())
    }

    fn one<M: Model<Batch = F::Batch>>(&mut self, step: &mut Step<M>) -> Result<()> {
        let gpu = self.gpu.clone();
        if let Captured::Graph(graph) = &self.step {
            return gpu.driver().replay(graph);
        }
        let mut pool = std::mem::take(&mut self.pool);
        let mut tokens = 0;
        let result = gpu.with_pool(&mut pool, || {
            let mut issue = || {
                tokens = self.issue(step)?;
                Ok(())
            };
            match self.step {
                Captured::NotYet(2) => gpu.driver().capture(&mut issue).map(Some),
                _ => issue().map(|()| None),
            }
        });
        self.tokens = tokens;
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

    /// Issues one step, from the batch to the record of its figures, and returns its tokens.
    fn issue<M: Model<Batch = F::Batch>>(&self, step: &mut Step<M>) -> Result<usize> {
        self.feed.issue(&self.gpu, &self.counter)?;
        let draws = Draws::counted(step.seed(), self.counter.slice(1, [1])?);
        let issued = step.issue(self.feed.batch(), &draws)?;
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
        self.gpu
            .launch(&Launch::new("batch_record", 1, 32), &args)?;
        Ok(issued.loss.tokens)
    }
}
