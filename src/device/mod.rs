//! Where tensors live and who computes: the border between rnnx and the hardware.

pub(crate) mod cpu;
pub mod cuda;
pub mod driver;
#[cfg(feature = "emulator")]
pub mod emulated;
pub mod gpu;
pub mod libraries;
pub mod nvrtc;

pub use cpu::simd::{Dispatch, Level};
pub use gpu::Gpu;

use std::fmt;
use std::sync::Arc;

/// Where a tensor lives.
#[derive(Clone, Debug)]
pub enum Device {
    /// Host memory, computed on by rayon's threads.
    Cpu,
    /// A device behind a driver.
    Gpu(Arc<Gpu>),
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => f.write_str("cpu"),
            Device::Gpu(gpu) => f.write_str(&gpu.driver().description()),
        }
    }
}
