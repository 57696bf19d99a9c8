//! Matrix times vector with weights in f16, for one vector or a few at a time.
//!
//! A matrix is cut into *panels* of as many rows as [`WIDTH`] registers have lanes. A panel is
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
use super::tile::{Rows, WIDTH, for_row_tiles, store_row};

/// A matrix packed for streaming.
pub struct Matrix {
    level: Level,
    weights: Buffer<f16>, // [panels][depth][WIDTH * lanes]
    rows: usize,
    depth: usize,
}

impl Matrix {
    /// Packs a matrix `[rows, depth]` for `level`; `weight(row, k)` is rounded to f16, where it must
    /// be finite.
    pub fn pack(
        level: Level,
        rows: usize,
        depth: usize,
        weight: impl Fn(usize, usize) -> f32,
    ) -> Matrix {
        let width = WIDTH * level.lanes_f32();
        let padded = rows.next_multiple_of(width);
        let mut weights = Buffer::zeros(padded * depth);
        for (p, panel) in weights.chunks_exact_mut(width * depth).enumerate() {
            for (k, column) in panel.chunks_exact_mut(width).enumerate() {
                for (row, value) in (p * width..rows).zip(column) {
                    *value = f16::from_f32(weight(row, k));
                }
            }
        }
        Matrix {
            level,
            weights,
            rows: padded,
            depth,
        }
    }

    /// Rows with the padding: the width of the output.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// y = W x for every stream, reading the weights from memory once for all of them.
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
    unsafe fn run<S: Simd<E = f32>>(self) {
        let &Matrix { rows, depth, .. } = self.matrix;
        let width = WIDTH * S::LANES;
        let panels = rows / width;
        for i in 0..panels {
            let p = if self.reversed { panels - 1 - i } else { i };
            for_row_tiles!(S, self.streams, |s, M| {
                // SAFETY: the matrix is packed for S; `multiply` checked x and the streams of y.
                unsafe {
                    let panel = self.matrix.weights.as_ptr().add(p * width * depth);
                    let x = Rows {
                        ptr: self.x.ptr.add(s * self.x.row),
                        ..self.x
                    };
                    let sums = tile::<S, M>(panel, depth, x);
                    for (m, sums) in sums.iter().enumerate() {
                        let y = self.y.as_mut_ptr().add((s + m) * rows + p * width);
                        store_row::<S, WIDTH>(y, sums);
                    }
                }
            });
        }
    }
}

/// One panel times M vectors.
///
/// # Safety
/// `panel` is valid for `depth * WIDTH * LANES` weights, `x` for M rows of `depth`; S is available.
#[inline(always)]
unsafe fn tile<S: Simd<E = f32>, const M: usize>(
    panel: *const f16,
    depth: usize,
    x: Rows<f32>,
) -> [[S::V; WIDTH]; M] {
    // SAFETY: all offsets are below the extents that the caller vouches for.
    unsafe {
        let mut sums = [[S::splat(0.0); WIDTH]; M];
        for k in 0..depth {
            let column = panel.add(k * WIDTH * S::LANES);
            let mut weights = [S::splat(0.0); WIDTH];
            for (n, weight) in weights.iter_mut().enumerate() {
                *weight = S::load_half(column.add(n * S::LANES));
            }
            for (m, sums) in sums.iter_mut().enumerate() {
                let x = S::splat(*x.ptr.add(m * x.row + k));
                for (sum, &weight) in sums.iter_mut().zip(&weights) {
                    *sum = S::fma(weight, x, *sum);
                }
            }
        }
        sums
    }
}
