//! Where tensors live and who computes: the border between rnnx and the hardware.

pub mod collectives;
pub(crate) mod cpu;
pub mod cuda;
pub mod driver;
#[cfg(feature = "emulator")]
pub mod emulated;
pub mod gpu;
pub mod libraries;
pub mod measured;
pub mod nvrtc;
pub mod profile;
pub mod recurrence;

pub use cpu::simd::{Dispatch, Level};
pub use gpu::Gpu;
pub use recurrence::Recurrence;

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

/// A size in bytes rounded up, so that requests of nearly the same size can share blocks: to a
/// multiple of `unit`, a power of two, and to one of eight classes between two powers of two. None
/// where that overflows.
pub(crate) fn size_class(bytes: usize, unit: usize) -> Option<usize> {
    let bytes = bytes.max(8);
    let step = 1 << (bytes.ilog2() - 3);
    bytes.checked_next_multiple_of(step.max(unit))
}

#[cfg(test)]
mod tests {
    use super::size_class;

    #[test]
    fn classes() {
        assert_eq!(
            [0, 1, 64, 65].map(|b| size_class(b, 64)),
            [64, 64, 64, 128].map(Some)
        );
        assert_eq!(size_class(1 << 20, 64), Some(1 << 20));
        assert_eq!(size_class((1 << 20) + 1, 64), Some((1 << 20) + (1 << 17)));
        assert_eq!(size_class(usize::MAX, 64), None);
        let classes: std::collections::BTreeSet<_> = (1usize << 20..1 << 21)
            .step_by(1000)
            .map(|b| size_class(b, 64))
            .collect();
        assert!(classes.len() <= 9, "{classes:?}");
    }
}
