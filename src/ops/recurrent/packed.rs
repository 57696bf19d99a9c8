//! Packed rows in device memory: what the recurrent layers have in common on a GPU.
//!
//! The active rows of a step are contiguous, so a step is one product over them and one kernel.

use crate::data::packing::Packing;
use crate::device::Gpu;
use crate::device::driver::{Arg, DevicePtr, Launch};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::cast::convert;
use crate::ops::gpu::GpuMat;
use crate::tensor::Tensor;
use std::sync::Arc;

/// The address of packed row `row` of a tensor that has N rows.
///
/// # Errors
/// If the tensor is in host memory.
pub fn row_at(t: &Tensor, packing: &Packing, row: usize) -> Result<DevicePtr> {
    let bytes = t.numel() / packing.rows() * t.dtype().size();
    Ok(t.ptr()?.offset(row * bytes))
}

/// The address of packed row `row` of a tensor; null without one.
///
/// # Errors
/// If the tensor is in host memory.
pub fn row_or_null(t: Option<&Tensor>, packing: &Packing, row: usize) -> Result<DevicePtr> {
    t.map_or(Ok(DevicePtr::NULL), |t| row_at(t, packing, row))
}

/// Where each step begins `[T + 1]`, u32, in device memory; none where all sequences have one length. Those that
/// are given lie there.
///
/// # Errors
/// If the device fails.
pub fn step_offsets(
    gpu: &Arc<Gpu>,
    packing: &Packing,
    given: Option<&Tensor>,
) -> Result<Option<Tensor>> {
    if packing.is_uniform() || given.is_some() {
        return Ok(given.filter(|_| !packing.is_uniform()).cloned());
    }
    let offsets = packing.offsets();
    let offsets = Tensor::from_slice(&offsets, [offsets.len()])?;
    offsets.to_gpu(gpu).map(Some)
}

/// A matrix of whole rows.
pub fn matrix(ptr: DevicePtr, dtype: DType, rows: usize, columns: usize) -> GpuMat {
    GpuMat {
        ptr,
        dtype,
        stored: (rows, columns),
        transposed: false,
    }
}

/// Runs a kernel with one thread for each unit of some rows. `sizes` are its last arguments: rows,
/// units a row, and what else it takes.
///
/// # Errors
/// [`Error::Op`] for more units than 32 bits number; or if the device fails.
pub fn launch_units(
    gpu: &Gpu,
    kernel: &str,
    pointers: &[DevicePtr],
    sizes: &[usize],
) -> Result<()> {
    let mut args: Vec<Arg> = pointers.iter().map(|&p| p.into()).collect();
    args.extend(sizes.iter().map(|&n| Arg::from(n as u32)));
    let (threads, units) = (256, sizes[0] * sizes[1]);
    let blocks = units.div_ceil(threads);
    if u32::try_from(blocks * threads).is_err() {
        let message = format!(
            "{} rows of {} units at once are too many",
            sizes[0], sizes[1]
        );
        return Err(Error::op("recurrent", message));
    }
    gpu.launch(&Launch::new(kernel, blocks as u32, threads as u32), &args)
}

/// The gradient of a final state as the f32 `[B, H]` that the backward pass works in: it starts
/// with what has arrived, or with zeros.
///
/// Step t overwrites the first n_t rows. So the rows that join at step t, whose sequences end
/// there, still hold the gradient of their final state.
///
/// # Errors
/// If the device fails.
pub fn state_gradient(
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
