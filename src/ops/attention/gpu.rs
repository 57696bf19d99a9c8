//! The attention decoder on a GPU. A step is a product of the state with [W_q; W_hh], a kernel for the
//! attention, a product for the context and the LSTM's gate kernel, and the same backward
//! ([`gpu_backward`](super::gpu_backward)): queries and gates stand side by side in rows of A + 4H. Or all steps
//! are one kernel ([`whole`](super::whole)). The input side, dx and the weight gradients are large products over
//! all packed rows.

use super::gpu_backward::Node;
use super::whole::Whole;
use super::{AttentionOutput, Operands};
use crate::autograd::Tape;
use crate::device::Gpu;
use crate::device::driver::{Arg, DevicePtr, Launch};
use crate::dtype::DType;
use crate::error::Result;
use crate::ops::gpu::{self, Columns, GpuMat};
use crate::ops::recurrent::packed::{launch_units, matrix, row_at, row_or_null};
use crate::tensor::Tensor;
use std::sync::Arc;

/// What the forward pass writes. Where nothing is saved for a backward pass, there are no gates,
/// and a step's queries and cell states overwrite those of the step before.
pub(super) struct Made {
    /// First position of each row, and their number `[B + 1]`.
    pub(super) offsets: Tensor,
    /// Hidden states `[N, H]`.
    pub(super) y: Tensor,
    /// Contexts `[N, D]`.
    pub(super) context: Tensor,
    /// Attention weights `[N, S]`, f32.
    pub(super) alpha: Tensor,
    /// W_q and W_hh, one below the other `[A + 4H, H]`, where several steps are taken one by one; else the
    /// backward pass makes it where it needs it. A single step forward is not worth the copies.
    pub(super) stack: Option<Tensor>,
    /// Queries without their bias and the gates' sums `[N, A + 4H]` or `[B, A + 4H]`, f32; the queries alone
    /// `[N, A]` where both passes take whole sequences.
    pub(super) sums: Tensor,
    /// Cell states `[N, H]` or `[B, H]`, f32.
    pub(super) cells: Tensor,
    /// Activated gates `[N, 4H]`.
    pub(super) gates: Option<Tensor>,
}

impl Made {
    fn new(gpu: &Arc<Gpu>, o: &Operands, saved: bool, whole: Option<&Whole>) -> Result<Self> {
        let (rows, batch, hidden) = (o.packing.rows(), o.packing.batch(), o.hidden());
        let dtype = o.x.value().dtype();
        let kept = if saved { rows } else { batch };
        let stack = (whole.is_none() && o.packing.steps() > 1).then(|| o.stack(gpu));
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
            sums: match whole.is_some_and(Whole::goes_back) {
                true => new(DType::F32, kept, o.width())?,
                false => new(DType::F32, kept, o.pitch())?,
            },
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
    pub(super) fn states_before(&self, o: &Operands, t: usize) -> Result<[DevicePtr; 2]> {
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
pub(super) fn launch_rows(
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
    pub(super) fn pitch(&self) -> usize {
        self.width() + 4 * self.hidden()
    }

    /// W_q and W_hh, one below the other.
    pub(super) fn stack(&self, gpu: &Arc<Gpu>) -> Result<Tensor> {
        gpu::stacked(gpu, &[self.w_q.value(), self.w_hh.value()])
    }
}

/// The columns of W_ih that multiply x, and those that multiply the context.
pub(super) fn w_ih(o: &Operands, transposed: bool) -> Result<[Columns; 2]> {
    let w = GpuMat::of(o.w_ih.value(), transposed)?;
    Ok([w.columns(0, o.inputs()), w.columns(o.inputs(), o.columns())])
}

/// The states are of the layer's data type for h and f32 for c, at both ends.
pub(super) fn run(gpu: &Arc<Gpu>, tape: &mut Tape, o: Operands) -> Result<AttentionOutput> {
    let (rows, batch, hidden) = (o.packing.rows(), o.packing.batch(), o.hidden());
    let dtype = o.x.value().dtype();
    let mut whole = Whole::choose(gpu, &o, tape.is_recording())?;
    let made = Made::new(gpu, &o, tape.is_recording(), whole.as_ref())?;
    // x_t times its columns of W_ih for all t at once.
    let side = Tensor::on_gpu(gpu, dtype, [rows, 4 * hidden])?;
    let [w_x, _] = w_ih(&o, true)?;
    let x = GpuMat::of(o.x.value(), false)?;
    gpu::gemm_columns(gpu, x, w_x, (side.ptr()?, 4 * hidden), dtype, false)?;
    let h_n = Tensor::on_gpu(gpu, dtype, [batch, hidden])?;
    let c_n = Tensor::on_gpu(gpu, DType::F32, [batch, hidden])?;
    if let Some(all) = &whole {
        all.forward(gpu, &o, &made, [&side, &h_n, &c_n])?;
        // A training step is not waited for here: see `Gpu::check_fault`.
        if !tape.is_recording()
            && let Some(fault) = gpu.fault()?
        {
            gpu.refuse_whole(&fault.to_string());
            whole = None;
        }
    }
    if whole.is_none() {
        for t in 0..o.packing.steps() {
            step(gpu, &o, &made, t, [&side, &h_n, &c_n])?;
        }
    }
    let [y, context, alpha] = [&made.y, &made.context, &made.alpha].map(Tensor::clone);
    let out = o.outputs(tape, [y, context, alpha, h_n, c_n]);
    if made.gates.is_some() && out.y.slot().is_some() {
        tape.push(Node {
            operands: o,
            made,
            whole: whole.and_then(Whole::into_back),
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
pub(super) fn memory(o: &Operands) -> Result<[DevicePtr; 4]> {
    Ok([
        o.b_q.value().ptr()?,
        o.keys.value().ptr()?,
        o.values.value().ptr()?,
        o.v.value().ptr()?,
    ])
}
