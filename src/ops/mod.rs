//! Differentiable operations, one file an op: formula and checks, the CPU's kernels, backward.

pub mod add_bias;
pub mod attention;
pub mod cast;
mod common;
pub mod concat;
pub mod dropout;
pub mod elementwise;
pub mod embedding;
pub mod gather;
pub mod gpu;
pub mod gru;
pub mod likeliest;
pub mod linear_xent;
pub mod lstm;
pub mod matmul;
pub mod recurrent;
pub mod reduce;
pub mod rnn;
pub mod slice;
pub mod softmax_xent;

pub use add_bias::add_bias;
pub use attention::attention_lstm;
pub use cast::cast;
pub use concat::concat;
pub use dropout::{dropout, dropout_at};
pub use elementwise::{add, mul, scale, sigmoid, sub, tanh};
pub use embedding::embedding;
pub use gather::gather;
pub use likeliest::likeliest;
pub use linear_xent::linear_xent;
pub use matmul::matmul;
pub use recurrent::{recurrent, recurrent_packed, recurrent_side_by_side};
pub use reduce::{mean, sum, sum_squares};
pub use slice::slice;
pub use softmax_xent::softmax_xent;
