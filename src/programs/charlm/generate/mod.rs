//! Streams text from a character LM: [`weights`] holds the weights, [`generator`] steps on the CPU,
//! without the tape, and [`on_gpu`] many streams on a GPU; [`crate::sampling`] chooses the next
//! character.

mod engine;
mod gates;
pub mod generator;
pub mod on_gpu;
pub mod sample;
pub mod weights;

pub use engine::{Engine, GPU_STREAMS};
