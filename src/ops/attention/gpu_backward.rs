//! The attention decoder's backward pass on a GPU: its steps, or one kernel for all of them, and what is left for
//! all of them at once; see [`gpu`](super::gpu).

use super::Operands;
use super::gpu::{Made, launch_rows, memory, w_ih};
use super::whole::WholeBack;
use crate::autograd::{Backward, Grads, Slot, Var};
use crate::device::Gpu;
use crate::dtype::DType;
use crate::error::Result;
use crate::ops::cast::convert;
use crate::ops::gpu::{self, GpuMat};
use crate::ops::recurrent::packed::{launch_units, matrix, row_at, row_or_null, state_gradient};
use crate::tensor::Tensor;
use std::sync::Arc;

/// What the forward pass leaves for the backward pass.
pub(super) struct Node {
    pub(super) operands: Operands,
    pub(super) made: Made,
    /// The one kernel of this pass; none where steps are taken.
    pub(super) whole: Option<WholeBack>,
    pub(super) y_slot: Option<Slot>,
    pub(super) context_slot: Option<Slot>,
    pub(super) alpha_slot: Option<Slot>,
    pub(super) h_n_slot: Option<Slot>,
    pub(super) c_n_slot: Option<Slot>,
}

/// What the backward pass writes.
pub(super) struct Deltas {
    /// Gradients of the queries and of the gates' arguments `[N, A + 4H]`.
    pub(super) sums: Tensor,
    /// h_{t-1} of each packed row `[N, H]`, gathered on the way for the products over all of them.
    pub(super) before: Tensor,
    /// Sums over the steps, f32: of the keys `[M, A]`, of the values `[M, D]` and shares of v's `[.., A]`, by step
    /// each row's.
    pub(super) dkeys: Tensor,
    pub(super) dvalues: Tensor,
    pub(super) dv: Tensor,
    /// Gradients of the state behind the step `[B, H]`, f32.
    pub(super) dh: Tensor,
    pub(super) dc: Tensor,
}

/// What steps alone have.
struct OfSteps {
    /// W_q and W_hh, one below the other `[A + 4H, H]`.
    stack: Tensor,
    /// Gradients of a step's contexts through its gates `[B, D]`, f32.
    dcontext: Tensor,
}

impl Backward for Node {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn backward(self: Box<Self>, grads: &mut Grads) -> Result<()> {
        let dy = grads.take(self.y_slot);
        let dcontext = grads.take(self.context_slot);
        let dalpha = grads.take(self.alpha_slot);
        let states = [self.h_n_slot, self.c_n_slot].map(|slot| grads.take(slot));
        let arrived = [&dy, &dcontext, &dalpha, &states[0], &states[1]];
        let Some(gpu) = self
            .made
            .y
            .gpu()
            .filter(|_| arrived.iter().any(|gradient| gradient.is_some()))
        else {
            return Ok(());
        };
        let above = [&dy, &dcontext, &dalpha].map(Option::as_ref);
        let deltas = match &self.whole {
            Some(whole) => {
                let deltas = self.deltas(gpu, states, WholeBack::sums(gpu, &self.operands)?)?;
                whole.backward(gpu, &self.operands, &self.made, above, &deltas)?;
                deltas
            }
            None => {
                let (deltas, own) = (self.deltas(gpu, states, self.zeros(gpu)?)?, self.own(gpu)?);
                for t in (0..self.operands.packing.steps()).rev() {
                    self.step(gpu, (&deltas, &own), t, above)?;
                }
                deltas
            }
        };
        self.give(grads, gpu, deltas)
    }
}

impl Node {
    fn deltas(
        &self,
        gpu: &Arc<Gpu>,
        [dh_n, dc_n]: [Option<Tensor>; 2],
        [dkeys, dvalues, dv]: [Tensor; 3],
    ) -> Result<Deltas> {
        let o = &self.operands;
        let (rows, batch, hidden) = (o.packing.rows(), o.packing.batch(), o.hidden());
        let dtype = o.x.value().dtype();
        Ok(Deltas {
            sums: Tensor::on_gpu(gpu, dtype, [rows, o.pitch()])?,
            before: Tensor::on_gpu(gpu, dtype, [rows, hidden])?,
            dkeys,
            dvalues,
            dv,
            dh: state_gradient(gpu, dh_n, [batch, hidden])?,
            dc: state_gradient(gpu, dc_n, [batch, hidden])?,
        })
    }

    /// What steps add to: the gradients of keys, values and v.
    fn zeros(&self, gpu: &Arc<Gpu>) -> Result<[Tensor; 3]> {
        let o = &self.operands;
        let zeros = |rows: usize, columns: usize| {
            let t = Tensor::on_gpu(gpu, DType::F32, [rows, columns])?;
            let bytes = t.numel() * DType::F32.size();
            gpu.driver().fill(t.ptr()?, 0, bytes)?;
            Ok(t)
        };
        let positions = o.spans.total();
        Ok([
            zeros(positions, o.width())?,
            zeros(positions, o.columns())?,
            zeros(o.packing.batch(), o.width())?,
        ])
    }

    fn own(&self, gpu: &Arc<Gpu>) -> Result<OfSteps> {
        let o = &self.operands;
        Ok(OfSteps {
            stack: match &self.made.stack {
                Some(stack) => stack.clone(),
                None => o.stack(gpu)?,
            },
            dcontext: Tensor::on_gpu(gpu, DType::F32, [o.packing.batch(), o.columns()])?,
        })
    }

    fn step(
        &self,
        gpu: &Gpu,
        (d, own): (&Deltas, &OfSteps),
        t: usize,
        [dy, dcontext, dalpha]: [Option<&Tensor>; 3],
    ) -> Result<()> {
        let (o, made) = (&self.operands, &self.made);
        let (first, rows, hidden) = (o.packing.offset(t), o.packing.active(t), o.hidden());
        let dtype = o.x.value().dtype();
        let at = |t: &Tensor| row_at(t, &o.packing, first);
        let or_null = |t| row_or_null(t, &o.packing, first);
        let [h_prev, c_prev] = made.states_before(o, t)?;
        let (dh, dc, dq) = (d.dh.ptr()?, d.dc.ptr()?, at(&d.sums)?);
        let dz = dq.offset(o.width() * dtype.size());
        let (gates, c) = (or_null(made.gates.as_ref())?, at(&made.cells)?);
        let before = at(&d.before)?;
        let dy = or_null(dy)?;
        let pointers = [dy, dh, dc, gates, c, c_prev, h_prev, dz, dc, before];
        let kernel = format!("lstm_beside_bwd_{dtype}");
        launch_units(gpu, &kernel, &pointers, &[rows, hidden, o.pitch()])?;

        let sums = matrix(dq, dtype, rows, o.pitch());
        let (dz, [_, w_c]) = (sums.columns(o.width(), 4 * hidden), w_ih(o, false)?);
        let through_gates = own.dcontext.ptr()?;
        let to = (through_gates, o.columns());
        gpu::gemm_columns(gpu, dz, w_c, to, DType::F32, false)?;
        let [bias, keys, values, v] = memory(o)?;
        let added = [d.dkeys.ptr()?, d.dvalues.ptr()?, d.dv.ptr()?];
        let inputs = [
            or_null(dcontext)?,
            or_null(dalpha)?,
            through_gates,
            at(&made.sums)?,
            bias,
            keys,
        ];
        let saved = [values, v, made.offsets.ptr()?, at(&made.alpha)?, dq];
        let pointers = [&inputs[..], &saved, &added].concat();
        launch_rows(gpu, "bwd", o, rows, &pointers)?;
        gpu::gemm(
            gpu,
            sums,
            GpuMat::of(&own.stack, false)?,
            dh,
            DType::F32,
            false,
        )
    }

    fn give(&self, grads: &mut Grads, gpu: &Arc<Gpu>, d: Deltas) -> Result<()> {
        let o = &self.operands;
        let dtype = o.x.value().dtype();
        let (sums, [w_x, _]) = (GpuMat::of(&d.sums, false)?, w_ih(o, false)?);
        let (dq, dz) = (
            sums.columns(0, o.width()),
            sums.columns(o.width(), 4 * o.hidden()),
        );
        grads.write_gpu(o.x.slot(), gpu, dtype, o.x.value().shape(), |to| {
            let target = (to.ptr, o.inputs());
            gpu::gemm_columns(gpu, dz, w_x, target, to.dtype, to.accumulate)
        })?;
        let (dz_t, dq_t) = (dz.transposed(), dq.transposed());
        let width = o.inputs() + o.columns();
        grads.write_gpu(
            o.w_ih.slot(),
            gpu,
            DType::F32,
            o.w_ih.value().shape(),
            |to| {
                for (first, input) in [(0, o.x.value()), (o.inputs(), &self.made.context)] {
                    let target = (to.ptr.offset(first * to.dtype.size()), width);
                    let input = GpuMat::of(input, false)?;
                    gpu::gemm_columns(gpu, dz_t, input, target, to.dtype, to.accumulate)?;
                }
                Ok(())
            },
        )?;
        for (w, delta) in [(&o.w_hh, dz_t), (&o.w_q, dq_t)] {
            grads.write_gpu(w.slot(), gpu, DType::F32, w.value().shape(), |to| {
                let before = GpuMat::of(&d.before, false)?;
                let target = (to.ptr, o.hidden());
                gpu::gemm_columns(gpu, delta, before, target, to.dtype, to.accumulate)
            })?;
        }
        gpu::column_sums(grads, gpu, &d.sums, &[&o.b_q, &o.bias])?;
        gpu::column_sums(grads, gpu, &d.dv, &[&o.v])?;
        let mut add = |var: &Var, sum: &Tensor| grads.add(var.slot(), convert(sum, dtype)?);
        add(&o.keys, &d.dkeys)?;
        add(&o.values, &d.dvalues)?;
        add(&o.h0, &d.dh)?;
        grads.add(o.c0.slot(), d.dc)
    }
}
