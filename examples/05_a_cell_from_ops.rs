//! An LSTM written from small ops, against the fused one.
//!
//! ```text
//! cargo run --example 05_a_cell_from_ops
//! ```
//!
//! `ops::recurrent` takes a whole sequence as one op. Here the same is written one step and one op at a
//! time: slower, but each line is a line of the formula, and a cell of your own begins like this.
//! Outputs and gradients agree to the rounding of the data type.

use rnnx::Result;
use rnnx::autograd::{Tape, Var};
use rnnx::dtype::DType;
use rnnx::ops::recurrent::{CellKind, Hidden, Input, recurrent};
use rnnx::ops::{self, cast::convert};
use rnnx::rng::{Purpose, Stream};
use rnnx::tensor::Tensor;
use std::time::Instant;

const STEPS: usize = 20;
const BATCH: usize = 8;
const INPUTS: usize = 24;
const HIDDEN: usize = 32;

/// One step: x `[B, I]`, h and c `[B, H]`, w `[4H, I + H]`, bias `[4H]`; gate order i, f, g, o.
fn step(tape: &mut Tape, x: &Var, h: &Var, c: &Var, w: &Var, bias: &Var) -> Result<(Var, Var)> {
    // z = [x | h] w^T + b
    let xh = ops::concat(tape, &[x, h])?;
    let z = ops::matmul(tape, &xh, w, false, true)?; // [B, 4H]
    let z = ops::add_bias(tape, z, bias)?;
    let mut gate = |k: usize| ops::slice(tape, &z, 1, k * HIDDEN..(k + 1) * HIDDEN); // [B, H]
    let (i, f, g, o) = (gate(0)?, gate(1)?, gate(2)?, gate(3)?);
    let (i, f) = (ops::sigmoid(tape, &i)?, ops::sigmoid(tape, &f)?);
    let (g, o) = (ops::tanh(tape, &g)?, ops::sigmoid(tape, &o)?);
    // c = f c + i g,  h = o tanh(c)
    let (kept, new) = (ops::mul(tape, &f, c)?, ops::mul(tape, &i, &g)?);
    let c = ops::add(tape, &kept, &new)?;
    let squashed = ops::tanh(tape, &c)?;
    Ok((ops::mul(tape, &o, &squashed)?, c))
}

/// A sequence x `[T, B, I]` from zero states: the sum of y * r, where y and r are `[T, B, H]`.
fn from_ops(tape: &mut Tape, v: &[Var; 4], r: &Var) -> Result<Var> {
    let [x, w_ih, w_hh, bias] = v;
    let w = ops::concat(tape, &[w_ih, w_hh])?;
    let zero = convert(&Tensor::zeros::<f64>([BATCH, HIDDEN]), x.value().dtype())?;
    let (mut h, mut c) = (Var::constant(zero.clone()), Var::constant(zero));
    let mut total: Option<Var> = None;
    for t in 0..STEPS {
        let x = ops::slice(tape, x, 0, t..t + 1)?.reshape([BATCH, INPUTS])?;
        let r = ops::slice(tape, r, 0, t..t + 1)?.reshape([BATCH, HIDDEN])?;
        (h, c) = step(tape, &x, &h, &c, &w, bias)?;
        let product = ops::mul(tape, &h, &r)?;
        let part = ops::sum(tape, &product)?;
        total = Some(match total {
            Some(total) => ops::add(tape, &total, &part)?,
            None => part,
        });
    }
    Ok(total.expect("a sequence has steps"))
}

/// The same by the fused op.
fn fused(tape: &mut Tape, v: &[Var; 4], r: &Var) -> Result<Var> {
    let [x, w_ih, w_hh, bias] = v;
    let input = Input::Dense { x, w_ih, bias };
    let hidden = Hidden { w_hh, b_hh: None };
    let y = recurrent(tape, CellKind::Lstm, input, hidden, None)?.y;
    let product = ops::mul(tape, &y, r)?;
    ops::sum(tape, &product)
}

/// A sequence's loss, given its inputs and the weights of its outputs.
type Form = fn(&mut Tape, &[Var; 4], &Var) -> Result<Var>;

/// The loss and the gradients of the inputs, in doubles, and the seconds that they took.
fn run(form: Form, inputs: &[Tensor; 4], r: &Tensor) -> Result<(Vec<Vec<f64>>, f64)> {
    let start = Instant::now();
    let mut tape = Tape::new();
    let leaves = inputs.clone().map(|t| tape.leaf(t));
    let loss = form(&mut tape, &leaves, &Var::constant(r.clone()))?;
    let one = convert(&Tensor::scalar(1.0f64), r.dtype())?;
    let mut grads = tape.backward(&loss, one)?;
    let seconds = start.elapsed().as_secs_f64();
    let mut results = vec![loss.into_value()];
    results.extend(leaves.iter().filter_map(|leaf| grads.take(leaf.slot())));
    let doubles = |t: &Tensor| Ok(convert(t, DType::F64)?.data::<f64>()?.to_vec());
    Ok((results.iter().map(doubles).collect::<Result<_>>()?, seconds))
}

/// Tensor number `k` of a shape, uniform in [-0.5, 0.5).
fn random<const N: usize>(k: u32, shape: [usize; N], dtype: DType) -> Result<Tensor> {
    let mut reader = Stream::new(1, Purpose::Init, k).reader();
    let numbers: Vec<f64> = (0..shape.iter().product())
        .map(|_| reader.uniform() - 0.5)
        .collect();
    convert(&Tensor::from_slice(&numbers, shape)?, dtype)
}

fn main() -> Result<()> {
    // Sums of up to 800 terms, through 20 steps, in other orders; f32 has 7 digits, f64 has 16.
    for (dtype, bound) in [(DType::F64, 1e-12), (DType::F32, 2e-5)] {
        let inputs = [
            random(0, [STEPS, BATCH, INPUTS], dtype)?,
            random(1, [4 * HIDDEN, INPUTS], dtype)?,
            random(2, [4 * HIDDEN, HIDDEN], dtype)?,
            random(3, [4 * HIDDEN], dtype)?,
        ];
        let r = random(4, [STEPS, BATCH, HIDDEN], dtype)?;
        let (slow, slow_s) = run(from_ops, &inputs, &r)?;
        let (fast, fast_s) = run(fused, &inputs, &r)?;
        println!("{dtype}, where the largest element of each is 1:");
        let names = ["loss", "dx", "dw_ih", "dw_hh", "db"];
        assert_eq!([slow.len(), fast.len()], [names.len(); 2]);
        for (name, (a, b)) in names.iter().zip(slow.iter().zip(&fast)) {
            let pairs = || a.iter().zip(b);
            let largest = b.iter().fold(0.0f64, |m, b| m.max(b.abs()));
            let distance = pairs().fold(0.0f64, |m, (a, b)| m.max((a - b).abs())) / largest;
            println!("  {name:5} differs by {distance:.1e} or less");
            assert!(distance <= bound, "{name}");
        }
        if dtype == DType::F32 {
            let (slow, fast) = (1e3 * slow_s, 1e3 * fast_s);
            println!("  from ops in {slow:.2} ms, by the fused op in {fast:.2} ms");
        }
    }
    Ok(())
}
