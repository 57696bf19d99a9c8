//! Vector instructions behind one trait, chosen at run time.
//!
//! A kernel is written once, generic over [`Simd`], and handed to [`dispatch`] as a [`Task`]. All
//! functions of a kernel are `#[inline(always)]`, so that the compiler sees them inside the one
//! function that switches the instruction set on.

use super::x86;
use crate::dtype::Float;
use std::sync::OnceLock;

/// One instruction set and element type. `V` holds `LANES` elements.
///
/// # Safety
/// The methods may only run where the instruction set is available, which [`dispatch`] sees to.
/// Pointers must be valid for the elements read or written; no alignment is needed.
pub trait Simd: Copy + Send + Sync + 'static {
    /// Element type.
    type E: Float;
    /// Vector register.
    type V: Copy;
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

/// The instruction sets that kernels exist for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Whatever the compiler's baseline offers.
    Portable,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512F.
    Avx512,
}

/// The level that kernels use, once it is settled.
static CURRENT: OnceLock<Level> = OnceLock::new();

impl Level {
    /// The level that kernels use: the widest of this machine, unless [`Level::limit`] came first.
    #[inline]
    pub fn current() -> Level {
        *CURRENT.get_or_init(Level::detect)
    }

    /// Keeps the kernels of this process at `level` or below. Returns whether that was possible: a
    /// level that the machine lacks, or one that comes after the first kernel, is not.
    pub fn limit(level: Level) -> bool {
        level <= Level::detect() && *CURRENT.get_or_init(|| level) == level
    }

    /// The widest level of this machine.
    pub fn detect() -> Level {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            if avx2 && is_x86_feature_detected!("avx512f") {
                return Level::Avx512;
            }
            if avx2 {
                return Level::Avx2;
            }
        }
        Level::Portable
    }

    /// Lanes of f32 in a register.
    pub fn lanes_f32(self) -> usize {
        match self {
            Level::Portable => Portable::<f32>::LANES,
            Level::Avx2 => 8,
            Level::Avx512 => 16,
        }
    }
}

/// An element type that [`Dispatch::dispatch`] knows kernels for.
pub trait Dispatch: Float {
    /// Runs the task with the widest instruction set of this machine.
    fn dispatch<K: Task<Self>>(task: K) -> K::Output;

    /// The `LANES` and `ROWS` that [`Dispatch::dispatch`] will use, for layouts made before.
    fn tile() -> (usize, usize) {
        struct Tile;
        impl<T> Task<T> for Tile {
            type Output = (usize, usize);
            unsafe fn run<S: Simd<E = T>>(self) -> (usize, usize) {
                (S::LANES, S::ROWS)
            }
        }
        Self::dispatch(Tile)
    }
}

impl Dispatch for f32 {
    #[inline]
    fn dispatch<K: Task<f32>>(task: K) -> K::Output {
        x86::dispatch_f32(Level::current(), task)
    }
}

impl Dispatch for f64 {
    #[inline]
    fn dispatch<K: Task<f64>>(task: K) -> K::Output {
        // SAFETY: Portable needs no instruction set.
        unsafe { task.run::<Portable<f64>>() }
    }
}

/// Plain arrays: f64 for gradient checks, f32 where there is no AVX2.
#[derive(Clone, Copy, Debug)]
pub struct Portable<T>(std::marker::PhantomData<T>);

const PORTABLE_LANES: usize = 4;

impl<T: Float> Simd for Portable<T> {
    type E = T;
    type V = [T; PORTABLE_LANES];
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
