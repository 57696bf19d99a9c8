//! Layers: parameters by name, and the ops that use them.

use super::init::Init;
use super::params::{Bound, Layout, ParamId};
use crate::autograd::{Tape, Var};
use crate::data::packing::Packing;
use crate::error::Result;
use crate::ops;
use crate::ops::attention::Cell;
use crate::ops::lstm::{Input, Output};
use crate::ops::rnn::RnnOutput;
use crate::tensor::Tensor;

/// Whose initial values layers take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Keras: embeddings uniform in -0.05..0.05, weights Glorot uniform, recurrent ones orthogonal,
    /// biases zero but for the forget gate's, which are one.
    Keras,
    /// PyTorch: embeddings standard normal, linear layers uniform within 1 / sqrt(inputs), recurrent
    /// layers within 1 / sqrt(H), with the sum of two draws for the one bias.
    Torch,
}

impl Style {
    /// The initial values of weights and bias of a linear layer.
    fn linear(self, inputs: usize) -> (Init, Init) {
        match self {
            Style::Keras => (Init::GlorotUniform, Init::Zeros),
            Style::Torch => {
                let init = Init::Uniform(1.0 / (inputs as f64).sqrt());
                (init, init)
            }
        }
    }

    /// The initial values of input weights, recurrent weights and bias of a recurrent layer.
    fn recurrent(self, hidden: usize, keras_bias: Init) -> [Init; 3] {
        match self {
            Style::Keras => [Init::GlorotUniform, Init::Orthogonal, keras_bias],
            Style::Torch => {
                let limit = 1.0 / (hidden as f64).sqrt();
                let init = Init::Uniform(limit);
                [init, init, Init::UniformSum(limit)]
            }
        }
    }
}

/// A table of vectors, one an id.
#[derive(Clone, Copy, Debug)]
pub struct Embedding {
    weight: ParamId,
}

impl Embedding {
    /// Adds `{name}.weight` `[vocab, dim]`.
    pub fn new(layout: &mut Layout, name: &str, vocab: usize, dim: usize, style: Style) -> Self {
        let init = match style {
            Style::Keras => Init::Uniform(0.05),
            Style::Torch => Init::Normal,
        };
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

/// y = x W^T
#[derive(Clone, Copy, Debug)]
pub struct Projection {
    weight: ParamId,
}

impl Projection {
    /// Adds `{name}.weight` `[outputs, inputs]`.
    pub fn new(
        layout: &mut Layout,
        name: &str,
        inputs: usize,
        outputs: usize,
        style: Style,
    ) -> Self {
        let (init, _) = style.linear(inputs);
        Projection {
            weight: layout.add(format!("{name}.weight"), [outputs, inputs], init),
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
        ops::matmul(tape, x, self.weight(params), false, true)
    }
}

/// y = x W^T + b
#[derive(Clone, Copy, Debug)]
pub struct Linear {
    projection: Projection,
    bias: ParamId,
}

impl Linear {
    /// Adds `{name}.weight` `[outputs, inputs]` and `{name}.bias` `[outputs]`.
    pub fn new(
        layout: &mut Layout,
        name: &str,
        inputs: usize,
        outputs: usize,
        style: Style,
    ) -> Self {
        let (_, bias) = style.linear(inputs);
        Linear {
            projection: Projection::new(layout, name, inputs, outputs, style),
            bias: layout.add(format!("{name}.bias"), [outputs], bias),
        }
    }

    /// The weight `[outputs, inputs]`.
    pub fn weight<'a>(&self, params: &'a Bound) -> &'a Var {
        self.projection.weight(params)
    }

    /// Names the weight.
    pub fn weight_id(&self) -> ParamId {
        self.projection.weight
    }

    /// The bias `[outputs]`.
    pub fn bias<'a>(&self, params: &'a Bound) -> &'a Var {
        params.var(self.bias)
    }

    /// Rows `[.., inputs]` to `[rows, outputs]`.
    ///
    /// # Errors
    /// If the rows are not `inputs` wide.
    pub fn forward(&self, tape: &mut Tape, params: &Bound, x: &Var) -> Result<Var> {
        let product = self.projection.forward(tape, params, x)?;
        ops::add_bias(tape, product, params.var(self.bias))
    }
}

/// The parameters of one recurrent layer.
#[derive(Clone, Copy, Debug)]
struct Recurrent {
    w_ih: ParamId,
    w_hh: ParamId,
    bias: ParamId,
}

impl Recurrent {
    /// Adds weights of `gates * hidden` rows; `suffix` is torch's `l{k}`, or `l{k}_reverse`.
    fn new(
        layout: &mut Layout,
        (name, suffix): (&str, &str),
        [gates, inputs, hidden]: [usize; 3],
        [ih, hh, bias]: [Init; 3],
    ) -> Self {
        let rows = gates * hidden;
        Recurrent {
            w_ih: layout.add(format!("{name}.weight_ih_{suffix}"), [rows, inputs], ih),
            w_hh: layout.add(format!("{name}.weight_hh_{suffix}"), [rows, hidden], hh),
            bias: layout.add(format!("{name}.bias_ih_{suffix}"), [rows], bias),
        }
    }
}

/// One LSTM layer over whole sequences.
#[derive(Clone, Copy, Debug)]
pub struct Lstm(Recurrent);

impl Lstm {
    /// Adds `{name}.weight_ih_{suffix}` `[4H, I]`, `{name}.weight_hh_{suffix}` `[4H, H]` and
    /// `{name}.bias_ih_{suffix}` `[4H]`; `suffix` is torch's `l{k}`, or `l{k}_reverse`.
    pub fn new(
        layout: &mut Layout,
        (name, suffix): (&str, &str),
        inputs: usize,
        hidden: usize,
        style: Style,
    ) -> Self {
        let inits = style.recurrent(hidden, Init::ForgetOne);
        let names = (name, suffix);
        Lstm(Recurrent::new(layout, names, [4, inputs, hidden], inits))
    }

    /// Input weights, bias and recurrent weights.
    pub fn cell<'a>(&self, params: &'a Bound) -> Cell<'a> {
        Cell {
            w_ih: params.var(self.0.w_ih),
            bias: params.var(self.0.bias),
            w_hh: params.var(self.0.w_hh),
        }
    }

    /// Runs over packed sequences x `[N, I]` from the state (h, c), zero if absent.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn forward_packed(
        &self,
        tape: &mut Tape,
        params: &Bound,
        x: &Var,
        state: Option<(&Var, &Var)>,
        packing: &Packing,
    ) -> Result<Output> {
        let Cell { w_ih, bias, w_hh } = self.cell(params);
        ops::lstm_packed(tape, Input::Dense { x, w_ih, bias }, w_hh, state, packing)
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
        let Cell { w_ih, bias, w_hh } = self.cell(params);
        ops::lstm(tape, Input::Dense { x, w_ih, bias }, w_hh, state)
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
        // The table is small: it is computed in full precision.
        let e = params.master(embedding.weight);
        let product = ops::matmul(tape, e, params.master(self.0.w_ih), false, true)?;
        let table = ops::add_bias(tape, product, params.master(self.0.bias))?;
        let table = ops::cast(tape, &table, params.var(self.0.w_hh).value().dtype())?;
        let input = Input::Table { table: &table, ids };
        ops::lstm(tape, input, params.var(self.0.w_hh), state)
    }
}

/// One tanh RNN layer (Elman 1990) over whole sequences.
#[derive(Clone, Copy, Debug)]
pub struct Rnn(Recurrent);

impl Rnn {
    /// Adds `{name}.weight_ih_{suffix}` `[H, I]`, `{name}.weight_hh_{suffix}` `[H, H]` and
    /// `{name}.bias_ih_{suffix}` `[H]`.
    pub fn new(
        layout: &mut Layout,
        (name, suffix): (&str, &str),
        inputs: usize,
        hidden: usize,
        style: Style,
    ) -> Self {
        let inits = style.recurrent(hidden, Init::Zeros);
        let names = (name, suffix);
        Rnn(Recurrent::new(layout, names, [1, inputs, hidden], inits))
    }

    /// Runs over packed sequences x `[N, I]` from h `[B, H]`, zero if absent.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn forward_packed(
        &self,
        tape: &mut Tape,
        params: &Bound,
        x: &Var,
        h0: Option<&Var>,
        packing: &Packing,
    ) -> Result<RnnOutput> {
        let [w_ih, bias, w_hh] = [self.0.w_ih, self.0.bias, self.0.w_hh].map(|id| params.var(id));
        ops::rnn(tape, x, w_ih, bias, w_hh, h0, packing)
    }
}
