//! Which tokens may be chosen: never `<PAD>` and `<SOS>`.

use crate::data::words::{PAD, SOS, UNK};
use crate::dtype::DType;
use crate::error::Result;
use crate::ops::cast::convert;
use crate::tensor::Tensor;

/// The tokens that are not chosen, as [`ops::likeliest`](crate::ops::likeliest()) takes them.
pub fn never(no_unk: bool) -> u32 {
    1 << PAD | 1 << SOS | u32::from(no_unk) << UNK
}

/// Whether a token may be chosen.
pub fn allowed(token: usize, no_unk: bool) -> bool {
    token >= 32 || never(no_unk) >> token & 1 == 0
}

/// A tensor as f32 in host memory.
pub fn in_f32(t: &Tensor) -> Result<Tensor> {
    match t.dtype() {
        DType::F32 => t.to_cpu(),
        _ => convert(t, DType::F32)?.to_cpu(),
    }
}
