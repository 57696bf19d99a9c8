//! Where tensors live and who computes: the border between rnnx and the hardware.

pub(crate) mod cpu;
pub mod cuda;
pub mod driver;
#[cfg(feature = "emulator")]
pub mod emulated;
pub mod libraries;
pub mod nvrtc;

pub use cpu::simd::{Dispatch, Level};

use std::fmt;

/// Where a tensor lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Device {
    /// Host memory, computed on by rayon's threads.
    Cpu,
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => f.write_str("cpu"),
        }
    }
}
