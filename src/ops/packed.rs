//! Packed rows in device memory: what the recurrent layers have in common on a GPU.
//!
//! The rows of one step are contiguous, so a step is a product over its active rows alone. Rows of
//! another order (where each sequence ends, or the step before) are gathered by their numbers; for
//! sequences of one length they are contiguous too, and nothing is gathered or uploaded.

use super::gpu::{self, GpuMat};
use crate::data::packing::Packing;
use crate::device::Gpu;
use crate::device::driver::{Arg, DevicePtr, Launch};
use crate::dtype::DType;
use crate::error::Result;
use crate::ops::cast::convert;
use crate::tensor::Tensor;
use std::sync::Arc;

/// The address of packed row `row` of a tensor that has N rows.
///
/// # Errors
/// If the tensor is in host memory.
pub(super) fn row_at(t: &Tensor, packing: &Packing, row: usize) -> Result<DevicePtr> {
    let bytes = t.numel() / packing.rows() * t.dtype().size();
    Ok(t.ptr()?.offset(row * bytes))
}

/// A matrix of whole rows.
pub(super) fn matrix(ptr: DevicePtr, dtype: DType, rows: usize, columns: usize) -> GpuMat {
    GpuMat {
        ptr,
        dtype,
        stored: (rows, columns),
        transposed: false,
    }
}

/// The row of x `[N, H]` at each sequence's last element: a copy `[B, H]`.
///
/// # Errors
/// If the device fails.
pub(super) fn last_rows(gpu: &Arc<Gpu>, x: &Tensor, packing: &Packing) -> Result<Tensor> {
    let (steps, batch, width) = (packing.steps(), packing.batch(), x.shape().last());
    if packing.is_uniform() {
        let first = packing.offset(steps - 1) * width;
        return x.slice(first, [batch, width])?.copy_on_gpu(gpu);
    }
    // The sequences that end at step t are the last of its active rows; longest first.
    let ends = |t: usize| (packing.active(t + 1)..packing.active(t)).map(move |b| (t, b));
    let rows = (0..steps).rev().flat_map(ends);
    gather(gpu, x, rows.map(|(t, b)| packing.offset(t) + b))
}

/// For each packed row from step 1 on, the row of x `[N, H]` one step before: `[N - B, H]`. May
/// share the memory of x. There must be a step 1.
///
/// # Errors
/// If the device fails.
pub(super) fn rows_before(gpu: &Arc<Gpu>, x: &Tensor, packing: &Packing) -> Result<Tensor> {
    let width = x.shape().last();
    if packing.is_uniform() {
        return x.slice(0, [packing.rows() - packing.batch(), width]);
    }
    let before = |t: usize| packing.offset(t - 1)..packing.offset(t - 1) + packing.active(t);
    gather(gpu, x, (1..packing.steps()).flat_map(before))
}

fn gather(gpu: &Arc<Gpu>, x: &Tensor, rows: impl Iterator<Item = usize>) -> Result<Tensor> {
    let rows: Vec<u32> = rows.map(|row| row as u32).collect();
    let (count, width) = (rows.len(), x.shape().last());
    let ids = Tensor::from_slice(&rows, [count])?.to_gpu(gpu)?;
    let y = Tensor::on_gpu(gpu, x.dtype(), [count, width])?;
    let mut args = gpu::pointers(&[x, &ids, &y])?;
    args.extend([count, width].map(|n| Arg::from(n as u32)));
    let kernel = format!("embedding_fwd_{}", x.dtype());
    let blocks = (count as u32).min(gpu::MAX_ROW_BLOCKS);
    gpu.launch(&Launch::new(&kernel, blocks, 128), &args)?;
    Ok(y)
}

/// The gradient of a final state as the f32 `[B, H]` that the backward pass works in: it starts
/// with what has arrived, or with zeros.
///
/// Step t overwrites the first n_t rows. So the rows that join at step t, whose sequences end
/// there, still hold the gradient of their final state.
///
/// # Errors
/// If the device fails.
pub(super) fn state_gradient(
    gpu: &Arc<Gpu>,
    arrived: Option<Tensor>,
    shape: [usize; 2],
) -> Result<Tensor> {
    let Some(arrived) = arrived else {
        let zeros = Tensor::on_gpu(gpu, DType::F32, shape)?;
        let bytes = zeros.numel() * DType::F32.size();
        gpu.driver().fill(zeros.ptr()?, 0, bytes)?;
        return Ok(zeros);
    };
    let mut wide = convert(&arrived, DType::F32)?;
    drop(arrived);
    match wide.is_unique() {
        true => Ok(wide),
        false => wide.copy_on_gpu(gpu),
    }
}
