//! What a recurrent cell says of itself. Everything else of a layer is written once, for all cells.

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
    /// The kernels that take whole sequences, if there are any.
    const WHOLE: Option<WholeKernels>;

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

/// A pass through a sequence.
#[derive(Clone, Copy, Debug)]
pub enum Pass {
    /// From the first step to the last.
    Forward,
    /// And back.
    Backward,
}

/// The kernels `{NAME}_whole_fwd_{H}` and `{NAME}_whole_bwd_{H}`, which take whole sequences of H units in
/// f16, a multiple of [`WholeKernels::OWN`].
#[derive(Clone, Copy, Debug)]
pub struct WholeKernels {
    /// The most units.
    pub most: usize,
    /// The most units of a block alone. Of more, each block of a cluster has [`WholeKernels::OWN`], and they
    /// wait for one another.
    pub alone: usize,
    /// Threads of a block for each of its units.
    pub threads: usize,
    /// Bytes of dynamic shared memory of a block: of a pass of so many units, and so many groups of
    /// [`WholeKernels::ROWS`] rows.
    pub shared: fn(Pass, usize, usize) -> usize,
}

impl WholeKernels {
    /// Units of a block of a cluster.
    pub const OWN: usize = 64;
    /// Rows of a group.
    pub const ROWS: usize = 8;

    /// Blocks of a cluster, and threads of a block.
    pub fn blocks_and_threads(&self, hidden: usize) -> (usize, usize) {
        let own = match hidden <= self.alone {
            true => hidden,
            false => Self::OWN,
        };
        (hidden / own, self.threads * own)
    }
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

/// The addresses of what a step's forward kernel may read and write, for its n rows. Null is what
/// there is not, and counts as zero.
#[derive(Clone, Copy)]
pub struct ForwardStep {
    /// h_{t-1} W_hh^T `[n, G H]`, f32.
    pub z: DevicePtr,
    /// x W_ih^T `[n, G H]`, or with ids the gate table `[V, G H]`.
    pub x: DevicePtr,
    /// Rows of the table `[n]`.
    pub ids: DevicePtr,
    /// Bias `[G H]`.
    pub bias: DevicePtr,
    /// The hidden side's bias `[G H]`.
    pub b_hh: DevicePtr,
    /// States before the step `[n, H]`.
    pub h_prev: DevicePtr,
    /// Cell states before the step `[n, H]`, f32.
    pub c_prev: DevicePtr,
    /// What is saved for the backward pass `[n, GPU_SAVED H]`.
    pub saved: DevicePtr,
    /// States after the step `[n, H]`.
    pub h: DevicePtr,
    /// Cell states after the step `[n, H]`, f32.
    pub c: DevicePtr,
    /// Final states `[B, H]`.
    pub h_n: DevicePtr,
    /// Final cell states `[B, H]`, f32.
    pub c_n: DevicePtr,
}

/// The same for a step's backward kernel.
#[derive(Clone, Copy)]
pub struct BackwardStep {
    /// Gradient of y `[n, H]`.
    pub dy: DevicePtr,
    /// Gradient of the states after the step without dy `[n, H]`, f32. A cell that reads h_{t-1}
    /// beside the product leaves the gradient of that here.
    pub dh: DevicePtr,
    /// Gradient of the cell states after the step, and then of those before it `[n, H]`, f32.
    pub dc: DevicePtr,
    /// What the forward pass saved `[n, GPU_SAVED H]`.
    pub saved: DevicePtr,
    /// States after the step `[n, H]`.
    pub h: DevicePtr,
    /// Cell states after the step `[n, H]`, f32.
    pub c: DevicePtr,
    /// States before the step `[n, H]`.
    pub h_prev: DevicePtr,
    /// Cell states before the step `[n, H]`, f32.
    pub c_prev: DevicePtr,
    /// Gradient of the input side `[n, G H]`.
    pub dz_input: DevicePtr,
    /// Gradient of the hidden side `[n, G H]`; the same memory if they are the same.
    pub dz_hidden: DevicePtr,
    /// A copy of h_prev `[n, H]`, to stand beside those of the other steps.
    pub before: DevicePtr,
}
