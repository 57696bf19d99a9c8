//! Differentiable operations, one file an op: formula and checks, the CPU's kernels, backward.

pub mod add_bias;
pub mod attention;
pub mod cast;
pub mod concat;
pub mod dropout;
pub mod elementwise;
pub mod embedding;
pub mod gather;
pub mod gpu;
pub mod gru;
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
pub use matmul::matmul;
pub use recurrent::{recurrent, recurrent_packed};
pub use reduce::{mean, sum, sum_squares};
pub use slice::slice;
pub use softmax_xent::softmax_xent;

use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// Refuses operands of several data types, in the op's name.
fn one_dtype(op: &'static str, operands: &[&Tensor]) -> Result<()> {
    let mut pairs = operands.windows(2).map(|w| (w[0].dtype(), w[1].dtype()));
    match pairs.find(|(a, b)| a != b) {
        Some((a, b)) => Err(Error::op(op, format!("operands of {a} and {b}"))),
        None => Ok(()),
    }
}

/// Elements that one parallel task takes; fixed, so that sums over tasks have a fixed order.
const CHUNK: usize = 1 << 14;
