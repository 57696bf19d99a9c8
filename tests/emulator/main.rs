//! The emulated device: what it catches, its primitives, and every kernel under several schedules.

mod adam;
mod add_bias;
mod attention;
mod cast;
mod concat;
mod copy_xent;
mod device;
mod dropout;
mod elementwise;
mod embedding;
mod faults;
mod gemm;
mod gru;
mod likeliest;
mod lstm;
mod primitives;
mod recurrent;
mod reduce;
mod rnn;
mod softmax_xent;
mod support;
mod whole;
