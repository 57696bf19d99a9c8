//! **gpu** A block a row, and for the sums over rows one for some columns of some rows
//! (`kernels/layer_norm.cu`).

use super::Operands;
use crate::autograd::{Backward, GpuTarget, Grads, Slot, Tape, Var};
use crate::device::Gpu;
use crate::device::driver::{Arg, Launch};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::gpu;
use crate::tensor::Tensor;
use std::sync::Arc;

/// Threads of a row.
const THREADS: u32 = 128;

/// Rows that one block of the sums over rows adds up.
const CHUNK: usize = 1024;

pub(super) fn run(
    gpu: &Arc<Gpu>,
    tape: &mut Tape,
    operands: Operands,
    epsilon: f64,
) -> Result<Var> {
    let x = operands.x.value();
    let (rows, columns, dtype) = (x.shape().rows(), x.shape().last(), x.dtype());
    let y = Tensor::on_gpu(gpu, dtype, x.shape().clone())?;
    let moments = Tensor::on_gpu(gpu, DType::F32, [rows, 2])?;
    let (gamma, beta) = (operands.gamma.value(), operands.beta.value());
    let mut args = gpu::pointers(&[x, gamma, beta, &y, &moments])?;
    args.extend([Arg::from(columns as u32), (epsilon as f32).into()]);
    let kernel = format!("layer_norm_fwd_{dtype}");
    gpu.launch(&Launch::new(&kernel, rows as u32, THREADS), &args)?;
    let y = tape.output(y, operands.slots());
    if y.slot().is_some() {
        tape.push(Node {
            slots: operands.slots(),
            x: x.clone(),
            gamma: gamma.clone(),
            moments,
            y: y.slot(),
        });
    }
    Ok(y)
}

// ---- backward ------------------------------------------------------------------------------

struct Node {
    /// Of x, gamma and beta.
    slots: [Option<Slot>; 3],
    x: Tensor,
    gamma: Tensor,
    /// `[rows, 2]` m and r of each row, f32.
    moments: Tensor,
    y: Option<Slot>,
}

impl Backward for Node {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    fn backward(self: Box<Self>, grads: &mut Grads) -> Result<()> {
        let Some(dy) = grads.take(self.y) else {
            return Ok(());
        };
        let gpu = gpu::common("layer_norm", &self.x, &dy)?.cloned();
        let gpu = gpu.ok_or_else(|| Error::op("layer_norm", "rows in host memory"))?;
        let [x_slot, gamma_slot, beta_slot] = self.slots;
        grads.write_gpu(x_slot, &gpu, self.x.dtype(), self.x.shape(), |to| {
            self.rows(&gpu, &dy, to)
        })?;
        if gamma_slot.is_none() && beta_slot.is_none() {
            return Ok(());
        }
        let columns = self.gamma.numel();
        let sums = self.sums(&gpu, &dy)?;
        for (slot, first) in [(gamma_slot, 0), (beta_slot, columns)] {
            grads.add(slot, sums.slice(first, [columns])?)?;
        }
        Ok(())
    }
}

impl Node {
    fn rows(&self, gpu: &Arc<Gpu>, dy: &Tensor, to: GpuTarget) -> Result<()> {
        if to.dtype != self.x.dtype() {
            let message = format!("{} cannot be added to {}", self.x.dtype(), to.dtype);
            return Err(Error::op("gradient", message));
        }
        let mut args = gpu::pointers(&[dy, &self.x, &self.gamma, &self.moments])?;
        args.push(to.ptr.into());
        args.push((self.gamma.numel() as u32).into());
        args.push(u32::from(to.accumulate).into());
        let kernel = format!("layer_norm_bwd_{}", self.x.dtype());
        let rows = self.x.shape().rows() as u32;
        gpu.launch(&Launch::new(&kernel, rows, THREADS), &args)
    }

    /// dgamma and behind it dbeta `[2 N]`, f32: sums over chunks of rows, then over the chunks.
    fn sums(&self, gpu: &Arc<Gpu>, dy: &Tensor) -> Result<Tensor> {
        let (rows, columns) = (self.x.shape().rows(), self.gamma.numel());
        let chunks = rows.div_ceil(CHUNK);
        let partial = Tensor::on_gpu(gpu, DType::F32, [chunks, 2 * columns])?;
        let kernel = format!("layer_norm_sums_{}", self.x.dtype());
        let (lanes, blocks) = gpu::row_lanes(columns);
        let mut launch = Launch::new(&kernel, blocks as u32, gpu::ROW_THREADS as u32);
        launch.grid[1] = chunks as u32;
        let mut args = gpu::pointers(&[dy, &self.x, &self.moments, &partial])?;
        args.extend([rows, columns, CHUNK, lanes].map(|n| Arg::from(n as u32)));
        gpu.launch(&launch, &args)?;
        if chunks == 1 {
            return partial.reshape([2 * columns]);
        }
        let sums = Tensor::on_gpu(gpu, DType::F32, [2 * columns])?;
        gpu::sum_rows(gpu, &partial, chunks, 2 * columns, GpuTarget::of(&sums)?)?;
        Ok(sums)
    }
}
