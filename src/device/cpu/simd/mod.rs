//! Vector instructions behind one trait, chosen at run time.
//!
//! A kernel is written once, generic over [`Simd`], and handed to [`Dispatch::dispatch`] as a
//! [`Task`]. All functions of a kernel are `#[inline(always)]`, so that the compiler sees them
//! inside the one function that switches the instruction set on.

mod portable;
mod set;
#[cfg(target_arch = "x86_64")]
mod vecmath;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::sync::OnceLock;

use crate::dtype::Float;
use portable::Portable;
pub use set::{Simd, Task};

/// The instruction sets that kernels exist for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Whatever the compiler's baseline offers.
    Portable,
    /// AVX2, FMA and F16C.
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
            let avx2 = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c");
            if avx2 && is_x86_feature_detected!("avx512f") {
                return Level::Avx512;
            }
            if avx2 {
                return Level::Avx2;
            }
        }
        Level::Portable
    }

    /// `avx512`, `avx2` or `portable`.
    pub fn name(self) -> &'static str {
        match self {
            Level::Portable => "portable",
            Level::Avx2 => "avx2",
            Level::Avx512 => "avx512",
        }
    }

    /// Lanes of f32 in a register of this level.
    pub fn lanes_f32(self) -> usize {
        self.run(Tile).0
    }

    /// Runs the task with this level's instructions, or with those of [`Level::current`] where this
    /// level is above it.
    #[inline]
    pub fn run<K: Task<f32>>(self, task: K) -> K::Output {
        match self.min(Level::current()) {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: detected, as the current level is not above what was detected.
            Level::Avx512 => unsafe { x86::run_avx512(task) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Level::Avx2 => unsafe { x86::run_avx2(task) },
            // SAFETY: Portable needs no instruction set.
            _ => unsafe { task.run::<Portable<f32>>() },
        }
    }
}

/// An element type that [`Dispatch::dispatch`] knows kernels for.
pub trait Dispatch: Float {
    /// Runs the task with the widest instruction set of this machine.
    fn dispatch<K: Task<Self>>(task: K) -> K::Output;

    /// The `LANES` and `ROWS` that [`Dispatch::dispatch`] will use, for layouts made before.
    fn tile() -> (usize, usize) {
        Self::dispatch(Tile)
    }
}

/// Tells `LANES` and `ROWS`.
struct Tile;

impl<T> Task<T> for Tile {
    type Output = (usize, usize);
    unsafe fn run<S: Simd<E = T>>(self) -> (usize, usize) {
        (S::LANES, S::ROWS)
    }
}

impl Dispatch for f32 {
    #[inline]
    fn dispatch<K: Task<f32>>(task: K) -> K::Output {
        Level::current().run(task)
    }
}

impl Dispatch for f64 {
    #[inline]
    fn dispatch<K: Task<f64>>(task: K) -> K::Output {
        // SAFETY: Portable needs no instruction set.
        unsafe { task.run::<Portable<f64>>() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::f16;

    struct Sweep {
        which: fn(f64) -> f64,
        vector: Which,
        limit: f32,
    }
    #[derive(Clone, Copy)]
    enum Which {
        Exp,
        Sigmoid,
        Tanh,
    }

    impl Task<f32> for Sweep {
        type Output = f64;
        /// The largest relative error over 4 million arguments in -limit..limit.
        unsafe fn run<S: Simd<E = f32>>(self) -> f64 {
            let n = 4_000_000 / S::LANES;
            let mut worst = 0.0f64;
            let mut x = vec![0.0f32; S::LANES];
            let mut y = x.clone();
            for i in 0..n {
                for (l, x) in x.iter_mut().enumerate() {
                    let u = (i * S::LANES + l) as f32 / (n * S::LANES) as f32;
                    *x = (2.0 * u - 1.0) * self.limit;
                }
                // SAFETY: both vectors hold LANES elements; dispatch chose the set.
                unsafe {
                    let v = S::load(x.as_ptr());
                    let v = match self.vector {
                        Which::Exp => S::exp(v),
                        Which::Sigmoid => S::sigmoid(v),
                        Which::Tanh => S::tanh(v),
                    };
                    S::store(y.as_mut_ptr(), v);
                }
                for (&x, &y) in x.iter().zip(&y) {
                    let want = (self.which)(f64::from(x));
                    let error = (f64::from(y) - want).abs() / want.abs().max(1e-37);
                    worst = worst.max(error);
                }
            }
            worst
        }
    }

    /// The levels of this machine.
    fn levels() -> impl Iterator<Item = Level> {
        let all = [Level::Portable, Level::Avx2, Level::Avx512];
        all.into_iter().filter(|&level| level <= Level::current())
    }

    fn worst(vector: Which, which: fn(f64) -> f64, limit: f32) -> f64 {
        let sweep = |level: Level| {
            level.run(Sweep {
                which,
                vector,
                limit,
            })
        };
        levels().map(sweep).fold(0.0, f64::max)
    }

    #[test]
    fn relative_errors_are_as_stated() {
        let e = worst(Which::Exp, f64::exp, 87.0);
        assert!(e < 2e-7, "exp {e:e}");
        let e = worst(Which::Sigmoid, |x| 1.0 / (1.0 + (-x).exp()), 87.0);
        assert!(e < 2.5e-7, "sigmoid {e:e}");
        let e = worst(Which::Tanh, f64::tanh, 12.0);
        assert!(e < 4e-7, "tanh {e:e}");
        let e = worst(Which::Tanh, f64::tanh, 1e-3);
        assert!(e < 4e-7, "tanh near zero {e:e}");
    }

    struct Nan;
    impl Task<f32> for Nan {
        type Output = bool;
        unsafe fn run<S: Simd<E = f32>>(self) -> bool {
            let mut y = vec![0.0f32; 3 * S::LANES];
            // SAFETY: the vector holds 3 * LANES elements; dispatch chose the set.
            unsafe {
                let nan = S::splat(f32::NAN);
                S::store(y.as_mut_ptr(), S::exp(nan));
                S::store(y.as_mut_ptr().add(S::LANES), S::sigmoid(nan));
                S::store(y.as_mut_ptr().add(2 * S::LANES), S::tanh(nan));
            }
            y.iter().all(|x| x.is_nan())
        }
    }

    #[test]
    fn nan_stays_nan() {
        assert!(levels().all(|level| level.run(Nan)));
    }

    struct Halves;
    impl Task<f32> for Halves {
        type Output = ();
        /// Every finite half, widened as the library does it.
        unsafe fn run<S: Simd<E = f32>>(self) {
            let all: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).collect();
            let finite: Vec<f16> = all.into_iter().filter(|x| x.is_finite()).collect();
            for halves in finite.chunks_exact(S::LANES) {
                let kept: Vec<S::Half> = halves.iter().map(|&x| S::half(x)).collect();
                let mut wide = vec![0.0f32; S::LANES];
                // SAFETY: both vectors hold LANES elements; the level has the set.
                unsafe { S::store(wide.as_mut_ptr(), S::load_half(kept.as_ptr())) };
                for (half, wide) in halves.iter().zip(wide) {
                    assert_eq!(half.to_f32().to_bits(), wide.to_bits());
                }
            }
        }
    }

    #[test]
    fn halves_are_widened_exactly() {
        levels().for_each(|level| level.run(Halves));
    }
}
