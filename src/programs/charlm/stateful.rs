//! A character LM whose state is carried from one call to the next.

use super::model::{CharLm, State};
use crate::autograd::{Tape, Var};
use crate::device::Gpu;
use crate::dtype::DType;
use crate::error::Result;
use crate::nn::Bound;
use crate::ops::cast::convert;
use crate::tensor::Tensor;
use crate::train::model::Model;
use std::sync::Arc;

/// Runs a character LM where its parameters are, from zero state on.
pub struct Stateful {
    model: CharLm,
    gpu: Option<Arc<Gpu>>,
    params: Bound,
    /// The first layer's gate table `[V, G H]`.
    table: Var,
    state: Option<State>,
}

impl Stateful {
    /// A model in zero state.
    ///
    /// # Errors
    /// If the device fails.
    pub fn new(model: CharLm) -> Result<Self> {
        let mut tape = Tape::inference();
        let params = model.params().bind(&mut tape);
        Ok(Stateful {
            gpu: model.params().values().gpu().cloned(),
            table: model.table(&mut tape, &params)?,
            model,
            params,
            state: None,
        })
    }

    /// V, characters.
    pub fn vocab(&self) -> usize {
        self.model.sizes().vocab
    }

    /// Feeds characters `[T, B]`, step by step, and returns the logits after each: `[T B, V]` in f32 on
    /// the CPU.
    ///
    /// # Errors
    /// If the batch is not the one of the calls before, an id is outside the vocabulary, or the device
    /// fails.
    pub fn step(&mut self, ids: &[u16], shape: [usize; 2]) -> Result<Tensor> {
        let ids: Vec<u32> = ids.iter().map(|&id| u32::from(id)).collect();
        let mut ids = Tensor::from_slice(&ids, shape)?;
        if let Some(gpu) = &self.gpu {
            ids = ids.to_gpu(gpu)?;
        }
        let mut tape = Tape::inference();
        let (table, state) = (Some(&self.table), self.state.as_ref());
        let (logits, state) = (self.model).forward(&mut tape, &self.params, &ids, table, state)?;
        self.state = Some(state);
        convert(logits.value(), DType::F32)?.to_cpu()
    }
}
