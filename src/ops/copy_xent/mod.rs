//! **op** The mixture of a pointer-generator and its mean negative log-likelihood, in one node (See,
//! Liu & Manning 2017, equations 8, 9 and 6).
//!
//! ```text
//! g      = sigmoid(z)                                        p_gen
//! A_w    = sum over the source positions j that hold w of alpha_j
//! p(w)   = g softmax(l)_w + (1 - g) A_w                      w in the extended vocabulary
//! loss   = mean over rows of -log p(target)                  [nats]
//! ```
//!
//! The extended vocabulary is the target vocabulary, ids below V, and behind it the unknown tokens of
//! a row's source: softmax(l) has no share of those, A none of what the source does not hold. With
//! r = g softmax(l)_t / p(t), the vocabulary's share in the target t:
//!
//! ```text
//! dl_k     = r (softmax(l)_k - [k = t]) dloss / rows
//! dz       = (g - r) dloss / rows
//! dalpha_j = -[j holds t] (1 - r) / A_t dloss / rows
//! ```
//!
//! All of it is computed from the logarithms of both parts, so a p of any size has a loss and a
//! gradient. Below [`TINY`], where an A of f32 ends, log A goes on as its tangent.
//!
//! **cpu** (`cpu.rs`) Rows in parallel, as [`super::softmax_xent()`]: two passes over V forward, one
//! backward, in place. What the source adds is a sum over its positions.
//!
//! **gpu** (`gpu.rs`, `kernels/copy_xent.cu`) A block a row.

mod cpu;
mod gpu;
mod mixture;

use crate::autograd::{Tape, Var};
use crate::data::spans::Spans;
use crate::error::{Error, Result};
use crate::ops::softmax_xent::SoftmaxXent;
use crate::tensor::{Tensor, for_float};

pub use mixture::{copy_mixture, known};

/// The A below which its logarithm is continued by the tangent: 1 / A is a number in f32 then, also
/// times any loss scale.
pub const TINY: f64 = 1e-30;

/// What can be copied: the source positions of each row of the batch.
#[derive(Clone, Copy, Debug)]
pub struct Copies<'a> {
    /// The extended id of each position `[M]`, those of row b from `spans.start(b)` on.
    pub ids: &'a Tensor,
    /// The row of the batch of each of the N rows `[N]`.
    pub rows: &'a Tensor,
    /// The positions of each row of the batch.
    pub spans: &'a Spans,
    /// The spans' offsets `[B + 1]` on the GPU that holds the ids; without them the op puts them there.
    pub offsets: Option<&'a Tensor>,
}

/// Scores logits `[N, V]`, the gate's logit z `[N]` and attention weights alpha `[N, S]` (f32 on a
/// GPU) against extended targets `[N]`. The logits' memory is reused for their gradient where nobody
/// else holds it.
///
/// # Errors
/// [`Error::Op`] for shapes or data types that do not fit, or a row or target that there is not.
pub fn copy_xent(
    tape: &mut Tape,
    logits: Var,
    gate: &Var,
    alpha: &Var,
    copies: Copies,
    targets: &Tensor,
) -> Result<SoftmaxXent> {
    let [rows, vocab] = check(logits.value(), gate.value(), alpha.value(), copies)?;
    if targets.numel() != rows {
        let targets = targets.numel();
        return fail(format!("{targets} targets for {rows} rows"));
    }
    super::gpu::common("copy_xent", logits.value(), targets)?;
    if let Some(gpu) = logits.value().gpu().cloned() {
        return gpu::run(&gpu, tape, logits, [gate, alpha], copies, targets);
    }
    let extended = vocab + copies.spans.longest();
    let mut ids = targets.data::<u32>()?.iter();
    if let Some(id) = ids.find(|&&id| id as usize >= extended) {
        return fail(format!("target {id} for {extended} extended classes"));
    }
    for_float!("copy_xent", logits.value().dtype(), T => {
        cpu::run::<T>(tape, logits, [gate, alpha], copies, targets)
    })
}

fn fail<T>(message: String) -> Result<T> {
    Err(Error::op("copy_xent", message))
}

/// N and V, where all shapes fit together.
fn check(logits: &Tensor, gate: &Tensor, alpha: &Tensor, copies: Copies) -> Result<[usize; 2]> {
    let &[rows, vocab] = logits.dims() else {
        return fail(format!("logits {} are not [N, V]", logits.shape()));
    };
    let Copies {
        ids,
        rows: of_batch,
        spans,
        offsets,
    } = copies;
    let longest = spans.longest();
    if rows == 0 || gate.numel() != rows || alpha.dims() != [rows, longest] {
        let (logits, gate, alpha) = (logits.shape(), gate.shape(), alpha.shape());
        return fail(format!(
            "gate {gate} and attention weights {alpha} for logits {logits} and up to {longest} positions"
        ));
    }
    if ids.numel() != spans.total() || of_batch.numel() != rows {
        let (ids, of_batch, total) = (ids.numel(), of_batch.numel(), spans.total());
        return fail(format!(
            "{ids} ids of {total} positions, {of_batch} rows of the batch for {rows} rows"
        ));
    }
    if let Some(offsets) = offsets.filter(|o| o.dims() != [spans.rows() + 1]) {
        let (shape, spans) = (offsets.shape(), spans.rows());
        return fail(format!("offsets {shape} of {spans} spans"));
    }
    for other in [gate, alpha, ids, of_batch].into_iter().chain(offsets) {
        super::gpu::common("copy_xent", logits, other)?;
    }
    // Attention weights are f32 on a GPU, whatever the data type of the logits.
    match logits.gpu() {
        Some(_) => super::common::one_dtype("copy_xent", &[logits, gate])?,
        None => {
            super::common::one_dtype("copy_xent", &[logits, gate, alpha])?;
            let batch = spans.rows();
            if let Some(row) = of_batch
                .data::<u32>()?
                .iter()
                .find(|&&b| b as usize >= batch)
            {
                return fail(format!("row {row} of a batch of {batch}"));
            }
        }
    }
    Ok([rows, vocab])
}
