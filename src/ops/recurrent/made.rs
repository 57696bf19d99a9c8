//! What the passes of layers on a GPU write, step by step ([`gpu`](super::gpu)) or by whole sequences
//! ([`whole`](super::whole)).

use super::beside::Layers;
use super::packed::{row_at, row_or_null};
use crate::autograd::Var;
use crate::data::packing::Packing;
use crate::device::driver::DevicePtr;
use crate::error::Result;
use crate::ops::gpu::or_null;
use crate::tensor::Tensor;

/// What the forward pass writes besides the final states; N and B count the rows of all layers.
pub(super) struct Made {
    /// Hidden states `[N, H]`.
    pub(super) y: Tensor,
    /// Cell states `[N, H]`, f32; `[B, H]` where nothing is saved: a step's then overwrite those of
    /// the step before.
    pub(super) cells: Option<Tensor>,
    /// What the cell saves `[N, GPU_SAVED H]`.
    pub(super) saved: Option<Tensor>,
}

impl Made {
    /// The cell states of the step that begins at a packed row.
    pub(super) fn cells_at(&self, packing: &Packing, row: usize) -> Result<DevicePtr> {
        let kept = |c: &&Tensor| c.shape().rows() == packing.rows();
        let row = if self.cells.as_ref().filter(kept).is_some() {
            row
        } else {
            0
        };
        row_or_null(self.cells.as_ref(), packing, row)
    }

    /// Where h and c before step t lie; nowhere before step 0 of a zero state.
    pub(super) fn states_before(&self, layers: &Layers, t: usize) -> Result<[DevicePtr; 2]> {
        if t == 0 {
            let (h0, c0) = (layers.state().map(|state| &state.h), layers.all[0].c0());
            return Ok([or_null(h0.map(Var::value))?, or_null(c0.map(Var::value))?]);
        }
        let row = layers.packing.offset(t - 1);
        let h = row_at(&self.y, &layers.packing, row)?;
        Ok([h, self.cells_at(&layers.packing, row)?])
    }
}

/// What the steps of the backward pass write.
pub(super) struct Deltas {
    /// Gradients of the input side `[N, G H]`.
    pub(super) dz_input: Tensor,
    /// Gradients of the hidden side `[N, G H]`; the same tensor if they are the same.
    pub(super) dz_hidden: Tensor,
    /// h_{t-1} of each packed row `[N, H]`, where sequences have different lengths.
    pub(super) before: Option<Tensor>,
    /// Gradients of the states before the step `[B, H]`, f32.
    pub(super) dh: Tensor,
    pub(super) dc: Option<Tensor>,
}
