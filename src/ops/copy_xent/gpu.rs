//! **gpu** A block a row of logits (`kernels/copy_xent.cu`).

use super::Copies;
use crate::autograd::{Backward, Grads, Slot, Tape, Var};
use crate::data::spans::Spans;
use crate::device::Gpu;
use crate::device::driver::{Arg, DevicePtr, Launch};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::gpu::{self, or_null};
use crate::ops::softmax_xent::SoftmaxXent;
use crate::tensor::Tensor;
use std::sync::Arc;

/// Threads of a row.
const THREADS: u32 = 256;

/// What both kernels read.
struct Mixture {
    /// `[N, V]`
    logits: Tensor,
    /// `[N]`
    gate: Tensor,
    /// `[N, S]`, f32.
    alpha: Tensor,
    /// `[M]`
    ids: Tensor,
    /// `[B + 1]`
    offsets: Tensor,
    /// `[N]`
    rows: Tensor,
    positions: usize,
}

/// Gradients that a pass writes, and their scale `[1]`.
struct Gradients<'a> {
    logits: Option<&'a Tensor>,
    gate: Option<&'a Tensor>,
    alpha: Option<&'a Tensor>,
    scale: &'a Tensor,
}

impl Mixture {
    fn new(gpu: &Arc<Gpu>, [logits, gate, alpha]: [&Tensor; 3], copies: Copies) -> Result<Self> {
        let spans: &Spans = copies.spans;
        Ok(Mixture {
            logits: logits.clone(),
            gate: gate.clone(),
            alpha: alpha.clone(),
            ids: copies.ids.clone(),
            offsets: match copies.offsets {
                Some(offsets) => offsets.clone(),
                None => Tensor::from_slice(spans.offsets(), [spans.rows() + 1])?.to_gpu(gpu)?,
            },
            rows: copies.rows.clone(),
            positions: spans.longest(),
        })
    }

    fn launch(&self, gpu: &Gpu, kernel: &str, pointers: &[DevicePtr]) -> Result<()> {
        let (rows, vocab) = (self.logits.shape().rows(), self.logits.shape().last());
        let read = [
            &self.logits,
            &self.gate,
            &self.alpha,
            &self.ids,
            &self.offsets,
            &self.rows,
        ];
        let mut args = gpu::pointers(&read)?;
        args.extend(pointers.iter().map(|&p| Arg::from(p)));
        args.extend([vocab, self.positions].map(|n| Arg::from(n as u32)));
        let kernel = format!("{kernel}_{}", self.logits.dtype());
        gpu.launch(&Launch::new(&kernel, rows as u32, THREADS), &args)
    }

    /// Each row's loss `[N]` and whether it is right `[N]`, both f32.
    fn score(
        &self,
        gpu: &Arc<Gpu>,
        targets: &Tensor,
        gradients: Option<&Gradients>,
    ) -> Result<(Tensor, Tensor)> {
        let rows = self.logits.shape().rows();
        let loss = Tensor::on_gpu(gpu, DType::F32, [rows])?;
        let correct = Tensor::on_gpu(gpu, DType::F32, [rows])?;
        let pointers = [
            targets.ptr()?,
            or_null(gradients.and_then(|g| g.logits))?,
            or_null(gradients.and_then(|g| g.gate))?,
            or_null(gradients.and_then(|g| g.alpha))?,
            loss.ptr()?,
            correct.ptr()?,
            or_null(gradients.map(|g| g.scale))?,
        ];
        self.launch(gpu, "copy_xent", &pointers)?;
        Ok((loss, correct))
    }
}

/// Ids and targets were checked before they were copied to the device. The gradients come from a second
/// pass, since their scale is known only then.
pub(super) fn run(
    gpu: &Arc<Gpu>,
    tape: &mut Tape,
    logits: Var,
    [gate, alpha]: [&Var; 2],
    copies: Copies,
    targets: &Tensor,
) -> Result<SoftmaxXent> {
    let read = [logits.value(), gate.value(), alpha.value()];
    let mixture = Mixture::new(gpu, read, copies)?;
    let (nll, correct) = mixture.score(gpu, targets, None)?;
    let correct = gpu::sum_all(gpu, "sum", &correct, 1.0)?;
    let loss = gpu::sum_all(gpu, "sum", &nll, 1.0 / nll.numel() as f32)?;
    let slots = [logits.slot(), gate.slot(), alpha.slot()];
    drop(logits);
    let loss = tape.output(loss, slots);
    if loss.slot().is_some() {
        tape.push(Node {
            slots,
            mixture,
            targets: targets.clone(),
            loss: loss.slot(),
        });
    }
    let nll = loss.value().clone();
    Ok(SoftmaxXent { loss, nll, correct })
}

/// See [`copy_mixture`](super::copy_mixture()).
pub(super) fn mixture(
    gpu: &Arc<Gpu>,
    logits: &Tensor,
    gate: &Tensor,
    alpha: &Tensor,
    copies: Copies,
) -> Result<Tensor> {
    let (rows, vocab) = (logits.shape().rows(), logits.shape().last());
    let width = vocab + copies.spans.longest();
    let to = Tensor::on_gpu(gpu, DType::F32, [rows, width])?;
    let mixture = Mixture::new(gpu, [logits, gate, alpha], copies)?;
    mixture.launch(gpu, "copy_mixture", &[to.ptr()?])?;
    Ok(to)
}

/// See [`known`](super::known()).
pub(super) fn known(gpu: &Arc<Gpu>, ids: &Tensor, vocab: usize, unknown: u32) -> Result<Tensor> {
    let to = Tensor::on_gpu(gpu, DType::U32, ids.shape().clone())?;
    let mut args = gpu::pointers(&[ids, &to])?;
    args.extend([vocab as u32, unknown].map(Arg::from));
    gpu::per_element(gpu, "copy_known", DType::U32, &args, ids.numel())?;
    Ok(to)
}

// ---- backward ------------------------------------------------------------------------------

struct Node {
    /// Of logits, gate and alpha.
    slots: [Option<Slot>; 3],
    mixture: Mixture,
    targets: Tensor,
    loss: Option<Slot>,
}

impl Backward for Node {
    fn name(&self) -> &'static str {
        "copy_xent"
    }

    fn backward(self: Box<Self>, grads: &mut Grads) -> Result<()> {
        let Some(dloss) = grads.take(self.loss) else {
            return Ok(());
        };
        let mut mixture = self.mixture;
        let gpu = gpu::common("copy_xent", &mixture.logits, &dloss)?.cloned();
        let gpu = gpu.ok_or_else(|| Error::op("copy_xent", "logits in host memory"))?;
        let scale = gpu::scaled(&gpu, &dloss, 1.0 / self.targets.numel() as f32)?;
        let [logits, gate, alpha] = self.slots;
        if logits.is_some() && !mixture.logits.is_unique() {
            mixture.logits = mixture.logits.copy_on_gpu(&gpu)?;
        }
        let like = |slot: Option<Slot>, t: &Tensor| {
            slot.map(|_| Tensor::on_gpu(&gpu, t.dtype(), t.shape().clone()))
                .transpose()
        };
        let (dgate, dalpha) = (like(gate, &mixture.gate)?, like(alpha, &mixture.alpha)?);
        let gradients = Gradients {
            logits: logits.map(|_| &mixture.logits),
            gate: dgate.as_ref(),
            alpha: dalpha.as_ref(),
            scale: &scale,
        };
        mixture.score(&gpu, &self.targets, Some(&gradients))?;
        for (slot, gradient) in [(gate, dgate), (alpha, dalpha)] {
            if let Some(gradient) = gradient {
                grads.add(slot, gradient)?;
            }
        }
        grads.add(logits, mixture.logits)
    }
}
