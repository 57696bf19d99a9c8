//! From gradients to new parameters: clipping, the learning rate, Adam and plain gradient descent.

pub mod adam;
pub mod adam_gpu;
pub mod clip;
pub mod schedule;

pub use adam::{Adam, AdamConfig, OptimizerKind};
pub use clip::Clip;
pub use schedule::{Schedule, ScheduleKind};
