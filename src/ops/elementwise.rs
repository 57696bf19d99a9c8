//! **op** c = a + b, c = a - b, c = a * b, y = factor * x, y = sigmoid(x), y = tanh(x).

use super::common::CHUNK;
use super::gpu;
use crate::autograd::{Backward, Grads, Slot, Tape, Var};
use crate::device::cpu::simd::{Dispatch, Simd, Task};
use crate::device::cpu::tile::{load_up_to, store_up_to};
use crate::dtype::Float;
use crate::error::{Error, Result};
use crate::tensor::{Stored, Tensor, for_float};
use rayon::prelude::*;

/// Sum of two tensors of one shape.
///
/// # Errors
/// [`Error::Op`] if the shapes or data types differ.
pub fn add(tape: &mut Tape, a: &Var, b: &Var) -> Result<Var> {
    let c = zip(Pair::Add, a.value(), b.value())?;
    let terms = vec![(a.slot(), 1.0), (b.slot(), 1.0)];
    Ok(record_linear(tape, "add", c, terms))
}

/// Difference a - b of two tensors of one shape.
///
/// # Errors
/// [`Error::Op`] if the shapes or data types differ.
pub fn sub(tape: &mut Tape, a: &Var, b: &Var) -> Result<Var> {
    let c = zip(Pair::Sub, a.value(), b.value())?;
    let terms = vec![(a.slot(), 1.0), (b.slot(), -1.0)];
    Ok(record_linear(tape, "sub", c, terms))
}

/// factor * x; on a GPU the factor is rounded to f32.
///
/// # Errors
/// [`Error::Op`] if the data type is not a floating one.
pub fn scale(tape: &mut Tape, x: &Var, factor: f64) -> Result<Var> {
    let y = map(Function::Scale(factor), x.value())?;
    Ok(record_linear(tape, "scale", y, vec![(x.slot(), factor)]))
}

/// Element-wise product of two tensors of one shape.
///
/// # Errors
/// [`Error::Op`] if the shapes or data types differ.
pub fn mul(tape: &mut Tape, a: &Var, b: &Var) -> Result<Var> {
    let value = zip(Pair::Mul, a.value(), b.value())?;
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
    activation(tape, x, Function::Sigmoid, Pair::SigmoidBwd)
}

/// Hyperbolic tangent.
///
/// # Errors
/// [`Error::Op`] if the data type is not a floating one.
pub fn tanh(tape: &mut Tape, x: &Var) -> Result<Var> {
    activation(tape, x, Function::Tanh, Pair::TanhBwd)
}

fn activation(tape: &mut Tape, x: &Var, function: Function, gradient: Pair) -> Result<Var> {
    let y = tape.output(map(function, x.value())?, [x.slot()]);
    if y.slot().is_some() {
        tape.push(Activation {
            name: function.name(),
            gradient,
            x: x.slot(),
            y: y.clone(),
        });
    }
    Ok(y)
}

/// A function of two tensors of one shape and data type, where they are.
fn zip(pair: Pair, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let name = pair.name();
    if a.shape() != b.shape() || a.dtype() != b.dtype() {
        let [a, b] = [a, b].map(|t| format!("{} {}", t.dtype(), t.shape()));
        return Err(Error::op(name, format!("{a} and {b}")));
    }
    if let Some(gpu) = gpu::common(name, a, b)? {
        let c = Tensor::on_gpu(gpu, a.dtype(), a.shape().clone())?;
        gpu::per_element(
            gpu,
            name,
            a.dtype(),
            &gpu::pointers(&[a, b, &c])?,
            a.numel(),
        )?;
        return Ok(c);
    }
    for_float!(name, a.dtype(), T => match pair {
        Pair::Add => zip_on_cpu::<T>(a, b, |a, b| a + b),
        Pair::Sub => zip_on_cpu::<T>(a, b, |a, b| a - b),
        Pair::Mul => zip_on_cpu::<T>(a, b, |a, b| a * b),
        Pair::SigmoidBwd => zip_on_cpu::<T>(a, b, |d, y| d * y * (T::ONE - y)),
        Pair::TanhBwd => zip_on_cpu::<T>(a, b, |d, y| d * (T::ONE - y * y)),
    })
}

/// A function of a tensor, where it is.
fn map(function: Function, x: &Tensor) -> Result<Tensor> {
    let name = function.name();
    if let Some(gpu) = x.gpu() {
        if let Function::Scale(factor) = function {
            return gpu::scaled(gpu, x, factor as f32);
        }
        let y = Tensor::on_gpu(gpu, x.dtype(), x.shape().clone())?;
        let kernel = format!("{name}_fwd");
        gpu::per_element(
            gpu,
            &kernel,
            x.dtype(),
            &gpu::pointers(&[x, &y])?,
            x.numel(),
        )?;
        return Ok(y);
    }
    for_float!(name, x.dtype(), T => {
        let mut y = Tensor::from_slice(x.data::<T>()?, x.shape().clone())?;
        y.data_mut::<T>()?
            .par_chunks_mut(CHUNK)
            .for_each(|chunk| T::dispatch(Apply { function, chunk }));
        Ok(y)
    })
}

/// Functions of two numbers; those of (dy, y) are gradients.
#[derive(Clone, Copy, Debug)]
enum Pair {
    Add,
    Sub,
    Mul,
    /// dy y (1 - y)
    SigmoidBwd,
    /// dy (1 - y^2)
    TanhBwd,
}

impl Pair {
    /// The kernel's name, and that in messages.
    fn name(self) -> &'static str {
        match self {
            Pair::Add => "add",
            Pair::Sub => "sub",
            Pair::Mul => "mul",
            Pair::SigmoidBwd => "sigmoid_bwd",
            Pair::TanhBwd => "tanh_bwd",
        }
    }
}

/// Functions of one number.
#[derive(Clone, Copy, Debug)]
enum Function {
    Scale(f64),
    Sigmoid,
    Tanh,
}

impl Function {
    fn name(self) -> &'static str {
        match self {
            Function::Scale(_) => "scale",
            Function::Sigmoid => "sigmoid",
            Function::Tanh => "tanh",
        }
    }
}

// ---- cpu -----------------------------------------------------------------------------------

fn zip_on_cpu<T: Float + Stored>(
    a: &Tensor,
    b: &Tensor,
    f: impl Fn(T, T) -> T + Sync,
) -> Result<Tensor> {
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
                let x = load_up_to::<S>(p, n);
                let y = match self.function {
                    Function::Scale(factor) => S::mul(x, S::splat(T::from_f64(factor))),
                    Function::Sigmoid => S::sigmoid(x),
                    Function::Tanh => S::tanh(x),
                };
                store_up_to::<S>(p, y, n);
            }
        }
    }
}

// ---- backward ------------------------------------------------------------------------------

/// c is a sum of inputs times constants.
struct Linear {
    name: &'static str,
    terms: Vec<(Option<Slot>, f64)>,
    c: Option<Slot>,
}

fn record_linear(
    tape: &mut Tape,
    name: &'static str,
    value: Tensor,
    terms: Vec<(Option<Slot>, f64)>,
) -> Var {
    let c = tape.output(value, terms.iter().map(|(slot, _)| *slot));
    if c.slot().is_some() {
        tape.push(Linear {
            name,
            terms,
            c: c.slot(),
        });
    }
    c
}

impl Backward for Linear {
    fn name(&self) -> &'static str {
        self.name
    }

    fn backward(self: Box<Self>, grads: &mut Grads) -> Result<()> {
        let Some(dc) = grads.take(self.c) else {
            return Ok(());
        };
        for (slot, factor) in self.terms {
            match factor {
                1.0 => grads.add(slot, dc.clone())?,
                _ if slot.is_some() => grads.add(slot, map(Function::Scale(factor), &dc)?)?,
                _ => {}
            }
        }
        Ok(())
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
        for (to, other) in [(&self.a, &self.b), (&self.b, &self.a)] {
            if to.slot().is_some() {
                grads.add(to.slot(), zip(Pair::Mul, &dc, other.value())?)?;
            }
        }
        Ok(())
    }
}

struct Activation {
    name: &'static str,
    gradient: Pair,
    x: Option<Slot>,
    y: Var,
}

impl Backward for Activation {
    fn name(&self) -> &'static str {
        self.name
    }

    /// In terms of the output.
    fn backward(self: Box<Self>, grads: &mut Grads) -> Result<()> {
        match grads.take(self.y.slot()) {
            Some(dy) => grads.add(self.x, zip(self.gradient, &dy, self.y.value())?),
            None => Ok(()),
        }
    }
}
