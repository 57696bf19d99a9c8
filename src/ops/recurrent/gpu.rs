//! A recurrent layer on a GPU: a product and a fused gate kernel for each step over its active rows,
//! and one large product each for the input side, dx and the weight gradients over all packed rows.

use super::cell::{BackwardStep, Cell, ForwardStep};
use super::layer::{Layer, LayerInput, Output};
use super::packed::{launch_units, matrix, row_at, state_gradient};
use crate::autograd::{Backward, Grads, Slot, Tape, Var};
use crate::device::Gpu;
use crate::device::driver::DevicePtr;
use crate::dtype::DType;
use crate::error::Result;
use crate::ops::cast::convert;
use crate::ops::embedding::segment_sum;
use crate::ops::gpu::{self, GpuMat};
use crate::tensor::Tensor;
use std::marker::PhantomData;
use std::sync::Arc;

/// What the forward pass leaves for the backward pass.
struct Node<C> {
    cell: PhantomData<C>,
    layer: Layer,
    made: Made,
    slots: [Option<Slot>; 3],
}

/// What the forward pass writes besides the final states.
struct Made {
    /// Hidden states `[N, H]`.
    y: Tensor,
    /// Cell states `[N, H]`, f32; `[B, H]` where nothing is saved: a step's then overwrite those of
    /// the step before.
    cells: Option<Tensor>,
    /// What the cell saves `[N, GPU_SAVED H]`.
    saved: Option<Tensor>,
}

/// The address of packed row `row` of a tensor; null without one.
fn row_or_null(t: Option<&Tensor>, layer: &Layer, row: usize) -> Result<DevicePtr> {
    t.map_or(Ok(DevicePtr::NULL), |t| row_at(t, &layer.packing, row))
}

/// The address of a value; null without one.
fn or_null(var: Option<&Var>) -> Result<DevicePtr> {
    var.map_or(Ok(DevicePtr::NULL), |var| var.value().ptr())
}

impl Made {
    /// The cell states of the step that begins at a packed row.
    fn cells_at(&self, layer: &Layer, row: usize) -> Result<DevicePtr> {
        let kept = |c: &&Tensor| c.shape().rows() == layer.packing.rows();
        let row = if self.cells.as_ref().filter(kept).is_some() {
            row
        } else {
            0
        };
        row_or_null(self.cells.as_ref(), layer, row)
    }

    /// Where h and c before step t lie; nowhere before step 0 of a zero state.
    fn states_before(&self, layer: &Layer, t: usize) -> Result<[DevicePtr; 2]> {
        if t == 0 {
            let h0 = layer.state.as_ref().map(|state| &state.h);
            return Ok([or_null(h0)?, or_null(layer.c0())?]);
        }
        let row = layer.packing.offset(t - 1);
        let h = row_at(&self.y, &layer.packing, row)?;
        Ok([h, self.cells_at(layer, row)?])
    }
}

/// The states are of the layer's data type for h and f32 for c, at both ends.
pub(super) fn run<C: Cell>(gpu: &Arc<Gpu>, tape: &mut Tape, layer: Layer) -> Result<Output> {
    let (packing, hidden) = (&layer.packing, layer.hidden());
    let (rows, batch) = (packing.rows(), packing.batch());
    let (dtype, gates) = (layer.w_hh.value().dtype(), C::GATES.count() * hidden);
    let recording = tape.is_recording();
    let new = |wanted: bool, dtype, rows, columns| {
        let tensor = wanted.then(|| Tensor::on_gpu(gpu, dtype, [rows, columns]));
        tensor.transpose()
    };
    let saved = C::GPU_SAVED * hidden;
    let kept = if recording { rows } else { batch };
    let made = Made {
        y: Tensor::on_gpu(gpu, dtype, [rows, hidden])?,
        cells: new(C::HAS_C, DType::F32, kept, hidden)?,
        saved: new(recording && saved > 0, dtype, rows, saved)?,
    };
    let h_n = Tensor::on_gpu(gpu, dtype, [batch, hidden])?;
    let c_n = new(C::HAS_C, DType::F32, batch, hidden)?;
    // x_t W_ih^T for all t at once; or the table whose rows the ids name.
    let (side, ids, bias) = match &layer.input {
        LayerInput::Dense { x, w_ih, bias } => {
            let x = GpuMat::of(x.value(), false)?;
            let w = GpuMat::of(w_ih.value(), true)?;
            let side = Tensor::on_gpu(gpu, dtype, [rows, gates])?;
            gpu::gemm(gpu, x, w, side.ptr()?, dtype, false)?;
            (side, None, bias.value().ptr()?)
        }
        LayerInput::Table { table, ids } => (table.value().clone(), Some(ids), DevicePtr::NULL),
    };
    let product = Tensor::on_gpu(gpu, DType::F32, [batch, gates])?;
    let kernel = format!("{}_gates_fwd_{dtype}", C::NAME);
    for t in 0..packing.steps() {
        let (first, active) = (packing.offset(t), packing.active(t));
        let [h_prev, c_prev] = made.states_before(&layer, t)?;
        let mut z = DevicePtr::NULL;
        if h_prev != DevicePtr::NULL {
            let h = matrix(h_prev, dtype, active, hidden);
            let w = GpuMat::of(layer.w_hh.value(), true)?;
            z = product.ptr()?;
            gpu::gemm(gpu, h, w, z, DType::F32, false)?;
        }
        let step = ForwardStep {
            z,
            x: match ids {
                Some(_) => side.ptr()?,
                None => row_at(&side, packing, first)?,
            },
            ids: row_or_null(ids, &layer, first)?,
            bias,
            b_hh: or_null(layer.b_hh.as_ref())?,
            h_prev,
            c_prev,
            saved: row_or_null(made.saved.as_ref(), &layer, first)?,
            h: row_at(&made.y, packing, first)?,
            c: made.cells_at(&layer, first)?,
            h_n: h_n.ptr()?,
            c_n: row_or_null(c_n.as_ref(), &layer, 0)?,
        };
        let sizes = [active, hidden, packing.active(t + 1)];
        launch_units(gpu, &kernel, &C::forward_pointers(&step), &sizes)?;
    }
    let out = layer.outputs(tape, made.y.clone(), h_n, c_n);
    if out.y.slot().is_some() {
        tape.push(Node {
            cell: PhantomData::<C>,
            layer,
            made,
            slots: out.slots(),
        });
    }
    Ok(out)
}

// ---- backward ------------------------------------------------------------------------------

/// What the steps of the backward pass write.
struct Deltas {
    /// Gradients of the input side `[N, G H]`.
    dz_input: Tensor,
    /// Gradients of the hidden side `[N, G H]`; the same tensor if they are the same.
    dz_hidden: Tensor,
    /// h_{t-1} of each packed row `[N, H]`, where sequences have different lengths.
    before: Option<Tensor>,
    /// Gradients of the states before the step `[B, H]`, f32.
    dh: Tensor,
    dc: Option<Tensor>,
}

impl<C: Cell> Backward for Node<C> {
    fn name(&self) -> &'static str {
        C::NAME
    }

    fn backward(self: Box<Self>, grads: &mut Grads) -> Result<()> {
        let [dy, dh_n, dc_n] = self.slots.map(|slot| grads.take(slot));
        let arrived = dy.is_some() || dh_n.is_some() || dc_n.is_some();
        let Some(gpu) = self.made.y.gpu().filter(|_| arrived) else {
            return Ok(());
        };
        let (layer, dtype) = (&self.layer, self.made.y.dtype());
        let (packing, hidden) = (&layer.packing, layer.hidden());
        let (rows, state) = (packing.rows(), [packing.batch(), hidden]);
        let new = |columns| Tensor::on_gpu(gpu, dtype, [rows, columns]);
        let dz_input = new(C::GATES.count() * hidden)?;
        let d = Deltas {
            dz_hidden: match C::GATES.input == C::GATES.hidden {
                true => dz_input.clone(),
                false => new(C::GATES.count() * hidden)?,
            },
            dz_input,
            before: match packing.is_uniform() {
                true => None,
                false => Some(new(hidden)?),
            },
            dh: state_gradient(gpu, dh_n, state)?,
            dc: match C::HAS_C {
                true => Some(state_gradient(gpu, dc_n, state)?),
                false => None,
            },
        };
        for t in (0..packing.steps()).rev() {
            self.step(gpu, t, dy.as_ref(), &d)?;
        }
        drop(dy);
        self.give(grads, gpu, d)
    }
}

impl<C: Cell> Node<C> {
    fn step(&self, gpu: &Gpu, t: usize, dy: Option<&Tensor>, d: &Deltas) -> Result<()> {
        let (layer, made) = (&self.layer, &self.made);
        let (packing, hidden, dtype) = (&layer.packing, layer.hidden(), made.y.dtype());
        let (first, active) = (packing.offset(t), packing.active(t));
        let [h_prev, c_prev] = made.states_before(layer, t)?;
        let step = BackwardStep {
            dy: row_or_null(dy, layer, first)?,
            dh: d.dh.ptr()?,
            dc: row_or_null(d.dc.as_ref(), layer, 0)?,
            saved: row_or_null(made.saved.as_ref(), layer, first)?,
            h: row_at(&made.y, packing, first)?,
            c: made.cells_at(layer, first)?,
            h_prev,
            c_prev,
            dz_input: row_at(&d.dz_input, packing, first)?,
            dz_hidden: row_at(&d.dz_hidden, packing, first)?,
            before: row_or_null(d.before.as_ref(), layer, first)?,
        };
        let kernel = format!("{}_gates_bwd_{dtype}", C::NAME);
        launch_units(
            gpu,
            &kernel,
            &C::backward_pointers(&step),
            &[active, hidden],
        )?;
        if t == 0 && layer.state.is_none() {
            return Ok(());
        }
        let dz = matrix(step.dz_hidden, dtype, active, C::GATES.count() * hidden);
        let w = GpuMat::of(layer.w_hh.value(), false)?;
        gpu::gemm(gpu, dz, w, step.dh, DType::F32, C::READS_H)
    }

    fn give(&self, grads: &mut Grads, gpu: &Arc<Gpu>, d: Deltas) -> Result<()> {
        let (layer, dtype) = (&self.layer, self.made.y.dtype());
        match &layer.input {
            LayerInput::Dense { x, w_ih, bias } => {
                let (dz, w) = (
                    GpuMat::of(&d.dz_input, false)?,
                    GpuMat::of(w_ih.value(), false)?,
                );
                grads.write_gpu(x.slot(), gpu, dtype, x.value().shape(), |to| {
                    gpu::gemm(gpu, dz, w, to.ptr, to.dtype, to.accumulate)
                })?;
                let (dz_t, x) = (
                    GpuMat::of(&d.dz_input, true)?,
                    GpuMat::of(x.value(), false)?,
                );
                grads.write_gpu(w_ih.slot(), gpu, DType::F32, w_ih.value().shape(), |to| {
                    gpu::gemm(gpu, dz_t, x, to.ptr, to.dtype, to.accumulate)
                })?;
                gpu::column_sum(grads, bias.slot(), gpu, &d.dz_input, bias.value().shape())?;
            }
            LayerInput::Table { table, ids } => {
                let shape = table.value().shape();
                segment_sum(grads, table.slot(), gpu, &d.dz_input, ids, shape)?;
            }
        }
        if let Some(b_hh) = &layer.b_hh {
            gpu::column_sum(grads, b_hh.slot(), gpu, &d.dz_hidden, b_hh.value().shape())?;
        }
        self.give_w_hh(grads, gpu, &d)?;
        if let Some(state) = &layer.state {
            grads.add(state.h.slot(), convert(&d.dh, dtype)?)?;
        }
        if let (Some(c0), Some(dc)) = (layer.c0(), d.dc) {
            grads.add(c0.slot(), dc)?;
        }
        Ok(())
    }

    /// dW_hh = sum over t of dz_t^T h_{t-1}: one product over all packed rows where the h_{t-1} were
    /// gathered. Sequences of one length need no gathering: one product over steps 1..T, and one
    /// for step 0 where there is an initial state.
    fn give_w_hh(&self, grads: &mut Grads, gpu: &Arc<Gpu>, d: &Deltas) -> Result<()> {
        let (packing, hidden) = (&self.layer.packing, self.layer.hidden());
        let (rows, batch, dtype) = (packing.rows(), packing.batch(), self.made.y.dtype());
        let mut parts = Vec::new();
        if let Some(before) = &d.before {
            parts.push((0, rows, before.ptr()?));
        } else {
            if let Some(state) = &self.layer.state {
                parts.push((0, batch, state.h.value().ptr()?));
            }
            if rows > batch {
                parts.push((batch, rows - batch, self.made.y.ptr()?));
            }
        }
        let w_hh = &self.layer.w_hh;
        let shape = w_hh.value().shape();
        grads.write_gpu(w_hh.slot(), gpu, DType::F32, shape, |to| {
            if parts.is_empty() && !to.accumulate {
                // One step from a zero state.
                let bytes = shape.numel() * to.dtype.size();
                gpu.driver().fill(to.ptr, 0, bytes)?;
            }
            for (k, (first, rows, h)) in parts.into_iter().enumerate() {
                let dz = row_at(&d.dz_hidden, packing, first)?;
                let dz = GpuMat {
                    transposed: true,
                    ..matrix(dz, dtype, rows, shape.rows())
                };
                let h = matrix(h, dtype, rows, hidden);
                gpu::gemm(gpu, dz, h, to.ptr, to.dtype, to.accumulate || k > 0)?;
            }
            Ok(())
        })
    }
}
