//! One side of a comparison: where a case is computed, with what numbers.

use crate::device::Gpu;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::cast::convert;
use crate::rng::{Purpose, Stream};
use crate::shape::Shape;
use crate::tensor::Tensor;
use half::f16;
use std::sync::Arc;

/// Seed of all inputs.
const SEED: u64 = 20_260_731;

/// Where a case is computed, and in which data types.
#[derive(Clone, Debug)]
pub(super) struct Side {
    /// The device; none is the CPU.
    pub gpu: Option<Arc<Gpu>>,
    /// The data type of the case: inputs are rounded to it on every side.
    pub stored: DType,
    /// The data type that this side's ops are given.
    pub compute: DType,
}

impl Side {
    /// The CPU in f64, with inputs that are exact in `stored`.
    pub fn reference(stored: DType) -> Self {
        Side {
            gpu: None,
            stored,
            compute: DType::F64,
        }
    }

    /// What is tested: a GPU in `stored`, or the CPU, which computes in f32.
    pub fn tested(gpu: Option<&Arc<Gpu>>, stored: DType) -> Self {
        let compute = if gpu.is_some() { stored } else { DType::F32 };
        Side {
            gpu: gpu.cloned(),
            stored,
            compute,
        }
    }

    /// Whether parameters are f32 with an f16 copy, and the loss is scaled.
    pub fn mixed(&self) -> bool {
        self.stored == DType::F16
    }

    /// A tensor of host memory, where this side computes.
    pub fn place(&self, t: &Tensor) -> Result<Tensor> {
        match &self.gpu {
            Some(gpu) => t.to_gpu(gpu),
            None => Ok(t.clone()),
        }
    }

    /// The data type of what a GPU keeps in f32 whatever the case's is: cell states and the
    /// gradients of parameters.
    pub fn wide(&self) -> DType {
        match self.compute {
            DType::F16 => DType::F32,
            other => other,
        }
    }

    /// Numbers rounded to the case's data type, as doubles.
    pub fn rounded(&self, x: &Tensor) -> Result<Tensor> {
        convert(&convert(x, self.stored)?, DType::F64)
    }
}

/// Tensor number `k` of a shape: f64, uniform in [-scale, scale).
pub(super) fn random(k: u32, shape: &Shape, scale: f64) -> Result<Tensor> {
    let mut reader = Stream::new(SEED, Purpose::Sample, k).reader();
    let draw = |_| scale * (2.0 * reader.uniform() - 1.0);
    let data: Vec<f64> = (0..shape.numel()).map(draw).collect();
    Tensor::from_slice(&data, shape.clone())
}

/// Ids number `k` of a shape, below `vocab`.
pub(super) fn ids(k: u32, shape: impl Into<Shape>, vocab: usize) -> Result<Tensor> {
    let shape = shape.into();
    let mut reader = Stream::new(SEED, Purpose::Shuffle, k).reader();
    let data: Vec<u32> = (0..shape.numel())
        .map(|_| reader.below(vocab as u32))
        .collect();
    Tensor::from_slice(&data, shape)
}

/// The elements of a tensor anywhere, as doubles.
pub(super) fn numbers(t: &Tensor) -> Result<Vec<f64>> {
    let t = t.to_cpu()?;
    Ok(match t.dtype() {
        DType::F64 => t.data::<f64>()?.to_vec(),
        DType::F32 => t.data::<f32>()?.iter().map(|&x| x.into()).collect(),
        DType::F16 => t.data::<f16>()?.iter().map(|&x| x.into()).collect(),
        DType::U32 => t.data::<u32>()?.iter().map(|&x| x.into()).collect(),
    })
}

/// Elements of the margin before and behind a guarded tensor; a multiple of every alignment.
const MARGIN: usize = 64;
/// What margins hold: exact in every data type, and far from every result.
pub(super) const SENTINEL: f64 = 1234.0;

/// An input between two margins. Nothing may write to either.
pub(super) struct Guarded {
    whole: Tensor,
    before: Vec<f64>,
    /// The input itself.
    pub tensor: Tensor,
}

impl Guarded {
    /// Places `values` on a side as `dtype`.
    pub fn new(side: &Side, values: &Tensor, dtype: DType) -> Result<Self> {
        let n = values.numel();
        let mut before = vec![SENTINEL; MARGIN];
        before.extend(numbers(values)?);
        before.resize(n + 2 * MARGIN, SENTINEL);
        let whole = Tensor::from_slice(&before, [before.len()])?;
        let whole = side.place(&convert(&whole, dtype)?)?;
        Ok(Guarded {
            before: numbers(&whole)?,
            tensor: whole.slice(MARGIN, values.shape().clone())?,
            whole,
        })
    }

    /// Whether input and margins are as they were.
    pub fn check(&self, name: &str) -> Result<()> {
        let changed = |(a, b): (&f64, &f64)| a.to_bits() != b.to_bits();
        let after = numbers(&self.whole)?;
        match after.iter().zip(&self.before).position(changed) {
            None => Ok(()),
            Some(at) => {
                let element = at as i64 - MARGIN as i64;
                let message = format!("the op wrote to element {element} of its input {name}");
                Err(Error::op("selftest", message))
            }
        }
    }
}

/// A flat gradient with segments for parameters, and margins around each.
pub(super) struct FlatPlan {
    segments: Vec<(usize, usize)>,
    len: usize,
}

impl FlatPlan {
    /// Room for parameters of these numbers of elements.
    pub fn new(sizes: &[usize]) -> Self {
        let mut len = MARGIN;
        let place = |&n: &usize| {
            let offset = len;
            len = (offset + n).next_multiple_of(16) + MARGIN;
            (offset, n)
        };
        let segments = sizes.iter().map(place).collect();
        FlatPlan { segments, len }
    }

    /// First element of a segment.
    pub fn offset(&self, segment: usize) -> usize {
        self.segments[segment].0
    }

    /// The flat gradient before anything is written.
    pub fn tensor(&self, side: &Side) -> Result<Tensor> {
        let flat = Tensor::from_slice(&vec![SENTINEL; self.len], [self.len])?;
        side.place(&convert(&flat, side.wide())?)
    }

    /// The segments of a flat gradient, whose margins must be as they were.
    pub fn segments(&self, flat: &Tensor) -> Result<Vec<Vec<f64>>> {
        let flat = numbers(flat)?;
        let mut end = 0;
        let mut margins = Vec::new();
        for &(offset, n) in &self.segments {
            margins.extend(end..offset);
            end = offset + n;
        }
        margins.extend(end..self.len);
        if let Some(at) = margins.into_iter().find(|&i| flat[i] != SENTINEL) {
            let message =
                format!("element {at} of the flat gradient is between two tensors and was written");
            return Err(Error::op("selftest", message));
        }
        let parts = self.segments.iter();
        Ok(parts.map(|&(at, n)| flat[at..at + n].to_vec()).collect())
    }
}
