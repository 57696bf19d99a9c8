//! **cpu** One head of one sequence: small products by the tiles of [`crate::device::cpu::tile`], with the
//! rows of the sequence copied into their order.

use crate::device::cpu::simd::{Dispatch, Simd};
use crate::device::cpu::tile::{
    Rows, for_row_tiles, multiply, store_columns, store_row, sum_lanes,
};
use crate::dtype::Float;

/// Registers a panel is wide.
const WIDTH: usize = 2;

/// The columns of a head in some rows of a matrix.
#[derive(Clone, Copy)]
pub(super) struct Part<'a, T> {
    pub data: &'a [T],
    /// Elements of a row of the matrix.
    pub width: usize,
    /// First column.
    pub first: usize,
    /// Columns.
    pub depth: usize,
    /// Rows.
    pub rows: &'a [usize],
}

impl<'a, T: Float> Part<'a, T> {
    #[inline(always)]
    fn row(&self, i: usize) -> &'a [T] {
        &self.data[self.rows[i] * self.width + self.first..][..self.depth]
    }

    /// `[rows][depth]`, times a factor.
    #[inline(always)]
    fn as_rows(&self, factor: T, to: &mut Vec<T>) {
        to.clear();
        for i in 0..self.rows.len() {
            to.extend(self.row(i).iter().map(|&x| x * factor));
        }
    }

    /// Panels of columns `[panels][rows][panel]`, times a factor, with zeros behind the last column.
    #[inline(always)]
    fn as_columns(&self, panel: usize, factor: T, to: &mut Vec<T>) {
        let (rows, panels) = (self.rows.len(), self.depth.div_ceil(panel));
        to.clear();
        to.resize(panels * rows * panel, T::ZERO);
        for i in 0..rows {
            for (p, part) in self.row(i).chunks(panel).enumerate() {
                let to = &mut to[(p * rows + i) * panel..][..part.len()];
                to.iter_mut()
                    .zip(part)
                    .for_each(|(to, &x)| *to = x * factor);
            }
        }
    }

    /// Panels of rows, transposed: `[panels][depth][panel]`, with zeros behind the last row.
    #[inline(always)]
    fn across(&self, panel: usize, to: &mut Vec<T>) {
        let panels = self.rows.len().div_ceil(panel);
        to.clear();
        to.resize(panels * self.depth * panel, T::ZERO);
        for i in 0..self.rows.len() {
            let to = &mut to[i / panel * self.depth * panel + i % panel..];
            for (to, &x) in to.iter_mut().step_by(panel).zip(self.row(i)) {
                *to = x;
            }
        }
    }
}

/// Memory of one task.
#[derive(Default)]
pub(super) struct Scratch<T> {
    left: Vec<T>,
    right: Vec<T>,
    /// p `[queries][pitch]`
    pub weights: Vec<T>,
    /// dp, then ds `[queries][pitch]`
    scores: Vec<T>,
}

/// A head of a sequence.
#[derive(Clone, Copy)]
pub(super) struct Head<'a, T> {
    pub queries: Part<'a, T>,
    pub keys: Part<'a, T>,
    pub values: Part<'a, T>,
    pub causal: bool,
}

impl<T: Dispatch> Head<'_, T> {
    /// Keys that query i sees.
    #[inline(always)]
    fn seen(&self, i: usize) -> usize {
        let (queries, keys) = (self.queries.rows.len(), self.keys.rows.len());
        match self.causal {
            true => i + 1 + keys - queries,
            false => keys,
        }
    }

    /// 1 / sqrt(depth)
    #[inline(always)]
    fn scale(&self) -> T {
        T::ONE / T::from_f64(self.queries.depth as f64).sqrt()
    }

    /// Elements from one query's weights to the next one's, for registers of so many lanes: whole panels.
    pub fn pitch(&self, lanes: usize) -> usize {
        self.keys.rows.len().next_multiple_of(WIDTH * lanes)
    }

    // ---- forward -----------------------------------------------------------------------------

    /// p into the scratch's weights: zero for keys that are not seen.
    ///
    /// # Safety
    /// S is available.
    #[inline(always)]
    pub unsafe fn weights<S: Simd<E = T>>(&self, scratch: &mut Scratch<T>) {
        let panel = WIDTH * S::LANES;
        let (queries, pitch) = (self.queries.rows.len(), self.pitch(S::LANES));
        self.queries.as_rows(self.scale(), &mut scratch.left);
        self.keys.across(panel, &mut scratch.right);
        scratch.weights.resize(queries * pitch, T::ZERO);
        // SAFETY: the buffers hold what was laid out above.
        unsafe {
            let operands = (&scratch.left[..], &scratch.right[..]);
            self.dots::<S>(operands, &mut scratch.weights);
            for (i, row) in scratch.weights.chunks_mut(pitch).take(queries).enumerate() {
                softmax::<S>(row, self.seen(i));
            }
        }
    }

    /// The products of left rows `[queries][depth]` and right ones, across, that queries see.
    #[inline(always)]
    unsafe fn dots<S: Simd<E = T>>(&self, (left, right): (&[T], &[T]), to: &mut [T]) {
        let (depth, panel, pitch) = (self.queries.depth, WIDTH * S::LANES, self.pitch(S::LANES));
        for_row_tiles!(S, self.queries.rows.len(), |i, M| {
            for p in 0..self.seen(i + M - 1).div_ceil(panel) {
                // SAFETY: rows i..i + M and panel p exist.
                unsafe {
                    let a = Rows {
                        ptr: left.as_ptr().add(i * depth),
                        row: depth,
                        step: 1,
                    };
                    let b = right.as_ptr().add(p * depth * panel);
                    let zero = [[S::splat(T::ZERO); WIDTH]; M];
                    let acc = multiply::<S, M, WIDTH>(zero, depth, a, b);
                    for (m, acc) in acc.iter().enumerate() {
                        let to = to.as_mut_ptr().add((i + m) * pitch + p * panel);
                        store_row::<S, WIDTH>(to, acc);
                    }
                }
            }
        });
    }

    /// c = p v. `to` gives the place of a row's columns.
    ///
    /// # Safety
    /// S is available, the scratch has the weights, and the places are valid for `depth` elements.
    #[inline(always)]
    pub unsafe fn context<S: Simd<E = T>>(
        &self,
        scratch: &mut Scratch<T>,
        to: impl Fn(usize) -> *mut T,
    ) {
        self.values
            .as_columns(WIDTH * S::LANES, T::ONE, &mut scratch.right);
        let pitch = self.pitch(S::LANES);
        let a = Operand {
            data: &scratch.weights,
            row: pitch,
            step: 1,
        };
        let rows = (self.queries.rows.len(), self.keys.rows.len());
        // SAFETY: as the caller vouches; what is not seen has a weight of zero.
        unsafe { product::<S>(a, rows, &scratch.right, self.queries.depth, to) };
    }

    // ---- backward ----------------------------------------------------------------------------

    /// ds from the weights: with dc, the gradient of the context, and `above(i, j)`, what arrives at p_ij
    /// besides.
    ///
    /// # Safety
    /// S is available, the scratch has the weights.
    #[inline(always)]
    pub unsafe fn scores<S: Simd<E = T>>(
        &self,
        scratch: &mut Scratch<T>,
        dc: Option<Part<T>>,
        above: Option<impl Fn(usize) -> *const T>,
        share: T,
    ) {
        let (queries, pitch) = (self.queries.rows.len(), self.pitch(S::LANES));
        scratch.scores.clear();
        scratch.scores.resize(queries * pitch, T::ZERO);
        if let Some(dc) = dc {
            dc.as_rows(T::ONE, &mut scratch.left);
            self.values.across(WIDTH * S::LANES, &mut scratch.right);
            let operands = (&scratch.left[..], &scratch.right[..]);
            // SAFETY: the buffers hold what was laid out above.
            unsafe { self.dots::<S>(operands, &mut scratch.scores) };
        }
        let rows = scratch.scores.chunks_mut(pitch);
        let rows = rows.zip(scratch.weights.chunks(pitch)).take(queries);
        for (i, (d, p)) in rows.enumerate() {
            let seen = self.seen(i);
            if let Some(above) = &above {
                let above = above(i);
                for (j, d) in d[..seen].iter_mut().enumerate() {
                    // SAFETY: as many weights as keys are seen lie there.
                    *d += unsafe { *above.add(j) } * share;
                }
            }
            // What is not seen has p = 0, and a finite dp.
            // SAFETY: both rows are whole registers.
            unsafe { softmax_gradient::<S>(p, d) };
        }
    }

    /// dq = ds k / sqrt(depth). `to` gives the place of a query's columns.
    ///
    /// # Safety
    /// S is available, the scratch has the scores, and the places are valid for `depth` elements.
    #[inline(always)]
    pub unsafe fn of_queries<S: Simd<E = T>>(
        &self,
        scratch: &mut Scratch<T>,
        to: impl Fn(usize) -> *mut T,
    ) {
        self.keys
            .as_columns(WIDTH * S::LANES, self.scale(), &mut scratch.right);
        let a = Operand {
            data: &scratch.scores,
            row: self.pitch(S::LANES),
            step: 1,
        };
        let rows = (self.queries.rows.len(), self.keys.rows.len());
        // SAFETY: as the caller vouches.
        unsafe { product::<S>(a, rows, &scratch.right, self.queries.depth, to) };
    }

    /// dk = ds^T q / sqrt(depth), as [`Head::of_queries`].
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    pub unsafe fn of_keys<S: Simd<E = T>>(
        &self,
        scratch: &mut Scratch<T>,
        to: impl Fn(usize) -> *mut T,
    ) {
        self.queries
            .as_columns(WIDTH * S::LANES, self.scale(), &mut scratch.right);
        let a = Operand {
            data: &scratch.scores,
            row: 1,
            step: self.pitch(S::LANES),
        };
        let rows = (self.keys.rows.len(), self.queries.rows.len());
        // SAFETY: as the caller vouches.
        unsafe { product::<S>(a, rows, &scratch.right, self.queries.depth, to) };
    }

    /// dv = p^T dc, as [`Head::of_queries`]; the scratch has the weights.
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    pub unsafe fn of_values<S: Simd<E = T>>(
        &self,
        scratch: &mut Scratch<T>,
        dc: Part<T>,
        to: impl Fn(usize) -> *mut T,
    ) {
        dc.as_columns(WIDTH * S::LANES, T::ONE, &mut scratch.right);
        let a = Operand {
            data: &scratch.weights,
            row: 1,
            step: self.pitch(S::LANES),
        };
        let rows = (self.keys.rows.len(), self.queries.rows.len());
        // SAFETY: as the caller vouches.
        unsafe { product::<S>(a, rows, &scratch.right, self.queries.depth, to) };
    }
}

/// A matrix whose element (m, k) is at `m * row + k * step`.
#[derive(Clone, Copy)]
struct Operand<'a, T> {
    data: &'a [T],
    row: usize,
    step: usize,
}

/// The product of `rows.0` rows of a, of `rows.1` elements each, and panels of columns.
#[inline(always)]
unsafe fn product<S: Simd>(
    a: Operand<S::E>,
    (rows, inner): (usize, usize),
    columns: &[S::E],
    depth: usize,
    to: impl Fn(usize) -> *mut S::E,
) {
    let panel = WIDTH * S::LANES;
    for p in 0..depth.div_ceil(panel) {
        for_row_tiles!(S, rows, |i, M| {
            // SAFETY: rows i..i + M and panel p exist, and the caller vouches for the places.
            unsafe {
                let a = Rows {
                    ptr: a.data.as_ptr().add(i * a.row),
                    row: a.row,
                    step: a.step,
                };
                let b = columns.as_ptr().add(p * inner * panel);
                let zero = [[S::splat(S::E::ZERO); WIDTH]; M];
                let acc = multiply::<S, M, WIDTH>(zero, inner, a, b);
                for (m, acc) in acc.iter().enumerate() {
                    store_columns::<S, WIDTH>(to(i + m), p * panel, depth, acc);
                }
            }
        });
    }
}

/// The softmax of the first `seen` elements of a row of whole registers; the others become zero.
#[inline(always)]
unsafe fn softmax<S: Simd>(row: &mut [S::E], seen: usize) {
    // Any number that exp takes; what becomes of it is thrown away.
    let mut largest = row[0];
    row[seen..].fill(largest);
    for &x in &row[..seen] {
        largest = if x > largest { x } else { largest };
    }
    // SAFETY: only whole registers of the row are read and written.
    unsafe {
        let shift = S::splat(largest);
        for i in (0..row.len()).step_by(S::LANES) {
            let p = row.as_mut_ptr().add(i);
            S::store(p, S::exp(S::sub(S::load(p), shift)));
        }
        row[seen..].fill(S::E::ZERO);
        let mut sum = S::splat(S::E::ZERO);
        for i in (0..row.len()).step_by(S::LANES) {
            sum = S::add(sum, S::load(row.as_ptr().add(i)));
        }
        let factor = S::splat(S::E::ONE / sum_lanes::<S>(sum));
        for i in (0..row.len()).step_by(S::LANES) {
            let p = row.as_mut_ptr().add(i);
            S::store(p, S::mul(S::load(p), factor));
        }
    }
}

/// dp becomes ds = p (dp - sum of p dp), in rows of whole registers.
#[inline(always)]
unsafe fn softmax_gradient<S: Simd>(p: &[S::E], d: &mut [S::E]) {
    // SAFETY: only whole registers of rows of one length are read and written.
    unsafe {
        let mut dot = S::splat(S::E::ZERO);
        for i in (0..p.len()).step_by(S::LANES) {
            dot = S::fma(S::load(p.as_ptr().add(i)), S::load(d.as_ptr().add(i)), dot);
        }
        let mean = S::splat(sum_lanes::<S>(dot));
        for i in (0..p.len()).step_by(S::LANES) {
            let to = d.as_mut_ptr().add(i);
            let above = S::sub(S::load(to), mean);
            S::store(to, S::mul(S::load(p.as_ptr().add(i)), above));
        }
    }
}
