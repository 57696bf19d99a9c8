//! **op** y = sum of x, y = mean of x, and y = scale * sum of x^2 (L2 regularisation).

use super::common::CHUNK;
use super::gpu;
use crate::autograd::{Backward, Grads, Slot, Tape, Var};
use crate::device::Gpu;
use crate::device::driver::DevicePtr;
use crate::dtype::Float;
use crate::error::{Error, Result};
use crate::tensor::{Tensor, for_float};
use rayon::prelude::*;
use std::sync::Arc;

/// Sum of all elements, as a scalar; f32 on a GPU, whatever the data type of x.
///
/// # Errors
/// [`Error::Op`] if the data type is not a floating one.
pub fn sum(tape: &mut Tape, x: &Var) -> Result<Var> {
    let term = Term {
        name: "sum",
        squares: false,
        factor: 1.0,
    };
    reduce(tape, x, term)
}

/// Mean of all elements, as [`sum`] gives their sum.
///
/// # Errors
/// [`Error::Op`] if the data type is not a floating one, or there are no elements.
pub fn mean(tape: &mut Tape, x: &Var) -> Result<Var> {
    if x.value().numel() == 0 {
        let message = format!("{} has no elements", x.value().shape());
        return Err(Error::op("mean", message));
    }
    let term = Term {
        name: "mean",
        squares: false,
        factor: 1.0 / x.value().numel() as f64,
    };
    reduce(tape, x, term)
}

/// scale * sum of x^2, as [`sum`] gives a sum. Its gradient is 2 * scale * x.
///
/// # Errors
/// [`Error::Op`] if the data type is not a floating one.
pub fn sum_squares(tape: &mut Tape, x: &Var, scale: f64) -> Result<Var> {
    let term = Term {
        name: "sum_squares",
        squares: true,
        factor: scale,
    };
    reduce(tape, x, term)
}

/// What is summed: the elements or their squares, times a factor.
#[derive(Clone, Copy, Debug)]
struct Term {
    name: &'static str,
    squares: bool,
    factor: f64,
}

fn reduce(tape: &mut Tape, x: &Var, term: Term) -> Result<Var> {
    let value = match x.value().gpu() {
        Some(gpu) => {
            let kernel = if term.squares { "sum_squares" } else { "sum" };
            gpu::sum_all(gpu, kernel, x.value(), term.factor as f32)
        }
        None => for_float!(term.name, x.value().dtype(), T => {
            let data = x.value().data::<T>()?;
            let total = match term.squares {
                false => sum_of(data, |x| x),
                true => sum_of(data, |x| x * x),
            };
            Ok(Tensor::scalar(T::from_f64(term.factor * total)))
        }),
    }?;
    let y = tape.output(value, [x.slot()]);
    if y.slot().is_some() {
        tape.push(Reduce {
            x: x.clone(),
            term,
            y: y.slot(),
        });
    }
    Ok(y)
}

// ---- cpu -----------------------------------------------------------------------------------

/// Sums `f` of each element in f64: within chunks, then over the chunks in their order.
pub fn sum_of<T: Float>(data: &[T], f: impl Fn(f64) -> f64 + Sync) -> f64 {
    let chunk_sum = |chunk: &[T]| chunk.iter().fold(0.0, |s, &x| s + f(x.to_f64()));
    let parts: Vec<f64> = data.par_chunks(CHUNK).map(chunk_sum).collect();
    parts.iter().sum()
}

// ---- gpu -----------------------------------------------------------------------------------

/// dx = factor * dy, times x for squares.
fn sum_bwd(gpu: &Arc<Gpu>, dy: &Tensor, x: &Tensor, squares: bool, factor: f64) -> Result<Tensor> {
    let dx = Tensor::on_gpu(gpu, x.dtype(), x.shape().clone())?;
    let with = if squares { x.ptr()? } else { DevicePtr::NULL };
    let args = [
        dy.ptr()?.into(),
        with.into(),
        dx.ptr()?.into(),
        (factor as f32).into(),
    ];
    gpu::per_element(gpu, "sum_bwd", x.dtype(), &args, x.numel())?;
    Ok(dx)
}

// ---- backward ------------------------------------------------------------------------------

struct Reduce {
    x: Var,
    term: Term,
    y: Option<Slot>,
}

impl Backward for Reduce {
    fn name(&self) -> &'static str {
        self.term.name
    }

    fn backward(self: Box<Self>, grads: &mut Grads) -> Result<()> {
        let Some(dy) = grads.take(self.y) else {
            return Ok(());
        };
        let (x, squares) = (self.x.value(), self.term.squares);
        let factor = self.term.factor * if squares { 2.0 } else { 1.0 };
        if let Some(gpu) = dy.gpu() {
            return grads.add(self.x.slot(), sum_bwd(gpu, &dy, x, squares, factor)?);
        }
        for_float!(self.name(), dy.dtype(), T => {
            let dy = dy.data::<T>()?[0] * T::from_f64(factor);
            let data = x.data::<T>()?;
            grads.write::<T>(self.x.slot(), x.shape(), |to, accumulate| {
                for (to, &x) in to.iter_mut().zip(data) {
                    let dx = if squares { dy * x } else { dy };
                    *to = if accumulate { *to + dx } else { dx };
                }
                Ok(())
            })
        })
    }
}
