//! What a kernel may ask of an instruction set, and what a kernel is.

use half::f16;

use crate::dtype::{Element, Float};

/// One instruction set and element type. `V` holds `LANES` elements.
///
/// # Safety
/// The methods may only run where the instruction set is available, which the dispatch sees to.
/// Pointers must be valid for the elements read or written; no alignment is needed.
pub trait Simd: Copy + Send + Sync + 'static {
    /// Element type.
    type E: Float;
    /// Vector register.
    type V: Copy;
    /// What weights in half precision are kept as for [`Simd::load_half`].
    type Half: Element;
    /// Elements in a register.
    const LANES: usize;
    /// Rows of a matrix tile that is 4 registers wide: what fits into the register file.
    const ROWS: usize;

    /// All lanes `x`.
    unsafe fn splat(x: Self::E) -> Self::V;
    /// `LANES` elements.
    unsafe fn load(p: *const Self::E) -> Self::V;
    /// The first `n < LANES` elements, zero behind them.
    unsafe fn load_part(p: *const Self::E, n: usize) -> Self::V;
    /// A weight as it is kept.
    fn half(x: f16) -> Self::Half;
    /// `LANES` weights, widened.
    unsafe fn load_half(p: *const Self::Half) -> Self::V;
    /// Writes all lanes.
    unsafe fn store(p: *mut Self::E, v: Self::V);
    /// Writes the first `n < LANES` lanes.
    unsafe fn store_part(p: *mut Self::E, v: Self::V, n: usize);
    /// a + b
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    /// a - b
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    /// a * b
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    /// The larger of each pair of lanes.
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// a * b + c, rounded once where the hardware can.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// Natural exponential.
    unsafe fn exp(a: Self::V) -> Self::V;
    /// 1 / (1 + exp(-a))
    unsafe fn sigmoid(a: Self::V) -> Self::V;
    /// Hyperbolic tangent.
    unsafe fn tanh(a: Self::V) -> Self::V;
}

/// Work to be done with some instruction set.
pub trait Task<T> {
    /// What the work yields.
    type Output;
    /// Does the work.
    ///
    /// # Safety
    /// `S`'s instruction set must be available.
    unsafe fn run<S: Simd<E = T>>(self) -> Self::Output;
}
