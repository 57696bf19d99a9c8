//! Attention in the forward pass of one slab: query, energies, softmax and context of a step.

use crate::data::spans::Spans;
use crate::device::cpu::buffer::SharedMut;
use crate::device::cpu::simd::Simd;
use crate::device::cpu::tile::{
    Rows, WIDTH, for_row_tiles, load_columns, load_row, multiply, store_columns, store_row,
    sum_lanes,
};
use crate::dtype::Float;
use crate::ops::recurrent::context::Context;
use crate::ops::recurrent::slab::Slab;

/// What both passes read. Rows of keys and values lie as they are; what is as wide as a query is
/// padded with zeros to whole panels of 4L.
#[derive(Clone, Copy)]
pub struct Source<'a, T> {
    /// Padded v.
    pub v: &'a [T],
    /// Keys `[M, A]`.
    pub keys: &'a [T],
    /// Values `[M, D]`.
    pub values: &'a [T],
    /// The positions of each batch row.
    pub spans: &'a Spans,
    /// A.
    pub width: usize,
    /// D.
    pub columns: usize,
    /// Panels that cover A.
    pub panels: usize,
}

impl<T> Source<'_, T> {
    /// The key of position j of batch row b.
    #[inline(always)]
    pub unsafe fn key(&self, b: usize, j: usize) -> *const T {
        // SAFETY: the caller's row has such a position.
        unsafe {
            let keys = self.keys.as_ptr();
            keys.add((self.spans.start(b) + j) * self.width)
        }
    }

    /// The value of position j of batch row b.
    #[inline(always)]
    pub unsafe fn value(&self, b: usize, j: usize) -> *const T {
        // SAFETY: the caller's row has such a position.
        unsafe {
            let values = self.values.as_ptr();
            values.add((self.spans.start(b) + j) * self.columns)
        }
    }
}

/// What attends between two steps.
pub struct Attend<'a, T> {
    /// What is attended to.
    pub source: Source<'a, T>,
    /// Packed W_q `[panels][H][4L]`.
    pub w_q: &'a [T],
    /// Padded b_q.
    pub b_q: &'a [T],
    /// Queries `[N, panels * 4L]`, to be written.
    pub q: SharedMut<T>,
    /// Attention weights `[N, S]`; those of the row's positions are written.
    pub alpha: SharedMut<T>,
    /// Contexts `[N, D]`, to be written.
    pub context: SharedMut<T>,
}

impl<T: Float> Context<T> for Attend<'_, T> {
    #[inline(always)]
    fn columns(&self) -> usize {
        self.source.columns
    }

    #[inline(always)]
    unsafe fn row(&self, packed: usize) -> *const T {
        // SAFETY: as the caller vouches.
        unsafe { self.context.at(packed * self.source.columns).cast_const() }
    }

    #[inline(always)]
    unsafe fn step<S: Simd<E = T>>(&mut self, slab: Slab, t: usize, h: Option<*const T>) {
        let (active, packed) = (slab.active(t), slab.packed(t));
        // SAFETY: the packed rows and the positions of the slab's rows belong to this slab.
        unsafe {
            self.queries::<S>(slab, packed, active, h);
            for row in 0..active {
                let (at, b) = (packed + row, slab.first + row);
                self.energies::<S>(at, b);
                softmax::<S>(self.alpha_of(at), self.source.spans.len(b));
                self.mean::<S>(at, b);
            }
        }
    }
}

impl<T: Float> Attend<'_, T> {
    /// The attention weights of a packed row.
    #[inline(always)]
    unsafe fn alpha_of(&self, at: usize) -> *mut T {
        // SAFETY: as the caller vouches.
        unsafe { self.alpha.at(at * self.source.spans.longest()) }
    }

    /// q = W_q h + b_q of the active rows.
    #[inline(always)]
    unsafe fn queries<S: Simd<E = T>>(
        &self,
        slab: Slab,
        packed: usize,
        active: usize,
        h: Option<*const T>,
    ) {
        let (hidden, width) = (slab.blocks.hidden, slab.blocks.panel());
        let panels = self.source.panels;
        for p in 0..panels {
            for_row_tiles!(S, active, |row, M| {
                // SAFETY: panel p exists in all padded tensors, the rows in h and q.
                unsafe {
                    let bias = load_row::<S, WIDTH>(self.b_q.as_ptr().add(p * width));
                    let mut acc = [bias; M];
                    if let Some(h) = h {
                        let h = Rows {
                            ptr: h.add(row * hidden),
                            row: hidden,
                            step: 1,
                        };
                        let panel = self.w_q.as_ptr().add(p * hidden * width);
                        acc = multiply::<S, M, WIDTH>(acc, hidden, h, panel);
                    }
                    for (m, acc) in acc.iter().enumerate() {
                        let at = ((packed + row + m) * panels + p) * width;
                        store_row::<S, WIDTH>(self.q.at(at), acc);
                    }
                }
            });
        }
    }

    /// e_j = v . tanh(q + k_j) of a row's positions, in the place of its attention weights.
    #[inline(always)]
    unsafe fn energies<S: Simd<E = T>>(&self, at: usize, b: usize) {
        let Source {
            v, width, spans, ..
        } = self.source;
        // SAFETY: the row's query and keys exist; what is read of the padding is zero.
        unsafe {
            let q = self.q.at(at * v.len());
            let alpha = self.alpha_of(at);
            for j in 0..spans.len(b) {
                let key = self.source.key(b, j);
                let mut sum = S::splat(T::ZERO);
                let mut a = 0;
                while a < width {
                    let [k] = load_columns::<S, 1>(key, a, width);
                    let tanh = S::tanh(S::add(S::load(q.add(a)), k));
                    sum = S::fma(S::load(v.as_ptr().add(a)), tanh, sum);
                    a += S::LANES;
                }
                *alpha.add(j) = sum_lanes::<S>(sum);
            }
        }
    }

    /// ctx = sum_j alpha_j m_j of a row.
    #[inline(always)]
    unsafe fn mean<S: Simd<E = T>>(&self, at: usize, b: usize) {
        let Source { columns, spans, .. } = self.source;
        // SAFETY: the row's weights, values and context exist.
        unsafe {
            let to = self.context.at(at * columns);
            let alpha = self.alpha_of(at);
            let mut d = 0;
            while d < columns {
                let mut acc = [S::splat(T::ZERO); WIDTH];
                for j in 0..spans.len(b) {
                    let weight = S::splat(*alpha.add(j));
                    let value = load_columns::<S, WIDTH>(self.source.value(b, j), d, columns);
                    for (acc, value) in acc.iter_mut().zip(value) {
                        *acc = S::fma(weight, value, *acc);
                    }
                }
                store_columns::<S, WIDTH>(to, d, columns, &acc);
                d += WIDTH * S::LANES;
            }
        }
    }
}

/// Turns n energies into their softmax.
#[inline(always)]
unsafe fn softmax<S: Simd>(e: *mut S::E, n: usize) {
    // SAFETY: the caller's row has n elements.
    unsafe {
        let mut largest = *e;
        for j in 1..n {
            if *e.add(j) > largest {
                largest = *e.add(j);
            }
        }
        let mut j = 0;
        while j < n {
            let [x] = load_columns::<S, 1>(e, j, n);
            let x = S::exp(S::sub(x, S::splat(largest)));
            store_columns::<S, 1>(e, j, n, &[x]);
            j += S::LANES;
        }
        let mut sum = *e;
        for j in 1..n {
            sum += *e.add(j);
        }
        let scale = S::E::ONE / sum;
        for j in 0..n {
            *e.add(j) *= scale;
        }
    }
}
