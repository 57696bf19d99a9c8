//! The pointwise half of a step: from the sums of a layer's gates to its new hidden state.
//!
//! Sums lie in blocks of as many units as a register has lanes: a block's sums of the first gate,
//! then of the next. Widths in units are H, padded to whole blocks.

use crate::device::cpu::buffer::Buffer;
use crate::device::cpu::simd::{Simd, Task};

/// What a layer keeps beside its hidden state.
pub enum Cell {
    /// Nothing.
    Rnn,
    /// The cell state.
    Lstm {
        /// `[streams, width]`, updated in place.
        c: Buffer<f32>,
    },
    /// The bias that the reset gate scales.
    Gru {
        /// `[width]`
        b_hn: Buffer<f32>,
    },
}

/// One step of a layer, for every stream.
pub struct Activate<'a> {
    /// Gates of the cell.
    pub gates: usize,
    /// Units.
    pub width: usize,
    /// `[rows, gates * width]`: the bias, or the bias and the input's share.
    pub base: &'a [f32],
    /// The row of `base` for each stream; without them its first.
    pub rows: Option<&'a [u16]>,
    /// W_ih x, where `base` does not have it: the second `gates * width` of each stream's share.
    pub input: Option<&'a [f32]>,
    /// W_hh h: the first `gates * width` of each stream's share.
    pub recurrent: &'a [f32],
    /// The cell.
    pub cell: &'a mut Cell,
    /// `[streams, width]`, updated in place.
    pub h: &'a mut [f32],
}

impl Task<f32> for Activate<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd<E = f32>>(self) {
        let Activate { gates, width, .. } = self;
        let (streams, sums) = (self.h.len() / width, gates * width);
        for (s, h) in self.h.chunks_exact_mut(width).enumerate() {
            let row = self.rows.map_or(0, |rows| usize::from(rows[s]));
            let z = Sums {
                gates,
                base: &self.base[row * sums..][..sums],
                input: self
                    .input
                    .map(|x| &x[s * (x.len() / streams) + sums..][..sums]),
                recurrent: &self.recurrent[s * (self.recurrent.len() / streams)..][..sums],
            };
            // SAFETY: the caller vouches for the instruction set.
            unsafe {
                match self.cell {
                    Cell::Rnn => rnn::<S>(z, h),
                    Cell::Lstm { c } => lstm::<S>(z, &mut c[s * width..][..width], h),
                    Cell::Gru { b_hn } => gru::<S>(z, b_hn, h),
                }
            }
        }
    }
}

/// The parts of one stream's sums, each `[width / L, gates, L]`.
#[derive(Clone, Copy)]
struct Sums<'a> {
    gates: usize,
    base: &'a [f32],
    input: Option<&'a [f32]>,
    recurrent: &'a [f32],
}

impl Sums<'_> {
    /// Gate `gate` of block `block` without the recurrent part.
    #[inline(always)]
    unsafe fn input<S: Simd<E = f32>>(&self, block: usize, gate: usize) -> S::V {
        let at = (block * self.gates + gate) * S::LANES;
        // SAFETY: the caller vouches for the instruction set.
        unsafe {
            let base = load::<S>(self.base, at);
            match self.input {
                Some(input) => S::add(base, load::<S>(input, at)),
                None => base,
            }
        }
    }

    /// The recurrent part of gate `gate` of block `block`.
    #[inline(always)]
    unsafe fn recurrent<S: Simd<E = f32>>(&self, block: usize, gate: usize) -> S::V {
        // SAFETY: the caller vouches for the instruction set.
        unsafe { load::<S>(self.recurrent, (block * self.gates + gate) * S::LANES) }
    }

    /// Gate `gate` of block `block`.
    #[inline(always)]
    unsafe fn gate<S: Simd<E = f32>>(&self, block: usize, gate: usize) -> S::V {
        // SAFETY: the caller vouches for the instruction set.
        unsafe {
            S::add(
                self.input::<S>(block, gate),
                self.recurrent::<S>(block, gate),
            )
        }
    }
}

#[inline(always)]
unsafe fn load<S: Simd<E = f32>>(values: &[f32], at: usize) -> S::V {
    // SAFETY: the slice has LANES elements; the caller vouches for the instruction set.
    unsafe { S::load(values[at..at + S::LANES].as_ptr()) }
}

/// h = tanh(a)
#[inline(always)]
unsafe fn rnn<S: Simd<E = f32>>(a: Sums, h: &mut [f32]) {
    for (u, h) in h.chunks_exact_mut(S::LANES).enumerate() {
        // SAFETY: a chunk has LANES elements; the caller vouches for the instruction set.
        unsafe { S::store(h.as_mut_ptr(), S::tanh(a.gate::<S>(u, 0))) };
    }
}

/// c = sigmoid(a_f) c + sigmoid(a_i) tanh(a_g); h = sigmoid(a_o) tanh(c)
#[inline(always)]
unsafe fn lstm<S: Simd<E = f32>>(a: Sums, c: &mut [f32], h: &mut [f32]) {
    let blocks = c
        .chunks_exact_mut(S::LANES)
        .zip(h.chunks_exact_mut(S::LANES));
    for (u, (c, h)) in blocks.enumerate() {
        // SAFETY: chunks have LANES elements; the caller vouches for the instruction set.
        unsafe {
            let i = S::sigmoid(a.gate::<S>(u, 0));
            let f = S::sigmoid(a.gate::<S>(u, 1));
            let g = S::tanh(a.gate::<S>(u, 2));
            let o = S::sigmoid(a.gate::<S>(u, 3));
            let next = S::fma(f, S::load(c.as_ptr()), S::mul(i, g));
            S::store(c.as_mut_ptr(), next);
            S::store(h.as_mut_ptr(), S::mul(o, S::tanh(next)));
        }
    }
}

/// n = tanh(W_in x + b_in + sigmoid(a_r) (W_hn h + b_hn)); h = (1 - z) n + z h with z = sigmoid(a_z)
#[inline(always)]
unsafe fn gru<S: Simd<E = f32>>(a: Sums, b_hn: &[f32], h: &mut [f32]) {
    for (u, h) in h.chunks_exact_mut(S::LANES).enumerate() {
        // SAFETY: a chunk has LANES elements; the caller vouches for the instruction set.
        unsafe {
            let r = S::sigmoid(a.gate::<S>(u, 0));
            let z = S::sigmoid(a.gate::<S>(u, 1));
            let scaled = S::add(a.recurrent::<S>(u, 2), load::<S>(b_hn, u * S::LANES));
            let n = S::tanh(S::fma(r, scaled, a.input::<S>(u, 2)));
            let before = S::load(h.as_ptr());
            S::store(h.as_mut_ptr(), S::fma(z, S::sub(before, n), n));
        }
    }
}
