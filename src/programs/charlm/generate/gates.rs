//! The pointwise half of an LSTM step, written so that the compiler can vectorise it.
//!
//! Every function is generic over `FMA`: with it `a * b + c` is one fused operation, and the wide
//! kernels of [`crate::programs::charlm::generate::gemv`] inline these functions where the hardware has it. Without it
//! a product and a sum are rounded apart (a fused operation in software would be a slow call).
//!
//! Maximum absolute error of `sigmoid` and `tanh` against f64: below 2e-7 (see the test).

use super::gemv::Row;

/// Hidden units a row of gate sums covers: 16 of each of the gates i, f, g, o.
pub const UNITS: usize = 16;

#[inline(always)]
fn madd<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// e^x for x <= 0; below -87 the result is e^-87 (1.6e-38), which every use here rounds away.
///
/// x = n ln 2 + r with |r| <= ln 2 / 2; e^r by its Taylor series to r^7 (truncated at 5e-9 of the
/// value); times 2^n by building the exponent bits.
#[inline(always)]
fn exp_negative<const FMA: bool>(x: f32) -> f32 {
    // Adding 1.5 * 2^23 leaves the nearest integer in the low bits of the mantissa.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts; n times the first is exact (9 significant bits, |n| < 2^7).
    const LN2_HIGH: f32 = 355.0 / 512.0;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let x = x.max(-87.0);
    let shifted = madd::<FMA>(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = madd::<FMA>(n, -LN2_LOW, madd::<FMA>(n, -LN2_HIGH, x));
    let mut p = 1.0 / 5040.0;
    for coefficient in [
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
        1.0,
    ] {
        p = madd::<FMA>(p, r, coefficient);
    }
    // The shift drops all but the low bits, which hold n; 127 is the bias of the exponent.
    p * f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23))
}

/// 1 / (1 + e^-x), from e^-|x| so that nothing overflows.
#[inline(always)]
fn sigmoid<const FMA: bool>(x: f32) -> f32 {
    let e = exp_negative::<FMA>(-x.abs());
    let numerator = if x < 0.0 { e } else { 1.0 };
    numerator / (1.0 + e)
}

/// (1 - e^-2|x|) / (1 + e^-2|x|) with the sign of x.
#[inline(always)]
fn tanh<const FMA: bool>(x: f32) -> f32 {
    let e = exp_negative::<FMA>(-2.0 * x.abs());
    ((1.0 - e) / (1.0 + e)).copysign(x)
}

/// One LSTM step for one stream (Hochreiter & Schmidhuber 1997 with Gers' forget gate):
///
/// a = base + input + recurrent; c = sigmoid(a_f) c + sigmoid(a_i) tanh(a_g);
/// h = sigmoid(a_o) tanh(c)
///
/// - `base`: `[H/16]` rows, the bias or the bias and the input's share
/// - `input`: `[H/16]` rows of W_ih x, or none where `base` has it
/// - `recurrent`: `[H/16]` rows of W_hh h
/// - `c`, `h`: `[H]`, updated in place
#[inline(always)]
pub fn lstm_cell<const FMA: bool>(
    base: &[Row<f32>],
    input: Option<&[Row<f32>]>,
    recurrent: &[Row<f32>],
    c: &mut [f32],
    h: &mut [f32],
) {
    let (cells, _) = c.as_chunks_mut::<UNITS>();
    let (hiddens, _) = h.as_chunks_mut::<UNITS>();
    for (j, (c, h)) in cells.iter_mut().zip(hiddens).enumerate() {
        let mut a = base[j];
        if let Some(input) = input {
            for (sum, x) in a.0.iter_mut().zip(&input[j].0) {
                *sum += x;
            }
        }
        for (sum, x) in a.0.iter_mut().zip(&recurrent[j].0) {
            *sum += x;
        }
        for u in 0..UNITS {
            let i = sigmoid::<FMA>(a.0[u]);
            let f = sigmoid::<FMA>(a.0[UNITS + u]);
            let g = tanh::<FMA>(a.0[2 * UNITS + u]);
            let o = sigmoid::<FMA>(a.0[3 * UNITS + u]);
            c[u] = madd::<FMA>(f, c[u], i * g);
            h[u] = o * tanh::<FMA>(c[u]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The stated bound: about three roundings of a value near 1 (6e-8 each).
    const MAX_ERROR: f64 = 2e-7;

    fn worst(approximate: impl Fn(f32) -> f32, exact: impl Fn(f64) -> f64) -> (f64, f32) {
        (-1_200_000..=1_200_000)
            .map(|i| i as f32 * 1e-4)
            .chain([0.0, -0.0, 1e-30, -1e-30, 3e38, -3e38])
            .map(|x| ((f64::from(approximate(x)) - exact(f64::from(x))).abs(), x))
            .fold((0.0, 0.0), |a, b| if b.0 > a.0 { b } else { a })
    }

    #[test]
    fn activations_stay_within_the_stated_error() {
        let sigmoid_exact = |x: f64| 1.0 / (1.0 + (-x).exp());
        for (name, (error, x)) in [
            ("sigmoid", worst(sigmoid::<false>, sigmoid_exact)),
            ("sigmoid, fused", worst(sigmoid::<true>, sigmoid_exact)),
            ("tanh", worst(tanh::<false>, f64::tanh)),
            ("tanh, fused", worst(tanh::<true>, f64::tanh)),
        ] {
            assert!(error < MAX_ERROR, "{name}: error {error:e} at {x}");
        }
    }

    #[test]
    fn zero_maps_to_exact_values() {
        assert_eq!(sigmoid::<false>(0.0), 0.5);
        assert_eq!(tanh::<false>(0.0), 0.0);
    }
}
