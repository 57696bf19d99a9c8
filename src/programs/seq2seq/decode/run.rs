//! A decoding under way: what greedy and beam search have in common.

use crate::autograd::Tape;
use crate::data::words::{EOS, SOS};
use crate::error::Result;
use crate::nn::Bound;
use crate::programs::seq2seq::model::{Decoded, DecoderState, Seq2Seq, in_f32};
use crate::tensor::Tensor;

/// How a sequence of tokens is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Search {
    /// The likeliest token at each step.
    Greedy,
    /// The likeliest of this many hypotheses that are kept at each step. One is the same as greedy.
    Beam(usize),
}

impl Search {
    /// Hypotheses kept for a source.
    pub(super) fn width(self) -> usize {
        match self {
            Search::Greedy => 1,
            Search::Beam(width) => width,
        }
    }
}

/// How outputs are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeOptions {
    /// How they are looked for.
    pub search: Search,
    /// Tokens of an output at most, `<EOS>` not counted.
    pub max_length: usize,
    /// Never choose `<UNK>`.
    pub no_unk: bool,
}

/// One output.
#[derive(Clone, Debug, PartialEq)]
pub struct Hypothesis {
    /// Ids, without `<EOS>`.
    pub tokens: Vec<u32>,
    /// Whether it ended with `<EOS>`.
    pub ended: bool,
    /// Log-probability in nats, divided by the number of tokens with `<EOS>`.
    pub score: f64,
    /// Of the attention model: a row of weights over the source's tokens for each token, and for
    /// `<EOS>`.
    pub attention: Option<Vec<Vec<f32>>>,
}

/// An output that grows.
#[derive(Clone, Debug)]
pub(super) struct Partial {
    tokens: Vec<u32>,
    pub(super) log_probability: f64,
    attention: Vec<Vec<f32>>,
}

impl Partial {
    pub(super) fn start() -> Self {
        Partial {
            tokens: vec![SOS],
            log_probability: 0.0,
            attention: Vec::new(),
        }
    }

    /// The last token.
    pub(super) fn last(&self) -> u32 {
        self.tokens[self.tokens.len() - 1]
    }

    /// Tokens so far, `<SOS>` not counted.
    pub(super) fn len(&self) -> usize {
        self.tokens.len() - 1
    }

    pub(super) fn extended(
        &self,
        token: u32,
        log_probability: f64,
        attention: Option<Vec<f32>>,
    ) -> Self {
        let mut longer = self.clone();
        longer.tokens.push(token);
        longer.log_probability += log_probability;
        longer.attention.extend(attention);
        longer
    }

    /// Mean log-probability a token.
    pub(super) fn score(&self) -> f64 {
        self.log_probability / self.len().max(1) as f64
    }

    pub(super) fn finish(self) -> Hypothesis {
        let ended = self.last() == EOS;
        let end = self.tokens.len() - usize::from(ended);
        Hypothesis {
            score: self.score(),
            attention: (!self.attention.is_empty()).then_some(self.attention),
            tokens: self.tokens[1..end].to_vec(),
            ended,
        }
    }
}

/// A decoding under way.
pub(super) struct Run<'a> {
    pub(super) model: &'a Seq2Seq,
    pub(super) params: &'a Bound,
    pub(super) from: DecoderState,
    /// Tokens of each source.
    pub(super) lengths: Vec<usize>,
    pub(super) options: DecodeOptions,
}

impl Run<'_> {
    /// One step of every row.
    pub(super) fn step(&mut self, tokens: &Tensor) -> Result<Decoded> {
        let mut tape = Tape::inference();
        let out = self
            .model
            .step(&mut tape, self.params, &self.from, tokens)?;
        self.from = out.state.clone();
        Ok(out)
    }

    /// The attention weights of one row, over its source's tokens.
    pub(super) fn weights_of(&self, alpha: &Tensor, row: usize) -> Result<Vec<f32>> {
        let length = self.lengths[row / self.options.search.width()];
        Ok(row_of(alpha, row)?[..length].to_vec())
    }

    /// Rows of state in another order.
    pub(super) fn reorder(&mut self, parents: &[u32]) -> Result<()> {
        let order = Tensor::from_slice(parents, [parents.len()])?;
        let order = match self.model.gpu() {
            Some(gpu) => order.to_gpu(gpu)?,
            None => order,
        };
        self.from.reorder(&order)
    }
}

/// The attention weights of a step in host memory.
pub(super) fn weights(out: &Decoded) -> Result<Option<Tensor>> {
    out.alpha.as_ref().map(in_f32).transpose()
}

/// One row of an f32 matrix in host memory.
pub(super) fn row_of(t: &Tensor, row: usize) -> Result<&[f32]> {
    let width = t.shape().last();
    Ok(&t.data::<f32>()?[row * width..][..width])
}
