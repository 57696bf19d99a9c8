//! The figures of a batch.

use crate::files::state::LossScaler;
use crate::optim::adam_gpu::GpuAdamStep;

/// The figures of one batch.
#[derive(Clone, Copy, Debug)]
pub struct Scores {
    /// Loss in nats a token, L2 included.
    pub loss: f64,
    /// Cross-entropy in nats a token.
    pub ce: f64,
    /// Tokens predicted right.
    pub correct: usize,
    /// Tokens that the figures are of.
    pub tokens: f64,
    /// Norm of the gradient over all tensors, before clipping; not finite after a bad step, which
    /// then changed nothing. Zero where there was no backward pass.
    pub grad_norm: f64,
    /// The loss scale of the next step and its counters, in mixed precision.
    pub scaler: Option<LossScaler>,
    /// The step changed nothing but the loss scale, for an overflow of f16.
    pub skipped: bool,
}

impl Scores {
    /// Takes over what the optimizer of a GPU left.
    pub(crate) fn add_optimizer(&mut self, left: GpuAdamStep, mixed: bool) {
        self.grad_norm = left.norm;
        if mixed {
            self.scaler = Some(left.scaler);
            self.skipped = left.skipped;
        }
    }
}
