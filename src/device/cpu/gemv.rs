//! Matrix times vector with weights in f16, for one vector or a few at a time.
//!
//! A matrix is cut into *panels* of as many rows as [`PANEL`] registers have lanes. A panel is
//! stored column by column: all the weights that meet x\[k\] lie together. So the inner loop loads
//! weights in the order of memory, widens them to f32, and adds x\[k\] times them to its sums, with
//! no horizontal addition.
//!
//! Each output is the sum over k in ascending order, whatever the number of vectors and whatever
//! the direction in which panels are visited. AVX2 and AVX-512 fuse the product and the sum and
//! give the same bits; the portable level rounds them apart.

use half::f16;

use super::buffer::Buffer;
use super::simd::{Level, Simd, Task};
use super::tile::{Rows, WIDTH, store_row};

/// Registers a panel is wide: with a vector alone, so many sums keep the multipliers busy.
const PANEL: usize = 2 * WIDTH;

/// A matrix packed for streaming.
pub struct Matrix {
    level: Level,
    weights: Buffer<f16>, // [panels][depth][PANEL * lanes], in the memory of as many `S::Half`
    rows: usize,
    depth: usize,
}

impl Matrix {
    /// Packs a matrix `[rows, depth]` for `level`, at most [`Level::current`]; `weight(row, k)` is
    /// rounded to f16.
    pub fn pack(
        level: Level,
        rows: usize,
        depth: usize,
        weight: impl Fn(usize, usize) -> f32,
    ) -> Matrix {
        level.run(Pack {
            level,
            rows,
            depth,
            weight,
        })
    }

    /// Rows with the padding: the width of the output.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// y = W x for every stream, reading the weights from memory once for each few of them.
    ///
    /// - `x`: `[streams, stride]`, the first `depth` of each are read
    /// - `y`: `[streams, rows]`, overwritten
    /// - `reversed` visits the panels from the last to the first, with the same result: a caller
    ///   whose weights are larger than the cache alternates, and finds the end of one pass still
    ///   there at the start of the next.
    ///
    /// # Panics
    /// If `x` is too short for the streams of `y`.
    pub fn multiply(&self, x: &[f32], stride: usize, y: &mut [f32], reversed: bool) {
        let streams = y.len() / self.rows;
        assert!(self.depth <= stride && streams * stride <= x.len());
        self.level.run(Multiply {
            matrix: self,
            streams,
            x: Rows {
                ptr: x.as_ptr(),
                row: stride,
                step: 1,
            },
            y,
            reversed,
        });
    }
}

struct Pack<F> {
    level: Level,
    rows: usize,
    depth: usize,
    weight: F,
}

impl<F: Fn(usize, usize) -> f32> Task<f32> for Pack<F> {
    type Output = Matrix;

    unsafe fn run<S: Simd<E = f32>>(self) -> Matrix {
        let Pack { rows, depth, .. } = self;
        let width = PANEL * S::LANES;
        let padded = rows.next_multiple_of(width);
        let mut weights = Buffer::zeros(padded * depth * (size_of::<S::Half>() / size_of::<f16>()));
        let halves: &mut [S::Half] = bytemuck::cast_slice_mut(&mut weights);
        for (p, panel) in halves.chunks_exact_mut(width * depth).enumerate() {
            for (k, column) in panel.chunks_exact_mut(width).enumerate() {
                for (row, value) in (p * width..rows).zip(column) {
                    *value = S::half(f16::from_f32((self.weight)(row, k)));
                }
            }
        }
        Matrix {
            level: self.level,
            weights,
            rows: padded,
            depth,
        }
    }
}

/// One multiplication.
struct Multiply<'a> {
    matrix: &'a Matrix,
    streams: usize,
    x: Rows<f32>,     // [streams, depth]
    y: &'a mut [f32], // [streams, rows]
    reversed: bool,
}

impl Task<f32> for Multiply<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd<E = f32>>(mut self) {
        let panels = self.matrix.rows / (PANEL * S::LANES);
        for i in 0..panels {
            let p = if self.reversed { panels - 1 - i } else { i };
            let mut s = 0;
            // SAFETY: the caller vouches for S; panels and streams are below their numbers.
            unsafe {
                while s + 4 <= self.streams && S::ROWS >= 4 {
                    self.panel::<S, 4, WIDTH>(p, s);
                    s += 4;
                }
                while s + 2 <= self.streams {
                    self.panel::<S, 2, WIDTH>(p, s);
                    s += 2;
                }
                if s < self.streams {
                    self.panel::<S, 1, PANEL>(p, s);
                }
            }
        }
    }
}

impl Multiply<'_> {
    /// Panel p times M streams from s on, N registers of each at a time.
    #[inline(always)]
    unsafe fn panel<S: Simd<E = f32>, const M: usize, const N: usize>(
        &mut self,
        p: usize,
        s: usize,
    ) {
        let &Matrix { rows, depth, .. } = self.matrix;
        let width = PANEL * S::LANES;
        for part in 0..PANEL / N {
            let first = part * N * S::LANES;
            // SAFETY: the matrix is packed for S; `multiply` checked x and the streams of y.
            unsafe {
                let panel = self.matrix.weights.as_ptr().cast::<S::Half>();
                let x = Rows {
                    ptr: self.x.ptr.add(s * self.x.row),
                    ..self.x
                };
                let panel = panel.add(p * width * depth + first);
                let sums = tile::<S, M, N>(panel, depth, x);
                for (m, sums) in sums.iter().enumerate() {
                    let at = (s + m) * rows + p * width + first;
                    store_row::<S, N>(self.y.as_mut_ptr().add(at), sums);
                }
            }
        }
    }
}

/// N registers' width of a panel times M vectors.
///
/// # Safety
/// `panel` is valid for `depth` columns of a panel, `x` for M rows of `depth`; S is available.
#[inline(always)]
unsafe fn tile<S: Simd<E = f32>, const M: usize, const N: usize>(
    panel: *const S::Half,
    depth: usize,
    x: Rows<f32>,
) -> [[S::V; N]; M] {
    // SAFETY: all offsets are below the extents that the caller vouches for.
    unsafe {
        let mut sums = [[S::splat(0.0); N]; M];
        for k in 0..depth {
            let column = panel.add(k * PANEL * S::LANES);
            let mut inputs = [S::splat(0.0); M];
            for (m, input) in inputs.iter_mut().enumerate() {
                *input = S::splat(*x.ptr.add(m * x.row + k));
            }
            for n in 0..N {
                let weights = S::load_half(column.add(n * S::LANES));
                for (m, sums) in sums.iter_mut().enumerate() {
                    sums[n] = S::fma(weights, inputs[m], sums[n]);
                }
            }
        }
        sums
    }
}
