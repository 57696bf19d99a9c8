//! **op** Softmax and mean negative log-likelihood of rows of logits, in one node.
//!
//! ```text
//! loss = mean over rows of (log sum_j exp(l_j) - l_target)     [nats]
//! dl_j = (softmax(l)_j - [j = target]) * dloss / rows
//! ```
//!
//! Both are computed from l - max and sum_j exp(l_j - max): the log-sum itself, rounded, would be
//! as coarse as the largest logit.

pub(super) mod cpu;
pub(super) mod gpu;
mod scored;

use super::gpu::common;
use crate::autograd::{Tape, Var};
use crate::error::{Error, Result};
use crate::tensor::{Tensor, for_float};

pub(crate) use cpu::log_sum;
pub use scored::SoftmaxXent;

/// Scores logits `[N, V]` against targets `[N]`. The logits' memory is reused for their gradient
/// where nobody else holds it.
///
/// # Errors
/// [`Error::Op`] for shapes that do not fit or a target outside V.
pub fn softmax_xent(tape: &mut Tape, logits: Var, targets: &Tensor) -> Result<SoftmaxXent> {
    let &[rows, vocab] = logits.value().dims() else {
        return Err(Error::op(
            "softmax_xent",
            format!("logits {} are not [N, V]", logits.value().shape()),
        ));
    };
    if targets.numel() != rows || rows == 0 {
        return Err(Error::op(
            "softmax_xent",
            format!(
                "{} targets for logits {}",
                targets.numel(),
                logits.value().shape()
            ),
        ));
    }
    if let Some(gpu) = common("softmax_xent", logits.value(), targets)?.cloned() {
        return gpu::run(&gpu, tape, logits, targets);
    }
    if let Some(id) = targets
        .data::<u32>()?
        .iter()
        .find(|&&id| id as usize >= vocab)
    {
        return Err(Error::op(
            "softmax_xent",
            format!("target {id} for {vocab} classes"),
        ));
    }
    for_float!("softmax_xent", logits.value().dtype(), T => cpu::run::<T>(tape, logits, targets))
}
