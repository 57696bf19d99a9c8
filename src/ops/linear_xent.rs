//! **op** The output layer of a model and its loss, in one node.
//!
//! ```text
//! l    = x W^T + b                                             [N, V]
//! loss = mean over rows of (log sum_j exp(l_j) - l_target)     [nats]
//! ```
//!
//! or with smoothed labels, as [`softmax_xent`](super::softmax_xent()).
//!
//! **cpu** The three ops one after the other.
//!
//! **gpu** (`kernels/softmax_xent.cu`) The logits are never seen from outside, so their rows are as
//! long as the products like them (a multiple of 8 elements, 16 bytes of f16: else cuBLAS has no kernel
//! with bulk loads and warp-group products for them), the bias is added where they are read, and they
//! are read once: the same pass leaves p - y in their place (y is one at the target, or the smoothed
//! label). What else the gradient of a logit is multiplied with, the gradient of the mean loss and 1 / N,
//! is one number, the factor of the products that follow.

use super::gpu::{self, GpuMat};
use super::softmax_xent::gpu::{Figures, Pass, means};
use super::softmax_xent::{SoftmaxXent, Targets, check_smoothing, softmax_xent};
use super::{add_bias, common, matmul};
use crate::autograd::{Backward, Grads, Slot, Tape, Var};
use crate::device::Gpu;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use std::sync::Arc;

/// Elements that a row of logits is a multiple of.
const ROW: usize = 8;

/// What p - y is multiplied with in memory, so that a p down to 6e-8 is a normal f16.
const GAIN: f32 = 1024.0;

/// Scores x `[.., H]`, projected by weight `[V, H]` and bias `[V]`, against targets `[N]`, where N is
/// the number of rows of x; as they are or smoothed ([`Targets`]).
///
/// # Errors
/// [`Error::Op`] for shapes or data types that do not fit, a target outside V, or a smoothing outside
/// [0, 1).
pub fn linear_xent<'a>(
    tape: &mut Tape,
    x: &Var,
    weight: &Var,
    bias: &Var,
    targets: impl Into<Targets<'a>>,
) -> Result<SoftmaxXent> {
    let targets = targets.into();
    let Some(gpu) = gpu::common("linear_xent", x.value(), weight.value())?.cloned() else {
        let logits = matmul(tape, x, weight, false, true)?;
        let logits = add_bias(tape, logits, bias)?;
        return softmax_xent(tape, logits, targets);
    };
    let Targets {
        ids: targets,
        smoothing,
    } = targets;
    check_smoothing("linear_xent", smoothing)?;
    let (rows, vocab) = check(x.value(), weight.value(), bias.value(), targets)?;
    let wanted = tape.is_recording() && [x, weight, bias].iter().any(|v| v.slot().is_some());
    let logits = project(&gpu, x.value(), weight.value(), [rows, vocab])?;
    let pass = Pass {
        logits: &logits,
        vocab,
        bias: Some(bias.value()),
        targets,
        smoothing,
        gradient: wanted.then_some((GAIN, None)),
    };
    let figures = means(&gpu, &pass)?;
    let slots = [x.slot(), weight.slot(), bias.slot()];
    let loss = tape.output(figures.loss().clone(), slots);
    if loss.slot().is_some() {
        tape.push(Node {
            x: x.clone(),
            weight: weight.clone(),
            bias: bias.clone(),
            errors: logits,
            loss: loss.slot(),
        });
    }
    let Figures { nll, correct, .. } = figures;
    Ok(SoftmaxXent { loss, nll, correct })
}

/// N and V.
fn check(x: &Tensor, weight: &Tensor, bias: &Tensor, targets: &Tensor) -> Result<(usize, usize)> {
    let fail = |message: String| Err(Error::op("linear_xent", message));
    let &[vocab, inputs] = weight.dims() else {
        return fail(format!("weight {} is not [V, H]", weight.shape()));
    };
    if x.shape().last() != inputs || bias.dims() != [vocab] {
        return fail(format!(
            "x {} and bias {} for weight {}",
            x.shape(),
            bias.shape(),
            weight.shape()
        ));
    }
    let rows = x.shape().rows();
    if targets.numel() != rows || rows == 0 || vocab == 0 {
        return fail(format!(
            "{} targets for {rows} rows and {vocab} classes",
            targets.numel()
        ));
    }
    for other in [bias, targets] {
        gpu::common("linear_xent", x, other)?;
    }
    common::one_dtype("linear_xent", &[x, weight, bias])?;
    Ok((rows, vocab))
}

// ---- gpu -----------------------------------------------------------------------------------

/// x W^T `[N, V]`, in rows of V rounded up to [`ROW`].
fn project(gpu: &Arc<Gpu>, x: &Tensor, weight: &Tensor, size: [usize; 2]) -> Result<Tensor> {
    let ld = size[1].next_multiple_of(ROW);
    let logits = Tensor::on_gpu(gpu, x.dtype(), [size[0], ld])?;
    let (x, weight) = (GpuMat::of(x, false)?, GpuMat::of(weight, true)?);
    gpu::gemm_columns(gpu, x, weight, (logits.ptr()?, ld), logits.dtype(), false)?;
    Ok(logits)
}

// ---- backward ------------------------------------------------------------------------------

struct Node {
    x: Var,
    weight: Var,
    bias: Var,
    /// GAIN (p - y) `[N, ld]`
    errors: Tensor,
    loss: Option<Slot>,
}

impl Backward for Node {
    fn name(&self) -> &'static str {
        "linear_xent"
    }

    /// With e = p - y and d = dloss / N: dx = d e W, dW = d e^T x, db = d sum of e's rows.
    fn backward(self: Box<Self>, grads: &mut Grads) -> Result<()> {
        let Some(dloss) = grads.take(self.loss) else {
            return Ok(());
        };
        let Node {
            x,
            weight,
            bias,
            errors,
            ..
        } = *self;
        let gpu = gpu::common("linear_xent", &errors, &dloss)?.cloned();
        let gpu = gpu.ok_or_else(|| Error::op("linear_xent", "logits in host memory"))?;
        let (rows, vocab) = (errors.shape().rows(), weight.value().shape().rows());
        let factor = gpu::scaled(&gpu, &dloss, 1.0 / (rows as f32 * GAIN))?;
        let factor = Some(factor.ptr()?);
        let e = |transposed| Ok::<_, Error>(GpuMat::of(&errors, transposed)?.columns(0, vocab));
        let (dtype, inputs) = (errors.dtype(), weight.value().shape().last());
        grads.write_gpu(x.slot(), &gpu, dtype, x.value().shape(), |to| {
            let w = GpuMat::of(weight.value(), false)?;
            gpu::gemm_times(
                &gpu,
                factor,
                e(false)?,
                w,
                (to.ptr, inputs),
                to.dtype,
                to.accumulate,
            )
        })?;
        grads.write_gpu(weight.slot(), &gpu, dtype, weight.value().shape(), |to| {
            let x = GpuMat::of(x.value(), false)?;
            gpu::gemm_times(
                &gpu,
                factor,
                e(true)?,
                x,
                (to.ptr, inputs),
                to.dtype,
                to.accumulate,
            )
        })?;
        let sums = gpu::RowSums {
            x: &errors,
            columns: vocab,
            factor,
        };
        let shape = bias.value().shape();
        grads.write_gpu(bias.slot(), &gpu, DType::F32, shape, |to| {
            sums.write(&gpu, to)
        })
    }
}
