//! Products with a matrix that is packed once and multiplied often, as a decoder's weights are.
//!
//! A row of the result is the same whatever rows stand beside it: each of its elements is a sum over k in
//! ascending order.

use super::buffer::{Buffer, SharedMut};
use super::gemm::SMALL;
use super::simd::{Dispatch, Simd, Task};
use super::tile::{Rows, WIDTH, for_row_tiles, multiply, store_columns};
use crate::error::{Error, Result};
use rayon::prelude::*;

/// A matrix W `[n, k]`: panels of [`WIDTH`] registers of its rows, element by element,
/// `[panel][k][WIDTH * LANES]`, with zeros behind the last row.
#[derive(Debug)]
pub struct Panels<T: Dispatch> {
    packed: Buffer<T>,
    n: usize,
    k: usize,
    /// Rows of a panel.
    width: usize,
}

impl<T: Dispatch> Panels<T> {
    /// Packs w, `[n, k]` by rows.
    ///
    /// # Errors
    /// [`Error::Op`] if w does not fill the extents, or one of them is zero.
    pub fn new(w: &[T], (n, k): (usize, usize)) -> Result<Self> {
        if w.len() != n * k || w.is_empty() {
            let message = format!("{} elements are no matrix [{n}, {k}]", w.len());
            return Err(Error::op("panels", message));
        }
        let width = WIDTH * T::tile().0;
        let mut packed = Buffer::zeros(n.div_ceil(width) * k * width);
        let panels = packed.par_chunks_exact_mut(k * width).enumerate();
        panels.for_each(|(p, panel)| {
            let rows = w.chunks_exact(k).skip(p * width).take(width);
            for (column, row) in rows.enumerate() {
                for (to, &x) in panel[column..].iter_mut().step_by(width).zip(row) {
                    *to = x;
                }
            }
        });
        Ok(Panels {
            packed,
            n,
            k,
            width,
        })
    }

    /// c = a W^T, of rows a `[m, k]` to `[m, n]`.
    ///
    /// # Errors
    /// [`Error::Op`] if the extents do not agree.
    pub fn product(&self, a: &[T], c: &mut [T]) -> Result<()> {
        let m = a.len() / self.k;
        if a.len() != m * self.k || c.len() != m * self.n {
            let (n, k, a, c) = (self.n, self.k, a.len(), c.len());
            let message = format!("cannot multiply {a} elements by [{n}, {k}] into {c}");
            return Err(Error::op("panels", message));
        }
        let c = SharedMut::new(c);
        let of_panel = |panel: usize| {
            T::dispatch(Columns {
                panels: self,
                panel,
                a,
                rows: m,
                c,
            });
        };
        let count = self.n.div_ceil(self.width);
        match m * self.n * self.k < SMALL {
            true => (0..count).for_each(of_panel),
            false => (0..count).into_par_iter().for_each(of_panel),
        }
        Ok(())
    }
}

/// The columns of a product that one panel gives.
struct Columns<'a, T: Dispatch> {
    panels: &'a Panels<T>,
    panel: usize,
    a: &'a [T],
    rows: usize,
    c: SharedMut<T>,
}

impl<T: Dispatch> Task<T> for Columns<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd<E = T>>(self) {
        let Panels { n, k, width, .. } = *self.panels;
        let first = self.panel * width;
        for_row_tiles!(S, self.rows, |row, M| {
            // SAFETY: rows row..row + M of a and c exist, and the panel has k times `width` elements, as the
            // layout was made for these registers; no other panel writes its columns.
            unsafe {
                let weights = self.panels.packed.as_ptr().add(first * k);
                let a = Rows {
                    ptr: self.a.as_ptr().add(row * k),
                    row: k,
                    step: 1,
                };
                let zeros = [[S::splat(T::ZERO); WIDTH]; M];
                let sums = multiply::<S, M, WIDTH>(zeros, k, a, weights);
                for (m, sums) in sums.iter().enumerate() {
                    store_columns::<S, WIDTH>(self.c.at((row + m) * n), first, n, sums);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::cpu::gemm::{Gemm, Mat, gemm};
    use crate::rng::{Purpose, Stream};

    fn check<T: Dispatch + Gemm>(tolerance: f64) {
        let mut random = Stream::new(1, Purpose::Init, 0).reader();
        let mut numbers = |n: usize| -> Vec<T> {
            let number = |_| T::from_f64(random.uniform() - 0.5);
            (0..n).map(number).collect()
        };
        // Rows that fill no tile, columns that fill no register, and a product on several threads.
        for (m, n, k) in [
            (1, 1, 1),
            (7, 3, 5),
            (6, 64, 9),
            (13, 67, 31),
            (40, 130, 70),
        ] {
            let (a, w) = (numbers(m * k), numbers(n * k));
            let panels = Panels::new(&w, (n, k)).unwrap();
            let mut c = vec![T::ZERO; m * n];
            panels.product(&a, &mut c).unwrap();
            let mat = |data, stored, transposed| Mat {
                data,
                stored,
                transposed,
            };
            let mut want = vec![T::ZERO; m * n];
            gemm(
                mat(&a, (m, k), false),
                mat(&w, (n, k), true),
                &mut want,
                false,
            )
            .unwrap();
            for (got, want) in c.iter().zip(&want) {
                let error = (got.to_f64() - want.to_f64()).abs();
                assert!(error <= tolerance, "{m} {n} {k}: {got:?} {want:?}");
            }
            // A row alone is the same to the bit.
            let mut alone = vec![T::ZERO; n];
            panels.product(&a[(m - 1) * k..], &mut alone).unwrap();
            assert_eq!(alone, c[(m - 1) * n..]);
        }
        let panels = Panels::new(&numbers(6), (2, 3)).unwrap();
        assert!(panels.product(&numbers(4), &mut numbers(4)).is_err());
        assert!(panels.product(&numbers(3), &mut numbers(3)).is_err());
        assert!(
            Panels::<T>::new(&[], (0, 3)).is_err() && Panels::new(&numbers(5), (2, 3)).is_err()
        );
    }

    #[test]
    fn products_are_those_of_whole_matrices() {
        // Roundings of 70 products below a quarter.
        check::<f32>(1e-5);
        check::<f64>(1e-14);
    }
}
