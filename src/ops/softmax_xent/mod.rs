//! **op** Softmax and mean negative log-likelihood of rows of logits, in one node.
//!
//! ```text
//! loss = mean over rows of (log sum_j exp(l_j) - l_target)     [nats]
//! dl_j = (softmax(l)_j - [j = target]) * dloss / rows
//! ```
//!
//! With label smoothing (Szegedy et al. 2016, section 7; Vaswani et al. 2017, section 5.4) a share e of
//! each target is spread over all V classes evenly, the target's own among them:
//!
//! ```text
//! loss = mean over rows of (log sum_j exp(l_j) - (1 - e) l_target - e mean_j l_j)
//! dl_j = (softmax(l)_j - (1 - e) [j = target] - e / V) * dloss / rows
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
use crate::tensor::for_float;

pub(crate) use cpu::log_sum;
pub use scored::{SoftmaxXent, Targets};

/// Scores logits `[N, V]` against targets `[N]`, as they are or smoothed ([`Targets`]). The logits'
/// memory is reused for their gradient where nobody else holds it.
///
/// # Errors
/// [`Error::Op`] for shapes that do not fit, a target outside V, or a smoothing outside [0, 1).
pub fn softmax_xent<'a>(
    tape: &mut Tape,
    logits: Var,
    targets: impl Into<Targets<'a>>,
) -> Result<SoftmaxXent> {
    let Targets {
        ids: targets,
        smoothing,
    } = targets.into();
    check_smoothing("softmax_xent", smoothing)?;
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
        return gpu::run(&gpu, tape, logits, targets, smoothing);
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
    for_float!("softmax_xent", logits.value().dtype(), T => {
        cpu::run::<T>(tape, logits, targets, smoothing)
    })
}

/// Refuses a share of label smoothing that is none.
pub(super) fn check_smoothing(op: &'static str, smoothing: f64) -> Result<()> {
    match (0.0..1.0).contains(&smoothing) {
        true => Ok(()),
        false => Err(Error::op(
            op,
            format!("the label smoothing {smoothing} is not in [0, 1)"),
        )),
    }
}
