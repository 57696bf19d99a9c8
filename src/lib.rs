//! rnnx: a hand-written deep-learning engine for recurrent networks.

pub mod autograd;
pub mod data;
pub mod device;
pub mod dtype;
pub mod error;
pub mod ops;
pub mod rng;
pub mod shape;
pub mod tensor;

pub use error::{Error, Result};
