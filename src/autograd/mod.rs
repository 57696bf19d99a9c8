//! Reverse-mode differentiation on a tape.

mod grads;
mod grads_gpu;
mod tape;

pub use grads::{Grads, Slot};
pub use grads_gpu::GpuTarget;
pub use tape::{Backward, Tape, Var};
