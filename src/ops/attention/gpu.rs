//! The attention decoder on a GPU. A step is a product of the state with [W_q; W_hh], a kernel for the
//! attention, a product for the context and the LSTM's gate kernel, and the same backward: queries and
//! gates stand side by side in rows of A + 4H. The input side, dx and the weight gradients are large
//! products over all packed rows.

use super::{AttentionOutput, Operands};
use crate::autograd::{Backward, Grads, Slot, Tape, Var};
use crate::device::Gpu;
use crate::device::driver::{Arg, DevicePtr, Launch};
use crate::dtype::DType;
use crate::error::Result;
use crate::ops::cast::convert;
use crate::ops::gpu::{self, Columns, GpuMat};
use crate::ops::recurrent::packed::{launch_units, matrix, row_at, row_or_null, state_gradient};
use crate::tensor::Tensor;
use std::sync::Arc;

/// What the forward pass leaves for the backward pass.
struct Node {
    operands: Operands,
    made: Made,
    y_slot: Option<Slot>,
    context_slot: Option<Slot>,
    alpha_slot: Option<Slot>,
    h_n_slot: Option<Slot>,
    c_n_slot: Option<Slot>,
}

/// What the forward pass writes. Where nothing is saved for a backward pass, there are no gates,
/// and a step's queries and cell states overwrite those of the step before.
struct Made {
    /// First position of each row, and their number `[B + 1]`.
    offsets: Tensor,
    /// Hidden states `[N, H]`.
    y: Tensor,
    /// Contexts `[N, D]`.
    context: Tensor,
    /// Attention weights `[N, S]`, f32.
    alpha: Tensor,
    /// W_q and W_hh, one below the other `[A + 4H, H]`. A single step is not worth the copies.
    stack: Option<Tensor>,
    /// Queries without their bias and the gates' sums `[N, A + 4H]` or `[B, A + 4H]`, f32.
    sums: Tensor,
    /// Cell states `[N, H]` or `[B, H]`, f32.
    cells: Tensor,
    /// Activated gates `[N, 4H]`.
    gates: Option<Tensor>,
}

impl Made {
    fn new(gpu: &Arc<Gpu>, o: &Operands, saved: bool) -> Result<Self> {
        let (rows, batch, hidden) = (o.packing.rows(), o.packing.batch(), o.hidden());
        let dtype = o.x.value().dtype();
        let kept = if saved { rows } else { batch };
        let stack = (o.packing.steps() > 1).then(|| o.stack(gpu));
        let new = |dtype, rows, columns| Tensor::on_gpu(gpu, dtype, [rows, columns]);
        Ok(Made {
            offsets: match &o.offsets {
                Some(offsets) => offsets.clone(),
                None => Tensor::from_slice(o.spans.offsets(), [batch + 1])?.to_gpu(gpu)?,
            },
            stack: stack.transpose()?,
            y: new(dtype, rows, hidden)?,
            context: new(dtype, rows, o.columns())?,
            alpha: new(DType::F32, rows, o.spans.longest())?,
            sums: new(DType::F32, kept, o.pitch())?,
            cells: new(DType::F32, kept, hidden)?,
            gates: match saved {
                true => Some(new(dtype, rows, 4 * hidden)?),
                false => None,
            },
        })
    }

    /// The address of packed row `row` of the sums or cell states.
    fn kept_at(&self, t: &Tensor, o: &Operands, row: usize) -> Result<DevicePtr> {
        match self.gates {
            Some(_) => row_at(t, &o.packing, row),
            None => t.ptr(),
        }
    }

    /// Where the (h, c) before step t lie.
    fn states_before(&self, o: &Operands, t: usize) -> Result<[DevicePtr; 2]> {
        if t == 0 {
            return Ok([o.h0.value().ptr()?, o.c0.value().ptr()?]);
        }
        let row = o.packing.offset(t - 1);
        Ok([
            row_at(&self.y, &o.packing, row)?,
            self.kept_at(&self.cells, o, row)?,
        ])
    }
}

/// A kernel of attention.cu over the rows of a step.
fn launch_rows(
    gpu: &Gpu,
    way: &str,
    o: &Operands,
    rows: usize,
    pointers: &[DevicePtr],
) -> Result<()> {
    let positions = o.spans.longest();
    let mut args: Vec<Arg> = pointers.iter().map(|&p| p.into()).collect();
    args.extend([positions, o.width(), o.columns(), o.pitch()].map(|n| Arg::from(n as u32)));
    let kernel = format!("attention_{way}_{}", o.x.value().dtype());
    let mut launch = Launch::new(&kernel, rows as u32, 256);
    launch.shared_bytes = (positions * DType::F32.size()) as u32;
    gpu.launch(&launch, &args)
}

impl Operands {
    /// A + 4H.
    fn pitch(&self) -> usize {
        self.width() + 4 * self.hidden()
    }

    /// W_q and W_hh, one below the other.
    fn stack(&self, gpu: &Arc<Gpu>) -> Result<Tensor> {
        gpu::stacked(gpu, &[self.w_q.value(), self.w_hh.value()])
    }
}

/// The columns of W_ih that multiply x, and those that multiply the context.
fn w_ih(o: &Operands, transposed: bool) -> Result<[Columns; 2]> {
    let w = GpuMat::of(o.w_ih.value(), transposed)?;
    Ok([w.columns(0, o.inputs()), w.columns(o.inputs(), o.columns())])
}

/// The states are of the layer's data type for h and f32 for c, at both ends.
pub(super) fn run(gpu: &Arc<Gpu>, tape: &mut Tape, o: Operands) -> Result<AttentionOutput> {
    let (rows, batch, hidden) = (o.packing.rows(), o.packing.batch(), o.hidden());
    let dtype = o.x.value().dtype();
    let made = Made::new(gpu, &o, tape.is_recording())?;
    // x_t times its columns of W_ih for all t at once.
    let side = Tensor::on_gpu(gpu, dtype, [rows, 4 * hidden])?;
    let [w_x, _] = w_ih(&o, true)?;
    let x = GpuMat::of(o.x.value(), false)?;
    gpu::gemm_columns(gpu, x, w_x, (side.ptr()?, 4 * hidden), dtype, false)?;
    let h_n = Tensor::on_gpu(gpu, dtype, [batch, hidden])?;
    let c_n = Tensor::on_gpu(gpu, DType::F32, [batch, hidden])?;
    for t in 0..o.packing.steps() {
        step(gpu, &o, &made, t, [&side, &h_n, &c_n])?;
    }
    let [y, context, alpha] = [&made.y, &made.context, &made.alpha].map(Tensor::clone);
    let out = o.outputs(tape, [y, context, alpha, h_n, c_n]);
    if made.gates.is_some() && out.y.slot().is_some() {
        tape.push(Node {
            operands: o,
            made,
            y_slot: out.y.slot(),
            context_slot: out.context.slot(),
            alpha_slot: out.alpha.slot(),
            h_n_slot: out.h_n.slot(),
            c_n_slot: out.c_n.slot(),
        });
    }
    Ok(out)
}

fn step(
    gpu: &Gpu,
    o: &Operands,
    made: &Made,
    t: usize,
    [side, h_n, c_n]: [&Tensor; 3],
) -> Result<()> {
    let (first, rows, hidden) = (o.packing.offset(t), o.packing.active(t), o.hidden());
    let dtype = o.x.value().dtype();
    let at = |t: &Tensor| row_at(t, &o.packing, first);
    let [h_prev, c_prev] = made.states_before(o, t)?;
    let h = matrix(h_prev, dtype, rows, hidden);
    let q = made.kept_at(&made.sums, o, first)?;
    let z = q.offset(o.width() * DType::F32.size());
    let products = match &made.stack {
        Some(stack) => vec![(stack, q)],
        None => vec![(o.w_q.value(), q), (o.w_hh.value(), z)],
    };
    for (w, to) in products {
        let w = GpuMat::of(w, true)?;
        gpu::gemm_columns(gpu, h, w, (to, o.pitch()), DType::F32, false)?;
    }
    let (alpha, context) = (at(&made.alpha)?, at(&made.context)?);
    let [bias, keys, values, v] = memory(o)?;
    let pointers = [
        q,
        bias,
        keys,
        values,
        v,
        made.offsets.ptr()?,
        alpha,
        context,
    ];
    launch_rows(gpu, "fwd", o, rows, &pointers)?;

    let [_, w_c] = w_ih(o, true)?;
    let context = matrix(context, dtype, rows, o.columns());
    gpu::gemm_columns(gpu, context, w_c, (z, o.pitch()), DType::F32, true)?;
    let gates = row_or_null(made.gates.as_ref(), &o.packing, first)?;
    let pointers = [
        z,
        at(side)?,
        DevicePtr::NULL, // no ids: x is not a table
        o.bias.value().ptr()?,
        c_prev,
        gates,
        made.kept_at(&made.cells, o, first)?,
        at(&made.y)?,
        c_n.ptr()?,
        h_n.ptr()?,
    ];
    let sizes = [rows, hidden, o.packing.active(t + 1), o.pitch()];
    launch_units(gpu, &format!("lstm_beside_fwd_{dtype}"), &pointers, &sizes)
}

/// The addresses of b_q, the keys, the values and v.
fn memory(o: &Operands) -> Result<[DevicePtr; 4]> {
    Ok([
        o.b_q.value().ptr()?,
        o.keys.value().ptr()?,
        o.values.value().ptr()?,
        o.v.value().ptr()?,
    ])
}

// ---- backward ------------------------------------------------------------------------------

/// What the steps of the backward pass write.
struct Deltas {
    /// W_q and W_hh, one below the other `[A + 4H, H]`.
    stack: Tensor,
    /// Gradients of the queries and of the gates' arguments `[N, A + 4H]`.
    sums: Tensor,
    /// h_{t-1} of each packed row `[N, H]`, gathered on the way for the products over all of them.
    before: Tensor,
    /// Gradients of a step's contexts through its gates `[B, D]`, f32.
    dcontext: Tensor,
    /// Sums over the steps, f32: of the keys `[M, A]`, of the values `[M, D]` and each row's share
    /// of v's `[B, A]`.
    dkeys: Tensor,
    dvalues: Tensor,
    dv: Tensor,
    /// Gradients of the state behind the step `[B, H]`, f32.
    dh: Tensor,
    dc: Tensor,
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
        let deltas = self.deltas(gpu, states)?;
        for t in (0..self.operands.packing.steps()).rev() {
            let above = [&dy, &dcontext, &dalpha].map(Option::as_ref);
            self.step(gpu, &deltas, t, above)?;
        }
        self.give(grads, gpu, deltas)
    }
}

impl Node {
    fn deltas(&self, gpu: &Arc<Gpu>, [dh_n, dc_n]: [Option<Tensor>; 2]) -> Result<Deltas> {
        let o = &self.operands;
        let (rows, batch, hidden) = (o.packing.rows(), o.packing.batch(), o.hidden());
        let dtype = o.x.value().dtype();
        let new = |dtype, rows, columns| Tensor::on_gpu(gpu, dtype, [rows, columns]);
        let zeros = |rows: usize, columns: usize| {
            let t = new(DType::F32, rows, columns)?;
            let bytes = t.numel() * DType::F32.size();
            gpu.driver().fill(t.ptr()?, 0, bytes)?;
            Ok(t)
        };
        Ok(Deltas {
            stack: match &self.made.stack {
                Some(stack) => stack.clone(),
                None => o.stack(gpu)?,
            },
            sums: new(dtype, rows, o.pitch())?,
            before: new(dtype, rows, hidden)?,
            dcontext: new(DType::F32, batch, o.columns())?,
            dkeys: zeros(o.spans.total(), o.width())?,
            dvalues: zeros(o.spans.total(), o.columns())?,
            dv: zeros(batch, o.width())?,
            dh: state_gradient(gpu, dh_n, [batch, hidden])?,
            dc: state_gradient(gpu, dc_n, [batch, hidden])?,
        })
    }

    fn step(
        &self,
        gpu: &Gpu,
        d: &Deltas,
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
        let through_gates = d.dcontext.ptr()?;
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
            GpuMat::of(&d.stack, false)?,
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
