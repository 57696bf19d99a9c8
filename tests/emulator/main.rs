//! The emulated device: what it catches, its primitives, and every kernel under several schedules.

mod adam;
mod add_bias;
mod attention;
mod banks;
mod cast;
mod concat;
mod copy_xent;
mod device;
mod dot_attention;
mod dropout;
mod elementwise;
mod embedding;
mod faults;
mod gelu;
mod gemm;
mod gru;
mod layer_norm;
mod likeliest;
mod lstm;
mod primitives;
mod recurrent;
mod reduce;
mod rnn;
mod softmax_xent;
mod support;
mod whole;
