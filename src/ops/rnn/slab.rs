//! One slab of batch rows through all steps of a tanh RNN, forward and backward.
//!
//! L is the number of lanes of a vector register. A panel is 4L units wide; W_hh is packed into
//! panels that tiles of rows read in order. The last panel is padded with zeros, so that its surplus
//! units stay at zero and nothing has to be masked but the rows of the tensors.

use crate::data::packing::Packing;
use crate::device::cpu::buffer::{Buffer, SharedMut};
use crate::device::cpu::simd::{Dispatch, Simd, Task};
use crate::device::cpu::tile::{Rows, WIDTH, for_row_tiles, load_row, multiply, store_row};
use crate::dtype::Float;
use rayon::prelude::*;

/// Batch rows `first..first + rows`, of which step t has those that are longer than t.
#[derive(Clone, Copy)]
pub struct Slab<'a> {
    /// Where the steps lie.
    pub packing: &'a Packing,
    /// First batch row.
    pub first: usize,
    /// Batch rows.
    pub rows: usize,
    /// H.
    pub hidden: usize,
}

impl<'a> Slab<'a> {
    /// The batch in slabs of an eighth, but at least 16 rows and at most 64.
    pub fn all(packing: &'a Packing, hidden: usize) -> Vec<Self> {
        let batch = packing.batch();
        let rows = batch.div_ceil(8).clamp(16, 64);
        let slab = |first| Slab {
            packing,
            first,
            rows: rows.min(batch - first),
            hidden,
        };
        (0..batch).step_by(rows).map(slab).collect()
    }

    /// Rows of this slab that step t has.
    fn active(self, t: usize) -> usize {
        let before = self.packing.active(t).saturating_sub(self.first);
        before.min(self.rows)
    }

    /// The offset of (t, row) in a packed `[N, H]`.
    fn at(self, t: usize, row: usize) -> usize {
        (self.packing.offset(t) + self.first + row) * self.hidden
    }
}

// ---- packing -------------------------------------------------------------------------------

/// Units with their padding: whole panels.
pub fn padded<T: Dispatch>(hidden: usize) -> usize {
    hidden.next_multiple_of(WIDTH * T::tile().0)
}

/// A vector of H elements and zeros behind them.
pub fn pad<T: Dispatch>(v: &[T]) -> Buffer<T> {
    let mut to = Buffer::zeros(padded::<T>(v.len()));
    to[..v.len()].copy_from_slice(v);
    to
}

/// The right operand of h W (or h W^T, if `transposed`), W `[H, H]`: `[panels][H][4L]`.
pub fn pack<T: Dispatch>(w: &[T], hidden: usize, transposed: bool) -> Buffer<T> {
    let width = WIDTH * T::tile().0;
    let mut packed = Buffer::zeros(hidden * padded::<T>(hidden));
    let panels = packed.par_chunks_mut(hidden * width).enumerate();
    panels.for_each(|(p, panel)| {
        let first = p * width;
        let n = width.min(hidden - first);
        for (k, row) in panel.chunks_mut(width).enumerate() {
            if transposed {
                let column = w[first * hidden + k..].iter().step_by(hidden);
                row[..n].iter_mut().zip(column).for_each(|(to, &x)| *to = x);
            } else {
                row[..n].copy_from_slice(&w[k * hidden + first..][..n]);
            }
        }
    });
    packed
}

// ---- forward -------------------------------------------------------------------------------

/// One slab's forward pass.
pub struct Forward<'a, T> {
    /// The slab.
    pub slab: Slab<'a>,
    /// W_hh packed for h W^T.
    pub w_hh: &'a [T],
    /// Padded bias.
    pub bias: &'a [T],
    /// Initial state `[B, H]`; zero if absent.
    pub h0: Option<&'a [T]>,
    /// x W_ih^T `[N, H]`, which becomes h.
    pub y: SharedMut<T>,
}

impl<T: Dispatch> Task<T> for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd<E = T>>(self) {
        for t in 0..self.slab.packing.steps() {
            let rows = self.slab.active(t);
            for p in 0..padded::<T>(self.slab.hidden) / (WIDTH * S::LANES) {
                for_row_tiles!(S, rows, |row, M| {
                    // SAFETY: panel p and rows row..row + M of step t exist; slabs are disjoint.
                    unsafe { self.tile::<S, M>(t, p, row) }
                });
            }
        }
    }
}

impl<T: Dispatch> Forward<'_, T> {
    /// h of M rows and one panel of units.
    #[inline(always)]
    unsafe fn tile<S: Simd<E = T>, const M: usize>(&self, t: usize, p: usize, row: usize) {
        let Slab { first, hidden, .. } = self.slab;
        let width = WIDTH * S::LANES;
        let columns = hidden - p * width; // from this panel on
        // SAFETY: the rows lie in this slab, which had them at the step before; the panel is packed.
        unsafe {
            let y = self.y.at(self.slab.at(t, row) + p * width);
            let bias = load_row::<S, WIDTH>(self.bias.as_ptr().add(p * width));
            let mut acc = [bias; M];
            for (m, acc) in acc.iter_mut().enumerate() {
                let x = load_columns::<S>(y.add(m * hidden), columns);
                for (acc, x) in acc.iter_mut().zip(x) {
                    *acc = S::add(*acc, x);
                }
            }
            let h = match (t, self.h0) {
                (0, None) => None,
                (0, Some(h0)) => Some(h0.as_ptr().add((first + row) * hidden)),
                _ => Some(self.y.at(self.slab.at(t - 1, row)).cast_const()),
            };
            if let Some(ptr) = h {
                let panel = self.w_hh.as_ptr().add(p * hidden * width);
                let h = Rows {
                    ptr,
                    row: hidden,
                    step: 1,
                };
                acc = multiply::<S, M, WIDTH>(acc, hidden, h, panel);
            }
            for (m, z) in acc.iter_mut().enumerate() {
                for z in z.iter_mut() {
                    *z = S::tanh(*z);
                }
                store_columns::<S>(y.add(m * hidden), columns, z);
            }
        }
    }
}

// ---- backward ------------------------------------------------------------------------------

/// One slab's backward pass, whose result is the slab's share of db, padded.
pub struct Backward<'a, T> {
    /// The slab.
    pub slab: Slab<'a>,
    /// W_hh packed for dz W.
    pub w_hh: &'a [T],
    /// Hidden states `[N, H]`.
    pub y: &'a [T],
    /// Gradient of y.
    pub dy: Option<&'a [T]>,
    /// Gradient of h_n `[B, H]`.
    pub dh_n: Option<&'a [T]>,
    /// dz `[N, H]`, to be written.
    pub dz: SharedMut<T>,
    /// Gradient of the initial state `[B, H]`, to be written if it is wanted.
    pub dh0: Option<SharedMut<T>>,
}

impl<T: Dispatch> Task<T> for Backward<'_, T> {
    type Output = Buffer<T>;

    #[inline(always)]
    unsafe fn run<S: Simd<E = T>>(self) -> Buffer<T> {
        let Slab { first, rows, .. } = self.slab;
        let (hidden, padded) = (self.slab.hidden, padded::<T>(self.slab.hidden));
        let mut bias = Buffer::zeros(padded);
        // What step t + 1 sends back to each row; before a row's last step the gradient of h_n.
        let mut dh = Buffer::zeros(rows * padded);
        if let Some(dh_n) = self.dh_n {
            for (row, to) in dh.chunks_mut(padded).enumerate() {
                to[..hidden].copy_from_slice(&dh_n[(first + row) * hidden..][..hidden]);
            }
        }
        for t in (0..self.slab.packing.steps()).rev() {
            let active = self.slab.active(t);
            for row in 0..active {
                // SAFETY: the slab has the row at step t; dh and bias are padded.
                unsafe { self.dz::<S>(t, row, &dh[row * padded..], &mut bias) };
            }
            if t == 0 && self.dh0.is_none() {
                break;
            }
            for p in 0..padded / (WIDTH * S::LANES) {
                for_row_tiles!(S, active, |row, M| {
                    // SAFETY: panel p and rows row..row + M of dz and dh exist.
                    unsafe { self.dh::<S, M>(t, p, row, &mut dh) }
                });
            }
        }
        if let Some(dh0) = self.dh0 {
            for (row, from) in dh.chunks(padded).enumerate() {
                // SAFETY: the rows of dh0 belong to this slab.
                let to = unsafe {
                    std::slice::from_raw_parts_mut(dh0.at((first + row) * hidden), hidden)
                };
                to.copy_from_slice(&from[..hidden]);
            }
        }
        bias
    }
}

impl<T: Dispatch> Backward<'_, T> {
    /// dz = (dh + dy) (1 - h^2) of one row, which is added to db.
    #[inline(always)]
    unsafe fn dz<S: Simd<E = T>>(&self, t: usize, row: usize, dh: &[T], bias: &mut [T]) {
        let (hidden, at) = (self.slab.hidden, self.slab.at(t, row));
        // SAFETY: as the caller vouches; tails of the tensors are read and written in part.
        unsafe {
            let one = S::splat(T::ONE);
            for unit in (0..hidden).step_by(S::LANES) {
                let n = S::LANES.min(hidden - unit);
                let h = load_units::<S>(self.y.as_ptr().add(at + unit), n);
                let mut d = S::load(dh.as_ptr().add(unit));
                if let Some(dy) = self.dy {
                    d = S::add(d, load_units::<S>(dy.as_ptr().add(at + unit), n));
                }
                let dz = S::mul(d, S::sub(one, S::mul(h, h)));
                store_units::<S>(self.dz.at(at + unit), dz, n);
                let bias = bias.as_mut_ptr().add(unit);
                S::store(bias, S::add(S::load(bias), dz));
            }
        }
    }

    /// dh of M rows and one panel of the units of the step before = dz W_hh.
    #[inline(always)]
    unsafe fn dh<S: Simd<E = T>, const M: usize>(
        &self,
        t: usize,
        p: usize,
        row: usize,
        dh: &mut [T],
    ) {
        let (hidden, width) = (self.slab.hidden, WIDTH * S::LANES);
        // SAFETY: as the caller vouches.
        unsafe {
            let dz = Rows {
                ptr: self.dz.at(self.slab.at(t, row)).cast_const(),
                row: hidden,
                step: 1,
            };
            let panel = self.w_hh.as_ptr().add(p * hidden * width);
            let zero = [[S::splat(T::ZERO); WIDTH]; M];
            let acc = multiply::<S, M, WIDTH>(zero, hidden, dz, panel);
            for (m, acc) in acc.iter().enumerate() {
                let at = (row + m) * padded::<T>(hidden) + p * width;
                store_row::<S, WIDTH>(dh.as_mut_ptr().add(at), acc);
            }
        }
    }
}

// ---- tails ---------------------------------------------------------------------------------

/// The first n <= L elements, zero behind them.
#[inline(always)]
unsafe fn load_units<S: Simd>(p: *const S::E, n: usize) -> S::V {
    // SAFETY: the caller's pointer is valid for n elements.
    unsafe {
        match n == S::LANES {
            true => S::load(p),
            false => S::load_part(p, n),
        }
    }
}

/// Writes the first n <= L elements.
#[inline(always)]
unsafe fn store_units<S: Simd>(p: *mut S::E, v: S::V, n: usize) {
    // SAFETY: the caller's pointer is valid for n elements.
    unsafe {
        match n == S::LANES {
            true => S::store(p, v),
            false => S::store_part(p, v, n),
        }
    }
}

/// One tile row of which `columns` are left, zero behind them.
#[inline(always)]
unsafe fn load_columns<S: Simd>(p: *const S::E, columns: usize) -> [S::V; WIDTH] {
    // SAFETY: the caller's pointer is valid for `columns` elements, only those are read.
    unsafe {
        let mut row = [S::splat(S::E::ZERO); WIDTH];
        for (k, v) in row.iter_mut().enumerate() {
            let at = k * S::LANES;
            if at < columns {
                *v = load_units::<S>(p.add(at), S::LANES.min(columns - at));
            }
        }
        row
    }
}

/// Writes one tile row of which `columns` are left.
#[inline(always)]
unsafe fn store_columns<S: Simd>(p: *mut S::E, columns: usize, row: &[S::V; WIDTH]) {
    for (k, &v) in row.iter().enumerate() {
        let at = k * S::LANES;
        if at < columns {
            // SAFETY: the caller's pointer is valid for `columns` elements, only those are written.
            unsafe { store_units::<S>(p.add(at), v, S::LANES.min(columns - at)) };
        }
    }
}
