//! What training asks of a model.

use crate::autograd::{Tape, Var};
use crate::error::Result;
use crate::files::tensors::TensorFile;
use crate::nn::{Bound, ParamId, Params, torch_names};
use crate::ops::softmax_xent::SoftmaxXent;
use crate::rng::{Purpose, Stream};
use crate::tensor::Tensor;

/// A model that [`Step`](super::step::Step) can train: its parameters, and its loss on a tape.
pub trait Model {
    /// What one step trains on, in the memory of the model's device.
    type Batch;

    /// The parameters.
    fn params(&self) -> &Params;

    /// The parameters, to be changed. No tape that holds them may be alive.
    fn params_mut(&mut self) -> &mut Params;

    /// The loss of a batch. `draws` has the random numbers of a training step; without it the batch
    /// is scored: no dropout, nothing drawn.
    ///
    /// # Errors
    /// If the batch does not fit the model, or the device fails.
    fn loss(
        &self,
        tape: &mut Tape,
        params: &Bound,
        batch: &Self::Batch,
        draws: Option<&Draws>,
    ) -> Result<Loss>;

    /// Parameters whose sum of squares is part of the loss in training, each with its factor.
    fn l2(&self) -> Vec<(ParamId, f64)> {
        Vec::new()
    }

    /// The weights under torch's names.
    ///
    /// # Errors
    /// If the parameters are not f32, or the device fails.
    fn export(&self) -> Result<TensorFile> {
        torch_names::export(self.params())
    }

    /// Takes weights under torch's names.
    ///
    /// # Errors
    /// If a tensor is missing, unexpected, or of another shape.
    fn import(&mut self, file: &TensorFile) -> Result<()> {
        torch_names::import(self.params_mut(), file)
    }
}

/// The loss of a batch.
#[derive(Debug)]
pub struct Loss {
    /// Mean cross-entropy in nats a token, a scalar: the negative log-likelihood.
    pub ce: Var,
    /// What a step minimises in place of that, a scalar, where labels are smoothed.
    pub smoothed: Option<Var>,
    /// Number of tokens predicted right, a u32 scalar.
    pub correct: Tensor,
    /// Tokens of the batch.
    pub tokens: usize,
}

impl Loss {
    /// The loss of what an output layer scored.
    pub fn of(scored: SoftmaxXent, tokens: usize, is_smoothed: bool) -> Self {
        let SoftmaxXent { loss, nll, correct } = scored;
        let (ce, smoothed) = match is_smoothed {
            true => (Var::constant(nll), Some(loss)),
            false => (loss, None),
        };
        Loss {
            ce,
            smoothed,
            correct,
            tokens,
        }
    }

    /// What a step minimises, but for the L2 term.
    pub fn minimised(&self) -> &Var {
        self.smoothed.as_ref().unwrap_or(&self.ce)
    }
}

/// The random numbers of a training step. They depend on seed and step alone.
#[derive(Clone, Debug)]
pub struct Draws {
    seed: u64,
    step: u32,
    counter: Option<Tensor>,
}

impl Draws {
    /// Those of step number `step`.
    pub fn new(seed: u64, step: u64) -> Self {
        Draws {
            seed,
            step: step as u32,
            counter: None,
        }
    }

    /// Those of the step that a counter in device memory stands at, a `[1]` u32: for steps that a
    /// GPU repeats without the host.
    pub fn counted(seed: u64, counter: Tensor) -> Self {
        Draws {
            seed,
            step: 0,
            counter: Some(counter),
        }
    }

    /// The same, where a GPU has the step in memory as well, a `[1]` u32: it need not be given it.
    #[must_use]
    pub fn counted_in(self, counter: Tensor) -> Self {
        Draws {
            counter: Some(counter),
            ..self
        }
    }

    /// The random words for one purpose.
    pub fn stream(&self, purpose: Purpose) -> Stream {
        Stream::new(self.seed, purpose, self.step)
    }

    /// In place of the stream's step, where a GPU counts the steps itself: `[1]` u32.
    pub fn counter(&self) -> Option<&Tensor> {
        self.counter.as_ref()
    }
}
