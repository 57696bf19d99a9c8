//! Parameters in one flat tensor with named segments.
//!
//! Gradients and the optimizer's moments are flat tensors of the same layout, so the optimizer is
//! one pass, a checkpoint is a copy, and clipping per tensor or over all is a choice of segments.

use super::init::Init;
use crate::autograd::{Tape, Var};
use crate::device::Gpu;
use crate::device::cpu::simd::Dispatch;
use crate::dtype::DType;
use crate::error::Result;
use crate::files::tensors::{HostTensor, TensorFile};
use crate::ops::cast::convert;
use crate::rng::{Purpose, Stream};
use crate::shape::Shape;
use crate::tensor::{Stored, Tensor};
use std::sync::Arc;

/// Segments start at multiples of this many elements: a cache line of f32.
const ALIGN: usize = 16;

/// Names a parameter of a model, or some rows of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParamId(usize);

/// One parameter's place in the flat tensors.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Name in checkpoints, torch's where torch has one.
    pub name: String,
    /// Extents.
    pub shape: Shape,
    /// First element in the flat tensors.
    pub offset: usize,
    /// Initial values.
    pub init: Init,
}

/// The segments of a model, in the order in which they were added.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    segments: Vec<Segment>,
    parts: Vec<Part>,
    shared: Vec<Shared>,
    len: usize,
}

/// A second name of a parameter.
#[derive(Clone, Debug)]
pub struct Shared {
    /// What torch's `state_dict` calls it, too.
    pub name: String,
    /// The name of its segment.
    pub of: String,
}

/// What a [`ParamId`] names: a segment, or some rows of one.
#[derive(Clone, Debug)]
struct Part {
    segment: usize,
    shape: Shape,
    /// First element in the flat tensors.
    offset: usize,
}

impl Layout {
    /// Adds a parameter.
    pub fn add(&mut self, name: impl Into<String>, shape: impl Into<Shape>, init: Init) -> ParamId {
        let offset = self.push(name.into(), shape.into(), init);
        let segment = self.segments.len() - 1;
        self.parts.push(Part {
            segment,
            shape: self.segments[segment].shape.clone(),
            offset,
        });
        ParamId(self.parts.len() - 1)
    }

    /// Adds a parameter that is used in parts: so many rows of `[.., columns]` each, one below the other,
    /// or without columns so many elements.
    pub fn add_parts<const N: usize>(
        &mut self,
        name: impl Into<String>,
        rows: [usize; N],
        columns: Option<usize>,
        init: Init,
    ) -> [ParamId; N] {
        let shape = |rows: usize| -> Shape {
            let dims = [Some(rows), columns].into_iter().flatten();
            dims.collect::<Vec<_>>().into()
        };
        let mut offset = self.push(name.into(), shape(rows.iter().sum()), init);
        let segment = self.segments.len() - 1;
        rows.map(|rows| {
            let part = Part {
                segment,
                shape: shape(rows),
                offset,
            };
            offset += part.shape.numel();
            self.parts.push(part);
            ParamId(self.parts.len() - 1)
        })
    }

    /// Gives a parameter a second name: files of other frameworks may have it twice.
    pub fn share(&mut self, name: impl Into<String>, id: ParamId) {
        let of = self.segment(id).name.clone();
        let name = name.into();
        self.shared.push(Shared { name, of });
    }

    /// The second names.
    pub fn shared(&self) -> &[Shared] {
        &self.shared
    }

    /// Adds a segment and returns its first element.
    fn push(&mut self, name: String, shape: Shape, init: Init) -> usize {
        let offset = self.len;
        self.len = (offset + shape.numel()).next_multiple_of(ALIGN);
        self.segments.push(Segment {
            name,
            shape,
            offset,
            init,
        });
        offset
    }

    /// The segments.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The segment of a parameter.
    pub fn segment(&self, id: ParamId) -> &Segment {
        &self.segments[self.parts[id.0].segment]
    }

    /// Elements of the flat tensors, the gaps between segments included.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no parameter.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Trained numbers.
    pub fn parameters(&self) -> usize {
        self.segments.iter().map(|s| s.shape.numel()).sum()
    }

    /// Copies a flat f32 tensor of this layout into named host tensors, with `prefix` before each
    /// name.
    ///
    /// # Errors
    /// If the tensor is not f32.
    pub fn export(&self, flat: &Tensor, prefix: &str, to: &mut TensorFile) -> Result<()> {
        let flat = flat.to_cpu()?;
        let data = flat.data::<f32>()?;
        for s in &self.segments {
            let tensor = HostTensor {
                shape: s.shape.dims().to_vec(),
                data: data[s.offset..][..s.shape.numel()].to_vec(),
            };
            to.tensors.insert(format!("{prefix}{}", s.name), tensor);
        }
        Ok(())
    }

    /// The inverse of [`Layout::export`].
    ///
    /// # Errors
    /// If a tensor is missing or has another shape.
    pub fn import(&self, from: &TensorFile, prefix: &str, flat: &mut Tensor) -> Result<()> {
        let data = flat.data_mut::<f32>()?;
        for s in &self.segments {
            let tensor = from.get(&format!("{prefix}{}", s.name), s.shape.dims())?;
            data[s.offset..][..s.shape.numel()].copy_from_slice(&tensor.data);
        }
        Ok(())
    }
}

/// A model's parameters.
#[derive(Clone, Debug)]
pub struct Params {
    layout: Arc<Layout>,
    values: Tensor,
    /// The same in f16, for the products of mixed precision.
    half: Option<Tensor>,
}

impl Params {
    /// Initial values from the seed: each segment has random numbers of its own.
    pub fn new<T: Stored + Dispatch>(layout: Layout, seed: u64) -> Self {
        let values = Tensor::zeros_with::<T>([layout.len()], |flat| {
            for (i, s) in layout.segments.iter().enumerate() {
                let random = Stream::new(seed, Purpose::Init, i as u32).reader();
                let drawn = s.init.values(s.shape.dims(), random);
                for (to, x) in flat[s.offset..].iter_mut().zip(drawn) {
                    *to = T::from_f64(x);
                }
            }
        });
        Params {
            layout: Arc::new(layout),
            values,
            half: None,
        }
    }

    /// The segments.
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// All values, flat.
    pub fn values(&self) -> &Tensor {
        &self.values
    }

    /// All values, flat, to be written or exchanged for others of the layout's length. No [`Bound`]
    /// or tape may be alive.
    pub fn values_mut(&mut self) -> &mut Tensor {
        &mut self.values
    }

    /// Moves the values to a GPU; with `mixed` an f16 copy of them stands beside.
    ///
    /// # Errors
    /// If the device fails or has not enough memory.
    pub fn to_gpu(&mut self, gpu: &Arc<Gpu>, mixed: bool) -> Result<()> {
        self.values = self.values.to_gpu(gpu)?;
        self.half = match mixed {
            true => Some(convert(&self.values, DType::F16)?),
            false => None,
        };
        Ok(())
    }

    /// The f16 copy, which the optimizer keeps up to date.
    pub fn half(&self) -> Option<&Tensor> {
        self.half.as_ref()
    }

    /// Puts every parameter on a tape. Panics where the values were exchanged for fewer.
    pub fn bind(&self, tape: &mut Tape) -> Bound {
        let mut bound = Bound {
            compute: Vec::new(),
            master: Vec::new(),
        };
        for part in &self.layout.parts {
            let view = |flat: &Tensor| flat.part(part.offset, part.shape.clone());
            let master = tape.parameter(view(&self.values), part.offset);
            bound.compute.push(match &self.half {
                Some(half) => master.with_value(view(half)),
                None => master.clone(),
            });
            bound.master.push(master);
        }
        bound
    }
}

/// A model's parameters on a tape.
#[derive(Debug)]
pub struct Bound {
    compute: Vec<Var>,
    master: Vec<Var>,
}

impl Bound {
    /// One parameter, in the precision of the products.
    pub fn var(&self, id: ParamId) -> &Var {
        &self.compute[id.0]
    }

    /// One parameter in full precision, with the same gradient.
    pub fn master(&self, id: ParamId) -> &Var {
        &self.master[id.0]
    }
}
