//! The projection of a decoder's features to the vocabulary.

use super::kind::Dropout;
use crate::autograd::{Tape, Var};
use crate::error::Result;
use crate::nn::{Bound, Embedding, Layout, Linear, Style};
use crate::ops;
use crate::ops::softmax_xent::{SoftmaxXent, Targets};

/// From features f `[N, F]` to logits `[N, V]`: W f + b, or W_e tanh(W f + b) + b_v, where W_e `[V, E]`
/// is the embedding of the target (Press & Wolf 2017) and the tanh layer is that of Luong et al. 2015,
/// equation 5.
#[derive(Clone, Debug)]
pub(super) struct Output {
    /// The tanh layer, F to E.
    hidden: Option<Linear>,
    last: Linear,
}

impl Output {
    pub(super) fn new(
        layout: &mut Layout,
        features: usize,
        (vocab, dim): (usize, usize),
        tied: Option<Embedding>,
    ) -> Self {
        match tied {
            None => Output {
                hidden: None,
                last: Linear::new(layout, "out", features, vocab, Style::Torch),
            },
            Some(embedding) => Output {
                hidden: Some(Linear::new(
                    layout,
                    "out.hidden",
                    features,
                    dim,
                    Style::Torch,
                )),
                last: Linear::tied(layout, "out", &embedding),
            },
        }
    }

    /// What the last layer reads.
    fn before(
        &self,
        tape: &mut Tape,
        params: &Bound,
        features: &Var,
        dropout: Option<&Dropout>,
    ) -> Result<Var> {
        let x = match &self.hidden {
            Some(hidden) => {
                let z = hidden.forward(tape, params, features)?;
                ops::tanh(tape, &z)?
            }
            None => features.clone(),
        };
        match dropout {
            Some(d) => d.apply(tape, &x, Dropout::OUTPUT),
            None => Ok(x),
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
        let x = self.before(tape, params, features, dropout)?;
        self.last.forward(tape, params, &x)
    }

    /// Scores features against targets `[N]`.
    pub(super) fn loss(
        &self,
        tape: &mut Tape,
        params: &Bound,
        features: &Var,
        targets: Targets,
        dropout: Option<&Dropout>,
    ) -> Result<SoftmaxXent> {
        let x = self.before(tape, params, features, dropout)?;
        self.last.loss(tape, params, &x, targets)
    }
}
