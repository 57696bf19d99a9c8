//! The GRU cell (Cho et al. 2014) in PyTorch's form, where r multiplies the product of the candidate
//! n with the hidden state, not the hidden state; gate order r, z, n:
//!
//! ```text
//! r, z = sigmoid(x_t W_ih^T + b_ih + h_{t-1} W_hh^T + b_hh)
//! q    = h_{t-1} W_hn^T + b_hn
//! n    = tanh(x_t W_in^T + b_in + r * q)
//! h_t  = (1 - z) * n + z * h_{t-1}
//! ```
//!
//! The two products meet in r and z, and stay apart in n: a panel is `[n of x | r | z | n of h]`, of
//! which each product adds to three neighbours.

use super::recurrent::cell::{BackwardStep, Cell, ForwardStep, States, WholeKernels};
use super::recurrent::pack::{Gates, Side};
use crate::device::cpu::simd::Simd;
use crate::device::cpu::tile::WIDTH;
use crate::device::driver::DevicePtr;
use crate::dtype::Float;

/// The GRU cell.
#[derive(Clone, Copy, Debug)]
pub struct Gru;

impl Cell for Gru {
    const NAME: &'static str = "gru";
    const GATES: Gates = Gates {
        units: 1,
        input: Side(&[1, 2, 0]),
        hidden: Side(&[1, 2, 3]),
    };
    const HAS_C: bool = false;
    const READS_H: bool = true;
    const GPU_SAVED: usize = 4;
    const WHOLE: Option<WholeKernels> = None;

    #[inline(always)]
    unsafe fn forward<S: Simd>(
        [n, r, z, q]: [S::V; WIDTH],
        before: States<S::V>,
    ) -> ([S::V; WIDTH], States<S::V>) {
        // SAFETY: the caller has S.
        unsafe {
            let mut after = States::splat(S::splat(S::E::ZERO));
            let r = S::sigmoid(r);
            let z = S::sigmoid(z);
            let n = S::tanh(S::fma(r, q, n));
            // (1 - z) n + z h
            after.h[0] = S::fma(z, S::sub(before.h[0], n), n);
            ([n, r, z, q], after)
        }
    }

    /// The gradients of the gates' arguments, and of h_{t-1} beside them:
    ///
    /// ```text
    /// dn_x = dh (1 - z) (1 - n^2)       dq = dn_x r
    /// dr_z = dn_x q r (1 - r)           dz_z = dh (h_{t-1} - n) z (1 - z)
    /// dh_{t-1} = dh z + ...
    /// ```
    #[inline(always)]
    unsafe fn backward<S: Simd>(
        [n, r, z, q]: [S::V; WIDTH],
        before: States<S::V>,
        _: S::V,
        mut d: States<S::V>,
    ) -> ([S::V; WIDTH], States<S::V>) {
        // SAFETY: the caller has S.
        unsafe {
            let one = S::splat(S::E::ONE);
            let dh = d.h[0];
            let not_z = S::sub(one, z);
            let dn = S::mul(S::mul(dh, not_z), S::sub(one, S::mul(n, n)));
            let dr = S::mul(S::mul(dn, q), S::mul(r, S::sub(one, r)));
            let dz = S::mul(S::mul(dh, S::sub(before.h[0], n)), S::mul(z, not_z));
            d.h[0] = S::mul(dh, z);
            ([dn, dr, dz, S::mul(dn, r)], d)
        }
    }

    fn forward_pointers(s: &ForwardStep) -> Vec<DevicePtr> {
        let inputs = [s.z, s.x, s.ids, s.bias, s.b_hh, s.h_prev];
        [&inputs[..], &[s.saved, s.h, s.h_n]].concat()
    }

    fn backward_pointers(s: &BackwardStep) -> Vec<DevicePtr> {
        let inputs = [s.dy, s.dh, s.saved, s.h_prev];
        [&inputs[..], &[s.dz_input, s.dz_hidden, s.before]].concat()
    }
}
