//! An op of your own: softplus(x) = ln(1 + exp(x)), a smooth form of max(x, 0).
//!
//! ```text
//! cargo run --example 03_an_op_of_your_own
//! ```
//!
//! An op is a function that computes a value and a struct that knows the way back. All that it takes
//! is public: `Tape::output` and `Tape::push` to record it, the trait `Backward` for the struct,
//! `Grads::take` and `Grads::add` inside. It works beside the crate's own ops on a CPU. One with a
//! kernel of its own for GPUs belongs into the crate, where kernels are compiled.

use rnnx::Result;
use rnnx::autograd::{Backward, Grads, Slot, Tape, Var};
use rnnx::dtype::{DType, Float};
use rnnx::ops;
use rnnx::tensor::{Stored, Tensor};

// ---- op ------------------------------------------------------------------------------------

/// y = ln(1 + exp(x)) of each element, in f32 or f64.
fn softplus(tape: &mut Tape, x: &Var) -> Result<Var> {
    // max(x, 0) + ln(1 + exp(-|x|)) is the same, and exp does not overflow.
    let f = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
    let value = map(x.value(), f)?;
    // The output has a gradient if an input has one and the tape records.
    let y = tape.output(value, [x.slot()]);
    if y.slot().is_some() {
        tape.push(Softplus {
            x: x.clone(),
            y: y.slot(),
        });
    }
    Ok(y)
}

/// A function of each element, computed in f64 and rounded to the tensor's data type.
fn map(x: &Tensor, f: impl Fn(f64) -> f64) -> Result<Tensor> {
    fn of<T: Float + Stored>(x: &Tensor, f: impl Fn(f64) -> f64) -> Result<Tensor> {
        let data: Vec<T> = x
            .data()?
            .iter()
            .map(|x: &T| T::from_f64(f(x.to_f64())))
            .collect();
        Tensor::from_slice(&data, x.shape().clone())
    }
    match x.dtype() {
        DType::F64 => of::<f64>(x, f),
        _ => of::<f32>(x, f), // an error that says so, where it is something else
    }
}

// ---- backward ------------------------------------------------------------------------------

/// What the way back needs: the input's value, and where the gradients are.
struct Softplus {
    x: Var,
    y: Option<Slot>,
}

impl Backward for Softplus {
    fn name(&self) -> &'static str {
        "softplus"
    }

    /// dx = dy / (1 + exp(-x))
    fn backward(self: Box<Self>, grads: &mut Grads) -> Result<()> {
        // None where nothing used y: then there is nothing to do.
        let Some(dy) = grads.take(self.y) else {
            return Ok(());
        };
        let slope = map(self.x.value(), |x| 1.0 / (1.0 + (-x).exp()))?;
        let mut off = Tape::inference();
        let dx = ops::mul(&mut off, &Var::constant(dy), &Var::constant(slope))?;
        // `add`, not `set`: x may have been used by other ops too.
        grads.add(self.x.slot(), dx.into_value())
    }
}

// ---- a check of the gradient ---------------------------------------------------------------

/// Weights of the outputs: the sum of y * R has gradients that differ from element to element.
const R: [f64; 6] = [0.3, -1.2, 0.7, 2.0, -0.4, 1.1];

/// sum(softplus(x) * x * R): the op together with others, one of which uses x too.
fn loss(tape: &mut Tape, x: &Var) -> Result<Var> {
    let y = softplus(tape, x)?;
    let y = ops::mul(tape, &y, x)?;
    let y = ops::mul(tape, &y, &Var::constant(Tensor::from_slice(&R, [2, 3])?))?;
    ops::sum(tape, &y)
}

fn main() -> Result<()> {
    let x = [-30.0f64, -2.0, -0.1, 0.0, 1.5, 40.0];
    let mut tape = Tape::new();
    let leaf = tape.leaf(Tensor::from_slice(&x, [2, 3])?);
    let total = loss(&mut tape, &leaf)?;
    let mut grads = tape.backward(&total, Tensor::scalar(1.0f64))?;
    let dx = grads.take(leaf.slot()).expect("the loss depends on x");

    println!("     x   dx by the tape   by a difference");
    for (k, &analytic) in dx.data::<f64>()?.iter().enumerate() {
        let at = |value: f64| {
            let mut moved = x;
            moved[k] = value;
            let x = Var::constant(Tensor::from_slice(&moved, [2, 3])?);
            loss(&mut Tape::inference(), &x)?.value().item()
        };
        let step = 1e-5;
        let numeric = (at(x[k] + step)? - at(x[k] - step)?) / (2.0 * step);
        println!("{:6.1} {analytic:+16.9} {numeric:+17.9}", x[k]);
        // The loss is near 2e3, where a double has 2e-13: over the step, 2e-8.
        assert!((analytic - numeric).abs() < 2e-7);
    }
    Ok(())
}
