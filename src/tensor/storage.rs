//! The memory behind a tensor, on either device.

use crate::device::cpu::buffer::Buffer;
use crate::device::gpu::GpuBuffer;
use crate::dtype::{DType, Element};
use half::f16;
use std::sync::Arc;

/// The memory behind a tensor.
#[derive(Clone, Debug)]
pub(super) enum Storage {
    F64(Arc<Buffer<f64>>),
    F32(Arc<Buffer<f32>>),
    F16(Arc<Buffer<f16>>),
    U32(Arc<Buffer<u32>>),
    /// Device memory; what it holds is known by the data type alone.
    Gpu(Arc<GpuBuffer>, DType),
}

/// Storage of one element type, found by the type.
pub trait Stored: Element {
    #[doc(hidden)]
    fn wrap(buffer: Arc<Buffer<Self>>) -> StorageBox;
    #[doc(hidden)]
    fn of(storage: &StorageBox) -> Option<&Arc<Buffer<Self>>>;
    #[doc(hidden)]
    fn of_mut(storage: &mut StorageBox) -> Option<&mut Arc<Buffer<Self>>>;
}

/// Keeps the storage's variants private to tensors.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct StorageBox(pub(super) Storage);

macro_rules! stored {
    ($t:ty, $variant:ident) => {
        impl Stored for $t {
            fn wrap(buffer: Arc<Buffer<Self>>) -> StorageBox {
                StorageBox(Storage::$variant(buffer))
            }
            fn of(storage: &StorageBox) -> Option<&Arc<Buffer<Self>>> {
                match &storage.0 {
                    Storage::$variant(b) => Some(b),
                    _ => None,
                }
            }
            fn of_mut(storage: &mut StorageBox) -> Option<&mut Arc<Buffer<Self>>> {
                match &mut storage.0 {
                    Storage::$variant(b) => Some(b),
                    _ => None,
                }
            }
        }
    };
}
stored!(f64, F64);
stored!(f32, F32);
stored!(f16, F16);
stored!(u32, U32);
