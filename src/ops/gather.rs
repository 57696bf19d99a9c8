//! **op** y = rows of a matrix: `y[i] = table[rows[i]]`, where each row may be picked any number of
//! times. It is an [`embedding`](super::embedding()) by the name under which activations are picked.

use super::embedding::pick;
use crate::autograd::{Tape, Var};
use crate::error::Result;
use crate::tensor::Tensor;

/// Gathers rows of `table` `[R, W]` by `rows` (u32, `[..]`), giving `[.., W]`. The gradient of a row
/// is the sum over the places where it was picked, in their order.
///
/// # Errors
/// [`crate::Error::Op`] if a row is not below R.
pub fn gather(tape: &mut Tape, table: &Var, rows: &Tensor) -> Result<Var> {
    pick("gather", tape, table, rows)
}
