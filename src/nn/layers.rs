//! Layers: parameters by name, and the ops that use them.

use super::init::Init;
use super::params::{Bound, Layout, ParamId};
use crate::autograd::{Tape, Var};
use crate::error::Result;
use crate::ops;
use crate::ops::recurrent::CellKind;
use crate::ops::softmax_xent::{SoftmaxXent, Targets};
use crate::tensor::Tensor;

/// Whose initial values layers take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Keras: embeddings uniform in -0.05..0.05, weights Glorot uniform, recurrent ones orthogonal,
    /// biases zero but for the forget gate's, which are one.
    Keras,
    /// PyTorch: embeddings standard normal, linear layers uniform within 1 / sqrt(inputs), recurrent
    /// layers within 1 / sqrt(H), with the sum of two draws where one bias stands for two.
    Torch,
}

impl Style {
    /// The initial values of weights and bias of a linear layer.
    pub(super) fn linear(self, inputs: usize) -> (Init, Init) {
        match self {
            Style::Keras => (Init::GlorotUniform, Init::Zeros),
            Style::Torch => {
                let init = Init::Uniform(1.0 / (inputs as f64).sqrt());
                (init, init)
            }
        }
    }

    /// The initial values of input weights, recurrent weights and biases of a recurrent layer.
    pub(super) fn recurrent(self, kind: CellKind, hidden: usize) -> [Init; 3] {
        match self {
            Style::Keras => {
                let bias = match kind {
                    CellKind::Lstm => Init::ForgetOne,
                    CellKind::Rnn | CellKind::Gru => Init::Zeros,
                };
                [Init::GlorotUniform, Init::Orthogonal, bias]
            }
            Style::Torch => {
                let limit = 1.0 / (hidden as f64).sqrt();
                let bias = match kind.has_b_hh() {
                    true => Init::Uniform(limit),
                    false => Init::UniformSum(limit),
                };
                [Init::Uniform(limit), Init::Uniform(limit), bias]
            }
        }
    }
}

/// A table of vectors, one an id.
#[derive(Clone, Copy, Debug)]
pub struct Embedding {
    pub(super) weight: ParamId,
}

impl Embedding {
    /// Adds `{name}.weight` `[vocab, dim]`.
    pub fn new(layout: &mut Layout, name: &str, vocab: usize, dim: usize, style: Style) -> Self {
        let init = match style {
            Style::Keras => Init::Uniform(0.05),
            Style::Torch => Init::Normal,
        };
        Self::with_init(layout, name, (vocab, dim), init)
    }

    /// The same with these initial values.
    pub fn with_init(
        layout: &mut Layout,
        name: &str,
        (vocab, dim): (usize, usize),
        init: Init,
    ) -> Self {
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
        ops::project(tape, x, self.weight(params))
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
        Self::with_init(layout, name, [outputs, inputs], style.linear(inputs))
    }

    /// The same with a weight of this shape and these initial values of weight and bias.
    pub fn with_init(
        layout: &mut Layout,
        name: &str,
        shape: [usize; 2],
        (weight, bias): (Init, Init),
    ) -> Self {
        let weight = layout.add(format!("{name}.weight"), shape, weight);
        let bias = layout.add(format!("{name}.bias"), [shape[0]], bias);
        Self::of(weight, bias)
    }

    /// Of parameters that have been added: a weight `[outputs, inputs]` and a bias `[outputs]`.
    pub fn of(weight: ParamId, bias: ParamId) -> Self {
        Linear {
            projection: Projection { weight },
            bias,
        }
    }

    /// An output layer whose weight is the table of an embedding, `[V, E]` (Press & Wolf 2017; Inan,
    /// Khosravi & Socher 2017): logits of rows `[.., E]`. It adds `{name}.bias` `[V]` alone, zeros at
    /// first.
    pub fn tied(layout: &mut Layout, name: &str, embedding: &Embedding) -> Self {
        let vocab = layout.segment(embedding.weight).shape.rows();
        layout.share(format!("{name}.weight"), embedding.weight);
        Linear {
            projection: Projection {
                weight: embedding.weight,
            },
            bias: layout.add(format!("{name}.bias"), [vocab], Init::Zeros),
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

    /// Scores rows `[.., inputs]`, as logits of `outputs` classes, against targets `[rows]`, as they are
    /// or smoothed.
    ///
    /// # Errors
    /// As [`ops::linear_xent()`].
    pub fn loss<'a>(
        &self,
        tape: &mut Tape,
        params: &Bound,
        x: &Var,
        targets: impl Into<Targets<'a>>,
    ) -> Result<SoftmaxXent> {
        ops::linear_xent(tape, x, self.weight(params), self.bias(params), targets)
    }
}

/// Layer normalisation (Ba, Kiros & Hinton 2016).
#[derive(Clone, Copy, Debug)]
pub struct LayerNorm {
    weight: ParamId,
    bias: ParamId,
}

impl LayerNorm {
    /// What is added to the variance, as torch does.
    const EPSILON: f64 = 1e-5;

    /// Adds `{name}.weight` `[width]`, ones, and `{name}.bias` `[width]`, zeros.
    pub fn new(layout: &mut Layout, name: &str, width: usize) -> Self {
        LayerNorm {
            weight: layout.add(format!("{name}.weight"), [width], Init::Ones),
            bias: layout.add(format!("{name}.bias"), [width], Init::Zeros),
        }
    }

    /// Rows `[.., width]`, normalised.
    ///
    /// # Errors
    /// If the rows are not `width` wide.
    pub fn forward(&self, tape: &mut Tape, params: &Bound, x: &Var) -> Result<Var> {
        let (weight, bias) = (params.var(self.weight), params.var(self.bias));
        ops::layer_norm(tape, x, weight, bias, Self::EPSILON)
    }
}
