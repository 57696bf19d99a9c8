//! The LSTM's forward pass for one slab of batch rows, all time steps.
//!
//! A tile is M batch rows by one block of L units. Its four gate registers a row start from the
//! bias (or from the gate table's row of the character that is read), gather x W_ih^T + h W_hh^T,
//! and become c and h without leaving the registers.
//!
//! A [`Context`] adds columns to the input of a step that depend on the hidden state before it.

use super::pack::Blocks;
use crate::data::packing::Packing;
use crate::device::cpu::buffer::SharedMut;
use crate::device::cpu::simd::{Simd, Task};
use crate::device::cpu::tile::{Rows, WIDTH, for_row_tiles, load_row, multiply, store_row};
use crate::dtype::Float;

/// What the gates start from before the recurrent part is added.
#[derive(Clone, Copy)]
pub enum Start<'a, T> {
    /// Bias `[gates]`, then x `[N, I]` times the weights.
    Dense {
        /// Packed bias.
        bias: &'a [T],
        /// Packed input `[N, I]`.
        x: &'a [T],
        /// I.
        inputs: usize,
    },
    /// A row of the gate table `[V, gates]` for each id.
    Table {
        /// Packed table.
        table: &'a [T],
        /// Packed ids `[N]`, each below V.
        ids: &'a [u32],
    },
}

impl<T> Start<'_, T> {
    /// I; zero for a table.
    pub fn inputs(&self) -> usize {
        match self {
            Start::Dense { inputs, .. } => *inputs,
            Start::Table { .. } => 0,
        }
    }
}

/// Where a slab lies. Its rows end one after the other, the last ones first, so that the active ones
/// are always its first ones.
#[derive(Clone, Copy)]
pub struct Slab<'a> {
    /// The batch's packing.
    pub packing: &'a Packing,
    /// Steps of the slab's longest row, which is its first one.
    pub steps: usize,
    /// First batch row.
    pub first: usize,
    /// Batch rows.
    pub rows: usize,
    /// Rows times steps of the slabs before this one.
    pub before: usize,
    /// The layer's gate order.
    pub blocks: Blocks,
}

impl<'a> Slab<'a> {
    /// Slabs of an eighth of the batch, but at least 16 rows and at most 64; the longest ones first.
    pub fn all(packing: &'a Packing, blocks: Blocks) -> Vec<Self> {
        let batch = packing.batch();
        let rows = batch.div_ceil(8).clamp(16, 64);
        let mut before = 0;
        let slab = |first: usize| {
            let slab = Slab {
                packing,
                steps: packing.length(first),
                first,
                rows: rows.min(batch - first),
                before,
                blocks,
            };
            before += slab.steps * slab.rows;
            slab
        };
        (0..batch).step_by(rows).map(slab).collect()
    }

    /// Rows of the tensors that are saved for all slabs.
    pub fn saved_rows(slabs: &[Slab]) -> usize {
        slabs.last().map_or(0, |s| s.before + s.steps * s.rows)
    }

    /// The slab's rows that have an element t.
    #[inline(always)]
    pub fn active(self, t: usize) -> usize {
        self.packing
            .active(t)
            .saturating_sub(self.first)
            .min(self.rows)
    }

    /// The packed row of element t of the slab's first row.
    #[inline(always)]
    pub fn packed(self, t: usize) -> usize {
        self.packing.offset(t) + self.first
    }

    /// Where the activated gates of (t, u, row) are saved: `[slab][steps][units][rows][4L]`.
    #[inline(always)]
    pub fn gates_at(self, t: usize, u: usize, row: usize) -> usize {
        self.before * self.blocks.gates()
            + ((t * self.blocks.units() + u) * self.rows + row) * self.blocks.panel()
    }

    /// Where the cell state of (t, u, row) is saved: `[slab][steps][units][rows][L]`.
    #[inline(always)]
    pub fn cell_at(self, t: usize, u: usize, row: usize) -> usize {
        self.gates_at(t, u, row) / WIDTH
    }
}

/// More columns of a step's input, computed from the hidden state before it: attention's context.
/// `()` adds none.
pub trait Context<T> {
    /// D, their number. The packed weights have theirs between those of x and those of h.
    fn columns(&self) -> usize;

    /// Computes them for the active rows of a slab at step t. `h` is the slab's first row of
    /// h_{t-1}; none stands for zeros.
    ///
    /// # Safety
    /// `h` is valid for the active rows; S is available.
    unsafe fn step<S: Simd<E = T>>(&mut self, slab: Slab, t: usize, h: Option<*const T>);

    /// Those of a packed row whose step has been computed.
    ///
    /// # Safety
    /// There is such a packed row.
    unsafe fn row(&self, packed: usize) -> *const T;
}

impl<T> Context<T> for () {
    #[inline(always)]
    fn columns(&self) -> usize {
        0
    }

    #[inline(always)]
    unsafe fn step<S: Simd<E = T>>(&mut self, _: Slab, _: usize, _: Option<*const T>) {}

    #[inline(always)]
    unsafe fn row(&self, _: usize) -> *const T {
        std::ptr::null()
    }
}

/// One slab's forward pass.
pub struct Forward<'a, T, C> {
    /// The slab.
    pub slab: Slab<'a>,
    /// What the gates start from.
    pub start: Start<'a, T>,
    /// What is computed between the steps.
    pub context: C,
    /// Packed weights `[units][I + D + H][4L]`.
    pub weights: &'a [T],
    /// Initial hidden state `[B, H]`; zero if absent.
    pub h0: Option<&'a [T]>,
    /// Initial cell state `[B, H]`; zero if absent.
    pub c0: Option<&'a [T]>,
    /// Packed output `[N, H]`; this slab's rows are written.
    pub y: SharedMut<T>,
    /// Cell state after each row's last element `[B, H]`.
    pub c_n: SharedMut<T>,
    /// Saved gates and cell states of all slabs; without them only the last cell states are kept.
    pub saved: Option<(SharedMut<T>, SharedMut<T>)>,
}

impl<T: Float, C: Context<T>> Task<T> for Forward<'_, T, C> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd<E = T>>(mut self) {
        let units = self.slab.blocks.units();
        let mut cell = vec![T::ZERO; units * self.slab.rows * S::LANES];
        // SAFETY: offsets follow the layouts above; slabs are disjoint in all outputs.
        unsafe {
            self.load_c0::<S>(&mut cell);
            for t in 0..self.slab.steps {
                let active = self.slab.active(t);
                let h = self.h_before(t, 0);
                self.context.step::<S>(self.slab, t, h);
                for u in 0..units {
                    for_row_tiles!(S, active, |row, M| {
                        self.tile::<S, M>(t, u, row, cell.as_mut_ptr())
                    });
                }
            }
            self.store_c_n::<S>(&cell);
        }
    }
}

impl<T: Float, C: Context<T>> Forward<'_, T, C> {
    /// A row of this slab in h_{t-1}; none at the start from a zero state.
    #[inline(always)]
    unsafe fn h_before(&self, t: usize, row: usize) -> Option<*const T> {
        let hidden = self.slab.blocks.hidden;
        match (t, self.h0) {
            (0, None) => None,
            // SAFETY: the row lies in this slab.
            (0, Some(h0)) => Some(unsafe { h0.as_ptr().add((self.slab.first + row) * hidden) }),
            _ => {
                let before = self.slab.packed(t - 1) + row;
                // SAFETY: the step before t has at least the rows of t.
                Some(unsafe { self.y.at(before * hidden).cast_const() })
            }
        }
    }

    #[inline(always)]
    unsafe fn tile<S: Simd<E = T>, const M: usize>(
        &self,
        t: usize,
        u: usize,
        row: usize,
        cell: *mut T,
    ) {
        let Slab { rows, blocks, .. } = self.slab;
        let (hidden, lanes, width) = (blocks.hidden, S::LANES, WIDTH * S::LANES);
        let (inputs, columns) = (self.start.inputs(), self.context.columns());
        let at = self.slab.packed(t) + row;
        // SAFETY: all rows lie in this slab, all panels in the packed weights.
        unsafe {
            let mut panel = self.weights.as_ptr();
            panel = panel.add(u * (inputs + columns + hidden) * width);
            let mut acc = self.gates_start::<S, M>(at, u);
            if let Start::Dense { x, .. } = self.start {
                let x = Rows {
                    ptr: x.as_ptr().add(at * inputs),
                    row: inputs,
                    step: 1,
                };
                acc = multiply::<S, M, WIDTH>(acc, inputs, x, panel);
                panel = panel.add(inputs * width);
            }
            if columns > 0 {
                let context = Rows {
                    ptr: self.context.row(at),
                    row: columns,
                    step: 1,
                };
                acc = multiply::<S, M, WIDTH>(acc, columns, context, panel);
                panel = panel.add(columns * width);
            }
            if let Some(ptr) = self.h_before(t, row) {
                let h = Rows {
                    ptr,
                    row: hidden,
                    step: 1,
                };
                acc = multiply::<S, M, WIDTH>(acc, hidden, h, panel);
            }
            let n = blocks.real_units(u);
            for (m, z) in acc.iter().enumerate() {
                let i = S::sigmoid(z[0]);
                let f = S::sigmoid(z[1]);
                let g = S::tanh(z[2]);
                let o = S::sigmoid(z[3]);
                let c_at = cell.add((u * rows + row + m) * lanes);
                let c = S::fma(f, S::load(c_at), S::mul(i, g));
                S::store(c_at, c);
                let h = S::mul(o, S::tanh(c));
                let y = self.y.at((at + m) * hidden + u * lanes);
                if n == lanes {
                    S::store(y, h);
                } else {
                    S::store_part(y, h, n);
                }
                if let Some((gates, cells)) = self.saved {
                    let to = gates.at(self.slab.gates_at(t, u, row + m));
                    store_row::<S, WIDTH>(to, &[i, f, g, o]);
                    S::store(cells.at(self.slab.cell_at(t, u, row + m)), c);
                }
            }
        }
    }

    /// The gate registers of M rows before anything is multiplied.
    #[inline(always)]
    unsafe fn gates_start<S: Simd<E = T>, const M: usize>(
        &self,
        at: usize,
        u: usize,
    ) -> [[S::V; WIDTH]; M] {
        let gates = self.slab.blocks.gates();
        // SAFETY: u is a block of the row; ids were checked to be below the table's rows.
        unsafe {
            let mut acc = [[S::splat(T::ZERO); WIDTH]; M];
            for (m, acc) in acc.iter_mut().enumerate() {
                let row = match self.start {
                    Start::Dense { bias, .. } => bias.as_ptr(),
                    Start::Table { table, ids } => table
                        .as_ptr()
                        .add(*ids.get_unchecked(at + m) as usize * gates),
                };
                *acc = load_row::<S, WIDTH>(row.add(u * WIDTH * S::LANES));
            }
            acc
        }
    }

    /// Brings c0 into `[units][rows][L]`.
    #[inline(always)]
    fn load_c0<S: Simd<E = T>>(&self, cell: &mut [T]) {
        let Some(c0) = self.c0 else { return };
        for_units(self.slab, S::LANES, |from, to, n| {
            cell[to..to + n].copy_from_slice(&c0[from..from + n]);
        });
    }

    #[inline(always)]
    unsafe fn store_c_n<S: Simd<E = T>>(&self, cell: &[T]) {
        for_units(self.slab, S::LANES, |to, from, n| {
            // SAFETY: the range lies in this slab's rows of c_n.
            let to = unsafe { std::slice::from_raw_parts_mut(self.c_n.at(to), n) };
            to.copy_from_slice(&cell[from..from + n]);
        });
    }
}

/// Calls `f(offset in [B, H], offset in [units][rows][L], length)` for each block of a slab's rows.
#[inline(always)]
pub fn for_units(slab: Slab, lanes: usize, mut f: impl FnMut(usize, usize, usize)) {
    for u in 0..slab.blocks.units() {
        for row in 0..slab.rows {
            let in_rows = (slab.first + row) * slab.blocks.hidden + u * lanes;
            f(
                in_rows,
                (u * slab.rows + row) * lanes,
                slab.blocks.real_units(u),
            );
        }
    }
}
