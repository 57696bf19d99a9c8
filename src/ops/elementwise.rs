//! **op** c = a + b, c = a * b, y = sigmoid(x), y = tanh(x), and y = x + bias in each row.

use super::CHUNK;
use crate::autograd::{Backward, Grads, Slot, Tape, Var};
use crate::device::cpu::simd::{Dispatch, Simd, Task};
use crate::error::{Error, Result};
use crate::tensor::{Stored, Tensor, for_float};
use rayon::prelude::*;

/// Sum of two tensors of one shape.
///
/// # Errors
/// [`Error::Op`] if the shapes or data types differ.
pub fn add(tape: &mut Tape, a: &Var, b: &Var) -> Result<Var> {
    same_shape("add", a, b)?;
    let value = for_float!("add", a.value().dtype(), T => {
        zip::<T>(a.value(), b.value(), |a, b| a + b)
    })?;
    let c = tape.output(value, [a.slot(), b.slot()]);
    if c.slot().is_some() {
        tape.push(Add {
            inputs: [a.slot(), b.slot()],
            c: c.slot(),
        });
    }
    Ok(c)
}

/// Element-wise product of two tensors of one shape.
///
/// # Errors
/// [`Error::Op`] if the shapes or data types differ.
pub fn mul(tape: &mut Tape, a: &Var, b: &Var) -> Result<Var> {
    same_shape("mul", a, b)?;
    let value = for_float!("mul", a.value().dtype(), T => {
        zip::<T>(a.value(), b.value(), |a, b| a * b)
    })?;
    let c = tape.output(value, [a.slot(), b.slot()]);
    if c.slot().is_some() {
        tape.push(Mul {
            a: a.clone(),
            b: b.clone(),
            c: c.slot(),
        });
    }
    Ok(c)
}

/// 1 / (1 + exp(-x))
///
/// # Errors
/// [`Error::Op`] if the data type is not a floating one.
pub fn sigmoid(tape: &mut Tape, x: &Var) -> Result<Var> {
    activation(tape, x, Function::Sigmoid)
}

/// Hyperbolic tangent.
///
/// # Errors
/// [`Error::Op`] if the data type is not a floating one.
pub fn tanh(tape: &mut Tape, x: &Var) -> Result<Var> {
    activation(tape, x, Function::Tanh)
}

/// x `[.., N]` + bias `[N]`. Overwrites x where nobody else holds it.
///
/// # Errors
/// [`Error::Op`] if the bias does not fit a row.
pub fn add_bias(tape: &mut Tape, x: Var, bias: &Var) -> Result<Var> {
    if bias.value().dims() != [x.value().shape().last()] {
        return Err(Error::op(
            "add_bias",
            format!(
                "bias {} for rows of {}",
                bias.value().shape(),
                x.value().shape()
            ),
        ));
    }
    if bias.value().numel() == 0 {
        let message = format!(
            "{} has no columns for bias {}",
            x.value().shape(),
            bias.value().shape()
        );
        return Err(Error::op("add_bias", message));
    }
    super::one_dtype("add_bias", &[x.value(), bias.value()])?;
    let (x_slot, bias_slot) = (x.slot(), bias.slot());
    let value = for_float!("add_bias", x.value().dtype(), T => {
        let mut value = into_owned::<T>(x)?;
        let bias = bias.value().data::<T>()?;
        value.data_mut::<T>()?.par_chunks_mut(bias.len() * ROWS).for_each(|rows| {
            for row in rows.chunks_mut(bias.len()) {
                row.iter_mut().zip(bias).for_each(|(x, &b)| *x += b);
            }
        });
        Ok(value)
    })?;
    let y = tape.output(value, [x_slot, bias_slot]);
    if y.slot().is_some() {
        tape.push(AddBias {
            x: x_slot,
            bias: bias.clone(),
            y: y.slot(),
        });
    }
    Ok(y)
}

/// Rows that one task of a row-wise op takes.
const ROWS: usize = 256;

// ---- cpu -----------------------------------------------------------------------------------

fn same_shape(op: &'static str, a: &Var, b: &Var) -> Result<()> {
    let (a, b) = (a.value(), b.value());
    if a.shape() == b.shape() && a.dtype() == b.dtype() {
        return Ok(());
    }
    let message = format!(
        "{} {} and {} {}",
        a.dtype(),
        a.shape(),
        b.dtype(),
        b.shape()
    );
    Err(Error::op(op, message))
}

/// The value itself if nobody else holds it, else a copy.
fn into_owned<T: Stored>(x: Var) -> Result<Tensor> {
    let mut value = x.into_value();
    if value.is_unique::<T>() {
        return Ok(value);
    }
    Tensor::from_slice(value.data::<T>()?, value.shape().clone())
}

fn zip<T: Stored + Dispatch>(a: &Tensor, b: &Tensor, f: fn(T, T) -> T) -> Result<Tensor> {
    let mut c = Tensor::uninit::<T>(a.shape().clone());
    let inputs = a
        .data::<T>()?
        .par_chunks(CHUNK)
        .zip(b.data::<T>()?.par_chunks(CHUNK));
    c.data_mut::<T>()?
        .par_chunks_mut(CHUNK)
        .zip(inputs)
        .for_each(|(c, (a, b))| {
            for ((c, &a), &b) in c.iter_mut().zip(a).zip(b) {
                *c = f(a, b);
            }
        });
    Ok(c)
}

#[derive(Clone, Copy, Debug)]
enum Function {
    Sigmoid,
    Tanh,
}

impl Function {
    fn name(self) -> &'static str {
        match self {
            Function::Sigmoid => "sigmoid",
            Function::Tanh => "tanh",
        }
    }
}

/// Applies a function to a chunk in place.
struct Apply<'a, T> {
    function: Function,
    chunk: &'a mut [T],
}

impl<T: Dispatch> Task<T> for Apply<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd<E = T>>(self) {
        for part in self.chunk.chunks_mut(S::LANES) {
            let (p, n) = (part.as_mut_ptr(), part.len());
            // SAFETY: n elements are read and written; dispatch chose the set.
            unsafe {
                let x = if n == S::LANES {
                    S::load(p)
                } else {
                    S::load_part(p, n)
                };
                let y = match self.function {
                    Function::Sigmoid => S::sigmoid(x),
                    Function::Tanh => S::tanh(x),
                };
                if n == S::LANES {
                    S::store(p, y);
                } else {
                    S::store_part(p, y, n);
                }
            }
        }
    }
}

fn activation(tape: &mut Tape, x: &Var, function: Function) -> Result<Var> {
    let value = for_float!(function.name(), x.value().dtype(), T => {
        let mut y = Tensor::from_slice(x.value().data::<T>()?, x.value().shape().clone())?;
        y.data_mut::<T>()?
            .par_chunks_mut(CHUNK)
            .for_each(|chunk| T::dispatch(Apply { function, chunk }));
        Ok(y)
    })?;
    let y = tape.output(value, [x.slot()]);
    if y.slot().is_some() {
        tape.push(Activation {
            function,
            x: x.slot(),
            y: y.clone(),
        });
    }
    Ok(y)
}

// ---- backward ------------------------------------------------------------------------------

struct Add {
    inputs: [Option<Slot>; 2],
    c: Option<Slot>,
}

impl Backward for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn backward(self: Box<Self>, grads: &mut Grads) -> Result<()> {
        let Some(dc) = grads.take(self.c) else {
            return Ok(());
        };
        grads.add(self.inputs[0], dc.clone())?;
        grads.add(self.inputs[1], dc)
    }
}

struct Mul {
    a: Var,
    b: Var,
    c: Option<Slot>,
}

impl Backward for Mul {
    fn name(&self) -> &'static str {
        "mul"
    }

    fn backward(self: Box<Self>, grads: &mut Grads) -> Result<()> {
        let Some(dc) = grads.take(self.c) else {
            return Ok(());
        };
        for_float!("mul", dc.dtype(), T => {
            for (to, other) in [(&self.a, &self.b), (&self.b, &self.a)] {
                if to.slot().is_some() {
                    grads.add(to.slot(), zip::<T>(&dc, other.value(), |d, x| d * x)?)?;
                }
            }
            Ok(())
        })
    }
}

struct Activation {
    function: Function,
    x: Option<Slot>,
    y: Var,
}

impl Backward for Activation {
    fn name(&self) -> &'static str {
        self.function.name()
    }

    /// sigmoid' = y (1 - y) and tanh' = 1 - y^2, in terms of the output.
    fn backward(self: Box<Self>, grads: &mut Grads) -> Result<()> {
        let Some(dy) = grads.take(self.y.slot()) else {
            return Ok(());
        };
        for_float!(self.name(), dy.dtype(), T => {
            use crate::dtype::Float;
            let dx = match self.function {
                Function::Sigmoid => zip::<T>(&dy, self.y.value(), |d, y| d * y * (T::ONE - y)),
                Function::Tanh => zip::<T>(&dy, self.y.value(), |d, y| d * (T::ONE - y * y)),
            }?;
            grads.add(self.x, dx)
        })
    }
}

struct AddBias {
    x: Option<Slot>,
    bias: Var,
    y: Option<Slot>,
}

impl Backward for AddBias {
    fn name(&self) -> &'static str {
        "add_bias"
    }

    /// db is the sum over rows, first within groups of rows and then over the groups.
    fn backward(self: Box<Self>, grads: &mut Grads) -> Result<()> {
        let Some(dy) = grads.take(self.y) else {
            return Ok(());
        };
        let bias = self.bias.value();
        for_float!("add_bias", dy.dtype(), T => {
            grads.write::<T>(self.bias.slot(), bias.shape(), |to, accumulate| {
                if !accumulate {
                    to.fill(T::default());
                }
                let groups = dy.data::<T>()?.par_chunks(to.len() * ROWS);
                let sums: Vec<Vec<T>> = groups.map(|rows| column_sums(rows, bias.numel())).collect();
                for sum in &sums {
                    to.iter_mut().zip(sum).for_each(|(to, &x)| *to += x);
                }
                Ok(())
            })
        })?;
        grads.add(self.x, dy)
    }
}

fn column_sums<T: Dispatch>(rows: &[T], columns: usize) -> Vec<T> {
    let mut sum = vec![T::ZERO; columns];
    for row in rows.chunks(columns) {
        sum.iter_mut().zip(row).for_each(|(s, &x)| *s += x);
    }
    sum
}
