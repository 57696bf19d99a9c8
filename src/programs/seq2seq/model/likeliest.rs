//! The likeliest tokens. `<PAD>` and `<SOS>` are never chosen; ties go to the lowest token.

use crate::data::words::{EOS, PAD, SOS, UNK};
use crate::dtype::DType;
use crate::error::Result;
use crate::ops::cast::convert;
use crate::tensor::Tensor;
use rayon::prelude::*;

/// The likeliest token of each row of logits `[B, V]` that may be chosen.
///
/// # Errors
/// If the device fails.
pub fn best_tokens(logits: &Tensor, no_unk: bool) -> Result<Vec<u32>> {
    let logits = in_f32(logits)?;
    let best = |row: &[f32]| {
        let mut best = EOS as usize;
        for (token, &x) in row.iter().enumerate() {
            let better = x > row[best] || (x == row[best] && token < best);
            if better && allowed(token, no_unk) {
                best = token;
            }
        }
        best as u32
    };
    let rows = logits.data::<f32>()?.par_chunks(logits.shape().last());
    Ok(rows.map(best).collect())
}

/// Whether a token may be chosen.
pub fn allowed(token: usize, no_unk: bool) -> bool {
    let token = token as u32;
    token != PAD && token != SOS && !(no_unk && token == UNK)
}

/// A tensor as f32 in host memory.
pub fn in_f32(t: &Tensor) -> Result<Tensor> {
    match t.dtype() {
        DType::F32 => t.to_cpu(),
        _ => convert(t, DType::F32)?.to_cpu(),
    }
}
