//! The LSTM on a GPU, stage 1: a product and a fused gate kernel for each step, and one large
//! product each for the input side, dx and the weight gradients over the whole sequence.

use super::{Input, Output, SavedInput, Sizes};
use crate::autograd::{Backward, Grads, Slot, Tape, Var};
use crate::device::Gpu;
use crate::device::driver::{Arg, DevicePtr, Launch};
use crate::dtype::DType;
use crate::error::Result;
use crate::ops::cast::convert;
use crate::ops::embedding::segment_sum;
use crate::ops::gpu::{self, GpuMat};
use crate::tensor::Tensor;
use std::sync::Arc;

/// What the forward pass leaves for the backward pass.
struct Node {
    sizes: Sizes,
    input: SavedInput,
    w_hh: Var,
    state: Option<(Var, Var)>,
    /// Hidden states `[T, B, H]`.
    y: Tensor,
    /// Activated gates `[T, B, 4H]`.
    gates: Tensor,
    /// Cell states `[T, B, H]`, f32.
    cells: Tensor,
    y_slot: Option<Slot>,
    h_n_slot: Option<Slot>,
    c_n_slot: Option<Slot>,
}

/// One thread a unit.
fn unit_launch<'a>(kernel: &'a str, sizes: &Sizes) -> Launch<'a> {
    let threads = 256;
    let units = sizes.packing.batch() * sizes.hidden;
    Launch::new(kernel, units.div_ceil(threads) as u32, threads as u32)
}

/// The address of row block t of a `[T, B, width]` tensor.
fn step_of(t: &Tensor, step: usize) -> Result<DevicePtr> {
    let bytes = t.numel() / t.dims()[0] * t.dtype().size();
    Ok(t.ptr()?.offset(step * bytes))
}

fn null_or(t: Option<&Tensor>) -> Result<DevicePtr> {
    t.map_or(Ok(DevicePtr::NULL), Tensor::ptr)
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
    let hidden = sizes.hidden;
    let (steps, batch) = (sizes.packing.steps(), sizes.packing.batch());
    let dtype = w_hh.value().dtype();
    let y = Tensor::on_gpu(gpu, dtype, [steps, batch, hidden])?;
    let saved = tape.is_recording();
    let cells = Tensor::on_gpu(
        gpu,
        DType::F32,
        [if saved { steps } else { 1 }, batch, hidden],
    )?;
    let gates = match saved {
        true => Some(Tensor::on_gpu(gpu, dtype, [steps, batch, 4 * hidden])?),
        false => None,
    };
    // x_t W_ih^T for all t at once; or the table whose rows the ids name.
    let (side, ids, bias) = match input {
        Input::Dense { x, w_ih, bias } => {
            let (x, w) = (
                GpuMat::of(x.value(), false)?,
                GpuMat::of(w_ih.value(), true)?,
            );
            let side = Tensor::on_gpu(gpu, dtype, [steps, batch, 4 * hidden])?;
            gpu::gemm(gpu, x, w, side.ptr()?, dtype, false)?;
            (side, None, bias.value().ptr()?)
        }
        Input::Table { table, ids } => (table.value().clone(), Some(ids), DevicePtr::NULL),
    };
    let z = Tensor::on_gpu(gpu, DType::F32, [batch, 4 * hidden])?;
    let kernel = format!("lstm_gates_fwd_{dtype}");
    let cell_at = |t: usize| step_of(&cells, if saved { t } else { 0 });
    for t in 0..steps {
        let h_prev = match (t, state) {
            (0, None) => None,
            (0, Some((h0, _))) => Some(h0.value().ptr()?),
            _ => Some(step_of(&y, t - 1)?),
        };
        if let Some(ptr) = h_prev {
            let h = rows_at(ptr, dtype, batch, hidden);
            let w = GpuMat::of(w_hh.value(), true)?;
            gpu::gemm(gpu, h, w, z.ptr()?, DType::F32, false)?;
        }
        let c_prev = match (t, state) {
            (0, None) => DevicePtr::NULL,
            (0, Some((_, c0))) => c0.value().ptr()?,
            _ => cell_at(t - 1)?,
        };
        let (x, ids) = match ids {
            Some(ids) => (side.ptr()?, step_of(ids, t)?),
            None => (step_of(&side, t)?, DevicePtr::NULL),
        };
        let gates = match &gates {
            Some(gates) => step_of(gates, t)?,
            None => DevicePtr::NULL,
        };
        let z = if h_prev.is_some() {
            z.ptr()?
        } else {
            DevicePtr::NULL
        };
        let pointers = [z, x, ids, bias, c_prev, gates, cell_at(t)?, step_of(&y, t)?];
        launch_units(gpu, &kernel, &sizes, &pointers)?;
    }
    let last = |t: &Tensor| {
        let rows = t.dims()[0];
        t.slice((rows - 1) * batch * hidden, [batch, hidden])?
            .copy_on_gpu(gpu)
    };
    let (h_n, c_n) = (last(&y)?, last(&cells)?);
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

fn launch_units(gpu: &Gpu, kernel: &str, sizes: &Sizes, pointers: &[DevicePtr]) -> Result<()> {
    let mut args: Vec<Arg> = pointers.iter().map(|&p| p.into()).collect();
    args.extend([
        Arg::from(sizes.packing.batch() as u32),
        Arg::from(sizes.hidden as u32),
    ]);
    gpu.launch(&unit_launch(kernel, sizes), &args)
}

fn rows_at(ptr: DevicePtr, dtype: DType, rows: usize, columns: usize) -> GpuMat {
    GpuMat {
        ptr,
        dtype,
        stored: (rows, columns),
        transposed: false,
    }
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
        let hidden = self.sizes.hidden;
        let (steps, batch) = (self.sizes.packing.steps(), self.sizes.packing.batch());
        let dtype = self.y.dtype();
        let dz = Tensor::on_gpu(gpu, dtype, [steps, batch, 4 * hidden])?;
        let dh = Tensor::on_gpu(gpu, DType::F32, [batch, hidden])?;
        let dc = Tensor::on_gpu(gpu, DType::F32, [batch, hidden])?;
        let dh_n = dh_n.map(|t| convert(&t, DType::F32)).transpose()?;
        let kernel = format!("lstm_gates_bwd_{dtype}");
        for t in (0..steps).rev() {
            let dy = dy
                .as_ref()
                .map_or(Ok(DevicePtr::NULL), |dy| step_of(dy, t))?;
            let (dh_next, dc_next) = match t + 1 == steps {
                true => (null_or(dh_n.as_ref())?, null_or(dc_n.as_ref())?),
                false => (dh.ptr()?, dc.ptr()?),
            };
            let c_prev = match (t, &self.state) {
                (0, None) => DevicePtr::NULL,
                (0, Some((_, c0))) => c0.value().ptr()?,
                _ => step_of(&self.cells, t - 1)?,
            };
            let (gates, c) = (step_of(&self.gates, t)?, step_of(&self.cells, t)?);
            let to = step_of(&dz, t)?;
            let pointers = [dy, dh_next, dc_next, gates, c, c_prev, to, dc.ptr()?];
            launch_units(gpu, &kernel, &self.sizes, &pointers)?;
            if t > 0 || self.state.is_some() {
                let dz = rows_at(to, dtype, batch, 4 * hidden);
                let w = GpuMat::of(self.w_hh.value(), false)?;
                gpu::gemm(gpu, dz, w, dh.ptr()?, DType::F32, false)?;
            }
        }
        self.give(grads, gpu, &dz, dh, dc)
    }
}

impl Node {
    fn give(
        &self,
        grads: &mut Grads,
        gpu: &Arc<Gpu>,
        dz: &Tensor,
        dh0: Tensor,
        dc0: Tensor,
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
        self.give_w_hh(grads, gpu, dz)?;
        if let Some((h0, c0)) = &self.state {
            grads.add(h0.slot(), convert(&dh0, dtype)?)?;
            grads.add(c0.slot(), dc0)?;
        }
        Ok(())
    }

    /// dW_hh = sum over t of dz_t^T h_{t-1}: one product over steps 1..T, and one for step 0 where
    /// there is an initial state.
    fn give_w_hh(&self, grads: &mut Grads, gpu: &Arc<Gpu>, dz: &Tensor) -> Result<()> {
        let hidden = self.sizes.hidden;
        let (steps, batch) = (self.sizes.packing.steps(), self.sizes.packing.batch());
        let dtype = dz.dtype();
        let shape = self.w_hh.value().shape();
        grads.write_gpu(self.w_hh.slot(), gpu, DType::F32, shape, |to| {
            let mut accumulate = to.accumulate;
            let mut product = |dz: DevicePtr, h: DevicePtr, rows: usize| {
                let dz = GpuMat {
                    transposed: true,
                    ..rows_at(dz, dtype, rows, 4 * hidden)
                };
                let h = rows_at(h, dtype, rows, hidden);
                gpu::gemm(
                    gpu,
                    dz,
                    h,
                    to.ptr,
                    to.dtype,
                    std::mem::replace(&mut accumulate, true),
                )
            };
            if let Some((h0, _)) = &self.state {
                product(dz.ptr()?, h0.value().ptr()?, batch)?;
            }
            if steps > 1 {
                product(step_of(dz, 1)?, self.y.ptr()?, (steps - 1) * batch)?;
            }
            if !accumulate {
                // One step from a zero state: no gradient has been written.
                gpu.driver()
                    .fill(to.ptr, 0, shape.numel() * to.dtype.size())?;
            }
            Ok(())
        })
    }
}
