//! The tanh RNN on a GPU: a product over the active rows and a kernel for each step, and one large
//! product each for the input side, dx and the weight gradients.

use super::{Layer, RnnOutput};
use crate::autograd::{Backward, Grads, Slot, Tape, Var};
use crate::device::Gpu;
use crate::device::driver::DevicePtr;
use crate::dtype::DType;
use crate::error::Result;
use crate::ops::cast::convert;
use crate::ops::gpu::{self, GpuMat};
use crate::ops::packed::{launch_units, matrix, row_at, state_gradient};
use crate::tensor::Tensor;
use std::sync::Arc;

/// What the forward pass leaves for the backward pass.
struct Node {
    layer: Layer,
    y: Tensor,
    y_slot: Option<Slot>,
    h_n_slot: Option<Slot>,
}

impl Layer {
    /// Where the hidden states before step t lie; nowhere before step 0 of a zero state.
    fn states_before(&self, y: &Tensor, t: usize) -> Result<Option<DevicePtr>> {
        match (t, &self.h0) {
            (0, None) => Ok(None),
            (0, Some(h0)) => h0.value().ptr().map(Some),
            _ => row_at(y, &self.packing, self.packing.offset(t - 1)).map(Some),
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
                let before = matrix(before, dtype, rows, hidden);
                gpu::gemm(gpu, before, w_hh, product.ptr()?, DType::F32, false)?;
                product.ptr()?
            }
            None => DevicePtr::NULL,
        };
        let h = row_at(&y, packing, packing.offset(t))?;
        let pointers = [z, h, bias, h, h_n.ptr()?];
        let sizes = [rows, hidden, packing.active(t + 1)];
        launch_units(gpu, &kernel, &pointers, &sizes)?;
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
        let dh = state_gradient(gpu, dh_n, [packing.batch(), hidden])?;
        let w_hh = GpuMat::of(self.layer.w_hh.value(), false)?;
        for t in (0..packing.steps()).rev() {
            let (rows, at) = (packing.active(t), packing.offset(t));
            let dy = dy
                .as_ref()
                .map_or(Ok(DevicePtr::NULL), |dy| row_at(dy, packing, at))?;
            let h_prev = self.layer.states_before(&self.y, t)?;
            let h_prev = h_prev.unwrap_or(DevicePtr::NULL);
            let (h, to) = (row_at(&self.y, packing, at)?, row_at(&dz, packing, at)?);
            let pointers = [dy, dh.ptr()?, h, h_prev, to, row_at(&before, packing, at)?];
            launch_units(gpu, &kernel, &pointers, &[rows, hidden])?;
            if t > 0 || self.layer.h0.is_some() {
                let dz = matrix(to, dtype, rows, hidden);
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
