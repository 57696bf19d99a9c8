//! Which model, of what sizes, and what a training pass does besides.

use crate::autograd::{Tape, Var};
use crate::error::Result;
use crate::nn::CellKind;
use crate::ops;
use crate::rng::Stream;
use crate::tensor::Tensor;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Which model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModelKind {
    /// tanh RNN.
    Rnn,
    /// LSTM.
    Lstm,
    /// Bidirectional LSTM with additive attention.
    Attention,
    /// GRU.
    Gru,
    /// Transformer.
    Transformer,
}

impl ModelKind {
    /// All of them: those of the published comparison, the simplest first, then the others.
    pub const ALL: [ModelKind; 5] = [
        ModelKind::Rnn,
        ModelKind::Lstm,
        ModelKind::Attention,
        ModelKind::Gru,
        ModelKind::Transformer,
    ];
    /// Their names, in the same order.
    pub const NAMES: [&str; 5] = ["rnn", "lstm", "attention", "gru", "transformer"];
    /// How many of them the published comparison has.
    pub const PUBLISHED: usize = 3;

    /// The cell of encoder and decoder, and whether the decoder reads the encoder's last hidden
    /// state at each step; none for the models with attention.
    pub fn plain(self) -> Option<(CellKind, bool)> {
        match self {
            ModelKind::Rnn => Some((CellKind::Rnn, true)),
            ModelKind::Lstm => Some((CellKind::Lstm, false)),
            ModelKind::Gru => Some((CellKind::Gru, true)),
            ModelKind::Attention | ModelKind::Transformer => None,
        }
    }

    /// Whether its decoder attends to the source: then there are weights to show, and to copy by.
    pub fn attends(self) -> bool {
        self.plain().is_none()
    }
}

impl fmt::Display for ModelKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ModelKind::NAMES[*self as usize])
    }
}

impl FromStr for ModelKind {
    type Err = String;
    fn from_str(s: &str) -> std::result::Result<Self, String> {
        let named = ModelKind::ALL
            .into_iter()
            .find(|kind| kind.to_string() == s);
        named.ok_or_else(|| format!("give {}", ModelKind::NAMES.join(" or ")))
    }
}

/// Sizes of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seq2SeqSizes {
    /// Tokens of the source vocabulary, the special ones included.
    pub source_vocab: usize,
    /// Tokens of the target vocabulary, the special ones included.
    pub target_vocab: usize,
    /// E, numbers that stand for a token.
    pub embedding: usize,
    /// H, units of a layer, each way; also A, the width of the attention. A Transformer has 4 H of them
    /// between the two products of a layer's feed-forward part, and rows as wide as the embedding.
    pub hidden: usize,
    /// Layers of the encoder and of the decoder.
    pub layers: usize,
    /// Heads of a Transformer's attentions, which divide E.
    pub heads: usize,
    /// Whether a model with attention copies: it has a gate more.
    pub copy: bool,
    /// Whether the target embedding is the output layer's weight, too.
    pub tied: bool,
}

/// Dropout in a training step, on the embeddings of both sides, on what recurrent layers above the first read,
/// on the outputs of the parts of a Transformer's layers, and on what the output layer reads.
#[derive(Clone, Debug)]
pub struct Dropout {
    /// Probability of dropping, in [0, 1).
    pub p: f64,
    /// The same of what the output layer reads.
    pub output: f64,
    /// Random words of this step.
    pub stream: Stream,
    /// The step in a GPU's memory, `[1]` u32, where it is there.
    pub counter: Option<Tensor>,
}

impl Dropout {
    /// The stream's lane of the source.
    pub(super) const SOURCE: u32 = 0;
    /// The stream's lane of the target.
    pub(super) const TARGET: u32 = 1;
    /// The stream's lane of the output layer.
    pub(super) const OUTPUT: u32 = 2;
    /// The stream's first lane of the layers of a Transformer's encoder.
    pub(super) const ENCODER: u32 = 16;
    /// The same of its decoder.
    pub(super) const DECODER: u32 = 1 << 16;

    /// The stream's lane of what the recurrent encoder's layer of this number above the first reads, from 0 on.
    pub(super) fn encoder(k: usize) -> u32 {
        3 + 2 * k as u32
    }

    /// The same of the decoder's.
    pub(super) fn decoder(k: usize) -> u32 {
        4 + 2 * k as u32
    }

    /// x without what is dropped in a lane.
    pub(super) fn apply(&self, tape: &mut Tape, x: &Var, lane: u32) -> Result<Var> {
        let p = match lane {
            Dropout::OUTPUT => self.output,
            _ => self.p,
        };
        let stream = self.stream.lane(lane);
        ops::dropout_at(tape, x, p, stream, self.counter.as_ref())
    }
}

/// How often the decoder reads the true previous token in training.
#[derive(Clone, Copy, Debug)]
pub struct TeacherForcing {
    /// Probability for each token, in [0, 1]; else it reads its own prediction.
    pub ratio: f64,
    /// Random words of this step.
    pub stream: Stream,
}
