//! The tape: nodes in the order of their creation, walked once in reverse.

use super::grads::{Grads, Slot};
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A value on the way from the inputs to the loss. It has a slot if its gradient is wanted.
#[derive(Clone, Debug)]
pub struct Var {
    value: Tensor,
    slot: Option<Slot>,
}

impl Var {
    /// A value without a gradient.
    pub fn constant(value: Tensor) -> Self {
        Var { value, slot: None }
    }

    /// The value.
    pub fn value(&self) -> &Tensor {
        &self.value
    }

    /// The value, given up by its last user so that it can be overwritten.
    pub fn into_value(self) -> Tensor {
        self.value
    }

    /// Where the gradient goes; none if nothing wants it.
    pub fn slot(&self) -> Option<Slot> {
        self.slot
    }

    /// Another form of the same value (of another precision), with the same gradient.
    pub fn with_value(&self, value: Tensor) -> Self {
        Var {
            value,
            slot: self.slot,
        }
    }

    /// The same elements and the same gradient in another shape.
    ///
    /// # Errors
    /// If the number of elements differs.
    pub fn reshape(&self, shape: impl Into<crate::shape::Shape>) -> Result<Self> {
        Ok(Var {
            value: self.value.reshape(shape)?,
            slot: self.slot,
        })
    }
}

/// The backward pass of one op: a named struct that holds what the forward pass saved.
pub trait Backward: Send {
    /// The op's name, for error messages.
    fn name(&self) -> &'static str;

    /// Takes the gradients of the op's outputs from `grads` and adds those of its inputs.
    ///
    /// # Errors
    /// If a gradient's shape or data type is not that of its value.
    fn backward(self: Box<Self>, grads: &mut Grads) -> Result<()>;
}

/// Records the ops of one forward pass.
pub struct Tape {
    nodes: Vec<Box<dyn Backward>>,
    grads: Grads,
    recording: bool,
    /// What ops have prepared; none where nothing is kept.
    prepared: Option<Vec<Prepared>>,
}

/// What an op made of some constants.
struct Prepared {
    op: &'static str,
    of: Vec<Tensor>,
    what: Arc<dyn Any + Send + Sync>,
}

/// The number of the next tape.
static NEXT: AtomicU64 = AtomicU64::new(1);

impl Tape {
    /// A tape that records.
    pub fn new() -> Self {
        Self::with(None, false)
    }

    fn with(flat: Option<Tensor>, adds: bool) -> Self {
        Tape {
            nodes: Vec::new(),
            grads: Grads::new(NEXT.fetch_add(1, Ordering::Relaxed), flat, adds),
            recording: true,
            prepared: None,
        }
    }

    /// A tape that records nothing: ops save nothing and nothing has a gradient.
    pub fn inference() -> Self {
        Tape {
            recording: false,
            ..Self::new()
        }
    }

    /// As [`Tape::inference`], for many steps with the same parameters: it holds those, and what ops
    /// [prepare](Tape::prepared) of them.
    pub fn of_steps() -> Self {
        Tape {
            prepared: Some(Vec::new()),
            ..Self::inference()
        }
    }

    /// A recording tape whose parameters' gradients are written into `flat`.
    pub fn with_flat_gradients(flat: Tensor) -> Self {
        Self::with(Some(flat), false)
    }

    /// A recording tape whose parameters' gradients are added to those that `flat` holds.
    pub fn adding_to(flat: Tensor) -> Self {
        Self::with(Some(flat), true)
    }

    /// Whether it keeps what ops prepare.
    pub fn keeps(&self) -> bool {
        self.prepared.is_some()
    }

    /// Whether ops are recorded.
    pub fn is_recording(&self) -> bool {
        self.recording
    }

    /// An input whose gradient is wanted.
    pub fn leaf(&mut self, value: Tensor) -> Var {
        let slot = self.recording.then(|| self.grads.new_slot(value.shape()));
        Var { value, slot }
    }

    /// A parameter: its gradient goes to the flat gradient tensor from element `offset` on.
    pub fn parameter(&mut self, value: Tensor, offset: usize) -> Var {
        let slot = self
            .recording
            .then(|| self.grads.new_segment(offset, value.shape()));
        Var { value, slot }
    }

    /// An op's output, which has a gradient if one of the inputs has.
    pub fn output(&mut self, value: Tensor, inputs: impl IntoIterator<Item = Option<Slot>>) -> Var {
        let wanted = self.recording && inputs.into_iter().any(|slot| slot.is_some());
        let slot = wanted.then(|| self.grads.new_slot(value.shape()));
        Var { value, slot }
    }

    /// What an op makes of its parameters before it computes, such as weights in the order of its inner
    /// loop. A tape [of steps](Tape::of_steps) keeps it for the next time that the op has the same ones.
    ///
    /// # Errors
    /// As `prepare`.
    pub fn prepared<P: Any + Send + Sync>(
        &mut self,
        op: &'static str,
        of: &[&Var],
        prepare: impl FnOnce() -> Result<P>,
    ) -> Result<Arc<P>> {
        let same = |p: &&Prepared| {
            let mut pairs = p.of.iter().zip(of);
            p.op == op && p.of.len() == of.len() && pairs.all(|(a, b)| a.is_same(&b.value))
        };
        let known = self.prepared.iter().flatten().find(same);
        if let Some(known) = known.and_then(|p| p.what.clone().downcast::<P>().ok()) {
            return Ok(known);
        }
        let what = Arc::new(prepare()?);
        if let Some(all) = &mut self.prepared {
            all.push(Prepared {
                op,
                of: of.iter().map(|var| var.value.clone()).collect(),
                what: what.clone(),
            });
        }
        Ok(what)
    }

    /// Records an op, after its outputs.
    pub fn push(&mut self, node: impl Backward + 'static) {
        self.nodes.push(Box::new(node));
    }

    /// Gradients of sum(output * seed) for every leaf and parameter.
    ///
    /// For a scalar loss the seed is one, or the loss scale.
    ///
    /// # Errors
    /// If `output` depends on nothing that has a gradient, an op's backward pass fails, or an op was
    /// given a value of another tape.
    pub fn backward(mut self, output: &Var, seed: Tensor) -> Result<Grads> {
        let slot = output.slot.ok_or_else(|| {
            Error::op(
                "backward",
                "the output depends on nothing that has a gradient",
            )
        })?;
        if seed.shape() != output.value.shape() {
            return Err(Error::op(
                "backward",
                format!(
                    "seed {} for an output {}",
                    seed.shape(),
                    output.value.shape()
                ),
            ));
        }
        self.grads.add(Some(slot), seed)?;
        for node in self.nodes.into_iter().rev() {
            let name = node.name();
            node.backward(&mut self.grads).map_err(|e| match e {
                Error::Op {
                    op: "gradient",
                    message,
                } => Error::op(name, format!("gradient: {message}")),
                other => other,
            })?;
        }
        Ok(self.grads)
    }
}

impl Default for Tape {
    fn default() -> Self {
        Self::new()
    }
}
