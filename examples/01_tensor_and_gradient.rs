//! A tensor, a tape, ops and a gradient, which a difference checks.
//!
//! ```text
//! cargo run --example 01_tensor_and_gradient
//! ```
//!
//! One layer y = tanh(x w + b) and the loss mean((y - target)^2), in f64: there a difference has
//! enough digits to tell a right gradient from a wrong one.

use rnnx::Result;
use rnnx::autograd::{Tape, Var};
use rnnx::ops;
use rnnx::tensor::Tensor;

/// The loss of a layer with weights w `[3, 2]` and bias b `[2]`.
fn loss(tape: &mut Tape, w: &Var, b: &Var) -> Result<Var> {
    // A tensor is numbers, a shape and a data type. A constant is a value that needs no gradient.
    let x = Tensor::from_slice(&[0.5f64, -1.0, 2.0, 1.5, 0.3, -0.7], [2, 3])?; // [rows, inputs]
    let target = Tensor::from_slice(&[0.1f64, 0.2, -0.3, 0.4], [2, 2])?; // [rows, outputs]
    let (x, target) = (Var::constant(x), Var::constant(target));

    // Ops take the tape, on which they record how to go back.
    let z = ops::matmul(tape, &x, w, false, false)?; // neither is read transposed
    let z = ops::add_bias(tape, z, b)?;
    let y = ops::tanh(tape, &z)?;
    let error = ops::sub(tape, &y, &target)?;
    let square = ops::mul(tape, &error, &error)?;
    ops::mean(tape, &square)
}

/// The loss alone: a tape for inference records nothing.
fn loss_at(w: &[f64], b: &[f64]) -> Result<f64> {
    let w = Var::constant(Tensor::from_slice(w, [3, 2])?);
    let b = Var::constant(Tensor::from_slice(b, [2])?);
    loss(&mut Tape::inference(), &w, &b)?.value().item()
}

fn main() -> Result<()> {
    let w = [0.2, -0.4, 0.1, 0.3, -0.5, 0.6];
    let b = [0.05, -0.05];

    // Forward. A leaf is a value whose gradient is wanted.
    let mut tape = Tape::new();
    let w_leaf = tape.leaf(Tensor::from_slice(&w, [3, 2])?);
    let b_leaf = tape.leaf(Tensor::from_slice(&b, [2])?);
    let loss = loss(&mut tape, &w_leaf, &b_leaf)?;
    println!("loss {:.6}", loss.value().item()?);

    // Backward, which consumes the tape. The gradient of the loss itself is 1.
    let mut grads = tape.backward(&loss, Tensor::scalar(1.0f64))?;
    let dw = grads.take(w_leaf.slot()).expect("the loss depends on w");
    let db = grads.take(b_leaf.slot()).expect("the loss depends on b");
    println!("db {:.6?}", db.data::<f64>()?);

    // The same by a central difference, one weight after the other. Its error is of the order of
    // the square of the step, 1e-10, and of the loss's rounding over the step, 1e-11.
    println!("dw by the tape    by a difference");
    let step = 1e-5;
    for (k, analytic) in dw.data::<f64>()?.iter().enumerate() {
        let at = |x: f64| {
            let mut moved = w;
            moved[k] = x;
            loss_at(&moved, &b)
        };
        let numeric = (at(w[k] + step)? - at(w[k] - step)?) / (2.0 * step);
        println!("{analytic:+.12}   {numeric:+.12}");
        assert!((analytic - numeric).abs() < 1e-9);
    }
    Ok(())
}
