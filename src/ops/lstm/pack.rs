//! Weights in the order in which the LSTM's inner loops read them.
//!
//! L is the number of lanes of a vector register. Units are taken in blocks of L; block u of the
//! 4H gate columns is a panel of 4L: `[i of L units | f | g | o]`. The last block is padded with
//! zero weights, so that its surplus units stay at zero and nothing has to be masked but the
//! writes to the outputs.

use crate::device::cpu::buffer::Buffer;
use crate::device::cpu::simd::Dispatch;
use crate::device::cpu::tile::WIDTH;
use rayon::prelude::*;
use std::ops::Range;

/// Sizes of the blocked gate order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks {
    /// Units of the layer.
    pub hidden: usize,
    /// Lanes of a vector register.
    pub lanes: usize,
    /// Rows of a matrix tile.
    pub tile_rows: usize,
}

impl Blocks {
    /// The blocks that the kernels of this machine work with.
    pub fn new<T: Dispatch>(hidden: usize) -> Self {
        let (lanes, tile_rows) = T::tile();
        Blocks {
            hidden,
            lanes,
            tile_rows,
        }
    }

    /// Blocks of units.
    pub fn units(self) -> usize {
        self.hidden.div_ceil(self.lanes)
    }

    /// Elements of a panel's row.
    pub fn panel(self) -> usize {
        WIDTH * self.lanes
    }

    /// Gate columns with their padding.
    pub fn gates(self) -> usize {
        self.units() * self.panel()
    }

    /// Panels that cover `columns` ordinary columns.
    pub fn panels_of(self, columns: usize) -> usize {
        columns.div_ceil(self.panel())
    }

    /// Units of block `u` that are real.
    pub fn real_units(self, u: usize) -> usize {
        self.lanes.min(self.hidden - u * self.lanes)
    }

    /// The block of the unit of one of the 4H rows, and the row's place in the block's panel.
    pub fn position(self, row: usize) -> (usize, usize) {
        let (gate, unit) = (row / self.hidden, row % self.hidden);
        let (u, lane) = (unit / self.lanes, unit % self.lanes);
        (u, gate * self.lanes + lane)
    }

    /// Calls `f(position in the blocked order, row of the 4H rows)` for the real rows of block u.
    fn for_rows(self, u: usize, mut f: impl FnMut(usize, usize)) {
        for gate in 0..4 {
            for lane in 0..self.real_units(u) {
                f(
                    gate * self.lanes + lane,
                    gate * self.hidden + u * self.lanes + lane,
                );
            }
        }
    }
}

/// The forward operand: `[units][I + H][4L]` from `w_ih` `[4H, I]` (or nothing, I = 0) and `w_hh`
/// `[4H, H]`.
pub fn forward<T: Dispatch>(blocks: Blocks, w_ih: Option<&[T]>, w_hh: &[T]) -> Buffer<T> {
    let (hidden, width) = (blocks.hidden, blocks.panel());
    let inputs = w_ih.map_or(0, |w| w.len() / (4 * hidden));
    let panel_len = (inputs + hidden) * width;
    let mut packed = Buffer::zeros(blocks.units() * panel_len);
    packed
        .par_chunks_mut(panel_len)
        .enumerate()
        .for_each(|(u, panel)| {
            blocks.for_rows(u, |at, row| {
                let from_x = w_ih.map_or(&[][..], |w| &w[row * inputs..][..inputs]);
                let from_h = &w_hh[row * hidden..][..hidden];
                for (k, &x) in from_x.iter().chain(from_h).enumerate() {
                    panel[k * width + at] = x;
                }
            });
        });
    packed
}

/// The operand of q = s W^T, W `[R, C]`: `[ceil(R / 4L)][C][4L]`.
pub fn transposed<T: Dispatch>(blocks: Blocks, w: &[T], columns: usize) -> Buffer<T> {
    let (rows, width) = (w.len() / columns, blocks.panel());
    let mut packed = Buffer::zeros(blocks.panels_of(rows) * columns * width);
    for (row, from) in w.chunks(columns).enumerate() {
        let panel = &mut packed[row / width * columns * width..];
        for (k, &x) in from.iter().enumerate() {
            panel[k * width + row % width] = x;
        }
    }
    packed
}

/// The backward operand of dgates * W for some columns of W `[4H, C]`: `[ceil(columns / 4L)][K][4L]`.
/// K are the gates and, padded to whole panels, the rows of `below` `[R, columns]`.
pub fn backward<T: Dispatch>(blocks: Blocks, w: &[T], of: Range<usize>, below: &[T]) -> Buffer<T> {
    let (stride, columns) = (w.len() / (4 * blocks.hidden), of.len());
    let width = blocks.panel();
    let rows_below = below.len() / columns.max(1);
    let panel_len = (blocks.gates() + blocks.panels_of(rows_below) * width) * width;
    let mut packed = Buffer::zeros(blocks.panels_of(columns) * panel_len);
    packed
        .par_chunks_mut(panel_len)
        .enumerate()
        .for_each(|(p, panel)| {
            let first = p * width;
            let n = width.min(columns - first);
            for u in 0..blocks.units() {
                blocks.for_rows(u, |at, row| {
                    let from = &w[row * stride + of.start + first..][..n];
                    panel[(u * width + at) * width..][..n].copy_from_slice(from);
                });
            }
            for row in 0..rows_below {
                let from = &below[row * columns + first..][..n];
                panel[(blocks.gates() + row) * width..][..n].copy_from_slice(from);
            }
        });
    packed
}

/// Rows of 4H gate values (a bias, or a gate table) in blocked order: `[rows][gates]`.
pub fn rows<T: Dispatch>(blocks: Blocks, values: &[T]) -> Buffer<T> {
    let gates = blocks.gates();
    let mut packed = Buffer::zeros(values.len() / (4 * blocks.hidden) * gates);
    let rows = values.par_chunks(4 * blocks.hidden);
    packed
        .par_chunks_mut(gates)
        .zip(rows)
        .for_each(|(to, from)| {
            for u in 0..blocks.units() {
                blocks.for_rows(u, |at, row| to[u * blocks.panel() + at] = from[row]);
            }
        });
    packed
}

/// The inverse of [`rows`]: writes, or adds, the sum of several parts in their order.
pub fn unpack_rows<T: Dispatch>(blocks: Blocks, parts: &[&[T]], to: &mut [T], accumulate: bool) {
    let gates = blocks.gates();
    to.par_chunks_mut(4 * blocks.hidden)
        .enumerate()
        .for_each(|(r, to)| {
            for u in 0..blocks.units() {
                blocks.for_rows(u, |at, row| {
                    let at = r * gates + u * blocks.panel() + at;
                    let sum = sum_of(parts, at);
                    to[row] = if accumulate { to[row] + sum } else { sum };
                });
            }
        });
}

/// The columns of a parameter in the slabs' weight gradients `[panels][K][4L]`.
#[derive(Clone, Copy)]
pub struct Columns {
    /// K.
    pub of: usize,
    /// The first one.
    pub first: usize,
    /// Their number.
    pub count: usize,
}

/// The gradient of a parameter from the slabs' parts. `position` is the panel of one of its rows and
/// the row's place in it.
pub fn unpack_weight<T: Dispatch>(
    blocks: Blocks,
    parts: &[&[T]],
    columns: Columns,
    position: impl Fn(usize) -> (usize, usize) + Sync,
    to: &mut [T],
    accumulate: bool,
) {
    let width = blocks.panel();
    to.par_chunks_mut(columns.count)
        .enumerate()
        .for_each(|(row, to)| {
            let (panel, lane) = position(row);
            for (c, to) in to.iter_mut().enumerate() {
                let at = (panel * columns.of + columns.first + c) * width + lane;
                let sum = sum_of(parts, at);
                *to = if accumulate { *to + sum } else { sum };
            }
        });
}

/// Element `at` of the sum of several parts in their order.
pub fn sum_of<T: Dispatch>(parts: &[&[T]], at: usize) -> T {
    parts.iter().fold(T::ZERO, |sum, part| sum + part[at])
}
