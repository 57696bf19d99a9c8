//! The LSTM's backward pass for one slab of batch rows, all time steps in reverse.
//!
//! With the activated gates i, f, g, o and q = tanh(c_t), from the paper's forward equations:
//!
//! ```text
//! dc  += dh o (1 - q^2)          do_z = dh q o (1 - o)
//! di_z = dc g i (1 - i)          df_z = dc c_{t-1} f (1 - f)
//! dg_z = dc i (1 - g^2)          dc_{t-1} = dc f
//! dh_{t-1} = dz W_hh             dx_t = dz W_ih
//! dW_hh = sum_t dz^T h_{t-1}     dW_ih = sum_t dz^T x_t     db = sum_t dz
//! ```
//!
//! dz stays in cache: it is kept for a chunk of steps, from which dx and the slab's share of the
//! weight gradients are multiplied, and never written to memory as a whole.

use super::forward::{Slab, Start, for_units};
use crate::device::cpu::buffer::{Buffer, SharedMut};
use crate::device::cpu::simd::{Dispatch, Simd, Task};
use crate::device::cpu::tile::{
    Rows, WIDTH, for_row_tiles, load_columns, load_row, multiply, store_columns, store_row,
};
use crate::dtype::Float;

/// Rows of dz (steps times batch rows) in a chunk. With AVX-512 one panel of them is 48 KiB, which
/// every tile of columns reads again from the nearest caches.
const CHUNK_ROWS: usize = 192;

/// The gradient of a [`super::forward::Context`]. `()` is that of none.
pub trait ContextGradient<T> {
    /// D, the number of the context's columns.
    fn columns(&self) -> usize;

    /// Panels that a row of dz has behind those of the gates: gradients of other linear functions
    /// of h_{t-1}, whose weights are below W_hh.
    fn panels(&self) -> usize;

    /// The context's columns of a packed row.
    fn row(&self, packed: usize) -> &[T];

    /// From a step's dz `[panels][rows][4L]`, whose gates are there, to its other panels.
    ///
    /// # Safety
    /// `dz` is valid for all panels; S is available.
    unsafe fn step<S: Simd<E = T>>(&mut self, slab: Slab, t: usize, dz: *mut T);

    /// What is left to do after the last step.
    ///
    /// # Safety
    /// S is available.
    unsafe fn finish<S: Simd<E = T>>(&mut self, slab: Slab);
}

impl<T> ContextGradient<T> for () {
    #[inline(always)]
    fn columns(&self) -> usize {
        0
    }

    #[inline(always)]
    fn panels(&self) -> usize {
        0
    }

    #[inline(always)]
    fn row(&self, _: usize) -> &[T] {
        &[]
    }

    #[inline(always)]
    unsafe fn step<S: Simd<E = T>>(&mut self, _: Slab, _: usize, _: *mut T) {}

    #[inline(always)]
    unsafe fn finish<S: Simd<E = T>>(&mut self, _: Slab) {}
}

/// One slab's backward pass.
pub struct Backward<'a, T, C> {
    /// The slab.
    pub slab: Slab<'a>,
    /// What the gates started from.
    pub start: Start<'a, T>,
    /// What was computed between the steps.
    pub context: C,
    /// W_hh `[4H, H]` packed for dz W.
    pub w_hh: &'a [T],
    /// W_ih `[4H, I]` packed for dz W, and dx `[N, I]` to be written, if it is wanted.
    pub dx: Option<(&'a [T], SharedMut<T>)>,
    /// Initial hidden state `[B, H]`.
    pub h0: Option<&'a [T]>,
    /// Initial cell state `[B, H]`.
    pub c0: Option<&'a [T]>,
    /// Packed output `[N, H]` of the forward pass.
    pub y: &'a [T],
    /// Saved activated gates of all slabs.
    pub gates: &'a [T],
    /// Saved cell states of all slabs.
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
    /// Of the bias `[panels * 4L]`, or of the gate table `[V, gates]`.
    pub start: Buffer<T>,
}

/// What a slab works with.
pub(super) struct Scratch<T: Dispatch> {
    /// dh of the step before `[rows][4L panels]`.
    dh: Buffer<T>,
    /// dc `[units][rows][L]`.
    dc: Buffer<T>,
    /// dz of a chunk `[steps][panels][rows][4L]`.
    pub(super) dz: Buffer<T>,
    /// [x_t | context | h_{t-1}] of a chunk, transposed in tiles: `[tiles][steps * rows][tile_rows]`.
    pub(super) inputs: Buffer<T>,
    pub(super) partial: Partial<T>,
}

impl<T: Dispatch, C: ContextGradient<T>> Task<T> for Backward<'_, T, C> {
    type Output = (Partial<T>, C);

    #[inline(always)]
    unsafe fn run<S: Simd<E = T>>(mut self) -> (Partial<T>, C) {
        let chunk = (CHUNK_ROWS / self.slab.rows).clamp(1, self.slab.steps);
        let mut scratch = self.scratch(chunk);
        // SAFETY: offsets follow the documented layouts; slabs write disjoint rows.
        unsafe {
            self.start_state::<S>(&mut scratch);
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
            self.store_state::<S>(&scratch);
            self.context.finish::<S>(self.slab);
        }
        (scratch.partial, self.context)
    }
}

impl<T: Dispatch, C: ContextGradient<T>> Backward<'_, T, C> {
    /// Columns of [x | context | h].
    pub(super) fn columns(&self) -> usize {
        self.start.inputs() + self.context.columns() + self.slab.blocks.hidden
    }

    /// Panels of a row of dz.
    #[inline(always)]
    pub(super) fn panels(&self) -> usize {
        self.slab.blocks.units() + self.context.panels()
    }

    fn scratch(&self, chunk: usize) -> Scratch<T> {
        let Slab { rows, blocks, .. } = self.slab;
        let tiles = self.columns().div_ceil(blocks.tile_rows);
        let gates = self.panels() * blocks.panel();
        let start = match self.start {
            Start::Dense { .. } => gates,
            Start::Table { table, .. } => table.len(),
        };
        Scratch {
            dh: Buffer::zeros(rows * blocks.panels_of(blocks.hidden) * blocks.panel()),
            dc: Buffer::zeros(blocks.units() * rows * blocks.lanes),
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
    #[inline(always)]
    fn start_state<S: Simd<E = T>>(&self, s: &mut Scratch<T>) {
        let (rows, width) = (self.slab.rows, self.dh_width());
        for_units(self.slab, S::LANES, |at, to, n| {
            if let Some(dc_n) = self.dc_n {
                s.dc[to..to + n].copy_from_slice(&dc_n[at..at + n]);
            }
            if let Some(dh_n) = self.dh_n {
                let (u, row) = (to / S::LANES / rows, to / S::LANES % rows);
                let to = row * width + u * S::LANES;
                s.dh[to..to + n].copy_from_slice(&dh_n[at..at + n]);
            }
        });
    }

    /// dz of one step from dh and dc; dc moves on to the step before.
    #[inline(always)]
    unsafe fn gates<S: Simd<E = T>>(&self, t: usize, in_chunk: usize, s: &mut Scratch<T>) {
        let Slab {
            first,
            rows,
            blocks,
            ..
        } = self.slab;
        let (lanes, hidden, dh_width) = (S::LANES, blocks.hidden, self.dh_width());
        let (active, packed) = (self.slab.active(t), self.slab.packed(t));
        // SAFETY: all offsets lie in this slab's parts of the saved tensors and of the scratch.
        unsafe {
            let one = S::splat(T::ONE);
            for u in 0..blocks.units() {
                for row in 0..active {
                    let gates = self.gates.as_ptr().add(self.slab.gates_at(t, u, row));
                    let [i, f, g, o] = load_row::<S, WIDTH>(gates);
                    let c = S::load(self.cells.as_ptr().add(self.slab.cell_at(t, u, row)));
                    let c_prev = match (t, self.c0) {
                        (0, None) => S::splat(T::ZERO),
                        (0, Some(c0)) => units_of::<S>(c0, first + row, u, hidden),
                        _ => S::load(self.cells.as_ptr().add(self.slab.cell_at(t - 1, u, row))),
                    };
                    let mut dh = S::load(s.dh.as_ptr().add(row * dh_width + u * lanes));
                    if let Some(dy) = self.dy {
                        dh = S::add(dh, units_of::<S>(dy, packed + row, u, hidden));
                    }
                    let dc_at = s.dc.as_mut_ptr().add((u * rows + row) * lanes);
                    let q = S::tanh(c);
                    let dho = S::mul(dh, o);
                    let dc = S::add(S::load(dc_at), S::sub(dho, S::mul(dho, S::mul(q, q))));
                    S::store(dc_at, S::mul(dc, f));
                    // sigmoid' = y (1 - y), tanh' = 1 - y^2, in terms of their values
                    let di = S::mul(S::mul(dc, g), S::mul(i, S::sub(one, i)));
                    let df = S::mul(S::mul(dc, c_prev), S::mul(f, S::sub(one, f)));
                    let dg = S::mul(S::mul(dc, i), S::sub(one, S::mul(g, g)));
                    let do_ = S::mul(S::mul(dh, q), S::mul(o, S::sub(one, o)));
                    let dz = s.dz.as_mut_ptr().add(self.dz_at(in_chunk, u, row));
                    store_row::<S, WIDTH>(dz, &[di, df, dg, do_]);
                }
            }
        }
    }

    /// Offset of (step in chunk, u, row) in `Scratch::dz`.
    #[inline(always)]
    pub(super) fn dz_at(&self, step: usize, u: usize, row: usize) -> usize {
        let Slab { rows, blocks, .. } = self.slab;
        ((step * self.panels() + u) * rows + row) * blocks.panel()
    }

    /// dh of the step before t = dz W_hh; that of rows without an element t stays.
    #[inline(always)]
    unsafe fn hidden<S: Simd<E = T>>(&self, t: usize, step: usize, s: &mut Scratch<T>) {
        let Slab { rows, blocks, .. } = self.slab;
        let active = self.slab.active(t);
        let (width, dh_width) = (blocks.panel(), self.dh_width());
        for p in 0..blocks.panels_of(blocks.hidden) {
            for_row_tiles!(S, active, |row, M| {
                // SAFETY: panel p and rows row..row + M exist; dh rows are padded to whole panels.
                unsafe {
                    let panel = self.w_hh.as_ptr().add(p * self.panels() * width * width);
                    let dz = s.dz.as_ptr().add(self.dz_at(step, 0, row));
                    let acc = dz_times::<S, M>(dz, rows, self.panels(), panel);
                    for (m, acc) in acc.iter().enumerate() {
                        let at = (row + m) * dh_width + p * width;
                        store_row::<S, WIDTH>(s.dh.as_mut_ptr().add(at), acc);
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
        for p in 0..blocks.panels_of(inputs) {
            for t in begin..end {
                let (active, packed) = (self.slab.active(t), self.slab.packed(t));
                for_row_tiles!(S, active, |row, M| {
                    // SAFETY: panel p exists; the rows of dx belong to this slab.
                    unsafe {
                        let panel = w_ih.as_ptr().add(p * blocks.gates() * width);
                        let dz = s.dz.as_ptr().add(self.dz_at(t - begin, 0, row));
                        let acc = dz_times::<S, M>(dz, rows, blocks.units(), panel);
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
    #[inline(always)]
    unsafe fn store_state<S: Simd<E = T>>(&self, s: &Scratch<T>) {
        let (rows, width) = (self.slab.rows, self.dh_width());
        for_units(self.slab, S::LANES, |to, from, n| {
            let copy = |to: *mut T, from: &[T]| {
                // SAFETY: the range lies in this slab's rows.
                unsafe { std::slice::from_raw_parts_mut(to, n) }.copy_from_slice(from);
            };
            // SAFETY: `to` is within [B, H].
            unsafe {
                if let Some(dc0) = self.dc0 {
                    copy(dc0.at(to), &s.dc[from..from + n]);
                }
                if let Some(dh0) = self.dh0 {
                    let (u, row) = (from / S::LANES / rows, from / S::LANES % rows);
                    copy(dh0.at(to), &s.dh[row * width + u * S::LANES..][..n]);
                }
            }
        });
    }
}

/// The units of block u in a row of `[.., H]`, zero behind the last one.
#[inline(always)]
unsafe fn units_of<S: Simd>(data: &[S::E], row: usize, u: usize, hidden: usize) -> S::V {
    // SAFETY: the caller's row lies in `data`.
    unsafe { load_columns::<S, 1>(data.as_ptr().add(row * hidden), u * S::LANES, hidden)[0] }
}

/// dz of M rows times one panel of packed weights. dz is `[panels][rows][4L]` from the first of the M
/// rows on.
///
/// # Safety
/// `dz` is valid for M rows of each panel, `weights` for `panels * 4L` rows of 4L; S is available.
#[inline(always)]
pub unsafe fn dz_times<S: Simd, const M: usize>(
    dz: *const S::E,
    rows: usize,
    panels: usize,
    weights: *const S::E,
) -> [[S::V; WIDTH]; M] {
    let width = WIDTH * S::LANES;
    // SAFETY: as the caller vouches.
    unsafe {
        let mut acc = [[S::splat(S::E::ZERO); WIDTH]; M];
        for u in 0..panels {
            let dz = Rows {
                ptr: dz.add(u * rows * width),
                row: width,
                step: 1,
            };
            acc = multiply::<S, M, WIDTH>(acc, width, dz, weights.add(u * width * width));
        }
        acc
    }
}
