//! A tanh RNN layer over packed sequences as one node.
//!
//! **op** (Elman 1990, "Finding structure in time"):
//!
//! ```text
//! h_t = tanh(x_t W_ih^T + b + h_{t-1} W_hh^T)        [n_t, H]
//! dz_t = dh_t (1 - h_t^2)          dh_{t-1} = dy_{t-1} + dz_t W_hh
//! dx = dz W_ih     dW_ih = dz^T x     dW_hh = sum_t dz_t^T h_{t-1}     db = sum_t dz_t
//! ```
//!
//! **cpu** (`cpu.rs`, `slab.rs`): the input side, dx and the weight gradients are large products over
//! all packed rows. Between them each task takes a slab of batch rows through all steps; the slabs
//! depend on the batch size alone, so the bits do not depend on the number of threads.
//!
//! **gpu** (`gpu.rs`): the same products, and a product and a kernel for each step.

mod cpu;
mod gpu;
mod slab;

use crate::autograd::{Slot, Tape, Var};
use crate::data::packing::Packing;
use crate::error::{Error, Result};
use crate::tensor::{Tensor, for_float};

/// The outputs of a layer.
#[derive(Clone, Debug)]
pub struct RnnOutput {
    /// Hidden states, packed `[N, H]`.
    pub y: Var,
    /// Hidden state after each row's last element `[B, H]`.
    pub h_n: Var,
}

/// Runs a layer over packed sequences: x `[N, I]`, W_ih `[H, I]`, b `[H]`, W_hh `[H, H]`. `h0` is the
/// initial state `[B, H]` of the rows in the order of step 0; zero if absent.
///
/// # Errors
/// [`Error::Op`] for shapes or data types that do not fit.
pub fn rnn(
    tape: &mut Tape,
    x: &Var,
    w_ih: &Var,
    bias: &Var,
    w_hh: &Var,
    h0: Option<&Var>,
    packing: &Packing,
) -> Result<RnnOutput> {
    let layer = Layer {
        x: x.clone(),
        w_ih: w_ih.clone(),
        bias: bias.clone(),
        w_hh: w_hh.clone(),
        h0: h0.cloned(),
        packing: packing.clone(),
    };
    layer.check()?;
    match w_hh.value().gpu().cloned() {
        Some(gpu) => gpu::run(&gpu, tape, layer),
        None => for_float!("rnn", w_hh.value().dtype(), T => cpu::run::<T>(tape, layer)),
    }
}

/// What a layer computes from; the backward pass needs it again.
struct Layer {
    x: Var,
    w_ih: Var,
    bias: Var,
    w_hh: Var,
    h0: Option<Var>,
    packing: Packing,
}

impl Layer {
    /// H.
    fn hidden(&self) -> usize {
        self.w_hh.value().shape().last()
    }

    fn check(&self) -> Result<()> {
        let fail = |message: String| Err(Error::op("rnn", message));
        let [x, w_ih, bias, w_hh] = [&self.x, &self.w_ih, &self.bias, &self.w_hh].map(Var::value);
        let hidden = match *w_hh.dims() {
            [rows, columns] if rows == columns && rows > 0 => rows,
            _ => return fail(format!("W_hh is {}, not [H, H]", w_hh.shape())),
        };
        let rows = self.packing.rows();
        let inputs = match *x.dims() {
            [n, inputs] if n == rows && inputs > 0 => inputs,
            _ => {
                let message = format!("x is {}, not [N, I] with N = {rows}", x.shape());
                return fail(format!("{message} rows of the packing"));
            }
        };
        if w_ih.dims() != [hidden, inputs] || bias.dims() != [hidden] {
            return fail(format!(
                "x {}, W_ih {}, b {} and W_hh {} do not fit together",
                x.shape(),
                w_ih.shape(),
                bias.shape(),
                w_hh.shape()
            ));
        }
        let state = [self.packing.batch(), hidden];
        if let Some(h0) = self.h0.as_ref().filter(|h| h.value().dims() != state) {
            return fail(format!("h0 is {}, not {state:?}", h0.value().shape()));
        }
        let mut operands = vec![x, w_ih, bias, w_hh];
        operands.extend(self.h0.as_ref().map(Var::value));
        super::one_dtype("rnn", &operands)
    }

    /// Puts y and h_n on the tape.
    fn outputs(&self, tape: &mut Tape, y: Tensor, h_n: Tensor) -> RnnOutput {
        let h0 = self.h0.as_ref().and_then(Var::slot);
        let [x, w_ih, bias, w_hh] = [&self.x, &self.w_ih, &self.bias, &self.w_hh].map(Var::slot);
        let inputs: [Option<Slot>; 5] = [x, w_ih, bias, w_hh, h0];
        RnnOutput {
            y: tape.output(y, inputs),
            h_n: tape.output(h_n, inputs),
        }
    }
}
