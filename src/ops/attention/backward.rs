//! Attention in the backward pass of one slab. For a step, with dctx = dz W_ih (the context's
//! columns) plus what arrives from above:
//!
//! ```text
//! da_j = dctx . m_j + what arrives from above
//! de_j = a_j (da_j - sum_i a_i da_i)
//! u_j = tanh(q + k_j)        dk_j += du_j = de_j v (1 - u_j^2)      dq = sum_j du_j
//! dv += sum_j de_j u_j       dh_{t-1} += dq W_q
//! ```
//!
//! and dm_j = sum_t a_tj dctx_t, one product a row after the last step. dq is laid behind the gates'
//! dz, whose products with the weights are the LSTM's: they give dh, dW_q and db_q.

use super::forward::Source;
use crate::device::cpu::buffer::{Buffer, SharedMut};
use crate::device::cpu::simd::{Dispatch, Simd};
use crate::device::cpu::tile::{
    Rows, WIDTH, for_row_tiles, load_columns, load_row, multiply, store_columns, store_row,
    sum_lanes,
};
use crate::ops::lstm::Lstm;
use crate::ops::recurrent::backward::dz_times;
use crate::ops::recurrent::cell::Cell;
use crate::ops::recurrent::context::ContextGradient;
use crate::ops::recurrent::slab::Slab;

/// What the steps of one slab's backward pass read and write.
pub struct AttendGradient<'a, T: Dispatch> {
    /// What was attended to.
    pub source: Source<'a, T>,
    /// The context's columns of W_ih, packed for dz W.
    pub w_ih: &'a [T],
    /// Queries `[N, panels * 4L]`.
    pub q: &'a [T],
    /// Attention weights `[N, S]`.
    pub alpha: &'a [T],
    /// Contexts `[N, D]`.
    pub context: &'a [T],
    /// Gradient of the contexts.
    pub dcontext: Option<&'a [T]>,
    /// Gradient of the attention weights `[N, S]`.
    pub dalpha: Option<&'a [T]>,
    /// Gradient of the keys: zeros to be added to, if it is wanted.
    pub dkeys: Option<SharedMut<T>>,
    /// Gradient of the values, to be written if it is wanted.
    pub dvalues: Option<SharedMut<T>>,
    /// The slab's share of the gradient of v, padded.
    pub dv: Buffer<T>,
    /// Gradients of the slab's contexts `[rows][panels of D][steps][4L]`.
    pub dctx: Buffer<T>,
    /// One row's de `[S]`; after the last step its attention weights `[steps][S]`.
    pub weights: Buffer<T>,
}

impl<T: Dispatch> ContextGradient<T> for AttendGradient<'_, T> {
    #[inline(always)]
    fn columns(&self) -> usize {
        self.source.columns
    }

    #[inline(always)]
    fn panels(&self) -> usize {
        self.source.panels
    }

    #[inline(always)]
    fn row(&self, packed: usize) -> &[T] {
        &self.context[packed * self.source.columns..][..self.source.columns]
    }

    #[inline(always)]
    unsafe fn step<S: Simd<E = T>>(&mut self, slab: Slab, t: usize, dz: *mut T) {
        // SAFETY: rows, positions and panels exist and belong to this slab.
        unsafe {
            self.contexts::<S>(slab, t, dz);
            for row in 0..slab.active(t) {
                self.energies::<S>(slab, t, row);
                let dq = dz.add((slab.blocks.panels() * slab.rows + row) * slab.blocks.panel());
                self.queries::<S>(slab, t, row, dq);
            }
        }
    }

    #[inline(always)]
    unsafe fn finish<S: Simd<E = T>>(&mut self, slab: Slab) {
        let Some(dvalues) = self.dvalues else { return };
        for row in 0..slab.rows {
            // SAFETY: the row and its positions belong to this slab.
            unsafe { self.values::<S>(slab, row, dvalues) };
        }
    }
}

impl<T: Dispatch> AttendGradient<'_, T> {
    /// Offset of (row, panel, t) in `dctx`.
    #[inline(always)]
    fn dctx_at(&self, slab: Slab, row: usize, p: usize, t: usize) -> usize {
        let panels = slab.blocks.panels_of(self.source.columns);
        ((row * panels + p) * slab.steps + t) * slab.blocks.panel()
    }

    /// dctx of step t.
    #[inline(always)]
    unsafe fn contexts<S: Simd<E = T>>(&mut self, slab: Slab, t: usize, dz: *const T) {
        let Slab { rows, blocks, .. } = slab;
        let (columns, width, packed) = (self.source.columns, blocks.panel(), slab.packed(t));
        for p in 0..blocks.panels_of(columns) {
            for_row_tiles!(S, slab.active(t), |row, M| {
                // SAFETY: panel p and rows row..row + M exist.
                unsafe {
                    let weights = self.w_ih.as_ptr().add(p * blocks.row() * width);
                    let dz = dz.add(row * width);
                    let (dz, side) = ((dz, rows, blocks.panels()), Lstm::GATES.input);
                    let zero = [[S::splat(T::ZERO); WIDTH]; M];
                    let acc = dz_times::<S, Lstm, M>(zero, side, dz, weights);
                    for (m, mut acc) in acc.into_iter().enumerate() {
                        if let Some(above) = self.dcontext {
                            let above = above.as_ptr().add((packed + row + m) * columns);
                            let above = load_columns::<S, WIDTH>(above, p * width, columns);
                            for (acc, above) in acc.iter_mut().zip(above) {
                                *acc = S::add(*acc, above);
                            }
                        }
                        let at = self.dctx_at(slab, row + m, p, t);
                        store_row::<S, WIDTH>(self.dctx.as_mut_ptr().add(at), &acc);
                    }
                }
            });
        }
    }

    /// de of one row into the first S of `weights`.
    #[inline(always)]
    unsafe fn energies<S: Simd<E = T>>(&mut self, slab: Slab, t: usize, row: usize) {
        let Source { columns, spans, .. } = self.source;
        let (b, width) = (slab.first + row, slab.blocks.panel());
        // SAFETY: the row's positions exist.
        unsafe {
            let first = (slab.packed(t) + row) * spans.longest();
            let alpha = self.alpha.as_ptr().add(first);
            let above = self.dalpha.map(|above| above.as_ptr().add(first));
            let de = self.weights.as_mut_ptr();
            let mut mean = T::ZERO;
            for j in 0..spans.len(b) {
                let value = self.source.value(b, j);
                let mut acc = [S::splat(T::ZERO); WIDTH];
                for p in 0..slab.blocks.panels_of(columns) {
                    let dctx = self.dctx.as_ptr().add(self.dctx_at(slab, row, p, t));
                    let dctx = load_row::<S, WIDTH>(dctx);
                    let value = load_columns::<S, WIDTH>(value, p * width, columns);
                    for (n, acc) in acc.iter_mut().enumerate() {
                        *acc = S::fma(dctx[n], value[n], *acc);
                    }
                }
                let sum = S::add(S::add(acc[0], acc[1]), S::add(acc[2], acc[3]));
                let mut da = sum_lanes::<S>(sum);
                if let Some(above) = above {
                    da += *above.add(j);
                }
                mean += *alpha.add(j) * da;
                *de.add(j) = da;
            }
            for j in 0..spans.len(b) {
                *de.add(j) = *alpha.add(j) * (*de.add(j) - mean);
            }
        }
    }

    /// dq, and the shares of one row and step in dv and the gradient of its keys.
    #[inline(always)]
    unsafe fn queries<S: Simd<E = T>>(&mut self, slab: Slab, t: usize, row: usize, dq: *mut T) {
        let Source {
            v, width, spans, ..
        } = self.source;
        let (b, panel) = (slab.first + row, slab.blocks.panel());
        // SAFETY: the row's positions exist, as do all padded units of a query.
        unsafe {
            let one = S::splat(T::ONE);
            let q = self.q.as_ptr().add((slab.packed(t) + row) * v.len());
            for a in (0..v.len()).step_by(S::LANES) {
                let mut dq_a = S::splat(T::ZERO);
                if a < width {
                    let (q, v) = (S::load(q.add(a)), S::load(v.as_ptr().add(a)));
                    let dv = self.dv.as_mut_ptr().add(a);
                    let mut dv_a = S::load(dv);
                    for j in 0..spans.len(b) {
                        let [k] = load_columns::<S, 1>(self.source.key(b, j), a, width);
                        let u = S::tanh(S::add(q, k));
                        let de = S::splat(*self.weights.as_ptr().add(j));
                        dv_a = S::fma(de, u, dv_a);
                        let du = S::mul(S::mul(de, v), S::sub(one, S::mul(u, u)));
                        dq_a = S::add(dq_a, du);
                        if let Some(dkeys) = self.dkeys {
                            let dk = dkeys.at((spans.start(b) + j) * width);
                            let [before] = load_columns::<S, 1>(dk, a, width);
                            store_columns::<S, 1>(dk, a, width, &[S::add(before, du)]);
                        }
                    }
                    S::store(dv, dv_a);
                }
                // The panels of dz lie `rows` rows apart.
                S::store(dq.add(a / panel * slab.rows * panel + a % panel), dq_a);
            }
        }
    }

    /// dm_j = sum_t a_tj dctx_t of one row.
    #[inline(always)]
    unsafe fn values<S: Simd<E = T>>(&mut self, slab: Slab, row: usize, dvalues: SharedMut<T>) {
        let Source { columns, spans, .. } = self.source;
        let (b, width, longest) = (slab.first + row, slab.blocks.panel(), spans.longest());
        let steps = slab.packing.length(b);
        for t in 0..steps {
            let alpha = &self.alpha[(slab.packed(t) + row) * longest..][..longest];
            self.weights[t * longest..][..longest].copy_from_slice(alpha);
        }
        for p in 0..slab.blocks.panels_of(columns) {
            for_row_tiles!(S, spans.len(b), |j, M| {
                // SAFETY: positions j..j + M of the row exist.
                unsafe {
                    let alpha = Rows {
                        ptr: self.weights.as_ptr().add(j),
                        row: 1,
                        step: longest,
                    };
                    let dctx = self.dctx.as_ptr().add(self.dctx_at(slab, row, p, 0));
                    let zero = [[S::splat(T::ZERO); WIDTH]; M];
                    let acc = multiply::<S, M, WIDTH>(zero, steps, alpha, dctx);
                    for (m, acc) in acc.iter().enumerate() {
                        let to = dvalues.at((spans.start(b) + j + m) * columns);
                        store_columns::<S, WIDTH>(to, p * width, columns, acc);
                    }
                }
            });
        }
    }
}
