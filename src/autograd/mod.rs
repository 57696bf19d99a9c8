//! Reverse-mode differentiation on a tape.

mod grads;
mod tape;

pub use grads::{Grads, Slot};
pub use tape::{Backward, Tape, Var};
