//! AVX2 and AVX-512 behind [`Simd`], and the functions that switch them on.

use std::arch::x86_64::*;

use half::f16;

use super::set::{Simd, Task};
use super::vecmath::{self, SimdF32};

/// Runs the task with AVX2.
///
/// # Safety
/// The processor has AVX2, FMA and F16C.
#[target_feature(enable = "avx2,fma,f16c")]
pub unsafe fn run_avx2<K: Task<f32>>(task: K) -> K::Output {
    // SAFETY: the features are on here.
    unsafe { task.run::<Avx2>() }
}

/// Runs the task with AVX-512.
///
/// # Safety
/// The processor has AVX2, FMA, F16C and AVX-512F.
#[target_feature(enable = "avx2,fma,f16c,avx512f")]
pub unsafe fn run_avx512<K: Task<f32>>(task: K) -> K::Output {
    // SAFETY: the features are on here.
    unsafe { task.run::<Avx512>() }
}

/// 8 lanes, 16 registers.
#[derive(Clone, Copy, Debug)]
pub struct Avx2;

/// 16 lanes, 32 registers.
#[derive(Clone, Copy, Debug)]
pub struct Avx512;

/// The methods that differ between the two sets in the prefix of the intrinsic alone. Each is
/// register arithmetic, or a load or store whose pointer the caller vouches for.
macro_rules! simd {
    ($set:ty, $v:ty, $lanes:literal, $rows:literal, $set1:ident, $loadu:ident, $storeu:ident,
     $add:ident, $sub:ident, $mul:ident, $max:ident, $fma:ident, $widen:ident,
     $loadu_half:ident, $load_part:expr, $store_part:expr) => {
        impl Simd for $set {
            type E = f32;
            type V = $v;
            type Half = f16;
            const LANES: usize = $lanes;
            const ROWS: usize = $rows;

            #[inline(always)]
            unsafe fn splat(x: f32) -> $v {
                unsafe { $set1(x) }
            }
            #[inline(always)]
            unsafe fn load(p: *const f32) -> $v {
                unsafe { $loadu(p) }
            }
            #[inline(always)]
            unsafe fn load_part(p: *const f32, n: usize) -> $v {
                unsafe { $load_part(p, n) }
            }
            #[inline(always)]
            fn half(x: f16) -> f16 {
                x
            }
            #[inline(always)]
            unsafe fn load_half(p: *const f16) -> $v {
                unsafe { $widen($loadu_half(p.cast())) }
            }
            #[inline(always)]
            unsafe fn store(p: *mut f32, v: $v) {
                unsafe { $storeu(p, v) }
            }
            #[inline(always)]
            unsafe fn store_part(p: *mut f32, v: $v, n: usize) {
                unsafe { $store_part(p, v, n) }
            }
            #[inline(always)]
            unsafe fn add(a: $v, b: $v) -> $v {
                unsafe { $add(a, b) }
            }
            #[inline(always)]
            unsafe fn sub(a: $v, b: $v) -> $v {
                unsafe { $sub(a, b) }
            }
            #[inline(always)]
            unsafe fn mul(a: $v, b: $v) -> $v {
                unsafe { $mul(a, b) }
            }
            #[inline(always)]
            unsafe fn max(a: $v, b: $v) -> $v {
                unsafe { $max(a, b) }
            }
            #[inline(always)]
            unsafe fn fma(a: $v, b: $v, c: $v) -> $v {
                unsafe { $fma(a, b, c) }
            }
            #[inline(always)]
            unsafe fn exp(a: $v) -> $v {
                unsafe { vecmath::exp::<Self>(a) }
            }
            #[inline(always)]
            unsafe fn sigmoid(a: $v) -> $v {
                unsafe { vecmath::sigmoid::<Self>(a) }
            }
            #[inline(always)]
            unsafe fn tanh(a: $v) -> $v {
                unsafe { vecmath::tanh::<Self>(a) }
            }
        }
    };
}

simd!(
    Avx512,
    __m512,
    16,
    6,
    _mm512_set1_ps,
    _mm512_loadu_ps,
    _mm512_storeu_ps,
    _mm512_add_ps,
    _mm512_sub_ps,
    _mm512_mul_ps,
    _mm512_max_ps,
    _mm512_fmadd_ps,
    _mm512_cvtph_ps,
    _mm256_loadu_si256,
    |p, n| _mm512_maskz_loadu_ps(mask16(n), p),
    |p, v, n| _mm512_mask_storeu_ps(p, mask16(n), v)
);

simd!(
    Avx2,
    __m256,
    8,
    3,
    _mm256_set1_ps,
    _mm256_loadu_ps,
    _mm256_storeu_ps,
    _mm256_add_ps,
    _mm256_sub_ps,
    _mm256_mul_ps,
    _mm256_max_ps,
    _mm256_fmadd_ps,
    _mm256_cvtph_ps,
    _mm_loadu_si128,
    |p, n| _mm256_maskload_ps(p, mask8(n)),
    |p, v, n| _mm256_maskstore_ps(p, mask8(n), v)
);

/// A mask of the first n < 16 lanes.
#[inline(always)]
fn mask16(n: usize) -> __mmask16 {
    (1u32 << n).wrapping_sub(1) as __mmask16
}

/// A mask of the first n < 8 lanes.
#[inline(always)]
unsafe fn mask8(n: usize) -> __m256i {
    // SAFETY: register arithmetic with AVX2, which the caller has switched on.
    unsafe {
        _mm256_cmpgt_epi32(
            _mm256_set1_epi32(n as i32),
            _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7),
        )
    }
}

impl SimdF32 for Avx512 {
    #[inline(always)]
    unsafe fn round(a: __m512) -> __m512 {
        unsafe { _mm512_roundscale_ps::<_MM_FROUND_TO_NEAREST_INT>(a) }
    }
    #[inline(always)]
    unsafe fn exp2_int(n: __m512) -> __m512 {
        unsafe { _mm512_scalef_ps(_mm512_set1_ps(1.0), n) }
    }
    #[inline(always)]
    unsafe fn div(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_div_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn min(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_min_ps(a, b) }
    }
}

impl SimdF32 for Avx2 {
    #[inline(always)]
    unsafe fn round(a: __m256) -> __m256 {
        unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }
    #[inline(always)]
    unsafe fn exp2_int(n: __m256) -> __m256 {
        // The exponent field of an IEEE single is n + 127.
        unsafe {
            let e = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(e))
        }
    }
    #[inline(always)]
    unsafe fn div(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_div_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn min(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_min_ps(a, b) }
    }
}
