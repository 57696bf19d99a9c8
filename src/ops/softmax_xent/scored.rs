//! What the op gives.

use crate::autograd::Var;
use crate::tensor::Tensor;

/// The loss of a batch and how many rows were predicted right.
#[derive(Debug)]
pub struct SoftmaxXent {
    /// Mean negative log-likelihood in nats, a scalar.
    pub loss: Var,
    /// Number of rows whose largest logit is the target's (ties go to the lowest index), a
    /// scalar.
    pub correct: Tensor,
}
