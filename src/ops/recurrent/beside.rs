//! Layers side by side on a GPU: what their steps and products read; see [`gpu`](super::gpu).

use super::layer::{Layer, LayerInput, State};
use super::packed::matrix;
use crate::autograd::Var;
use crate::data::packing::Packing;
use crate::device::Gpu;
use crate::device::driver::DevicePtr;
use crate::dtype::DType;
use crate::error::Result;
use crate::ops::gpu::{self, Columns, GpuMat};
use crate::tensor::Tensor;
use std::sync::Arc;

/// The layers of a node. Only a single one has an initial state or reads a table.
pub(super) struct Layers {
    pub(super) all: Vec<Layer>,
    /// The rows of all of them.
    pub(super) packing: Packing,
    /// W_hh of all of them `[ways, G H, H]`.
    pub(super) w_hh: Tensor,
}

impl Layers {
    /// The layers with W_hh of all of them.
    pub(super) fn new(gpu: &Arc<Gpu>, all: Vec<Layer>) -> Result<Self> {
        let w_hh: Vec<&Tensor> = all.iter().map(|layer| layer.w_hh.value()).collect();
        Ok(Layers {
            packing: all[0].packing.times(all.len()),
            w_hh: gpu::stacked(gpu, &w_hh)?,
            all,
        })
    }

    /// H.
    pub(super) fn hidden(&self) -> usize {
        self.all[0].hidden()
    }

    /// The initial state.
    pub(super) fn state(&self) -> Option<&State> {
        self.all[0].state.as_ref()
    }

    /// The biases that `of` picks `[ways, G H]`; none if the layers have none.
    pub(super) fn biases(
        &self,
        gpu: &Arc<Gpu>,
        of: fn(&Layer) -> Option<&Var>,
    ) -> Result<Option<Tensor>> {
        let biases: Vec<&Tensor> = self.all.iter().filter_map(of).map(Var::value).collect();
        match biases.is_empty() {
            true => Ok(None),
            false => gpu::stacked(gpu, &biases).map(Some),
        }
    }

    /// The columns of layer `way` in `rows` rows, which have `columns` elements.
    pub(super) fn columns(
        &self,
        way: usize,
        ptr: DevicePtr,
        rows: usize,
        columns: usize,
    ) -> Columns {
        let ways = self.all.len();
        let whole = matrix(ptr, self.w_hh.dtype(), rows / ways, ways * columns);
        whole.columns(way * columns, columns)
    }

    /// to = x W_hh^T of rows of H elements, or x W_hh of rows of G H elements.
    pub(super) fn times_w_hh(
        &self,
        gpu: &Gpu,
        (x, rows): (DevicePtr, usize),
        transposed: bool,
        to: DevicePtr,
        accumulate: bool,
    ) -> Result<()> {
        let (ways, hidden) = (self.all.len(), self.hidden());
        let gates = self.all[0].w_hh.value().shape().rows();
        let (depth, width) = match transposed {
            true => (hidden, gates),
            false => (gates, hidden),
        };
        let w = GpuMat {
            transposed,
            ..matrix(self.w_hh.ptr()?, self.w_hh.dtype(), gates, hidden)
        };
        let x = (self.columns(0, x, rows, depth), depth);
        let (w, to) = ((w.into(), gates * hidden), (to, ways * width, width));
        gpu::gemm_batch(gpu, ways, x, w, to, DType::F32, accumulate)
    }

    /// x_t W_ih^T for all t at once, with the bias that is to be added; or the table whose rows the
    /// ids name.
    pub(super) fn side(&self, gpu: &Arc<Gpu>, gates: usize) -> Result<Side> {
        if let LayerInput::Table { table, ids } = &self.all[0].input {
            return Ok(Side {
                sums: table.value().clone(),
                ids: Some(ids.clone()),
                bias: None,
            });
        }
        let (ways, dtype) = (self.all.len(), self.w_hh.dtype());
        let sums = Tensor::on_gpu(gpu, dtype, [self.packing.rows(), gates])?;
        for (way, layer) in self.all.iter().enumerate() {
            if let LayerInput::Dense { x, w_ih, .. } = &layer.input {
                let x = GpuMat::of(x.value(), false)?;
                let w = GpuMat::of(w_ih.value(), true)?;
                let to = sums.ptr()?.offset(way * gates * dtype.size());
                gpu::gemm_columns(gpu, x, w, (to, ways * gates), dtype, false)?;
            }
        }
        Ok(Side {
            sums,
            ids: None,
            bias: self.biases(gpu, Layer::bias)?,
        })
    }
}

/// Where the gates' input side comes from.
pub(super) struct Side {
    /// `[N, G H]`, or a table `[V, G H]`.
    pub(super) sums: Tensor,
    /// Rows of the table `[N]`.
    pub(super) ids: Option<Tensor>,
    /// `[ways, G H]`
    pub(super) bias: Option<Tensor>,
}
