//! What a recurrent cell says of itself. Everything else of a layer is written once, for all cells.

use super::gpu::{BackwardStep, ForwardStep};
use super::pack::Gates;
use crate::device::cpu::simd::Simd;
use crate::device::cpu::tile::WIDTH;
use crate::device::driver::DevicePtr;

/// A recurrent cell: one unit of one step, forward and backward.
pub trait Cell: Copy + Send + Sync + 'static {
    /// Its word, which begins the names of its kernels.
    const NAME: &'static str;
    /// How its gates fill a panel.
    const GATES: Gates;
    /// Whether a unit has a cell state c beside its hidden state h.
    const HAS_C: bool;
    /// Whether a unit reads its own h_{t-1}, beside the product with W_hh.
    const READS_H: bool;
    /// Values that a unit's step saves on a GPU for the backward pass.
    const GPU_SAVED: usize;

    /// From a panel of gate arguments z and the states before a step: what the backward pass needs
    /// besides them, and the states after it.
    ///
    /// # Safety
    /// S is available.
    unsafe fn forward<S: Simd>(
        z: [S::V; WIDTH],
        before: States<S::V>,
    ) -> ([S::V; WIDTH], States<S::V>);

    /// dz, and what of the gradient of the states before the step does not go through z. `d` is the
    /// gradient of the states after the step, `c` their cell state.
    ///
    /// # Safety
    /// S is available.
    unsafe fn backward<S: Simd>(
        saved: [S::V; WIDTH],
        before: States<S::V>,
        c: S::V,
        d: States<S::V>,
    ) -> ([S::V; WIDTH], States<S::V>);

    /// The pointers that the kernel `{NAME}_gates_fwd` takes.
    fn forward_pointers(step: &ForwardStep) -> Vec<DevicePtr>;

    /// The pointers that the kernel `{NAME}_gates_bwd` takes.
    fn backward_pointers(step: &BackwardStep) -> Vec<DevicePtr>;
}

/// Registers of the units of one panel. Those that a cell does not have are zero.
#[derive(Clone, Copy)]
pub struct States<V> {
    /// Hidden states, one register a block of units.
    pub h: [V; WIDTH],
    /// Cell state.
    pub c: V,
}

impl<V: Copy> States<V> {
    /// The same number everywhere.
    #[inline(always)]
    pub fn splat(v: V) -> Self {
        States {
            h: [v; WIDTH],
            c: v,
        }
    }
}
