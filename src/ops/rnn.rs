//! The tanh RNN cell (Elman 1990, "Finding structure in time"):
//!
//! ```text
//! h_t = tanh(x_t W_ih^T + b + h_{t-1} W_hh^T)        [B, H]
//! dz_t = dh_t (1 - h_t^2)
//! ```

use super::recurrent::cell::{BackwardStep, Cell, ForwardStep, Pass, States, WholeKernels};
use super::recurrent::pack::Gates;
use crate::device::cpu::simd::Simd;
use crate::device::cpu::tile::WIDTH;
use crate::device::driver::DevicePtr;
use crate::dtype::Float;

/// The tanh RNN cell. A panel holds four blocks of its units.
#[derive(Clone, Copy, Debug)]
pub struct Rnn;

/// As `Shared` in `kernels/rnn_whole.cu`: the weights that are not in registers, 32 bytes of each unit a slice, and
/// two states for each group.
fn shared(pass: Pass, hidden: usize, groups: usize) -> usize {
    let slices = match pass {
        _ if hidden < 256 => 0,
        Pass::Forward => 2,
        Pass::Backward => 4,
    };
    slices * hidden * 32 + groups * 2 * hidden * WholeKernels::ROWS * 2
}

impl Cell for Rnn {
    const NAME: &'static str = "rnn";
    const GATES: Gates = Gates::whole(WIDTH, &[0]);
    const HAS_C: bool = false;
    const READS_H: bool = false;
    const GPU_SAVED: usize = 0; // h itself is in the output
    const WHOLE: Option<WholeKernels> = Some(WholeKernels {
        most: 256,
        alone: 256,
        threads: 1,
        shared,
    });

    #[inline(always)]
    unsafe fn forward<S: Simd>(z: [S::V; WIDTH], _: States<S::V>) -> ([S::V; WIDTH], States<S::V>) {
        // SAFETY: the caller has S.
        unsafe {
            let mut after = States::splat(S::splat(S::E::ZERO));
            for (h, z) in after.h.iter_mut().zip(z) {
                *h = S::tanh(z);
            }
            (after.h, after)
        }
    }

    #[inline(always)]
    unsafe fn backward<S: Simd>(
        h: [S::V; WIDTH],
        _: States<S::V>,
        _: S::V,
        d: States<S::V>,
    ) -> ([S::V; WIDTH], States<S::V>) {
        // SAFETY: the caller has S.
        unsafe {
            let mut dz = d.h;
            for (dz, h) in dz.iter_mut().zip(h) {
                *dz = S::mul(*dz, S::sub(S::splat(S::E::ONE), S::mul(h, h)));
            }
            (dz, d)
        }
    }

    fn forward_pointers(s: &ForwardStep) -> Vec<DevicePtr> {
        vec![s.z, s.x, s.ids, s.bias, s.h, s.h_n]
    }

    fn backward_pointers(s: &BackwardStep) -> Vec<DevicePtr> {
        vec![s.dy, s.dh, s.h, s.h_prev, s.dz_input, s.before]
    }
}
