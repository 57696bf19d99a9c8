//! **op** y = a part of x along one axis: rows, columns, or a time step of a sequence. It is the
//! inverse of [`concat`](super::concat()), by the same copies of columns.

use super::concat::Block;
use crate::autograd::{Backward, GpuTarget, Grads, Slot, Tape, Var};
use crate::dtype::Float;
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::{Tensor, for_float};
use std::ops::Range;

/// The places `range` of x along `axis`: y has the extents of x, but `range.len()` along `axis`.
///
/// Along the first axis nothing is copied: y is a view of x. The gradient of what is left out is
/// zero.
///
/// # Errors
/// [`Error::Op`] if there is no such axis, nothing is left, the range reaches past the end, or a
/// copy is asked of indices.
pub fn slice(tape: &mut Tape, x: &Var, axis: usize, range: Range<usize>) -> Result<Var> {
    let (value, dims) = (x.value(), x.value().dims());
    let inside = dims.get(axis).is_some_and(|&n| range.end <= n);
    if !inside || range.is_empty() || value.numel() == 0 {
        let message = format!("places {range:?} along axis {axis} of {}", value.shape());
        return Err(Error::op("slice", message));
    }
    // x as a matrix whose rows are cut.
    let outer = dims[..axis].iter().product();
    let inner: usize = dims[axis + 1..].iter().product();
    let (columns, width) = (range.len() * inner, dims[axis] * inner);
    let block = Block::new(outer, columns, (width, range.start * inner), (columns, 0));
    let mut shape = dims.to_vec();
    shape[axis] = range.len();
    let part = match outer {
        1 => value.slice(range.start * inner, shape)?,
        _ => cut(value, block, shape.into())?,
    };
    let y = tape.output(part, [x.slot()]);
    if y.slot().is_some() {
        tape.push(Slice {
            x: x.slot(),
            shape: value.shape().clone(),
            block,
            y: y.slot(),
        });
    }
    Ok(y)
}

fn cut(x: &Tensor, block: Block, shape: Shape) -> Result<Tensor> {
    if let Some(gpu) = x.gpu() {
        let y = Tensor::on_gpu(gpu, x.dtype(), shape)?;
        block.copy_on_gpu(gpu, x, GpuTarget::of(&y)?)?;
        return Ok(y);
    }
    for_float!("slice", x.dtype(), T => {
        let mut y = Tensor::uninit::<T>(shape);
        block.copy(x.data::<T>()?, y.data_mut::<T>()?, false);
        Ok(y)
    })
}

// ---- backward ------------------------------------------------------------------------------

struct Slice {
    x: Option<Slot>,
    shape: Shape,
    /// From x to y.
    block: Block,
    y: Option<Slot>,
}

impl Backward for Slice {
    fn name(&self) -> &'static str {
        "slice"
    }

    /// dy goes back to its place in dx. The first gradient that arrives there zeroes the rest.
    fn backward(self: Box<Self>, grads: &mut Grads) -> Result<()> {
        let Some(dy) = grads.take(self.y) else {
            return Ok(());
        };
        let block = self.block.reversed();
        if let Some(gpu) = dy.gpu() {
            return grads.write_gpu(self.x, gpu, dy.dtype(), &self.shape, |to| {
                if !to.accumulate {
                    let bytes = self.shape.numel() * to.dtype.size();
                    gpu.driver().fill(to.ptr, 0, bytes)?;
                }
                block.copy_on_gpu(gpu, &dy, to)
            });
        }
        for_float!("slice", dy.dtype(), T => {
            let dy = dy.data::<T>()?;
            grads.write::<T>(self.x, &self.shape, |to, accumulate| {
                if !accumulate {
                    to.fill(T::ZERO);
                }
                block.copy(dy, to, accumulate);
                Ok(())
            })
        })
    }
}
