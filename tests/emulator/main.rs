//! The emulated device: what it catches, its primitives, and every kernel under several schedules.

mod adam;
mod attention;
mod cast_dropout;
mod concat;
mod device;
mod elementwise;
mod faults;
mod gemm;
mod gru;
mod lstm;
mod primitives;
mod recurrent;
mod rnn;
mod softmax_xent;
mod sums;
mod support;
