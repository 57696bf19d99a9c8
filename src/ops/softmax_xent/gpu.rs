//! **gpu** One kernel over the rows of logits (`kernels/softmax_xent.cu`).

use super::scored::SoftmaxXent;
use crate::autograd::{Backward, Grads, Slot, Tape, Var};
use crate::device::Gpu;
use crate::device::driver::{Arg, Launch};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::gpu::{self, or_null};
use crate::tensor::Tensor;
use std::sync::Arc;

/// Columns up to which lanes of a warp hold a row, eight each; beyond, a block takes it.
const LANES_COLUMNS: usize = 256;

/// A pass over rows of logits.
pub struct Pass<'a> {
    /// `[N, ld]`
    pub logits: &'a Tensor,
    /// Columns that count.
    pub vocab: usize,
    /// `[V]`, added to each row.
    pub bias: Option<&'a Tensor>,
    /// `[N]`
    pub targets: &'a Tensor,
    /// The share of a target that all classes have together.
    pub smoothing: f64,
    /// Whether the gradient takes the place of the logits, and its scale: a constant, times a scalar.
    pub gradient: Option<(f32, Option<&'a Tensor>)>,
}

/// Figures of rows `[N]`, or their means.
pub struct Figures {
    /// Negative log-likelihood.
    pub nll: Tensor,
    /// The loss with smoothed labels, where they are.
    pub smoothed: Option<Tensor>,
    /// Whether the row is right, or how many are.
    pub correct: Tensor,
}

impl Figures {
    /// What training minimises.
    pub fn loss(&self) -> &Tensor {
        self.smoothed.as_ref().unwrap_or(&self.nll)
    }
}

impl Pass<'_> {
    /// Each row's figures `[N]`, all f32.
    pub fn run(&self, gpu: &Arc<Gpu>) -> Result<Figures> {
        let (rows, ld) = (self.logits.shape().rows(), self.logits.shape().last());
        let nll = Tensor::on_gpu(gpu, DType::F32, [rows])?;
        let correct = Tensor::on_gpu(gpu, DType::F32, [rows])?;
        let smoothed = (self.smoothing > 0.0).then(|| Tensor::on_gpu(gpu, DType::F32, [rows]));
        let smoothed = smoothed.transpose()?;
        let (factor, scale) = self.gradient.unwrap_or((1.0, None));
        let dlogits = self.gradient.map(|_| self.logits);
        let pointers = [
            self.logits.ptr()?,
            or_null(self.bias)?,
            self.targets.ptr()?,
            or_null(dlogits)?,
            nll.ptr()?,
            correct.ptr()?,
            or_null(scale)?,
        ];
        let mut args = pointers.map(Arg::from).to_vec();
        args.push(factor.into());
        args.push(or_null(smoothed.as_ref())?.into());
        args.push((self.smoothing as f32).into());
        args.extend([rows, self.vocab, ld].map(|n| Arg::from(n as u32)));
        let dtype = self.logits.dtype();
        if ld > LANES_COLUMNS {
            let kernel = format!("softmax_xent_block_{dtype}");
            gpu.launch(&Launch::new(&kernel, rows as u32, 256), &args)?;
        } else {
            let lanes = ld.div_ceil(8).next_power_of_two();
            args.push((lanes as u32).into());
            let kernel = format!("softmax_xent_lanes_{dtype}");
            let blocks = (rows * lanes).div_ceil(256);
            gpu.launch(&Launch::new(&kernel, blocks as u32, 256), &args)?;
        }
        Ok(Figures {
            nll,
            smoothed,
            correct,
        })
    }
}

/// The mean losses and the number of right rows of a pass, all f32 scalars.
pub fn means(gpu: &Arc<Gpu>, pass: &Pass) -> Result<Figures> {
    let rows = pass.run(gpu)?;
    let correct = gpu::sum_all(gpu, "sum", &rows.correct, 1.0)?;
    let mean = |t: &Tensor| gpu::sum_all(gpu, "sum", t, 1.0 / t.numel() as f32);
    Ok(Figures {
        nll: mean(&rows.nll)?,
        smoothed: rows.smoothed.as_ref().map(mean).transpose()?,
        correct,
    })
}

/// Targets were checked before they were copied to the device. The gradient comes from a second pass,
/// since its scale is known only then.
pub(super) fn run(
    gpu: &Arc<Gpu>,
    tape: &mut Tape,
    logits: Var,
    targets: &Tensor,
    smoothing: f64,
) -> Result<SoftmaxXent> {
    let pass = Pass {
        logits: logits.value(),
        vocab: logits.value().shape().last(),
        bias: None,
        targets,
        smoothing,
        gradient: None,
    };
    let figures = means(gpu, &pass)?;
    let loss = tape.output(figures.loss().clone(), [logits.slot()]);
    if loss.slot().is_some() {
        tape.push(Node {
            logits_slot: logits.slot(),
            logits: logits.into_value(),
            targets: targets.clone(),
            smoothing,
            loss: loss.slot(),
        });
    }
    let Figures { nll, correct, .. } = figures;
    Ok(SoftmaxXent { loss, nll, correct })
}

// ---- backward ------------------------------------------------------------------------------

struct Node {
    logits_slot: Option<Slot>,
    logits: Tensor,
    targets: Tensor,
    smoothing: f64,
    loss: Option<Slot>,
}

impl Backward for Node {
    fn name(&self) -> &'static str {
        "softmax_xent"
    }

    fn backward(self: Box<Self>, grads: &mut Grads) -> Result<()> {
        let Some(dloss) = grads.take(self.loss) else {
            return Ok(());
        };
        let gpu = gpu::common("softmax_xent", &self.logits, &dloss)?.cloned();
        let gpu = gpu.ok_or_else(|| Error::op("softmax_xent", "logits in host memory"))?;
        let scale = gpu::scaled(&gpu, &dloss, 1.0 / self.targets.numel() as f32)?;
        let mut dlogits = self.logits;
        if !dlogits.is_unique() {
            dlogits = dlogits.copy_on_gpu(&gpu)?;
        }
        let pass = Pass {
            logits: &dlogits,
            vocab: dlogits.shape().last(),
            bias: None,
            targets: &self.targets,
            smoothing: self.smoothing,
            gradient: Some((1.0, Some(&scale))),
        };
        pass.run(&gpu)?;
        grads.add(self.logits_slot, dlogits)
    }
}
