//! From gradients to new parameters: clipping, the learning rate and Adam.

pub mod adam;
pub mod adam_gpu;
pub mod clip;
pub mod schedule;

pub use adam::{Adam, AdamConfig};
pub use clip::Clip;
pub use schedule::{Schedule, ScheduleKind};
