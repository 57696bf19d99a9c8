//! The projection of a decoder's features to the vocabulary.

use super::kind::Dropout;
use crate::autograd::{Tape, Var};
use crate::error::Result;
use crate::nn::{Bound, Embedding, Init, Layout, Linear, ParamId, Style};
use crate::ops;
use crate::ops::softmax_xent::SoftmaxXent;
use crate::tensor::Tensor;

/// From features f `[N, F]` to logits `[N, V]`.
#[derive(Clone, Debug)]
pub(super) enum Output {
    /// W f + b.
    Linear(Linear),
    /// W_e tanh(W f + b) + b_v, where W_e `[V, E]` is the embedding of the target (Press & Wolf
    /// 2017) and the tanh layer is that of Luong et al. 2015, equation 5.
    Tied {
        layer: Linear,
        embedding: Embedding,
        bias: ParamId,
    },
}

impl Output {
    pub(super) fn new(
        layout: &mut Layout,
        features: usize,
        (vocab, dim): (usize, usize),
        tied: Option<Embedding>,
    ) -> Self {
        match tied {
            None => Output::Linear(Linear::new(layout, "out", features, vocab, Style::Torch)),
            Some(embedding) => Output::Tied {
                layer: Linear::new(layout, "out.hidden", features, dim, Style::Torch),
                embedding,
                bias: layout.add("out.bias", [vocab], Init::Zeros),
            },
        }
    }

    /// The last layer: what it reads, its weight `[V, ..]` and its bias `[V]`.
    fn last<'a>(
        &self,
        tape: &mut Tape,
        params: &'a Bound,
        features: &Var,
        dropout: Option<&Dropout>,
    ) -> Result<(Var, &'a Var, &'a Var)> {
        match self {
            Output::Linear(linear) => {
                Ok((features.clone(), linear.weight(params), linear.bias(params)))
            }
            Output::Tied {
                layer,
                embedding,
                bias,
            } => {
                let z = layer.forward(tape, params, features)?;
                let x = ops::tanh(tape, &z)?;
                let x = match dropout {
                    Some(d) => d.apply(tape, &x, Dropout::OUTPUT)?,
                    None => x,
                };
                Ok((x, embedding.weight(params), params.var(*bias)))
            }
        }
    }

    /// Logits `[N, V]`.
    pub(super) fn forward(
        &self,
        tape: &mut Tape,
        params: &Bound,
        features: &Var,
        dropout: Option<&Dropout>,
    ) -> Result<Var> {
        let (x, weight, bias) = self.last(tape, params, features, dropout)?;
        let product = ops::matmul(tape, &x, weight, false, true)?;
        ops::add_bias(tape, product, bias)
    }

    /// Scores features against targets `[N]`.
    pub(super) fn loss(
        &self,
        tape: &mut Tape,
        params: &Bound,
        features: &Var,
        targets: &Tensor,
        dropout: Option<&Dropout>,
    ) -> Result<SoftmaxXent> {
        let (x, weight, bias) = self.last(tape, params, features, dropout)?;
        ops::linear_xent(tape, &x, weight, bias, targets)
    }
}
