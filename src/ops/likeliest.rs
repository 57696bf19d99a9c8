//! **op** the likeliest column of each row of logits that may be chosen, and its log-probability:
//! c = argmax of l_j over the allowed j, the lowest of a tie; gain = l_c - log sum over all j of
//! exp(l_j). It has no gradient.

use super::gpu;
use super::softmax_xent;
use crate::device::Gpu;
use crate::device::cpu::simd::Dispatch;
use crate::device::driver::{Arg, Launch};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::tensor::{Tensor, for_float};
use rayon::prelude::*;
use std::sync::Arc;

/// What [`likeliest()`] finds, where the logits are.
#[derive(Clone, Debug)]
pub struct Likeliest {
    /// The column of each row `[B]`, u32.
    pub columns: Tensor,
    /// Its log-probability in nats `[B]`: f64 on the CPU, f32 on a GPU.
    pub gains: Tensor,
}

/// The likeliest columns of logits `[B, V]`. Bit j of `never` forbids column j; those from 32 on are
/// allowed. A logit that is not a number makes its row's gain one that is not.
///
/// # Errors
/// [`Error::Op`] if no column is allowed or the logits are no matrix of a floating type; or if the
/// device fails.
pub fn likeliest(logits: &Tensor, never: u32) -> Result<Likeliest> {
    let width = match *logits.dims() {
        [rows, width] if rows > 0 && (0..width).any(|j| allowed(j, never)) => width,
        _ => {
            let shape = logits.shape();
            let message = format!("no column of {shape} may be chosen (never {never:#b})");
            return Err(Error::op("likeliest", message));
        }
    };
    if let Some(gpu) = logits.gpu() {
        return on_gpu(gpu, logits, never);
    }
    for_float!("likeliest", logits.dtype(), T => {
        let rows = logits.data::<T>()?.par_chunks(width);
        let (columns, gains): (Vec<u32>, Vec<f64>) = rows.map(|row| of_row(row, never)).unzip();
        Ok(Likeliest {
            columns: Tensor::from_slice(&columns, [columns.len()])?,
            gains: Tensor::from_slice(&gains, [gains.len()])?,
        })
    })
}

fn allowed(column: usize, never: u32) -> bool {
    column >= 32 || never >> column & 1 == 0
}

// ---- cpu -----------------------------------------------------------------------------------

fn of_row<T: Dispatch>(row: &[T], never: u32) -> (u32, f64) {
    let first = (0..row.len()).find(|&j| allowed(j, never));
    let mut best = first.unwrap_or_default();
    let mut top = row[best].to_f64();
    for (j, x) in row.iter().map(|x| x.to_f64()).enumerate() {
        // Anything is better than what is not a number.
        if (x > top || (top.is_nan() && !x.is_nan())) && allowed(j, never) {
            (best, top) = (j, x);
        }
    }
    (best as u32, top - softmax_xent::log_sum(row))
}

// ---- gpu -----------------------------------------------------------------------------------

/// Threads of a row.
const THREADS: u32 = 256;

fn on_gpu(gpu: &Arc<Gpu>, logits: &Tensor, never: u32) -> Result<Likeliest> {
    let (rows, width) = (logits.shape().rows(), logits.shape().last());
    let found = Likeliest {
        columns: Tensor::on_gpu(gpu, DType::U32, [rows])?,
        gains: Tensor::on_gpu(gpu, DType::F32, [rows])?,
    };
    let kernel = format!("likeliest_{}", logits.dtype());
    let mut args = gpu::pointers(&[logits, &found.columns, &found.gains])?;
    args.extend([width as u32, never].map(Arg::from));
    gpu.launch(&Launch::new(&kernel, rows as u32, THREADS), &args)?;
    Ok(found)
}
