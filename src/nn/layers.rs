//! Layers: parameters by name, and the ops that use them.

use super::init::Init;
use super::params::{Bound, Layout, ParamId};
use crate::autograd::{Tape, Var};
use crate::error::Result;
use crate::ops;
use crate::ops::lstm::{Input, Output};
use crate::tensor::Tensor;

/// A table of vectors, one an id.
#[derive(Clone, Copy, Debug)]
pub struct Embedding {
    weight: ParamId,
}

impl Embedding {
    /// Adds `{name}.weight` `[vocab, dim]`, uniform in -0.05..0.05 as Keras.
    pub fn new(layout: &mut Layout, name: &str, vocab: usize, dim: usize) -> Self {
        let init = Init::Uniform(0.05);
        Embedding {
            weight: layout.add(format!("{name}.weight"), [vocab, dim], init),
        }
    }

    /// The table.
    pub fn weight<'a>(&self, params: &'a Bound) -> &'a Var {
        params.var(self.weight)
    }

    /// Vectors of ids `[..]`, giving `[.., dim]`.
    ///
    /// # Errors
    /// If an id is outside the vocabulary.
    pub fn forward(&self, tape: &mut Tape, params: &Bound, ids: &Tensor) -> Result<Var> {
        ops::embedding(tape, self.weight(params), ids)
    }
}

/// y = x W^T + b
#[derive(Clone, Copy, Debug)]
pub struct Linear {
    weight: ParamId,
    bias: ParamId,
}

impl Linear {
    /// Adds `{name}.weight` `[outputs, inputs]`, Glorot uniform, and `{name}.bias` `[outputs]`, zero.
    pub fn new(layout: &mut Layout, name: &str, inputs: usize, outputs: usize) -> Self {
        Linear {
            weight: layout.add(
                format!("{name}.weight"),
                [outputs, inputs],
                Init::GlorotUniform,
            ),
            bias: layout.add(format!("{name}.bias"), [outputs], Init::Zeros),
        }
    }

    /// The weight `[outputs, inputs]`.
    pub fn weight<'a>(&self, params: &'a Bound) -> &'a Var {
        params.var(self.weight)
    }

    /// Rows `[.., inputs]` to `[rows, outputs]`.
    ///
    /// # Errors
    /// If the rows are not `inputs` wide.
    pub fn forward(&self, tape: &mut Tape, params: &Bound, x: &Var) -> Result<Var> {
        let product = ops::matmul(tape, x, self.weight(params), false, true)?;
        ops::add_bias(tape, product, params.var(self.bias))
    }
}

/// One LSTM layer over whole sequences.
#[derive(Clone, Copy, Debug)]
pub struct Lstm {
    w_ih: ParamId,
    w_hh: ParamId,
    bias: ParamId,
}

impl Lstm {
    /// Adds `{name}.weight_ih_l{k}` `[4H, I]` (Glorot uniform), `{name}.weight_hh_l{k}` `[4H, H]`
    /// (orthogonal) and `{name}.bias_ih_l{k}` `[4H]` (forget gate one).
    pub fn new(layout: &mut Layout, name: &str, k: usize, inputs: usize, hidden: usize) -> Self {
        let rows = 4 * hidden;
        Lstm {
            w_ih: layout.add(
                format!("{name}.weight_ih_l{k}"),
                [rows, inputs],
                Init::GlorotUniform,
            ),
            w_hh: layout.add(
                format!("{name}.weight_hh_l{k}"),
                [rows, hidden],
                Init::Orthogonal,
            ),
            bias: layout.add(format!("{name}.bias_ih_l{k}"), [rows], Init::ForgetOne),
        }
    }

    /// Runs over x `[T, B, I]` from the state (h, c), zero if absent.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn forward(
        &self,
        tape: &mut Tape,
        params: &Bound,
        x: &Var,
        state: Option<(&Var, &Var)>,
    ) -> Result<Output> {
        let input = Input::Dense {
            x,
            w_ih: params.var(self.w_ih),
            bias: params.var(self.bias),
        };
        ops::lstm(tape, input, params.var(self.w_hh), state)
    }

    /// Runs over the embeddings of ids `[T, B]`.
    ///
    /// Where the sequence is longer than the vocabulary, the input side is computed once for each
    /// id (the gate table E W_ih^T + b) in place of once for each position.
    ///
    /// # Errors
    /// If an id is outside the vocabulary or the shapes do not fit.
    pub fn forward_ids(
        &self,
        tape: &mut Tape,
        params: &Bound,
        embedding: &Embedding,
        ids: &Tensor,
        state: Option<(&Var, &Var)>,
    ) -> Result<Output> {
        let vocab = embedding.weight(params).value().shape().rows();
        if ids.numel() < vocab {
            let x = embedding.forward(tape, params, ids)?;
            return self.forward(tape, params, &x, state);
        }
        let e = embedding.weight(params);
        let product = ops::matmul(tape, e, params.var(self.w_ih), false, true)?;
        let table = ops::add_bias(tape, product, params.var(self.bias))?;
        let input = Input::Table { table: &table, ids };
        ops::lstm(tape, input, params.var(self.w_hh), state)
    }
}
