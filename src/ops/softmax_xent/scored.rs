//! What the op reads besides logits, and what it gives.

use crate::autograd::Var;
use crate::tensor::Tensor;

/// What rows of logits are scored against. A tensor of classes is that without smoothing.
#[derive(Clone, Copy, Debug)]
pub struct Targets<'a> {
    /// The class of each row `[N]`.
    pub ids: &'a Tensor,
    /// The share of a row's target that all V classes have together, each as much, in [0, 1).
    pub smoothing: f64,
}

impl<'a> From<&'a Tensor> for Targets<'a> {
    fn from(ids: &'a Tensor) -> Self {
        Targets {
            ids,
            smoothing: 0.0,
        }
    }
}

/// The loss of a batch and how many rows were predicted right.
#[derive(Debug)]
pub struct SoftmaxXent {
    /// Mean loss in nats, a scalar: the negative log-likelihood, or with label smoothing the
    /// cross-entropy with the smoothed targets.
    pub loss: Var,
    /// Mean negative log-likelihood in nats, a scalar; without label smoothing it is the loss.
    pub nll: Tensor,
    /// Number of rows whose largest logit is the target's (ties go to the lowest index), a
    /// scalar.
    pub correct: Tensor,
}
