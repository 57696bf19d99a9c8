//! From gradients to new parameters: clipping and Adam.

pub mod adam;
pub mod clip;

pub use adam::{Adam, AdamConfig};
pub use clip::Clip;
