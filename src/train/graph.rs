//! Training steps on a GPU without the host: batches and counters are in device memory, a step is one
//! captured graph, and its figures wait in a ring until they are read.

use super::model::{Draws, Model};
use super::ring::{Ring, SLOTS};
use super::scores::Scores;
use super::step::Step;
use crate::device::driver::Graph;
use crate::device::gpu::Pool;
use crate::device::{Gpu, Recurrence};
use crate::error::Result;
use crate::tensor::Tensor;
use std::sync::Arc;

/// The environment variable that is `off` where steps are to be issued call by call: to compare with
/// the graph, and for tools that see into kernels.
const GRAPH: &str = "RNNX_GRAPH";

/// Where batches come from without the host.
pub trait Feed {
    /// What the model trains on.
    type Batch;

    /// Issues what brings the next batch into the memory of [`Feed::batch`]. `counter` is `[2]` u32
    /// in device memory: batch in the epoch, batch of the run.
    ///
    /// # Errors
    /// If the device fails.
    fn issue(&self, gpu: &Gpu, counter: &Tensor) -> Result<()>;

    /// The batch: the same memory for each of them.
    fn batch(&self) -> &Self::Batch;
}

/// A feed on a GPU, and the captured step that trains on it.
#[derive(Debug)]
pub struct GpuLoop<F> {
    /// First, so that the graph goes before the memory that it uses.
    step: Captured,
    gpu: Arc<Gpu>,
    feed: F,
    ring: Ring,
    /// Batches of a step.
    batches: usize,
    /// Tokens of a batch.
    tokens: usize,
    /// Memory of the step; the graph's once it is captured.
    pool: Pool,
    told: bool,
}

#[derive(Debug)]
enum Captured {
    /// This many steps ran without a graph: two warm the memory up.
    NotYet(u32),
    /// With this way of taking the steps of recurrences in it.
    Graph(Graph, Recurrence),
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
            ring: Ring::new(gpu)?,
            batches: 1,
            tokens: 0,
            pool: Pool::default(),
            told: false,
        })
    }

    /// The same with so many batches a step, whose gradients are added up.
    ///
    /// # Panics
    /// For no batch, and for more than [`SLOTS`].
    #[must_use]
    pub fn accumulating(self, batches: usize) -> Self {
        assert!(
            (1..=SLOTS).contains(&batches),
            "a step has 1 to {SLOTS} batches, not {batches}"
        );
        GpuLoop { batches, ..self }
    }

    /// The same of steps that are timed: there is no run to go on with where one fails.
    #[must_use]
    pub fn measuring(self) -> Self {
        let ring = self.ring.measuring();
        GpuLoop { ring, ..self }
    }

    /// The feed.
    pub fn feed(&self) -> &F {
        &self.feed
    }

    /// Whether a step is one captured graph, or why it is not; none before the third step, which
    /// settles it, and in the two steps after [`Gpu::recurrence`] has become another: the graph of before
    /// is not run again.
    pub fn captured(&self) -> Option<Result<(), &str>> {
        match &self.step {
            Captured::Graph(..) => Some(Ok(())),
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

    /// Sets the counters, which count batches.
    ///
    /// # Errors
    /// If the device fails.
    pub fn begin(&mut self, step_in_epoch: u64, step: u64) -> Result<()> {
        let batches = self.batches as u64;
        self.ring.begin(step_in_epoch * batches, step * batches)
    }

    /// Trains `n` steps from step number `first` of the run, at most as many as [`SLOTS`] batches are,
    /// and returns their figures in order.
    ///
    /// # Errors
    /// If the device fails.
    pub fn run<M>(&mut self, step: &mut Step<M>, first: u64, n: usize) -> Result<Vec<Scores>>
    where
        M: Model<Batch = F::Batch>,
    {
        let n = n.min(SLOTS / self.batches);
        for _ in 0..n {
            self.one(step)?;
        }
        let tokens = vec![self.tokens; n * self.batches];
        let first = first * self.batches as u64;
        let scores = self.ring.read(first, &tokens, step.is_mixed())?;
        let steps = scores.chunks(self.batches).filter_map(Scores::joined);
        Ok(steps.collect())
    }

    fn one<M: Model<Batch = F::Batch>>(&mut self, step: &mut Step<M>) -> Result<()> {
        let gpu = self.gpu.clone();
        let how = gpu.recurrence();
        match &self.step {
            Captured::Graph(graph, of) if *of == how => return gpu.driver().replay(graph),
            // A kernel that it holds has given up. What is issued now takes other memory, which two steps
            // warm up again.
            Captured::Graph(..) => {
                self.step = Captured::NotYet(0);
                self.told = false;
            }
            _ => {}
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
                self.step = Captured::Graph(graph, how);
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

    /// Issues one step, from its batches to the records of their figures, and returns the tokens of a
    /// batch.
    fn issue<M: Model<Batch = F::Batch>>(&self, step: &mut Step<M>) -> Result<usize> {
        let counter = self.ring.counter();
        let mut tokens = 0;
        // A capture that failed may have left something.
        step.forget();
        for left in (0..self.batches).rev() {
            self.feed.issue(&self.gpu, counter)?;
            let draws = Draws::counted(step.seed(), counter.slice(1, [1])?);
            let issued = step.add(self.feed.batch(), &draws)?;
            if left == 0 {
                step.finish()?;
            }
            self.ring.record(step, &issued)?;
            tokens = issued.loss.tokens;
        }
        Ok(tokens)
    }
}
