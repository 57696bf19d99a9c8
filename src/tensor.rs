//! Contiguous, row-major tensors.
//!
//! A tensor is a view (offset, shape) of shared storage; cloning one copies nothing. Writing goes
//! through [`Tensor::data_mut`], which needs the storage to be unshared.

mod storage;

pub use storage::Stored;

use crate::device::cpu::buffer::Buffer;
use crate::device::driver::DevicePtr;
use crate::device::{Device, Gpu};
use crate::dtype::{DType, Element};
use crate::error::{Error, Result};
use crate::shape::Shape;
use half::f16;
use std::sync::Arc;
use storage::{Storage, StorageBox};

/// A contiguous, row-major array of one data type on one device.
#[derive(Clone, Debug)]
pub struct Tensor {
    storage: StorageBox,
    offset: usize,
    shape: Shape,
}

impl Tensor {
    fn from_buffer<T: Stored>(buffer: Buffer<T>, shape: Shape) -> Self {
        Tensor {
            storage: T::wrap(Arc::new(buffer)),
            offset: 0,
            shape,
        }
    }

    /// A tensor of some numbers, for results that are written whole.
    pub fn uninit<T: Stored>(shape: impl Into<Shape>) -> Self {
        let shape = shape.into();
        Self::from_buffer(Buffer::<T>::uninit(shape.numel()), shape)
    }

    /// A tensor of zeros.
    pub fn zeros<T: Stored>(shape: impl Into<Shape>) -> Self {
        Self::zeros_with::<T>(shape, |_| ())
    }

    /// Zeros of the shape and data type of another tensor, where that is.
    ///
    /// # Errors
    /// If the device fails or has not enough memory, or for integers in host memory.
    pub fn zeros_like(other: &Tensor) -> Result<Self> {
        let (shape, dtype) = (other.shape.clone(), other.dtype());
        match other.gpu() {
            None => for_float!("zeros", dtype, T => Ok(Self::zeros::<T>(shape))),
            Some(gpu) => {
                let zeros = Self::on_gpu(gpu, dtype, shape)?;
                gpu.driver()
                    .fill(zeros.ptr()?, 0, zeros.numel() * dtype.size())?;
                Ok(zeros)
            }
        }
    }

    /// A tensor of zeros that `write` then changes.
    pub fn zeros_with<T: Stored>(shape: impl Into<Shape>, write: impl FnOnce(&mut [T])) -> Self {
        let shape = shape.into();
        let mut buffer = Buffer::<T>::zeros(shape.numel());
        write(&mut buffer);
        Self::from_buffer(buffer, shape)
    }

    /// A copy of `data` in the given shape.
    ///
    /// # Errors
    /// [`Error::Op`] if `data` does not fill the shape.
    pub fn from_slice<T: Stored>(data: &[T], shape: impl Into<Shape>) -> Result<Self> {
        let shape = shape.into();
        if data.len() != shape.numel() {
            return Err(Error::op(
                "tensor",
                format!("{} elements do not fill the shape {shape}", data.len()),
            ));
        }
        let mut buffer = Buffer::uninit(data.len());
        buffer.copy_from_slice(data);
        Ok(Self::from_buffer(buffer, shape))
    }

    /// One number, without extents.
    pub fn scalar<T: Stored>(x: T) -> Self {
        let mut buffer = Buffer::uninit(1);
        buffer[0] = x;
        Self::from_buffer(buffer, Shape::default())
    }

    /// The extents.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The extents as a slice.
    pub fn dims(&self) -> &[usize] {
        self.shape.dims()
    }

    /// Number of elements.
    pub fn numel(&self) -> usize {
        self.shape.numel()
    }

    /// Data type of the elements.
    pub fn dtype(&self) -> DType {
        match self.storage.0 {
            Storage::F64(_) => DType::F64,
            Storage::F32(_) => DType::F32,
            Storage::F16(_) => DType::F16,
            Storage::U32(_) => DType::U32,
            Storage::Gpu(_, dtype) => dtype,
        }
    }

    /// Where the tensor lives.
    pub fn device(&self) -> Device {
        match &self.storage.0 {
            Storage::Gpu(buffer, _) => Device::Gpu(buffer.gpu().clone()),
            _ => Device::Cpu,
        }
    }

    fn wrong_type<T: Element>(&self) -> Error {
        let message = match &self.storage.0 {
            Storage::Gpu(..) => {
                format!("a tensor on a GPU was read as {} in host memory", T::DTYPE)
            }
            _ => format!("a {} tensor was read as {}", self.dtype(), T::DTYPE),
        };
        Error::op("tensor", message)
    }

    // ---- on a GPU ------------------------------------------------------------------------------

    /// A tensor in device memory, with undefined content.
    ///
    /// # Errors
    /// [`Error::Device`] if there is not enough memory.
    pub fn on_gpu(gpu: &Arc<Gpu>, dtype: DType, shape: impl Into<Shape>) -> Result<Self> {
        let shape = shape.into();
        let buffer = gpu.alloc(shape.numel() * dtype.size())?;
        Ok(Tensor {
            storage: StorageBox(Storage::Gpu(Arc::new(buffer), dtype)),
            offset: 0,
            shape,
        })
    }

    /// The GPU that holds the tensor, if one does.
    pub fn gpu(&self) -> Option<&Arc<Gpu>> {
        match &self.storage.0 {
            Storage::Gpu(buffer, _) => Some(buffer.gpu()),
            _ => None,
        }
    }

    /// The address of the first element in device memory.
    ///
    /// # Errors
    /// [`Error::Op`] if the tensor is in host memory.
    pub fn ptr(&self) -> Result<DevicePtr> {
        match &self.storage.0 {
            Storage::Gpu(buffer, dtype) => Ok(buffer.ptr().offset(self.offset * dtype.size())),
            _ => Err(Error::op(
                "tensor",
                "a tensor in host memory was given to a GPU",
            )),
        }
    }

    /// A copy in device memory.
    ///
    /// # Errors
    /// [`Error::Op`] if the tensor is on a device already; [`Error::Device`] if there is not
    /// enough memory.
    pub fn to_gpu(&self, gpu: &Arc<Gpu>) -> Result<Self> {
        let copy = Tensor::on_gpu(gpu, self.dtype(), self.shape.clone())?;
        gpu.driver().upload(copy.ptr()?, self.bytes()?)?;
        Ok(copy)
    }

    /// A copy of a tensor in device memory.
    ///
    /// # Errors
    /// [`Error::Device`] if there is not enough memory.
    pub fn copy_on_gpu(&self, gpu: &Arc<Gpu>) -> Result<Self> {
        let copy = Tensor::on_gpu(gpu, self.dtype(), self.shape.clone())?;
        let bytes = self.numel() * self.dtype().size();
        gpu.driver().copy(copy.ptr()?, self.ptr()?, bytes)?;
        Ok(copy)
    }

    /// A copy in host memory; the tensor itself if it is there.
    ///
    /// # Errors
    /// If the device fails.
    pub fn to_cpu(&self) -> Result<Self> {
        let Some(gpu) = self.gpu() else {
            return Ok(self.clone());
        };
        fn fetch<T: Stored>(gpu: &Gpu, from: &Tensor) -> Result<Tensor> {
            let mut copy = Tensor::uninit::<T>(from.shape.clone());
            let bytes = bytemuck::cast_slice_mut(copy.data_mut::<T>()?);
            gpu.driver().download(bytes, from.ptr()?)?;
            Ok(copy)
        }
        match self.dtype() {
            DType::F64 => fetch::<f64>(gpu, self),
            DType::F32 => fetch::<f32>(gpu, self),
            DType::F16 => fetch::<f16>(gpu, self),
            DType::U32 => fetch::<u32>(gpu, self),
        }
    }

    fn bytes(&self) -> Result<&[u8]> {
        match self.storage.0 {
            Storage::F64(_) => Ok(bytemuck::cast_slice(self.data::<f64>()?)),
            Storage::F32(_) => Ok(bytemuck::cast_slice(self.data::<f32>()?)),
            Storage::F16(_) => Ok(bytemuck::cast_slice(self.data::<f16>()?)),
            Storage::U32(_) => Ok(bytemuck::cast_slice(self.data::<u32>()?)),
            Storage::Gpu(..) => Err(Error::op("tensor", "the tensor is on a GPU already")),
        }
    }

    // ---- in host memory ------------------------------------------------------------------------

    /// The elements.
    ///
    /// # Errors
    /// [`Error::Op`] if `T` is not the tensor's data type.
    pub fn data<T: Stored>(&self) -> Result<&[T]> {
        let buffer = T::of(&self.storage).ok_or_else(|| self.wrong_type::<T>())?;
        Ok(&buffer[self.offset..self.offset + self.numel()])
    }

    /// The elements, to be written.
    ///
    /// # Errors
    /// [`Error::Op`] if `T` is not the tensor's data type or the storage is shared.
    pub fn data_mut<T: Stored>(&mut self) -> Result<&mut [T]> {
        let wrong = self.wrong_type::<T>();
        let range = self.offset..self.offset + self.numel();
        let buffer = T::of_mut(&mut self.storage).ok_or(wrong)?;
        let buffer = Arc::get_mut(buffer).ok_or_else(|| {
            Error::op("tensor", "written while another tensor shares its storage")
        })?;
        Ok(&mut buffer[range])
    }

    /// The only tensor of its storage: it may be overwritten.
    pub fn is_unique(&mut self) -> bool {
        match &mut self.storage.0 {
            Storage::F64(b) => Arc::get_mut(b).is_some(),
            Storage::F32(b) => Arc::get_mut(b).is_some(),
            Storage::F16(b) => Arc::get_mut(b).is_some(),
            Storage::U32(b) => Arc::get_mut(b).is_some(),
            Storage::Gpu(b, _) => Arc::get_mut(b).is_some(),
        }
    }

    /// Whether both are the same elements of the same memory.
    pub fn is_same(&self, other: &Tensor) -> bool {
        let memory = match (&self.storage.0, &other.storage.0) {
            (Storage::F64(a), Storage::F64(b)) => Arc::ptr_eq(a, b),
            (Storage::F32(a), Storage::F32(b)) => Arc::ptr_eq(a, b),
            (Storage::F16(a), Storage::F16(b)) => Arc::ptr_eq(a, b),
            (Storage::U32(a), Storage::U32(b)) => Arc::ptr_eq(a, b),
            (Storage::Gpu(a, _), Storage::Gpu(b, _)) => Arc::ptr_eq(a, b),
            _ => false,
        };
        memory && self.offset == other.offset && self.shape == other.shape
    }

    /// The same elements in another shape.
    ///
    /// # Errors
    /// [`Error::Op`] if the number of elements differs.
    pub fn reshape(&self, shape: impl Into<Shape>) -> Result<Self> {
        let shape = shape.into();
        if shape.numel() != self.numel() {
            return Err(Error::op(
                "reshape",
                format!("{} cannot become {shape}", self.shape),
            ));
        }
        Ok(Tensor {
            shape,
            ..self.clone()
        })
    }

    /// A view of `shape` that starts `start` elements into this tensor.
    ///
    /// # Errors
    /// [`Error::Op`] if the view would reach past the end.
    pub fn slice(&self, start: usize, shape: impl Into<Shape>) -> Result<Self> {
        let shape = shape.into();
        if start + shape.numel() > self.numel() {
            return Err(Error::op(
                "slice",
                format!("{shape} at element {start} reaches past {}", self.shape),
            ));
        }
        Ok(self.part(start, shape))
    }

    /// As [`Tensor::slice`], for a view that is known to lie within. Panics for another.
    pub(crate) fn part(&self, start: usize, shape: impl Into<Shape>) -> Self {
        let shape = shape.into();
        assert!(start + shape.numel() <= self.numel());
        Tensor {
            storage: self.storage.clone(),
            offset: self.offset + start,
            shape,
        }
    }

    /// The one element of a tensor, as a double.
    ///
    /// # Errors
    /// [`Error::Op`] unless there is exactly one element of a floating type.
    pub fn item(&self) -> Result<f64> {
        if self.numel() != 1 {
            return Err(Error::op(
                "item",
                format!("{} is not one number", self.shape),
            ));
        }
        if self.gpu().is_some() {
            return self.to_cpu()?.item();
        }
        match self.dtype() {
            DType::F64 => Ok(self.data::<f64>()?[0]),
            DType::F32 => Ok(f64::from(self.data::<f32>()?[0])),
            DType::F16 => Ok(f64::from(self.data::<f16>()?[0])),
            DType::U32 => Ok(f64::from(self.data::<u32>()?[0])),
        }
    }
}

/// Runs `$body` with `$T` standing for the Rust type of a floating [`DType`] that the CPU computes
/// in; any other data type is an error that names the op.
macro_rules! for_float {
    ($op:expr, $dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            $crate::dtype::DType::F32 => {
                type $T = f32;
                $body
            }
            $crate::dtype::DType::F64 => {
                type $T = f64;
                $body
            }
            other => Err($crate::error::Error::op(
                $op,
                format!("the CPU computes in f32 and f64, not {other}"),
            )),
        }
    };
}
pub(crate) use for_float;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_share_and_writes_need_unshared_storage() {
        let mut a = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0], [2, 2]).unwrap();
        a.data_mut::<f32>().unwrap()[0] = 9.0;
        let row = a.slice(2, [2]).unwrap();
        assert_eq!(row.data::<f32>().unwrap(), [3.0, 4.0]);
        assert!(
            a.data_mut::<f32>()
                .unwrap_err()
                .to_string()
                .contains("shares")
        );
        drop(row);
        assert!(a.data_mut::<f32>().is_ok());
        assert!(
            a.data::<f64>()
                .unwrap_err()
                .to_string()
                .contains("f32 tensor was read as f64")
        );
        assert!(a.slice(3, [2]).is_err());
        assert!(a.reshape([3]).is_err());
        assert_eq!(a.reshape([4]).unwrap().data::<f32>().unwrap()[0], 9.0);
    }
}
