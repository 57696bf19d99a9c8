//! The gradients that a slab sums over its rows: of the weights, and of the bias or the gate table.

use super::backward::{Backward, Scratch};
use super::cell::Cell;
use super::context::ContextGradient;
use super::forward::Start;
use super::slab::Slab;
use crate::device::cpu::simd::{Dispatch, Simd};
use crate::device::cpu::tile::{Rows, WIDTH, for_row_tiles, load_row, multiply, store_row};

impl<T: Dispatch, C: Cell, X: ContextGradient<T>> Backward<'_, T, C, X> {
    /// Adds a chunk's dz^T [x | context | h_{t-1}] to the slab's weight gradient.
    #[inline(always)]
    pub(super) unsafe fn weights<S: Simd<E = T>>(
        &self,
        begin: usize,
        end: usize,
        s: &mut Scratch<T>,
    ) {
        let Slab { rows, blocks, .. } = self.slab;
        let (columns, width) = (self.columns(), blocks.panel());
        // The tile in which h begins: the panels beyond the gates depend on h alone.
        let h_tile = (columns - blocks.hidden) / S::ROWS * S::ROWS;
        let chunk_rows = (end - begin) * rows;
        for t in begin..end {
            self.transpose_inputs::<S>(t, (t - begin) * rows, chunk_rows, &mut s.inputs);
        }
        for u in 0..self.panels() {
            let first = if u < blocks.panels() { 0 } else { h_tile };
            for_row_tiles!(S, columns - first, |row, M| {
                let k = first + row;
                // SAFETY: tile k / ROWS, rows k..k + M and all steps of the chunk exist.
                unsafe {
                    let to = s
                        .partial
                        .weights
                        .as_mut_ptr()
                        .add((u * columns + k) * width);
                    let mut acc = [[S::splat(T::ZERO); WIDTH]; M];
                    for (m, acc) in acc.iter_mut().enumerate() {
                        *acc = load_row::<S, WIDTH>(to.add(m * width));
                    }
                    let tile = s.inputs.as_ptr().add(k * chunk_rows);
                    for step in 0..end - begin {
                        let x = Rows {
                            ptr: tile.add(step * rows * S::ROWS),
                            row: 1,
                            step: S::ROWS,
                        };
                        let dz = s.dz.as_ptr().add(self.dz_at(step, u, 0));
                        let active = self.slab.active(begin + step);
                        acc = multiply::<S, M, WIDTH>(acc, active, x, dz);
                    }
                    for (m, acc) in acc.iter().enumerate() {
                        store_row::<S, WIDTH>(to.add(m * width), acc);
                    }
                }
            });
        }
    }

    /// Writes [x_t | context | h_{t-1}] of this slab into tiles of ROWS columns: `[tile][row][ROWS]`.
    #[inline(always)]
    fn transpose_inputs<S: Simd<E = T>>(
        &self,
        t: usize,
        at: usize,
        chunk_rows: usize,
        tiles: &mut [T],
    ) {
        let (inputs, context) = (self.start.inputs(), self.context.columns());
        let (active, packed) = (self.slab.active(t), self.slab.packed(t));
        for row in 0..active {
            let mut put = |column: usize, values: &[T]| {
                for (k, &v) in values.iter().enumerate() {
                    let (tile, m) = ((column + k) / S::ROWS, (column + k) % S::ROWS);
                    tiles[(tile * chunk_rows + at + row) * S::ROWS + m] = v;
                }
            };
            if let Start::Dense { x, .. } = self.start {
                put(0, &x[(packed + row) * inputs..][..inputs]);
            }
            put(inputs, &self.context.row(packed + row)[..context]);
            let h = inputs + context;
            match self.h_before(t, row) {
                Some(before) => put(h, before),
                None => (0..self.slab.blocks.hidden).for_each(|k| put(h + k, &[T::ZERO])),
            }
        }
    }

    /// Adds a chunk's dz to the gradient of the bias, or of the gate table's rows.
    #[inline(always)]
    pub(super) unsafe fn start_gradient<S: Simd<E = T>>(
        &self,
        begin: usize,
        end: usize,
        s: &mut Scratch<T>,
    ) {
        let blocks = self.slab.blocks;
        for t in begin..end {
            let (active, packed) = (self.slab.active(t), self.slab.packed(t));
            for u in 0..self.panels() {
                for row in 0..active {
                    let to_row = match self.start {
                        Start::Dense { .. } => 0,
                        Start::Table { ids, .. } => ids[packed + row] as usize,
                    };
                    // SAFETY: ids were checked to be below the table's rows.
                    unsafe {
                        let dz = s.dz.as_ptr().add(self.dz_at(t - begin, u, row));
                        let at = to_row * blocks.row() + u * blocks.panel();
                        let to = s.partial.start.as_mut_ptr().add(at);
                        for k in 0..WIDTH {
                            let to = to.add(k * S::LANES);
                            S::store(to, S::add(S::load(to), S::load(dz.add(k * S::LANES))));
                        }
                    }
                }
            }
        }
    }
}
