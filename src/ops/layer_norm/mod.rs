//! **op** Layer normalisation of rows (Ba, Kiros & Hinton 2016), with the variance of all elements of a
//! row, as torch has it:
//!
//! ```text
//! m = mean of x      r = 1 / sqrt(mean of (x - m)^2 + epsilon)      u = (x - m) r
//! y = gamma u + beta
//! ```
//!
//! and with g = gamma dy:
//!
//! ```text
//! dx = r (g - mean of g - u mean of (g u))
//! dgamma = sum over rows of dy u             dbeta = sum over rows of dy
//! ```
//!
//! **cpu** (`cpu.rs`) Rows in parallel; the sums over rows go over groups of them, then over the groups.
//!
//! **gpu** (`gpu.rs`, `kernels/layer_norm.cu`) A block a row; m and r are kept in f32.

mod cpu;
mod gpu;

use super::gpu::common;
use crate::autograd::{Slot, Tape, Var};
use crate::error::{Error, Result};
use crate::tensor::for_float;

/// Normalises the rows of x `[.., N]`; gamma and beta are `[N]`.
///
/// # Errors
/// [`Error::Op`] for shapes or data types that do not fit.
pub fn layer_norm(tape: &mut Tape, x: &Var, gamma: &Var, beta: &Var, epsilon: f64) -> Result<Var> {
    let columns = x.value().shape().last();
    let fits = |v: &Var| v.value().dims() == [columns];
    if columns == 0 || !fits(gamma) || !fits(beta) {
        let [x, gamma, beta] = [x, gamma, beta].map(|v| v.value().shape().to_string());
        let message = format!("gamma {gamma} and beta {beta} for rows of {x}");
        return Err(Error::op("layer_norm", message));
    }
    super::common::one_dtype("layer_norm", &[x.value(), gamma.value(), beta.value()])?;
    common("layer_norm", x.value(), beta.value())?;
    let operands = Operands { x, gamma, beta };
    match common("layer_norm", x.value(), gamma.value())?.cloned() {
        Some(gpu) => gpu::run(&gpu, tape, operands, epsilon),
        None => for_float!("layer_norm", x.value().dtype(), T => {
            cpu::run::<T>(tape, operands, epsilon)
        }),
    }
}

/// What the op reads.
#[derive(Clone, Copy)]
struct Operands<'a> {
    /// `[.., N]`
    x: &'a Var,
    /// `[N]`
    gamma: &'a Var,
    /// `[N]`
    beta: &'a Var,
}

impl Operands<'_> {
    fn slots(&self) -> [Option<Slot>; 3] {
        [self.x.slot(), self.gamma.slot(), self.beta.slot()]
    }
}
