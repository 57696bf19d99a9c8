//! **op** The Gaussian error linear unit in its tanh form (Hendrycks & Gimpel 2016), torch's
//! `gelu(x, approximate="tanh")`:
//!
//! ```text
//! y = x (1 + tanh(z)) / 2 = x s      z = sqrt(2 / pi) (x + 0.044715 x^3)      s = sigmoid(2 z)
//! dx = dy (s + x s (1 - s) (2 z)')
//! ```

use super::common::CHUNK;
use super::gpu;
use crate::autograd::{Backward, Grads, Slot, Tape, Var};
use crate::device::cpu::simd::{Dispatch, Simd, Task};
use crate::device::cpu::tile::{load_up_to, store_up_to};
use crate::dtype::Float;
use crate::error::Result;
use crate::tensor::{Stored, Tensor, for_float};
use rayon::prelude::*;

/// Of each element of x.
///
/// # Errors
/// [`Error::Op`](crate::Error::Op) if the data type is not a floating one.
pub fn gelu(tape: &mut Tape, x: &Var) -> Result<Var> {
    let value = match x.value().gpu() {
        Some(gpu) => {
            let y = Tensor::on_gpu(gpu, x.value().dtype(), x.value().shape().clone())?;
            let args = gpu::pointers(&[x.value(), &y])?;
            gpu::per_element(gpu, "gelu_fwd", y.dtype(), &args, y.numel())?;
            y
        }
        None => for_float!("gelu", x.value().dtype(), T => on_cpu::<T>(x.value(), None))?,
    };
    let y = tape.output(value, [x.slot()]);
    if y.slot().is_some() {
        tape.push(Node {
            x: x.clone(),
            y: y.slot(),
        });
    }
    Ok(y)
}

// ---- cpu -----------------------------------------------------------------------------------

/// sqrt(8 / pi): 2 z is this times x + CUBE x^3.
const ROOT: f64 = 1.595_769_121_605_730_8;
const CUBE: f64 = 0.044_715;

/// y of x, or with dy the gradient dx.
fn on_cpu<T: Stored + Dispatch>(x: &Tensor, dy: Option<&Tensor>) -> Result<Tensor> {
    let mut to = Tensor::uninit::<T>(x.shape().clone());
    let from = x.data::<T>()?;
    let dy = dy.map(Tensor::data::<T>).transpose()?;
    let chunks = to.data_mut::<T>()?.par_chunks_mut(CHUNK).enumerate();
    chunks.for_each(|(chunk, to)| {
        let place = chunk * CHUNK..chunk * CHUNK + to.len();
        T::dispatch(Apply {
            x: &from[place.clone()],
            dy: dy.map(|dy| &dy[place]),
            to,
        });
    });
    Ok(to)
}

/// Some elements.
struct Apply<'a, T> {
    x: &'a [T],
    dy: Option<&'a [T]>,
    to: &'a mut [T],
}

impl<T: Dispatch> Task<T> for Apply<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd<E = T>>(self) {
        let n = self.to.len();
        for i in (0..n).step_by(S::LANES) {
            let left = n - i;
            // SAFETY: the slices are of one length; dispatch chose the set.
            unsafe {
                let x = load_up_to::<S>(self.x.as_ptr().add(i), left);
                let y = match self.dy {
                    None => S::mul(x, gate::<S>(x)),
                    Some(dy) => S::mul(load_up_to::<S>(dy.as_ptr().add(i), left), slope::<S>(x)),
                };
                let to = self.to.as_mut_ptr().add(i);
                store_up_to::<S>(to, y, left);
            }
        }
    }
}

/// ROOT x (1 + cube x^2)
#[inline(always)]
unsafe fn cubic<S: Simd>(x: S::V, cube: f64) -> S::V {
    // SAFETY: register arithmetic; the caller vouches for the set.
    unsafe {
        let [root, cube] = [ROOT, cube].map(S::E::from_f64);
        let inner = S::fma(S::splat(cube), S::mul(x, x), S::splat(S::E::ONE));
        S::mul(S::mul(S::splat(root), x), inner)
    }
}

/// s
#[inline(always)]
unsafe fn gate<S: Simd>(x: S::V) -> S::V {
    // SAFETY: register arithmetic; the caller vouches for the set.
    unsafe { S::sigmoid(cubic::<S>(x, CUBE)) }
}

/// Beyond this s is 0 or 1 as far as a gradient shows, while the cubic would grow without end: s, whose
/// exponential has a least value, is never quite 0.
const FAR: f64 = 40.0;

/// s + x s (1 - s) (2 z)', where x (2 z)' is a cubic, too.
#[inline(always)]
unsafe fn slope<S: Simd>(x: S::V) -> S::V {
    // SAFETY: register arithmetic; the caller vouches for the set.
    unsafe {
        let s = gate::<S>(x);
        let rest = S::mul(s, S::sub(S::splat(S::E::ONE), s));
        let [zero, far] = [0.0, -FAR].map(|x| S::splat(S::E::from_f64(x)));
        let from_below = S::sub(zero, S::max(x, far));
        let x = S::sub(zero, S::max(from_below, far));
        S::fma(rest, cubic::<S>(x, 3.0 * CUBE), s)
    }
}

// ---- backward ------------------------------------------------------------------------------

struct Node {
    x: Var,
    y: Option<Slot>,
}

impl Backward for Node {
    fn name(&self) -> &'static str {
        "gelu"
    }

    fn backward(self: Box<Self>, grads: &mut Grads) -> Result<()> {
        let Some(dy) = grads.take(self.y) else {
            return Ok(());
        };
        let x = self.x.value();
        let dx = match gpu::common("gelu", x, &dy)? {
            Some(gpu) => {
                let dx = Tensor::on_gpu(gpu, x.dtype(), x.shape().clone())?;
                let args = gpu::pointers(&[&dy, x, &dx])?;
                gpu::per_element(gpu, "gelu_bwd", x.dtype(), &args, x.numel())?;
                dx
            }
            None => for_float!("gelu", x.dtype(), T => on_cpu::<T>(x, Some(&dy)))?,
        };
        grads.add(self.x.slot(), dx)
    }
}
