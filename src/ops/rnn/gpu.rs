//! The tanh RNN on a GPU: a product over the active rows and a kernel for each step, and one large
//! product each for the input side, dx and the weight gradients.

use super::{Layer, RnnOutput};
use crate::autograd::{Backward, Grads, Slot, Tape, Var};
use crate::device::Gpu;
use crate::device::driver::{Arg, DevicePtr, Launch};
use crate::dtype::DType;
use crate::error::Result;
use crate::ops::cast::convert;
use crate::ops::gpu::{self, GpuMat};
use crate::tensor::Tensor;
use std::sync::Arc;

/// What the forward pass leaves for the backward pass.
struct Node {
    layer: Layer,
    y: Tensor,
    y_slot: Option<Slot>,
    h_n_slot: Option<Slot>,
}

/// The address of a row of `[.., H]`.
fn row_of(t: &Tensor, row: usize) -> Result<DevicePtr> {
    let bytes = t.shape().last() * t.dtype().size();
    Ok(t.ptr()?.offset(row * bytes))
}

/// The first rows of a matrix of rows of H elements.
fn rows_at(ptr: DevicePtr, dtype: DType, rows: usize, hidden: usize) -> GpuMat {
    GpuMat {
        ptr,
        dtype,
        stored: (rows, hidden),
        transposed: false,
    }
}

/// Runs a kernel with one thread for each unit of some rows. `sizes` are the arguments behind the
/// number of rows; the first is H.
fn launch(
    gpu: &Gpu,
    kernel: &str,
    rows: usize,
    pointers: &[DevicePtr],
    sizes: &[u32],
) -> Result<()> {
    let threads = 256;
    let units = rows * sizes[0] as usize;
    let mut args: Vec<Arg> = pointers.iter().map(|&p| p.into()).collect();
    args.push((rows as u32).into());
    args.extend(sizes.iter().map(|&n| Arg::from(n)));
    let blocks = units.div_ceil(threads) as u32;
    gpu.launch(&Launch::new(kernel, blocks, threads as u32), &args)
}

impl Layer {
    /// Where the hidden states before step t lie; nowhere before step 0 of a zero state.
    fn states_before(&self, y: &Tensor, t: usize) -> Result<Option<DevicePtr>> {
        match (t, &self.h0) {
            (0, None) => Ok(None),
            (0, Some(h0)) => h0.value().ptr().map(Some),
            _ => row_of(y, self.packing.offset(t - 1)).map(Some),
        }
    }
}

pub(super) fn run(gpu: &Arc<Gpu>, tape: &mut Tape, layer: Layer) -> Result<RnnOutput> {
    let hidden = layer.hidden();
    let (packing, dtype) = (&layer.packing, layer.w_hh.value().dtype());
    // The input side of all steps, which becomes h step by step.
    let y = Tensor::on_gpu(gpu, dtype, [packing.rows(), hidden])?;
    let x = GpuMat::of(layer.x.value(), false)?;
    let w_ih = GpuMat::of(layer.w_ih.value(), true)?;
    gpu::gemm(gpu, x, w_ih, y.ptr()?, dtype, false)?;

    let h_n = Tensor::on_gpu(gpu, dtype, [packing.batch(), hidden])?;
    let product = Tensor::on_gpu(gpu, DType::F32, [packing.batch(), hidden])?;
    let w_hh = GpuMat::of(layer.w_hh.value(), true)?;
    let (bias, kernel) = (layer.bias.value().ptr()?, format!("rnn_fwd_{dtype}"));
    for t in 0..packing.steps() {
        let rows = packing.active(t);
        let z = match layer.states_before(&y, t)? {
            Some(before) => {
                let before = rows_at(before, dtype, rows, hidden);
                gpu::gemm(gpu, before, w_hh, product.ptr()?, DType::F32, false)?;
                product.ptr()?
            }
            None => DevicePtr::NULL,
        };
        let h = row_of(&y, packing.offset(t))?;
        let pointers = [z, h, bias, h, h_n.ptr()?];
        let sizes = [hidden, packing.active(t + 1)].map(|n| n as u32);
        launch(gpu, &kernel, rows, &pointers, &sizes)?;
    }
    let out = layer.outputs(tape, y.clone(), h_n);
    if out.y.slot().is_some() {
        tape.push(Node {
            layer,
            y,
            y_slot: out.y.slot(),
            h_n_slot: out.h_n.slot(),
        });
    }
    Ok(out)
}

// ---- backward ------------------------------------------------------------------------------

impl Backward for Node {
    fn name(&self) -> &'static str {
        "rnn"
    }

    fn backward(self: Box<Self>, grads: &mut Grads) -> Result<()> {
        let (dy, dh_n) = (grads.take(self.y_slot), grads.take(self.h_n_slot));
        let Some(gpu) = self.y.gpu().filter(|_| dy.is_some() || dh_n.is_some()) else {
            return Ok(());
        };
        let (packing, hidden) = (&self.layer.packing, self.layer.hidden());
        let (dtype, kernel) = (self.y.dtype(), format!("rnn_bwd_{}", self.y.dtype()));
        let dz = Tensor::on_gpu(gpu, dtype, self.y.shape().clone())?;
        // h_{t-1} of each packed row, gathered on the way for one product.
        let before = Tensor::on_gpu(gpu, dtype, self.y.shape().clone())?;
        let dh = state_gradient(gpu, dh_n, packing.batch(), hidden)?;
        let w_hh = GpuMat::of(self.layer.w_hh.value(), false)?;
        for t in (0..packing.steps()).rev() {
            let (rows, at) = (packing.active(t), packing.offset(t));
            let dy = dy
                .as_ref()
                .map_or(Ok(DevicePtr::NULL), |dy| row_of(dy, at))?;
            let h_prev = self.layer.states_before(&self.y, t)?;
            let h_prev = h_prev.unwrap_or(DevicePtr::NULL);
            let (h, to) = (row_of(&self.y, at)?, row_of(&dz, at)?);
            let pointers = [dy, dh.ptr()?, h, h_prev, to, row_of(&before, at)?];
            launch(gpu, &kernel, rows, &pointers, &[hidden as u32])?;
            if t > 0 || self.layer.h0.is_some() {
                let dz = rows_at(to, dtype, rows, hidden);
                gpu::gemm(gpu, dz, w_hh, dh.ptr()?, DType::F32, false)?;
            }
        }
        self.give(grads, gpu, &dz, &before)?;
        let h0 = self.layer.h0.as_ref().and_then(Var::slot);
        match h0 {
            Some(_) => grads.add(h0, convert(&dh, dtype)?),
            None => Ok(()),
        }
    }
}

/// The gradient of h_n as f32 `[B, H]`, in memory of its own: the steps overwrite it row by row.
fn state_gradient(
    gpu: &Arc<Gpu>,
    dh_n: Option<Tensor>,
    batch: usize,
    hidden: usize,
) -> Result<Tensor> {
    let Some(dh_n) = dh_n else {
        let dh = Tensor::on_gpu(gpu, DType::F32, [batch, hidden])?;
        let bytes = dh.numel() * DType::F32.size();
        gpu.driver().fill(dh.ptr()?, 0, bytes)?;
        return Ok(dh);
    };
    let mut dh = convert(&dh_n, DType::F32)?;
    drop(dh_n);
    match dh.is_unique() {
        true => Ok(dh),
        false => dh.copy_on_gpu(gpu),
    }
}

impl Node {
    fn give(&self, grads: &mut Grads, gpu: &Arc<Gpu>, dz: &Tensor, before: &Tensor) -> Result<()> {
        let Layer {
            x,
            w_ih,
            bias,
            w_hh,
            ..
        } = &self.layer;
        let dz_t = GpuMat::of(dz, true)?;
        grads.write_gpu(x.slot(), gpu, dz.dtype(), x.value().shape(), |to| {
            let (dz, w) = (GpuMat::of(dz, false)?, GpuMat::of(w_ih.value(), false)?);
            gpu::gemm(gpu, dz, w, to.ptr, to.dtype, to.accumulate)
        })?;
        for (w, input) in [(w_ih, x.value()), (w_hh, before)] {
            grads.write_gpu(w.slot(), gpu, DType::F32, w.value().shape(), |to| {
                let input = GpuMat::of(input, false)?;
                gpu::gemm(gpu, dz_t, input, to.ptr, to.dtype, to.accumulate)
            })?;
        }
        gpu::column_sum(grads, bias.slot(), gpu, dz, bias.value().shape())
    }
}
