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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::init::Init;

    /// Two tensors of norms 3 and 4: norm 5 over both, without rounding.
    #[test]
    fn factors_are_exact() {
        let mut layout = Layout::default();
        layout.add("a", [2], Init::Zeros);
        layout.add("b", [1], Init::Zeros);
        let mut gradient = vec![0.0; layout.len()];
        gradient[layout.segments()[0].offset + 1] = -3.0;
        gradient[layout.segments()[1].offset] = 4.0;
        let measure = |clip: Clip| {
            let clipping = clip.measure(&layout, &gradient);
            assert_eq!(clipping.norm, 5.0);
            clipping.factors
        };
        let global = |max, epsilon| measure(Clip::Global { max, epsilon });
        let per_tensor = |max| measure(Clip::PerTensor { max });
        assert_eq!(global(2.0, 0.0), [2.0 / 5.0; 2]);
        assert_eq!(global(2.0, 1e-6), [2.0 / (5.0 + 1e-6); 2]);
        // A norm that is no larger than the threshold is left as it is, whatever epsilon.
        assert_eq!(global(5.0, 1e-6), [1.0; 2]);
        assert_eq!(global(8.0, 0.0), [1.0; 2]);
        assert_eq!(per_tensor(2.0), [2.0 / 3.0, 2.0 / 4.0]);
        assert_eq!(per_tensor(3.0), [1.0, 3.0 / 4.0]);
        // A smaller one is not scaled up to it.
        assert_eq!(per_tensor(3.5), [1.0, 3.5 / 4.0]);
        assert_eq!(measure(Clip::Off), [1.0; 2]);
    }
}
