//! A recurrent layer on a GPU: a product and a fused gate kernel for each step over its active rows, or
//! one kernel that takes all steps (`whole.rs`), and one large product each for the input side, dx and
//! the weight gradients over all packed rows.
//!
//! Several layers of one shape run side by side as one of a batch that is as many times as large: row
//! b of layer w is its row `b * ways + w`. So y is `[N, ways H]`, a step's products are one batch of
//! them, and the gate kernels see only more rows.

use super::beside::{Layers, Side};
use super::cell::{BackwardStep, Cell, ForwardStep};
use super::layer::{Layer, LayerInput, Output, outputs};
use super::made::{Deltas, Made};
use super::packed::{launch_units, row_at, row_or_null, state_gradient};
use super::whole::Whole;
use crate::autograd::{Backward, Grads, Slot, Tape, Var};
use crate::device::Gpu;
use crate::device::driver::DevicePtr;
use crate::dtype::DType;
use crate::error::Result;
use crate::ops::cast::convert;
use crate::ops::embedding::segment_sum;
use crate::ops::gpu::{self, GpuMat, or_null};
use crate::tensor::Tensor;
use std::marker::PhantomData;
use std::sync::Arc;

/// What the forward pass leaves for the backward pass.
struct Node<C> {
    cell: PhantomData<C>,
    layers: Layers,
    made: Made,
    /// How whole sequences are taken; none where steps are.
    whole: Option<Whole>,
    slots: [Option<Slot>; 3],
}

/// The states are of the layers' data type for h and f32 for c, at both ends.
pub(super) fn run<C: Cell>(gpu: &Arc<Gpu>, tape: &mut Tape, all: Vec<Layer>) -> Result<Output> {
    let layers = Layers::new(gpu, all)?;
    let (packing, hidden, ways) = (&layers.packing, layers.hidden(), layers.all.len());
    let (rows, batch) = (packing.rows(), packing.batch());
    let (dtype, gates) = (layers.w_hh.dtype(), C::GATES.count() * hidden);
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
    let side = layers.side(gpu, gates)?;
    let mut whole = Whole::choose::<C>(gpu, &layers, recording)?;
    if let Some(all) = &whole {
        all.forward::<C>(
            gpu,
            &layers,
            &side,
            &made,
            [h_n.ptr()?, or_null(c_n.as_ref())?],
        )?;
        // A training step is not waited for here: see `Gpu::check_fault`.
        if !recording && let Some(fault) = gpu.fault()? {
            gpu.refuse_whole(&fault.to_string());
            whole = None;
        }
    }
    if whole.is_none() {
        steps::<C>(
            gpu,
            &layers,
            &side,
            &made,
            [h_n.ptr()?, or_null(c_n.as_ref())?],
        )?;
    }
    let beside = |t: Tensor| t.reshape([t.shape().rows() / ways, ways * hidden]);
    let (y, c_n) = (beside(made.y.clone())?, c_n.map(beside).transpose()?);
    let out = outputs(&layers.all, tape, y, beside(h_n)?, c_n);
    if out.y.slot().is_some() {
        tape.push(Node {
            cell: PhantomData::<C>,
            layers,
            made,
            whole,
            slots: out.slots(),
        });
    }
    Ok(out)
}

/// Takes the steps one by one.
fn steps<C: Cell>(
    gpu: &Arc<Gpu>,
    layers: &Layers,
    side: &Side,
    made: &Made,
    [h_n, c_n]: [DevicePtr; 2],
) -> Result<()> {
    let (packing, hidden, ways) = (&layers.packing, layers.hidden(), layers.all.len());
    let (dtype, gates) = (layers.w_hh.dtype(), C::GATES.count() * hidden);
    let b_hh = layers.biases(gpu, |layer| layer.b_hh.as_ref())?;
    let product = Tensor::on_gpu(gpu, DType::F32, [packing.batch(), gates])?;
    let kernel = format!("{}_gates_fwd_{dtype}", C::NAME);
    for t in 0..packing.steps() {
        let (first, active) = (packing.offset(t), packing.active(t));
        let [h_prev, c_prev] = made.states_before(layers, t)?;
        let mut z = DevicePtr::NULL;
        if h_prev != DevicePtr::NULL {
            z = product.ptr()?;
            layers.times_w_hh(gpu, (h_prev, active), true, z, false)?;
        }
        let step = ForwardStep {
            z,
            x: match side.ids {
                Some(_) => side.sums.ptr()?,
                None => row_at(&side.sums, packing, first)?,
            },
            ids: row_or_null(side.ids.as_ref(), packing, first)?,
            bias: or_null(side.bias.as_ref())?,
            b_hh: or_null(b_hh.as_ref())?,
            h_prev,
            c_prev,
            saved: row_or_null(made.saved.as_ref(), packing, first)?,
            h: row_at(&made.y, packing, first)?,
            c: made.cells_at(packing, first)?,
            h_n,
            c_n,
        };
        let sizes = [active, hidden, packing.active(t + 1), ways];
        launch_units(gpu, &kernel, &C::forward_pointers(&step), &sizes)?;
    }
    Ok(())
}

// ---- backward ------------------------------------------------------------------------------

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
        let (layers, dtype) = (&self.layers, self.made.y.dtype());
        let (packing, hidden) = (&layers.packing, layers.hidden());
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
        match &self.whole {
            Some(whole) => whole.backward::<C>(gpu, layers, &self.made, dy.as_ref(), &d)?,
            None => (0..packing.steps())
                .rev()
                .try_for_each(|t| self.step(gpu, t, dy.as_ref(), &d))?,
        }
        drop(dy);
        self.give(grads, gpu, d)
    }
}

impl<C: Cell> Node<C> {
    fn step(&self, gpu: &Gpu, t: usize, dy: Option<&Tensor>, d: &Deltas) -> Result<()> {
        let (layers, made) = (&self.layers, &self.made);
        let (packing, hidden, dtype) = (&layers.packing, layers.hidden(), made.y.dtype());
        let (first, active) = (packing.offset(t), packing.active(t));
        let [h_prev, c_prev] = made.states_before(layers, t)?;
        let step = BackwardStep {
            dy: row_or_null(dy, packing, first)?,
            dh: d.dh.ptr()?,
            dc: or_null(d.dc.as_ref())?,
            saved: row_or_null(made.saved.as_ref(), packing, first)?,
            h: row_at(&made.y, packing, first)?,
            c: made.cells_at(packing, first)?,
            h_prev,
            c_prev,
            dz_input: row_at(&d.dz_input, packing, first)?,
            dz_hidden: row_at(&d.dz_hidden, packing, first)?,
            before: row_or_null(d.before.as_ref(), packing, first)?,
        };
        let kernel = format!("{}_gates_bwd_{dtype}", C::NAME);
        launch_units(
            gpu,
            &kernel,
            &C::backward_pointers(&step),
            &[active, hidden],
        )?;
        if t == 0 && layers.state().is_none() {
            return Ok(());
        }
        let dz = (step.dz_hidden, active);
        layers.times_w_hh(gpu, dz, false, step.dh, C::READS_H)
    }

    fn give(&self, grads: &mut Grads, gpu: &Arc<Gpu>, d: Deltas) -> Result<()> {
        let (layers, dtype) = (&self.layers, self.made.y.dtype());
        let gates = C::GATES.count() * layers.hidden();
        let mut biases: [Vec<&Var>; 2] = Default::default();
        for (way, layer) in layers.all.iter().enumerate() {
            match &layer.input {
                LayerInput::Dense { x, w_ih, bias } => {
                    let dz = layers.columns(way, d.dz_input.ptr()?, layers.packing.rows(), gates);
                    let w = GpuMat::of(w_ih.value(), false)?;
                    grads.write_gpu(x.slot(), gpu, dtype, x.value().shape(), |to| {
                        let target = (to.ptr, layer.inputs());
                        gpu::gemm_columns(gpu, dz, w, target, to.dtype, to.accumulate)
                    })?;
                    let x = GpuMat::of(x.value(), false)?;
                    grads.write_gpu(w_ih.slot(), gpu, DType::F32, w_ih.value().shape(), |to| {
                        let target = (to.ptr, layer.inputs());
                        gpu::gemm_columns(gpu, dz.transposed(), x, target, to.dtype, to.accumulate)
                    })?;
                    biases[0].push(bias);
                }
                LayerInput::Table { table, ids } => {
                    let shape = table.value().shape();
                    segment_sum(grads, table.slot(), gpu, &d.dz_input, ids, shape)?;
                }
            }
            biases[1].extend(&layer.b_hh);
            self.give_w_hh(grads, gpu, &d, way)?;
        }
        gpu::column_sums(grads, gpu, &d.dz_input, &biases[0])?;
        gpu::column_sums(grads, gpu, &d.dz_hidden, &biases[1])?;
        if let Some(state) = layers.state() {
            grads.add(state.h.slot(), convert(&d.dh, dtype)?)?;
        }
        if let (Some(c0), Some(dc)) = (layers.all[0].c0(), d.dc) {
            grads.add(c0.slot(), dc)?;
        }
        Ok(())
    }

    /// dW_hh = sum over t of dz_t^T h_{t-1}: one product over all packed rows where the h_{t-1} were
    /// gathered. Sequences of one length need no gathering: one product over steps 1..T, and one
    /// for step 0 where there is an initial state.
    fn give_w_hh(&self, grads: &mut Grads, gpu: &Arc<Gpu>, d: &Deltas, way: usize) -> Result<()> {
        let (layers, packing) = (&self.layers, &self.layers.packing);
        let (rows, batch) = (packing.rows(), packing.batch());
        let mut parts = Vec::new();
        if let Some(before) = &d.before {
            parts.push((0, rows, before.ptr()?));
        } else {
            if let Some(state) = layers.state() {
                parts.push((0, batch, state.h.value().ptr()?));
            }
            if rows > batch {
                parts.push((batch, rows - batch, self.made.y.ptr()?));
            }
        }
        let w_hh = &layers.all[way].w_hh;
        let shape = w_hh.value().shape();
        grads.write_gpu(w_hh.slot(), gpu, DType::F32, shape, |to| {
            if parts.is_empty() && !to.accumulate {
                // One step from a zero state.
                let bytes = shape.numel() * to.dtype.size();
                gpu.driver().fill(to.ptr, 0, bytes)?;
            }
            for (k, (first, rows, h)) in parts.into_iter().enumerate() {
                let dz = row_at(&d.dz_hidden, packing, first)?;
                let dz = layers.columns(way, dz, rows, shape.rows()).transposed();
                let h = layers.columns(way, h, rows, layers.hidden());
                let target = (to.ptr, layers.hidden());
                gpu::gemm_columns(gpu, dz, h, target, to.dtype, to.accumulate || k > 0)?;
            }
            Ok(())
        })
    }
}
