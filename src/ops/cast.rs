//! **op** y = x in another floating data type, rounded to nearest.

use crate::autograd::{Backward, Grads, Slot, Tape, Var};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use half::f16;

/// Converts to `to`; the gradient is converted back.
///
/// # Errors
/// [`Error::Op`] for indices.
pub fn cast(tape: &mut Tape, x: &Var, to: DType) -> Result<Var> {
    let y = tape.output(convert(x.value(), to)?, [x.slot()]);
    if y.slot().is_some() {
        tape.push(Cast {
            x: x.slot(),
            from: x.value().dtype(),
            y: y.slot(),
        });
    }
    Ok(y)
}

// ---- cpu -----------------------------------------------------------------------------------

/// The tensor in another floating data type.
///
/// # Errors
/// [`Error::Op`] for indices.
pub fn convert(x: &Tensor, to: DType) -> Result<Tensor> {
    let shape = x.shape().clone();
    // f16 and f32 are exact in f64, so nothing is rounded before the last step.
    let wide: Vec<f64> = match x.dtype() {
        DType::F64 => x.data::<f64>()?.to_vec(),
        DType::F32 => x.data::<f32>()?.iter().map(|&x| f64::from(x)).collect(),
        DType::F16 => x.data::<f16>()?.iter().map(|&x| f64::from(x)).collect(),
        DType::U32 => return Err(Error::op("cast", "indices are not cast")),
    };
    match to {
        DType::F64 => Tensor::from_slice(&wide, shape),
        DType::F32 => {
            let narrow: Vec<f32> = wide.iter().map(|&x| x as f32).collect();
            Tensor::from_slice(&narrow, shape)
        }
        DType::F16 => {
            let narrow: Vec<f16> = wide.iter().map(|&x| to_f16(x)).collect();
            Tensor::from_slice(&narrow, shape)
        }
        DType::U32 => Err(Error::op("cast", "numbers are not cast to indices")),
    }
}

/// The nearest f16, ties to even. `f16::from_f64` may round to f32 first, or cut off bits, and so
/// take a number just beside a tie for the tie. Here f32 is rounded to odd (Boldo & Melquiond
/// 2008): an inexact one keeps an odd last bit and is no tie.
fn to_f16(x: f64) -> f16 {
    let near = x as f32;
    let (bits, back) = (near.to_bits(), f64::from(near));
    let odd = if back == x || near.is_nan() || bits & 1 == 1 {
        bits
    } else if back.abs() < x.abs() {
        bits + 1
    } else {
        bits - 1
    };
    f16::from_f32(f32::from_bits(odd))
}

// ---- backward ------------------------------------------------------------------------------

struct Cast {
    x: Option<Slot>,
    from: DType,
    y: Option<Slot>,
}

impl Backward for Cast {
    fn name(&self) -> &'static str {
        "cast"
    }

    fn backward(self: Box<Self>, grads: &mut Grads) -> Result<()> {
        match grads.take(self.y) {
            Some(dy) => grads.add(self.x, convert(&dy, self.from)?),
            None => Ok(()),
        }
    }
}
