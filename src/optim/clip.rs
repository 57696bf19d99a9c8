//! Gradient clipping by norm, per tensor or over all tensors.
//!
//! Pascanu et al. 2013: a gradient whose norm exceeds the threshold is scaled down to it.

use crate::device::cpu::simd::Dispatch;
use crate::nn::Layout;
use crate::ops::reduce::sum_of;

/// What the norm is taken over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Clip {
    /// No clipping.
    Off,
    /// Each tensor by its own norm, scaled by max / norm (Keras's `clipnorm`).
    PerTensor {
        /// Largest norm.
        max: f64,
    },
    /// All tensors by their common norm, scaled by max / (norm + epsilon). torch's
    /// `clip_grad_norm_` has epsilon 1e-6, Keras's `global_clipnorm` has zero.
    Global {
        /// Largest norm.
        max: f64,
        /// Added to the norm that divides.
        epsilon: f64,
    },
}

/// The norms of a flat gradient before clipping, and what each segment is multiplied with.
#[derive(Clone, Debug, PartialEq)]
pub struct Clipping {
    /// Norm over all tensors; not finite if any gradient is not.
    pub norm: f64,
    /// One factor a segment, at most one.
    pub factors: Vec<f64>,
}

impl Clip {
    /// Measures a flat gradient. Sums are taken in f64 in a fixed order.
    pub fn measure<T: Dispatch>(self, layout: &Layout, gradient: &[T]) -> Clipping {
        let squares = layout.segments().iter().map(|s| {
            let segment = &gradient[s.offset..][..s.shape.numel()];
            sum_of(segment, |x| x * x)
        });
        let squares: Vec<f64> = squares.collect();
        let norm = squares.iter().sum::<f64>().sqrt();
        let factors = squares.iter().map(|square| match self {
            Clip::PerTensor { max } if square.sqrt() > max => max / square.sqrt(),
            Clip::Global { max, epsilon } if norm > max => max / (norm + epsilon),
            _ => 1.0,
        });
        Clipping {
            norm,
            factors: factors.collect(),
        }
    }
}
