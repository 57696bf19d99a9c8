//! The backward pass of one slab of batch rows, all time steps in reverse. The cell gives dz; from it
//! come
//!
//! ```text
//! dh_{t-1} = dz W_hh             dx_t = dz W_ih
//! dW_hh = sum_t dz^T h_{t-1}     dW_ih = sum_t dz^T x_t     db = sum_t dz
//! ```
//!
//! dz stays in cache: it is kept for a chunk of steps, from which dx and the slab's share of the
//! weight gradients are multiplied, and never written to memory as a whole.

use super::cell::{Cell, States};
use super::context::ContextGradient;
use super::forward::{Start, load_units};
use super::pack::Side;
use super::slab::Slab;
use crate::device::cpu::buffer::{Buffer, SharedMut};
use crate::device::cpu::simd::{Dispatch, Simd, Task};
use crate::device::cpu::tile::{
    Rows, WIDTH, for_row_tiles, load_row, multiply, store_columns, store_row,
};
use std::marker::PhantomData;

/// Rows of dz (steps times batch rows) in a chunk. With AVX-512 one panel of them is 48 KiB, which
/// every tile of columns reads again from the nearest caches.
const CHUNK_ROWS: usize = 192;

/// One slab's backward pass.
pub struct Backward<'a, T, C, X> {
    /// The cell.
    pub cell: PhantomData<C>,
    /// The slab.
    pub slab: Slab<'a>,
    /// What the gates started from.
    pub start: Start<'a, T>,
    /// What was computed between the steps.
    pub context: X,
    /// W_hh `[G H, H]` packed for dz W.
    pub w_hh: &'a [T],
    /// W_ih `[G H, I]` packed for dz W, and dx `[N, I]` to be written, if it is wanted.
    pub dx: Option<(&'a [T], SharedMut<T>)>,
    /// Initial hidden state `[B, H]`.
    pub h0: Option<&'a [T]>,
    /// Initial cell state `[B, H]`.
    pub c0: Option<&'a [T]>,
    /// Packed output `[N, H]` of the forward pass.
    pub y: &'a [T],
    /// The panels that all slabs have saved.
    pub saved: &'a [T],
    /// Saved cell states of all slabs, of a cell that has them.
    pub cells: &'a [T],
    /// Gradient of y.
    pub dy: Option<&'a [T]>,
    /// Gradient of the final hidden state.
    pub dh_n: Option<&'a [T]>,
    /// Gradient of the final cell state.
    pub dc_n: Option<&'a [T]>,
    /// Gradient of the initial hidden state, to be written if it is wanted.
    pub dh0: Option<SharedMut<T>>,
    /// Gradient of the initial cell state, to be written if it is wanted.
    pub dc0: Option<SharedMut<T>>,
}

/// A slab's share of the gradients that are summed over the batch.
pub struct Partial<T: Dispatch> {
    /// `[panels][I + D + H][4L]`; panels beyond the gates have a gradient for H alone.
    pub weights: Buffer<T>,
    /// Of the bias `[panels * 4L]`, or of the gate table `[V, panels * 4L]`.
    pub start: Buffer<T>,
}

/// What a slab works with.
pub(super) struct Scratch<T: Dispatch> {
    /// dh of the step before `[rows][4L panels]`.
    dh: Buffer<T>,
    /// dc `[panels][rows][L]`, of a cell that has one.
    dc: Buffer<T>,
    /// dz of a chunk `[steps][panels][rows][4L]`.
    pub(super) dz: Buffer<T>,
    /// [x_t | context | h_{t-1}] of a chunk, transposed in tiles: `[tiles][steps * rows][tile_rows]`.
    pub(super) inputs: Buffer<T>,
    pub(super) partial: Partial<T>,
}

impl<T: Dispatch, C: Cell, X: ContextGradient<T>> Task<T> for Backward<'_, T, C, X> {
    type Output = (Partial<T>, X);

    #[inline(always)]
    unsafe fn run<S: Simd<E = T>>(mut self) -> (Partial<T>, X) {
        let chunk = (CHUNK_ROWS / self.slab.rows).clamp(1, self.slab.steps);
        let mut scratch = self.scratch(chunk);
        // SAFETY: offsets follow the documented layouts; slabs write disjoint rows.
        unsafe {
            self.start_state(&mut scratch);
            let mut end = self.slab.steps;
            while end > 0 {
                let begin = end.saturating_sub(chunk);
                for t in (begin..end).rev() {
                    self.gates::<S>(t, t - begin, &mut scratch);
                    let dz = scratch.dz.as_mut_ptr().add(self.dz_at(t - begin, 0, 0));
                    self.context.step::<S>(self.slab, t, dz);
                    if t > 0 || self.dh0.is_some() {
                        self.hidden::<S>(t, t - begin, &mut scratch);
                    }
                }
                if let Some((w_ih, dx)) = self.dx {
                    self.inputs::<S>(begin, end, w_ih, dx, &scratch);
                }
                self.weights::<S>(begin, end, &mut scratch);
                self.start_gradient::<S>(begin, end, &mut scratch);
                end = begin;
            }
            self.store_state(&scratch);
            self.context.finish::<S>(self.slab);
        }
        (scratch.partial, self.context)
    }
}

impl<T: Dispatch, C: Cell, X: ContextGradient<T>> Backward<'_, T, C, X> {
    /// Columns of [x | context | h].
    pub(super) fn columns(&self) -> usize {
        self.start.inputs() + self.context.columns() + self.slab.blocks.hidden
    }

    /// Panels of a row of dz.
    #[inline(always)]
    pub(super) fn panels(&self) -> usize {
        self.slab.blocks.panels() + self.context.panels()
    }

    fn scratch(&self, chunk: usize) -> Scratch<T> {
        let Slab { rows, blocks, .. } = self.slab;
        let tiles = self.columns().div_ceil(blocks.tile_rows);
        let gates = self.panels() * blocks.panel();
        let start = match self.start {
            Start::Dense { .. } => gates,
            Start::Table { table, .. } => table.len(),
        };
        let cells = if C::HAS_C { blocks.panels() } else { 0 };
        Scratch {
            dh: Buffer::zeros(rows * self.dh_width()),
            dc: Buffer::zeros(cells * rows * blocks.lanes),
            dz: Buffer::uninit(chunk * rows * gates),
            inputs: Buffer::uninit(tiles * blocks.tile_rows * chunk * rows),
            partial: Partial {
                weights: Buffer::zeros(gates * self.columns()),
                start: Buffer::zeros(start),
            },
        }
    }

    /// Width of a row of `Scratch::dh`.
    fn dh_width(&self) -> usize {
        let blocks = self.slab.blocks;
        blocks.panels_of(blocks.hidden) * blocks.panel()
    }

    /// Brings the gradients of the final states into the scratch layouts.
    fn start_state(&self, s: &mut Scratch<T>) {
        let (first, hidden) = (self.slab.first, self.slab.blocks.hidden);
        if let Some(dc_n) = self.dc_n {
            self.slab.read_cells(dc_n, &mut s.dc);
        }
        if let Some(dh_n) = self.dh_n {
            let rows = dh_n[first * hidden..].chunks(hidden);
            for (to, from) in s.dh.chunks_mut(self.dh_width()).zip(rows) {
                to[..hidden].copy_from_slice(from);
            }
        }
    }

    /// dz of one step from dh and dc; what does not go through dz moves on to the step before.
    #[inline(always)]
    unsafe fn gates<S: Simd<E = T>>(&self, t: usize, in_chunk: usize, s: &mut Scratch<T>) {
        let Slab { rows, blocks, .. } = self.slab;
        let (hidden, dh_width) = (blocks.hidden, self.dh_width());
        let (active, packed) = (self.slab.active(t), self.slab.packed(t));
        // SAFETY: all offsets lie in this slab's parts of the saved tensors and of the scratch.
        unsafe {
            let zero = States::splat(S::splat(T::ZERO));
            for u in 0..blocks.panels() {
                for row in 0..active {
                    let at = self.slab.panel_at(t, u, row);
                    let saved = load_row::<S, WIDTH>(self.saved.as_ptr().add(at));
                    let (mut before, mut c, mut d) = (zero, zero.c, zero);
                    let dc_at = s.dc.as_mut_ptr().add((u * rows + row) * S::LANES);
                    if C::HAS_C {
                        d.c = S::load(dc_at);
                        c = S::load(self.cells.as_ptr().add(self.slab.cell_at(t, u, row)));
                        before.c = self.c_before::<S>(t, u, row);
                    }
                    if C::READS_H
                        && let Some(h) = self.h_before(t, row)
                    {
                        before.h = load_units::<S, C>(h.as_ptr(), u, hidden);
                    }
                    let dh_at = s.dh.as_mut_ptr();
                    let dh_at = dh_at.add(row * dh_width + u * C::GATES.units * S::LANES);
                    for k in 0..C::GATES.units {
                        d.h[k] = S::load(dh_at.add(k * S::LANES));
                    }
                    if let Some(dy) = self.dy {
                        let dy = dy.as_ptr().add((packed + row) * hidden);
                        let dy = load_units::<S, C>(dy, u, hidden);
                        for (d, dy) in d.h.iter_mut().zip(dy).take(C::GATES.units) {
                            *d = S::add(*d, dy);
                        }
                    }
                    let (dz, d) = C::backward::<S>(saved, before, c, d);
                    if C::HAS_C {
                        S::store(dc_at, d.c);
                    }
                    if C::READS_H {
                        for k in 0..C::GATES.units {
                            S::store(dh_at.add(k * S::LANES), d.h[k]);
                        }
                    }
                    let to = s.dz.as_mut_ptr().add(self.dz_at(in_chunk, u, row));
                    store_row::<S, WIDTH>(to, &dz);
                }
            }
        }
    }

    /// A block of the cell states before step t.
    #[inline(always)]
    unsafe fn c_before<S: Simd<E = T>>(&self, t: usize, u: usize, row: usize) -> S::V {
        let hidden = self.slab.blocks.hidden;
        // SAFETY: the row lies in this slab, which had it at the step before.
        unsafe {
            match (t, self.c0) {
                (0, None) => S::splat(T::ZERO),
                (0, Some(c0)) => {
                    let c0 = c0.as_ptr().add((self.slab.first + row) * hidden);
                    load_units::<S, C>(c0, u, hidden)[0]
                }
                _ => S::load(self.cells.as_ptr().add(self.slab.cell_at(t - 1, u, row))),
            }
        }
    }

    /// A row of this slab in h_{t-1}; none at the start from a zero state.
    #[inline(always)]
    pub(super) fn h_before(&self, t: usize, row: usize) -> Option<&[T]> {
        let hidden = self.slab.blocks.hidden;
        match (t, self.h0) {
            (0, None) => None,
            (0, Some(h0)) => Some(&h0[(self.slab.first + row) * hidden..][..hidden]),
            _ => Some(&self.y[(self.slab.packed(t - 1) + row) * hidden..][..hidden]),
        }
    }

    /// Offset of (step in chunk, u, row) in `Scratch::dz`.
    #[inline(always)]
    pub(super) fn dz_at(&self, step: usize, u: usize, row: usize) -> usize {
        let Slab { rows, blocks, .. } = self.slab;
        ((step * self.panels() + u) * rows + row) * blocks.panel()
    }

    /// dh of the step before t = dz W_hh, and what is there if the units read h themselves; that of
    /// rows without an element t stays.
    #[inline(always)]
    unsafe fn hidden<S: Simd<E = T>>(&self, t: usize, step: usize, s: &mut Scratch<T>) {
        let Slab { rows, blocks, .. } = self.slab;
        let (active, panels) = (self.slab.active(t), self.panels());
        let (width, dh_width) = (blocks.panel(), self.dh_width());
        let panel_len = panels * C::GATES.registers() * S::LANES * width;
        for p in 0..blocks.panels_of(blocks.hidden) {
            for_row_tiles!(S, active, |row, M| {
                // SAFETY: panel p and rows row..row + M exist; dh rows are padded to whole panels.
                unsafe {
                    let panel = self.w_hh.as_ptr().add(p * panel_len);
                    let dz = s.dz.as_ptr().add(self.dz_at(step, 0, row));
                    let dh = s.dh.as_mut_ptr().add(row * dh_width + p * width);
                    let mut acc = [[S::splat(T::ZERO); WIDTH]; M];
                    if C::READS_H {
                        for (m, acc) in acc.iter_mut().enumerate() {
                            *acc = load_row::<S, WIDTH>(dh.add(m * dh_width));
                        }
                    }
                    let side = C::GATES.hidden;
                    let acc = dz_times::<S, C, M>(acc, side, (dz, rows, panels), panel);
                    for (m, acc) in acc.iter().enumerate() {
                        store_row::<S, WIDTH>(dh.add(m * dh_width), acc);
                    }
                }
            });
        }
    }

    /// dx of a chunk = dz W_ih.
    #[inline(always)]
    unsafe fn inputs<S: Simd<E = T>>(
        &self,
        begin: usize,
        end: usize,
        w_ih: &[T],
        dx: SharedMut<T>,
        s: &Scratch<T>,
    ) {
        let Slab { rows, blocks, .. } = self.slab;
        let (inputs, width) = (self.start.inputs(), blocks.panel());
        let (panels, side) = (blocks.panels(), C::GATES.input);
        let panel_len = panels * C::GATES.registers() * S::LANES * width;
        for p in 0..blocks.panels_of(inputs) {
            for t in begin..end {
                let (active, packed) = (self.slab.active(t), self.slab.packed(t));
                for_row_tiles!(S, active, |row, M| {
                    // SAFETY: panel p exists; the rows of dx belong to this slab.
                    unsafe {
                        let panel = w_ih.as_ptr().add(p * panel_len);
                        let dz = s.dz.as_ptr().add(self.dz_at(t - begin, 0, row));
                        let acc = [[S::splat(T::ZERO); WIDTH]; M];
                        let acc = dz_times::<S, C, M>(acc, side, (dz, rows, panels), panel);
                        for (m, acc) in acc.iter().enumerate() {
                            let to = dx.at((packed + row + m) * inputs);
                            store_columns::<S, WIDTH>(to, p * width, inputs, acc);
                        }
                    }
                });
            }
        }
    }

    /// Writes the gradients of the initial states.
    fn store_state(&self, s: &Scratch<T>) {
        let Slab { first, blocks, .. } = self.slab;
        let copy = |to: SharedMut<T>, at: usize, from: &[T]| {
            // SAFETY: the range lies in this slab's rows of [B, H].
            unsafe { std::slice::from_raw_parts_mut(to.at(at), from.len()) }.copy_from_slice(from);
        };
        if let Some(dc0) = self.dc0 {
            let cells = |to, from, n| copy(dc0, to, &s.dc[from..from + n]);
            self.slab.for_cells(cells);
        }
        if let Some(dh0) = self.dh0 {
            for (row, from) in s.dh.chunks(self.dh_width()).enumerate() {
                copy(dh0, (first + row) * blocks.hidden, &from[..blocks.hidden]);
            }
        }
    }
}

/// Adds dz W for M rows and one panel of packed weights: the registers of one side of each panel of
/// dz, which is `[panels][rows][4L]` from the first of the M rows on.
///
/// # Safety
/// `dz` is valid for M rows of each panel, `weights` for the side's rows of 4L; S is available.
#[inline(always)]
pub unsafe fn dz_times<S: Simd, C: Cell, const M: usize>(
    mut acc: [[S::V; WIDTH]; M],
    side: Side,
    (dz, rows, panels): (*const S::E, usize, usize),
    weights: *const S::E,
) -> [[S::V; WIDTH]; M] {
    let (width, k) = (WIDTH * S::LANES, C::GATES.registers() * S::LANES);
    // SAFETY: as the caller vouches.
    unsafe {
        for u in 0..panels {
            let dz = Rows {
                ptr: dz.add(u * rows * width + side.first() * S::LANES),
                row: width,
                step: 1,
            };
            acc = multiply::<S, M, WIDTH>(acc, k, dz, weights.add(u * k * width));
        }
        acc
    }
}
