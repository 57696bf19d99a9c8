//! Vectors without instructions of their own.

use std::marker::PhantomData;

use half::f16;

use super::set::Simd;
use crate::dtype::Float;

/// Plain arrays: f64 for gradient checks, f32 where there is no AVX2.
#[derive(Clone, Copy, Debug)]
pub struct Portable<T>(PhantomData<T>);

const PORTABLE_LANES: usize = 4;

impl<T: Float> Simd for Portable<T> {
    type E = T;
    type V = [T; PORTABLE_LANES];
    /// Widened once: in software that would take longer than the product with it.
    type Half = T;
    const LANES: usize = PORTABLE_LANES;
    const ROWS: usize = 2;

    #[inline(always)]
    unsafe fn splat(x: T) -> Self::V {
        [x; PORTABLE_LANES]
    }
    #[inline(always)]
    unsafe fn load(p: *const T) -> Self::V {
        // SAFETY: the caller's pointer is valid for LANES elements.
        unsafe { p.cast::<Self::V>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn load_part(p: *const T, n: usize) -> Self::V {
        // SAFETY: the caller's pointer is valid for n elements.
        std::array::from_fn(|i| if i < n { unsafe { *p.add(i) } } else { T::ZERO })
    }
    #[inline(always)]
    fn half(x: f16) -> T {
        T::from_f64(x.to_f64())
    }
    #[inline(always)]
    unsafe fn load_half(p: *const T) -> Self::V {
        // SAFETY: as load.
        unsafe { Self::load(p) }
    }
    #[inline(always)]
    unsafe fn store(p: *mut T, v: Self::V) {
        // SAFETY: the caller's pointer is valid for LANES elements.
        unsafe { p.cast::<Self::V>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn store_part(p: *mut T, v: Self::V, n: usize) {
        for (i, x) in v.into_iter().enumerate().take(n) {
            // SAFETY: the caller's pointer is valid for n elements.
            unsafe { *p.add(i) = x }
        }
    }
    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] + b[i])
    }
    #[inline(always)]
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] - b[i])
    }
    #[inline(always)]
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] * b[i])
    }
    #[inline(always)]
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    unsafe fn exp(a: Self::V) -> Self::V {
        a.map(T::exp)
    }
    #[inline(always)]
    unsafe fn sigmoid(a: Self::V) -> Self::V {
        a.map(|x| T::ONE / (T::ONE + (-x).exp()))
    }
    #[inline(always)]
    unsafe fn tanh(a: Self::V) -> Self::V {
        a.map(T::tanh)
    }
}
