//! **op** y = sum of x, and y = scale * sum of x^2 (L2 regularisation).

use super::CHUNK;
use crate::autograd::{Backward, Grads, Slot, Tape, Var};
use crate::dtype::Float;
use crate::error::Result;
use crate::tensor::{Tensor, for_float};
use rayon::prelude::*;

/// Sum of all elements, as a scalar.
///
/// # Errors
/// If the data type is not a floating one.
pub fn sum(tape: &mut Tape, x: &Var) -> Result<Var> {
    reduce(tape, x, Term::Value)
}

/// scale * sum of x^2, as a scalar. Its gradient is 2 * scale * x.
///
/// # Errors
/// If the data type is not a floating one.
pub fn sum_squares(tape: &mut Tape, x: &Var, scale: f64) -> Result<Var> {
    reduce(tape, x, Term::Square { scale })
}

#[derive(Clone, Copy, Debug)]
enum Term {
    Value,
    Square { scale: f64 },
}

impl Term {
    fn name(self) -> &'static str {
        match self {
            Term::Value => "sum",
            Term::Square { .. } => "sum_squares",
        }
    }
}

// ---- cpu -----------------------------------------------------------------------------------

/// Sums `f` of each element in f64: within chunks, then over the chunks in their order.
pub fn sum_of<T: Float>(data: &[T], f: impl Fn(f64) -> f64 + Sync) -> f64 {
    let chunk_sum = |chunk: &[T]| chunk.iter().fold(0.0, |s, &x| s + f(x.to_f64()));
    let parts: Vec<f64> = data.par_chunks(CHUNK).map(chunk_sum).collect();
    parts.iter().sum()
}

fn reduce(tape: &mut Tape, x: &Var, term: Term) -> Result<Var> {
    let value = for_float!(term.name(), x.value().dtype(), T => {
        let data = x.value().data::<T>()?;
        let total = match term {
            Term::Value => sum_of(data, |x| x),
            Term::Square { scale } => scale * sum_of(data, |x| x * x),
        };
        Ok(Tensor::scalar(T::from_f64(total)))
    })?;
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

// ---- backward ------------------------------------------------------------------------------

struct Reduce {
    x: Var,
    term: Term,
    y: Option<Slot>,
}

impl Backward for Reduce {
    fn name(&self) -> &'static str {
        self.term.name()
    }

    fn backward(self: Box<Self>, grads: &mut Grads) -> Result<()> {
        let Some(dy) = grads.take(self.y) else {
            return Ok(());
        };
        for_float!(self.name(), dy.dtype(), T => {
            let dy = dy.data::<T>()?[0];
            let x = self.x.value().data::<T>()?;
            grads.write::<T>(self.x.slot(), self.x.value().shape(), |to, accumulate| {
                for (to, &x) in to.iter_mut().zip(x) {
                    let dx = match self.term {
                        Term::Value => dy,
                        Term::Square { scale } => dy * T::from_f64(2.0 * scale) * x,
                    };
                    *to = if accumulate { *to + dx } else { dx };
                }
                Ok(())
            })
        })
    }
}
