//! The emulated device: what it catches, its primitives, and every kernel under several schedules.

mod device;
mod elementwise;
mod faults;
mod gemm;
mod primitives;
mod support;
