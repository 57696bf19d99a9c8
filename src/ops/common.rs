//! What several ops share.

use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// Refuses operands of several data types, in the op's name.
pub(super) fn one_dtype(op: &'static str, operands: &[&Tensor]) -> Result<()> {
    let mut pairs = operands.windows(2).map(|w| (w[0].dtype(), w[1].dtype()));
    match pairs.find(|(a, b)| a != b) {
        Some((a, b)) => Err(Error::op(op, format!("operands of {a} and {b}"))),
        None => Ok(()),
    }
}

/// Elements that one parallel task takes; fixed, so that sums over tasks have a fixed order.
pub(super) const CHUNK: usize = 1 << 14;
