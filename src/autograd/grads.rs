//! Gradients during the backward pass: the first one to arrive is moved or written, later ones add.

use crate::dtype::Float;
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::{Stored, Tensor, for_float};

/// Names the gradient of one value of one tape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The number of the tape.
    tape: u64,
    index: usize,
}

#[derive(Debug)]
pub(super) enum Content {
    Empty,
    Owned(Tensor),
    /// A part of the flat gradient tensor.
    Segment {
        offset: usize,
        len: usize,
        written: bool,
    },
}

/// The gradients of a backward pass.
#[derive(Debug, Default)]
pub struct Grads {
    /// The number of the tape.
    tape: u64,
    pub(super) slots: Vec<Content>,
    /// Of the values. A gradient may arrive in another shape where the value was reshaped.
    pub(super) shapes: Vec<Shape>,
    pub(super) flat: Option<Tensor>,
    /// Whether the flat gradient tensor holds gradients that others are added to.
    adds: bool,
}

impl Grads {
    pub(super) fn new(tape: u64, flat: Option<Tensor>, adds: bool) -> Self {
        Grads {
            tape,
            flat,
            adds,
            ..Self::default()
        }
    }

    pub(super) fn new_slot(&mut self, shape: &Shape) -> Slot {
        self.push(Content::Empty, shape)
    }

    pub(super) fn new_segment(&mut self, offset: usize, shape: &Shape) -> Slot {
        let segment = Content::Segment {
            offset,
            len: shape.numel(),
            written: self.adds,
        };
        self.push(segment, shape)
    }

    fn push(&mut self, content: Content, shape: &Shape) -> Slot {
        self.slots.push(content);
        self.shapes.push(shape.clone());
        Slot {
            tape: self.tape,
            index: self.slots.len() - 1,
        }
    }

    /// Takes the gradient out; none if nothing has arrived, nothing wants it, or the value is of
    /// another tape. That of a parameter stays in the flat gradients.
    pub fn take(&mut self, slot: Option<Slot>) -> Option<Tensor> {
        let content = &mut self.slots[slot.filter(|slot| slot.tape == self.tape)?.index];
        match std::mem::replace(content, Content::Empty) {
            Content::Owned(t) => Some(t),
            Content::Empty => None,
            segment @ Content::Segment { .. } => {
                *content = segment;
                None
            }
        }
    }

    /// Adds `t` to a gradient; the first one is moved. Nothing happens where nothing is wanted.
    ///
    /// # Errors
    /// If `t` has another size or data type than what arrived before, or the value is of another
    /// tape.
    pub fn add(&mut self, slot: Option<Slot>, t: Tensor) -> Result<()> {
        let Some(index) = self.index(slot, t.shape())? else {
            return Ok(());
        };
        if matches!(self.slots[index], Content::Empty) {
            let t = t.reshape(self.shapes[index].clone())?;
            self.slots[index] = Content::Owned(t);
            return Ok(());
        }
        if let Some(gpu) = t.gpu() {
            return self.add_on_gpu(slot, gpu, &t);
        }
        for_float!("gradient", t.dtype(), T => {
            let from = t.data::<T>()?;
            self.write::<T>(slot, t.shape(), |to, accumulate| {
                if accumulate {
                    to.iter_mut().zip(from).for_each(|(to, &x)| *to += x);
                } else {
                    to.copy_from_slice(from);
                }
                Ok(())
            })
        })
    }

    /// Lends the gradient's memory to `f`, with true if `f` must add to it and false if it must
    /// overwrite it. Nothing happens where no gradient is wanted.
    ///
    /// # Errors
    /// What `f` returns; or a shape or data type that does not fit what arrived before, or a value of
    /// another tape.
    pub fn write<T: Float + Stored>(
        &mut self,
        slot: Option<Slot>,
        shape: &Shape,
        f: impl FnOnce(&mut [T], bool) -> Result<()>,
    ) -> Result<()> {
        let Some(index) = self.index(slot, shape)? else {
            return Ok(());
        };
        let accumulate = match &mut self.slots[index] {
            empty @ Content::Empty => {
                *empty = Content::Owned(Tensor::uninit::<T>(self.shapes[index].clone()));
                false
            }
            Content::Owned(t) => {
                if !t.is_unique() {
                    *t = Tensor::from_slice(t.data::<T>()?, t.shape().clone())?;
                }
                true
            }
            Content::Segment { written, .. } => std::mem::replace(written, true),
        };
        let to = match &mut self.slots[index] {
            Content::Segment { offset, len, .. } => {
                let flat = self.flat.as_mut().ok_or_else(no_flat)?;
                let elements = flat.numel();
                let range = *offset..*offset + *len;
                flat.data_mut::<T>()?.get_mut(range).ok_or_else(|| {
                    let end = format!("past the {elements} elements of the flat gradients");
                    Error::op("gradient", format!("{shape} at {offset} reaches {end}"))
                })?
            }
            Content::Owned(t) => t.data_mut::<T>()?,
            Content::Empty => &mut [],
        };
        f(to, accumulate)
    }

    /// Where a gradient is kept that has this shape, or one of as many elements.
    pub(super) fn index(&self, slot: Option<Slot>, shape: &Shape) -> Result<Option<usize>> {
        let Some(Slot { tape, index }) = slot else {
            return Ok(None);
        };
        if tape != self.tape {
            return Err(Error::op("gradient", "the value is of another tape"));
        }
        let value = &self.shapes[index];
        if value.numel() != shape.numel() {
            let message = format!("{shape} does not fit a value of {value}");
            return Err(Error::op("gradient", message));
        }
        Ok(Some(index))
    }

    /// The flat gradient tensor. Segments that no op wrote are zeroed.
    ///
    /// # Errors
    /// If the tape had no flat gradients.
    pub fn into_flat(mut self) -> Result<Tensor> {
        let mut flat = self
            .flat
            .take()
            .ok_or_else(|| Error::op("gradient", "the tape had no flat gradients"))?;
        for content in &self.slots {
            if let Content::Segment {
                offset,
                len,
                written: false,
            } = *content
            {
                match flat.gpu() {
                    Some(gpu) => {
                        let to = flat.slice(offset, [len])?.ptr()?;
                        gpu.driver().fill(to, 0, len * flat.dtype().size())
                    }
                    None => for_float!("gradient", flat.dtype(), T => {
                        flat.data_mut::<T>()?[offset..offset + len].fill(T::ZERO);
                        Ok(())
                    }),
                }?;
            }
        }
        Ok(flat)
    }
}

pub(super) fn no_flat() -> Error {
    Error::op(
        "gradient",
        "a parameter was used on a tape without flat gradients",
    )
}
