//! The LSTM on a GPU, stage 1: a product and a fused gate kernel for each step over its active rows,
//! and one large product each for the input side, dx and the weight gradients over all packed rows.

use super::{Input, Output, SavedInput, Sizes};
use crate::autograd::{Backward, Grads, Slot, Tape, Var};
use crate::device::Gpu;
use crate::device::driver::DevicePtr;
use crate::dtype::DType;
use crate::error::Result;
use crate::ops::cast::convert;
use crate::ops::embedding::segment_sum;
use crate::ops::gpu::{self, GpuMat};
use crate::ops::packed::{launch_units, matrix, row_at, state_gradient};
use crate::tensor::Tensor;
use std::sync::Arc;

/// What the forward pass leaves for the backward pass.
struct Node {
    sizes: Sizes,
    input: SavedInput,
    w_hh: Var,
    state: Option<(Var, Var)>,
    /// Hidden states `[N, H]`.
    y: Tensor,
    /// Activated gates `[N, 4H]`.
    gates: Tensor,
    /// Cell states `[N, H]`, f32.
    cells: Tensor,
    y_slot: Option<Slot>,
    h_n_slot: Option<Slot>,
    c_n_slot: Option<Slot>,
}

/// The states are of the layer's data type for h and f32 for c, at both ends.
pub(super) fn run(
    gpu: &Arc<Gpu>,
    tape: &mut Tape,
    input: Input,
    w_hh: &Var,
    state: Option<(&Var, &Var)>,
    sizes: Sizes,
) -> Result<Output> {
    let (packing, hidden) = (&sizes.packing, sizes.hidden);
    let (rows, batch) = (packing.rows(), packing.batch());
    let dtype = w_hh.value().dtype();
    let y = Tensor::on_gpu(gpu, dtype, [rows, hidden])?;
    let saved = tape.is_recording();
    let h_n = Tensor::on_gpu(gpu, dtype, [batch, hidden])?;
    let c_n = Tensor::on_gpu(gpu, DType::F32, [batch, hidden])?;
    // Unless they are saved, a step's cell states overwrite those of the step before.
    let cells = Tensor::on_gpu(gpu, DType::F32, [if saved { rows } else { batch }, hidden])?;
    let gates = match saved {
        true => Some(Tensor::on_gpu(gpu, dtype, [rows, 4 * hidden])?),
        false => None,
    };
    // x_t W_ih^T for all t at once; or the table whose rows the ids name.
    let (side, ids, bias) = match input {
        Input::Dense { x, w_ih, bias } => {
            let (x, w) = (
                GpuMat::of(x.value(), false)?,
                GpuMat::of(w_ih.value(), true)?,
            );
            let side = Tensor::on_gpu(gpu, dtype, [rows, 4 * hidden])?;
            gpu::gemm(gpu, x, w, side.ptr()?, dtype, false)?;
            (side, None, bias.value().ptr()?)
        }
        Input::Table { table, ids } => (table.value().clone(), Some(ids), DevicePtr::NULL),
    };
    let z = Tensor::on_gpu(gpu, DType::F32, [batch, 4 * hidden])?;
    let kernel = format!("lstm_gates_fwd_{dtype}");
    let cells_at = |row: usize| match saved {
        true => row_at(&cells, packing, row),
        false => cells.ptr(),
    };
    for t in 0..packing.steps() {
        let (first, active) = (packing.offset(t), packing.active(t));
        let h_prev = match (t, state) {
            (0, None) => None,
            (0, Some((h0, _))) => Some(h0.value().ptr()?),
            _ => Some(row_at(&y, packing, packing.offset(t - 1))?),
        };
        if let Some(ptr) = h_prev {
            let h = matrix(ptr, dtype, active, hidden);
            let w = GpuMat::of(w_hh.value(), true)?;
            gpu::gemm(gpu, h, w, z.ptr()?, DType::F32, false)?;
        }
        let c_prev = match (t, state) {
            (0, None) => DevicePtr::NULL,
            (0, Some((_, c0))) => c0.value().ptr()?,
            _ => cells_at(packing.offset(t - 1))?,
        };
        let (x, ids) = match ids {
            Some(ids) => (side.ptr()?, row_at(ids, packing, first)?),
            None => (row_at(&side, packing, first)?, DevicePtr::NULL),
        };
        let gates = match &gates {
            Some(gates) => row_at(gates, packing, first)?,
            None => DevicePtr::NULL,
        };
        let z = match h_prev {
            Some(_) => z.ptr()?,
            None => DevicePtr::NULL,
        };
        let (c, h) = (cells_at(first)?, row_at(&y, packing, first)?);
        let (c_n, h_n) = (c_n.ptr()?, h_n.ptr()?);
        let pointers = [z, x, ids, bias, c_prev, gates, c, h, c_n, h_n];
        let sizes = [active, hidden, packing.active(t + 1)];
        launch_units(gpu, &kernel, &pointers, &sizes)?;
    }
    let out = super::outputs(tape, input, w_hh, state, [y.clone(), h_n, c_n]);
    if let Some(gates) = gates.filter(|_| out.y.slot().is_some()) {
        tape.push(Node {
            sizes,
            input: SavedInput::of(input),
            w_hh: w_hh.clone(),
            state: state.map(|(h, c)| (h.clone(), c.clone())),
            y,
            gates,
            cells,
            y_slot: out.y.slot(),
            h_n_slot: out.h_n.slot(),
            c_n_slot: out.c_n.slot(),
        });
    }
    Ok(out)
}

// ---- backward ------------------------------------------------------------------------------

impl Backward for Node {
    fn name(&self) -> &'static str {
        "lstm"
    }

    fn backward(self: Box<Self>, grads: &mut Grads) -> Result<()> {
        let dy = grads.take(self.y_slot);
        let dh_n = grads.take(self.h_n_slot);
        let dc_n = grads.take(self.c_n_slot);
        let Some(gpu) = self
            .y
            .gpu()
            .filter(|_| dy.is_some() || dh_n.is_some() || dc_n.is_some())
        else {
            return Ok(());
        };
        let (packing, hidden) = (&self.sizes.packing, self.sizes.hidden);
        let dtype = self.y.dtype();
        let dz = Tensor::on_gpu(gpu, dtype, [packing.rows(), 4 * hidden])?;
        let dh = state_gradient(gpu, dh_n, [packing.batch(), hidden])?;
        let dc = state_gradient(gpu, dc_n, [packing.batch(), hidden])?;
        let before = match packing.is_uniform() {
            true => None,
            false => Some(Tensor::on_gpu(gpu, dtype, [packing.rows(), hidden])?),
        };
        let kernel = format!("lstm_gates_bwd_{dtype}");
        for t in (0..packing.steps()).rev() {
            let (first, active) = (packing.offset(t), packing.active(t));
            let dy = match &dy {
                Some(dy) => row_at(dy, packing, first)?,
                None => DevicePtr::NULL,
            };
            let (h_prev, c_prev) = match (t, &self.state) {
                (0, None) => (DevicePtr::NULL, DevicePtr::NULL),
                (0, Some((h0, c0))) => (h0.value().ptr()?, c0.value().ptr()?),
                _ => {
                    let row = packing.offset(t - 1);
                    (
                        row_at(&self.y, packing, row)?,
                        row_at(&self.cells, packing, row)?,
                    )
                }
            };
            let gates = row_at(&self.gates, packing, first)?;
            let c = row_at(&self.cells, packing, first)?;
            let to = row_at(&dz, packing, first)?;
            let h_before = match &before {
                Some(before) => row_at(before, packing, first)?,
                None => DevicePtr::NULL,
            };
            let (dh_at, dc_at) = (dh.ptr()?, dc.ptr()?);
            let state = [dh_at, dc_at, gates, c, c_prev, h_prev];
            let pointers = [&[dy], &state[..], &[to, dc_at, h_before]].concat();
            launch_units(gpu, &kernel, &pointers, &[active, hidden])?;
            if t > 0 || self.state.is_some() {
                let dz = matrix(to, dtype, active, 4 * hidden);
                let w = GpuMat::of(self.w_hh.value(), false)?;
                gpu::gemm(gpu, dz, w, dh.ptr()?, DType::F32, false)?;
            }
        }
        self.give(grads, gpu, &dz, before, [dh, dc])
    }
}

impl Node {
    fn give(
        &self,
        grads: &mut Grads,
        gpu: &Arc<Gpu>,
        dz: &Tensor,
        before: Option<Tensor>,
        [dh0, dc0]: [Tensor; 2],
    ) -> Result<()> {
        let dtype = dz.dtype();
        match &self.input {
            SavedInput::Dense { x, w_ih, bias } => {
                let (dz_mat, w) = (GpuMat::of(dz, false)?, GpuMat::of(w_ih.value(), false)?);
                grads.write_gpu(x.slot(), gpu, dtype, x.value().shape(), |to| {
                    gpu::gemm(gpu, dz_mat, w, to.ptr, to.dtype, to.accumulate)
                })?;
                let (dz_t, x) = (GpuMat::of(dz, true)?, GpuMat::of(x.value(), false)?);
                grads.write_gpu(w_ih.slot(), gpu, DType::F32, w_ih.value().shape(), |to| {
                    gpu::gemm(gpu, dz_t, x, to.ptr, to.dtype, to.accumulate)
                })?;
                gpu::column_sum(grads, bias.slot(), gpu, dz, bias.value().shape())?;
            }
            SavedInput::Table { table, ids } => {
                let shape = table.value().shape();
                segment_sum(grads, table.slot(), gpu, dz, ids, shape)?;
            }
        }
        self.give_w_hh(grads, gpu, dz, before)?;
        if let Some((h0, c0)) = &self.state {
            grads.add(h0.slot(), convert(&dh0, dtype)?)?;
            grads.add(c0.slot(), dc0)?;
        }
        Ok(())
    }

    /// dW_hh = sum over t of dz_t^T h_{t-1}: one product over all packed rows where the h_{t-1} were
    /// gathered. Sequences of one length need no gathering: one product over steps 1..T, and one
    /// for step 0 where there is an initial state.
    fn give_w_hh(
        &self,
        grads: &mut Grads,
        gpu: &Arc<Gpu>,
        dz: &Tensor,
        before: Option<Tensor>,
    ) -> Result<()> {
        let (packing, hidden) = (&self.sizes.packing, self.sizes.hidden);
        let (rows, batch, dtype) = (packing.rows(), packing.batch(), dz.dtype());
        let mut parts = Vec::new();
        if let Some(before) = &before {
            parts.push((0, rows, before.ptr()?));
        } else {
            if let Some((h0, _)) = &self.state {
                parts.push((0, batch, h0.value().ptr()?));
            }
            if rows > batch {
                parts.push((batch, rows - batch, self.y.ptr()?));
            }
        }
        let shape = self.w_hh.value().shape();
        grads.write_gpu(self.w_hh.slot(), gpu, DType::F32, shape, |to| {
            if parts.is_empty() && !to.accumulate {
                // One step from a zero state.
                let bytes = shape.numel() * to.dtype.size();
                gpu.driver().fill(to.ptr, 0, bytes)?;
            }
            for (k, (first, rows, h)) in parts.into_iter().enumerate() {
                let dz = GpuMat {
                    transposed: true,
                    ..matrix(row_at(dz, packing, first)?, dtype, rows, 4 * hidden)
                };
                let h = matrix(h, dtype, rows, hidden);
                gpu::gemm(gpu, dz, h, to.ptr, to.dtype, to.accumulate || k > 0)?;
            }
            Ok(())
        })
    }
}
