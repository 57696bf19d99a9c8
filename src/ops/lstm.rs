//! The LSTM cell (Hochreiter & Schmidhuber 1997 with the forget gate of Gers et al. 2000; gate order
//! i, f, g, o):
//!
//! ```text
//! z_t = x_t W_ih^T + b + h_{t-1} W_hh^T        [B, 4H]
//! i, f, o = sigmoid(z_i, z_f, z_o)   g = tanh(z_g)
//! c_t = f * c_{t-1} + i * g          h_t = o * tanh(c_t)
//! ```

use super::recurrent::cell::{BackwardStep, Cell, ForwardStep, Pass, States, WholeKernels};
use super::recurrent::pack::Gates;
use crate::device::cpu::simd::Simd;
use crate::device::cpu::tile::WIDTH;
use crate::device::driver::DevicePtr;
use crate::dtype::Float;

/// The LSTM cell.
#[derive(Clone, Copy, Debug)]
pub struct Lstm;

/// `own_of` and `threads_of` in `kernels/lstm_whole.cuh`.
const WHOLE: WholeKernels = WholeKernels {
    most: 512,
    alone: 128,
    threads: 4,
    shared,
};

/// In the order of each pass's `Shared`: the weights that are not in registers, 16 bytes of each lane a
/// slice; for each group two states (dz), the cell states (dc), two barriers, and in the backward pass a
/// length.
fn shared(pass: Pass, hidden: usize, groups: usize) -> usize {
    let (_, threads) = WHOLE.blocks_and_threads(hidden);
    let (slices, state, length) = match pass {
        Pass::Forward => (2 * (hidden / 16).saturating_sub(16), hidden, 0),
        // As `held_back`.
        Pass::Backward if hidden >= 256 => (hidden / 8 - 28, 4 * hidden, 4),
        Pass::Backward if hidden == 128 => (hidden / 8 - 8, 4 * hidden, 4),
        Pass::Backward => (0, 4 * hidden, 4),
    };
    let group = 2 * state * WholeKernels::ROWS * 2 + 2 * threads * 4 + 2 * 8 + length;
    (slices * threads * 16 + groups * group).next_multiple_of(16)
}

impl Cell for Lstm {
    const NAME: &'static str = "lstm";
    const GATES: Gates = Gates::whole(1, &[0, 1, 2, 3]);
    const HAS_C: bool = true;
    const READS_H: bool = false;
    const GPU_SAVED: usize = 4;
    const WHOLE: Option<WholeKernels> = Some(WHOLE);

    #[inline(always)]
    unsafe fn forward<S: Simd>(
        z: [S::V; WIDTH],
        before: States<S::V>,
    ) -> ([S::V; WIDTH], States<S::V>) {
        // SAFETY: the caller has S.
        unsafe {
            let mut after = States::splat(S::splat(S::E::ZERO));
            let i = S::sigmoid(z[0]);
            let f = S::sigmoid(z[1]);
            let g = S::tanh(z[2]);
            let o = S::sigmoid(z[3]);
            after.c = S::fma(f, before.c, S::mul(i, g));
            after.h[0] = S::mul(o, S::tanh(after.c));
            ([i, f, g, o], after)
        }
    }

    /// With q = tanh(c_t):
    ///
    /// ```text
    /// dc  += dh o (1 - q^2)          do_z = dh q o (1 - o)
    /// di_z = dc g i (1 - i)          df_z = dc c_{t-1} f (1 - f)
    /// dg_z = dc i (1 - g^2)          dc_{t-1} = dc f
    /// ```
    #[inline(always)]
    unsafe fn backward<S: Simd>(
        [i, f, g, o]: [S::V; WIDTH],
        before: States<S::V>,
        c: S::V,
        mut d: States<S::V>,
    ) -> ([S::V; WIDTH], States<S::V>) {
        // SAFETY: the caller has S.
        unsafe {
            let one = S::splat(S::E::ONE);
            let dh = d.h[0];
            let q = S::tanh(c);
            let dho = S::mul(dh, o);
            let dc = S::add(d.c, S::sub(dho, S::mul(dho, S::mul(q, q))));
            d.c = S::mul(dc, f);
            // sigmoid' = y (1 - y), tanh' = 1 - y^2, in terms of their values
            let di = S::mul(S::mul(dc, g), S::mul(i, S::sub(one, i)));
            let df = S::mul(S::mul(dc, before.c), S::mul(f, S::sub(one, f)));
            let dg = S::mul(S::mul(dc, i), S::sub(one, S::mul(g, g)));
            let do_ = S::mul(S::mul(dh, q), S::mul(o, S::sub(one, o)));
            ([di, df, dg, do_], d)
        }
    }

    fn forward_pointers(s: &ForwardStep) -> Vec<DevicePtr> {
        let outputs = [s.saved, s.c, s.h, s.c_n, s.h_n];
        [&[s.z, s.x, s.ids, s.bias, s.c_prev][..], &outputs].concat()
    }

    fn backward_pointers(s: &BackwardStep) -> Vec<DevicePtr> {
        let inputs = [s.dy, s.dh, s.dc, s.saved, s.c, s.c_prev, s.h_prev];
        [&inputs[..], &[s.dz_input, s.dc, s.before]].concat()
    }
}
