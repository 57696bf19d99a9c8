//! Gradients in device memory.

use super::grads::{Content, Grads, Slot, no_flat};
use crate::device::Gpu;
use crate::device::driver::{DevicePtr, Launch};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::Tensor;
use std::sync::Arc;

/// Where an op on a GPU writes a gradient.
#[derive(Clone, Copy, Debug)]
pub struct GpuTarget {
    /// First element.
    pub ptr: DevicePtr,
    /// F32 for parameters, else what the op asked for.
    pub dtype: DType,
    /// Add to what is there, rather than overwrite it.
    pub accumulate: bool,
}

impl GpuTarget {
    /// A whole tensor, to be overwritten.
    ///
    /// # Errors
    /// If the tensor is in host memory.
    pub fn of(t: &Tensor) -> Result<Self> {
        Ok(GpuTarget {
            ptr: t.ptr()?,
            dtype: t.dtype(),
            accumulate: false,
        })
    }
}

impl Grads {
    /// As [`Grads::write`] for a value on a GPU. The gradient of a parameter has the data type of
    /// the flat gradients, any other one `dtype`.
    ///
    /// # Errors
    /// What `f` returns; or a size that does not fit, or a value of another tape.
    pub fn write_gpu(
        &mut self,
        slot: Option<Slot>,
        gpu: &Arc<Gpu>,
        dtype: DType,
        shape: &Shape,
        f: impl FnOnce(GpuTarget) -> Result<()>,
    ) -> Result<()> {
        let Some(index) = self.index(slot, shape)? else {
            return Ok(());
        };
        let target = match &mut self.slots[index] {
            Content::Segment {
                offset,
                len,
                written,
            } => {
                let flat = self.flat.as_ref().ok_or_else(no_flat)?;
                GpuTarget {
                    ptr: flat.slice(*offset, [*len])?.ptr()?,
                    dtype: flat.dtype(),
                    accumulate: std::mem::replace(written, true),
                }
            }
            Content::Owned(t) => {
                if !t.is_unique() {
                    *t = t.copy_on_gpu(gpu)?;
                }
                GpuTarget {
                    ptr: t.ptr()?,
                    dtype: t.dtype(),
                    accumulate: true,
                }
            }
            empty @ Content::Empty => {
                let t = Tensor::on_gpu(gpu, dtype, self.shapes[index].clone())?;
                let target = GpuTarget {
                    ptr: t.ptr()?,
                    dtype,
                    accumulate: false,
                };
                *empty = Content::Owned(t);
                target
            }
        };
        f(target)
    }

    /// Adds a gradient in device memory to one that is there.
    pub(super) fn add_on_gpu(
        &mut self,
        slot: Option<Slot>,
        gpu: &Arc<Gpu>,
        t: &Tensor,
    ) -> Result<()> {
        self.write_gpu(slot, gpu, t.dtype(), t.shape(), |to| {
            if to.dtype != t.dtype() {
                let message = format!("{} cannot be added to {}", t.dtype(), to.dtype);
                return Err(Error::op("gradient", message));
            }
            if to.accumulate {
                return add_in_place(gpu, to, t.ptr()?, t.numel());
            }
            let bytes = t.numel() * t.dtype().size();
            gpu.driver().copy(to.ptr, t.ptr()?, bytes)
        })
    }
}

fn add_in_place(gpu: &Gpu, to: GpuTarget, from: DevicePtr, n: usize) -> Result<()> {
    let kernel = format!("add_{}", to.dtype);
    let args = [to.ptr.into(), from.into(), to.ptr.into(), (n as u64).into()];
    gpu.launch(&Launch::per_element(&kernel, n as u64), &args)
}
