//! How far a result may be from the reference, each bound with its reason.
//!
//! An error is the largest distance of an output's elements, over the largest magnitude that the
//! reference has in that output. f32 has 24 bits (a rounding is 6.0e-8), f16 has 11 (4.9e-4).

use crate::dtype::DType;

/// The largest error allowed, for each data type of the storage.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound {
    f32: f64,
    f16: f64,
    /// Why the numbers are what they are.
    pub why: &'static str,
}

impl Bound {
    /// The bound where numbers are stored as `dtype`.
    pub fn of(self, dtype: DType) -> f64 {
        match dtype {
            DType::F16 => self.f16,
            _ => self.f32,
        }
    }
}

/// Gathers, counts, masks, and conversions of numbers that fit.
pub(super) const EXACT: Bound = Bound {
    f32: 0.0,
    f16: 0.0,
    why: "moved or counted, not rounded",
};

/// A sum or product of two numbers, or a conversion.
pub(super) const ROUNDED: Bound = Bound {
    f32: 6.0e-8,
    f16: 4.9e-4,
    why: "one rounding",
};

/// A product with a constant.
pub(super) const SCALED: Bound = Bound {
    f32: 1.2e-7,
    f16: 4.9e-4,
    why: "one rounding, of a product with a constant that is f32 itself",
};

/// Two results added.
pub(super) const TWICE: Bound = Bound {
    f32: 1.2e-7,
    f16: 9.8e-4,
    why: "two results added: two roundings",
};

/// Sums that stay in f32 whatever the operands are.
pub(super) const SUM: Bound = Bound {
    f32: 2e-6,
    f16: 2e-6,
    why: "sums of exact terms in f32, in another order",
};

/// Sums that are stored in the case's data type.
pub(super) const ROUNDED_SUM: Bound = Bound {
    f32: 2e-6,
    f16: 4.9e-4,
    why: "sums of exact terms in f32, in another order, rounded once when stored",
};

/// Products of matrices.
pub(super) const PRODUCT: Bound = Bound {
    f32: 2e-6,
    f16: 1.5e-3,
    why: "sums of up to 257 products in f32, rounded once or twice when stored",
};

/// sigmoid and tanh.
pub(super) const ACTIVATION: Bound = Bound {
    f32: 1e-6,
    f16: 2e-3,
    why: "exp and a quotient of a few units in the last place; backward starts from the stored y",
};

/// The Gaussian error linear unit.
pub(super) const GELU: Bound = Bound {
    f32: 2e-6,
    f16: 2e-3,
    why: "as an activation, of a cubic whose rounding the exponential enlarges",
};

/// A whole LSTM layer over a sequence.
pub(super) const LSTM: Bound = Bound {
    f32: 6e-6,
    f16: 8e-3,
    why: "activations and products of each step, whose errors the recurrence carries on",
};

/// A whole GRU layer over a sequence.
pub(super) const GRU: Bound = Bound {
    f32: 3e-6,
    f16: 8e-3,
    why: "as the LSTM, whose states beside h it does not have",
};

/// A whole decoder with attention over a sequence.
pub(super) const ATTENTION: Bound = Bound {
    f32: 6e-6,
    f16: 4e-3,
    why: "as the LSTM; attention adds tanh, exp and sums in f32 to each step",
};

/// A whole tanh RNN layer over a sequence.
pub(super) const RNN: Bound = Bound {
    f32: 3e-6,
    f16: 5e-3,
    why: "a product and a tanh of each step, whose errors the recurrence carries on",
};

/// Outputs and states of whole sequences in one kernel, against the same step by step. Both ways sum the same
/// products in f32, in another order, and then round each h, so that of many steps a number differs by up to an ulp
/// (9.8e-4 of it), by 4e-4 in the mean square. What came before adds as much again at most, however many steps there
/// are, as W_hh hands on half of the square. Of 10^8 numbers the one that is six times the mean square away: 2.4e-3,
/// and its own ulp. What is kept in f32, as c is, comes from the same h.
pub(super) const WHOLE_STATE: Bound = Bound {
    f32: 4e-3,
    f16: 4e-3,
    why: "two roundings of each h, and those before, which W_hh hands on as less",
};

/// The gradients of the same. dz is rounded, and so are the four gates that it is a product of: 4e-4 sqrt(5) in the
/// mean square, with what came after sqrt(2) times as much; six times that. A weight's gradient sums these over all
/// rows and steps: the differences are of any sign, as are the terms, so that both grow as the root of their number,
/// and f32 adds 1e-5 for 131,072 of them.
pub(super) const WHOLE_GRADIENT: Bound = Bound {
    f32: 8e-3,
    f16: 8e-3,
    why: "two roundings of each dz and gate, and those of later steps, which W_hh hands on as less",
};

/// Scaled dot-product attention.
pub(super) const HEADS: Bound = Bound {
    f32: 4e-6,
    f16: 1.5e-3,
    why: "products, exp and sums over keys in f32, rounded once when stored",
};

/// Normalised rows and their gradient.
pub(super) const NORM: Bound = Bound {
    f32: 3e-6,
    f16: 1.2e-3,
    why: "two sums over a row and a root in f32, rounded once or twice when stored",
};

/// The gradients of gamma and beta.
pub(super) const NORM_SUM: Bound = Bound {
    f32: 3e-6,
    f16: 3e-6,
    why: "sums over rows in f32 of products that are not stored",
};

/// Softmax and its loss.
pub(super) const SOFTMAX: Bound = Bound {
    f32: 1.5e-6,
    f16: 1.5e-6,
    why: "exp, log and sums over a row in f32, from the same logits",
};

/// The gradient of the logits.
pub(super) const SOFTMAX_GRADIENT: Bound = Bound {
    f32: 1.5e-6,
    f16: 7e-4,
    why: "exp and a sum over a row in f32, rounded once when stored",
};

/// The loss of a projection's rows.
pub(super) const HEAD: Bound = Bound {
    f32: 3e-6,
    f16: 1e-3,
    why: "logits of up to 33 products, rounded when stored; then as the softmax",
};

/// The gradients of a projection and its loss.
pub(super) const HEAD_GRADIENT: Bound = Bound {
    f32: 5e-6,
    f16: 4e-3,
    why: "p - y, from rounded logits and rounded when stored, in products over up to 257 rows",
};

/// Adam's moments and the change of the parameters.
pub(super) const ADAM: Bound = Bound {
    f32: 1e-5,
    f16: 1e-5,
    why: "everything is f32; a change of 1e-2 of parameters near 1 keeps five digits",
};

/// Loss, norm, weights and moments after whole training steps.
pub(super) const STEP: Bound = Bound {
    f32: 4e-6,
    f16: 6e-3,
    why: "a forward and a backward pass through two layers, then Adam",
};
