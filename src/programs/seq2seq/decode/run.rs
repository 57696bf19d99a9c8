//! A decoding under way: what greedy and beam search have in common.

use super::SourceIds;
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
    /// Of a model that copies: for each token the source position that it was copied from, where
    /// copying has the larger part in its probability; of several the one with the largest share.
    pub copied: Option<Vec<Option<usize>>>,
}

/// An output that grows.
#[derive(Clone, Debug)]
pub(super) struct Partial {
    tokens: Vec<u32>,
    pub(super) log_probability: f64,
    attention: Vec<Vec<f32>>,
    copied: Vec<Option<usize>>,
}

impl Partial {
    pub(super) fn start() -> Self {
        Partial {
            tokens: vec![SOS],
            log_probability: 0.0,
            attention: Vec::new(),
            copied: Vec::new(),
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

    pub(super) fn extended(&self, token: u32, log_probability: f64, read: Option<Read>) -> Self {
        let mut longer = self.clone();
        longer.tokens.push(token);
        longer.log_probability += log_probability;
        if let Some(read) = read {
            longer.copied.extend(read.copied(token, log_probability));
            longer.attention.push(read.attention);
        }
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
            copied: (!self.copied.is_empty()).then(|| {
                let of_tokens = self.copied.iter().take(end - 1);
                of_tokens.copied().collect()
            }),
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
    pub(super) sources: Vec<SourceIds<'a>>,
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

    /// What one row read at a step; none for a model without attention.
    pub(super) fn read(&self, seen: &Seen, row: usize) -> Result<Option<Read<'_>>> {
        let Some(alpha) = &seen.alpha else {
            return Ok(None);
        };
        let source = self.sources[row / self.options.search.width()];
        let gate = seen
            .gate
            .as_ref()
            .map(|gate| row_of(gate, row))
            .transpose()?;
        Ok(Some(Read {
            attention: row_of(alpha, row)?[..source.ids.len()].to_vec(),
            copies: source.copies.zip(gate.map(|gate| gate[0])),
        }))
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

/// What a step attended to, in host memory.
pub(super) struct Seen {
    /// `[B, S]`
    alpha: Option<Tensor>,
    /// `[B, 1]`
    gate: Option<Tensor>,
}

impl Seen {
    pub(super) fn of(out: &Decoded) -> Result<Self> {
        Ok(Seen {
            alpha: out.alpha.as_ref().map(in_f32).transpose()?,
            gate: out.gate.as_ref().map(in_f32).transpose()?,
        })
    }
}

/// What a row read at a step.
pub(super) struct Read<'a> {
    /// Its attention weights, over its source's tokens.
    attention: Vec<f32>,
    /// The extended ids of those, and the logit of p_gen; of a model that copies.
    copies: Option<(&'a [u32], f32)>,
}

impl Read<'_> {
    /// Where the chosen token was copied from, for a model that copies.
    fn copied(&self, token: u32, log_probability: f64) -> Option<Option<usize>> {
        let (ids, z) = self.copies?;
        let held = ids.iter().zip(&self.attention).enumerate();
        let held = held.filter(|(_, (id, _))| **id == token);
        let (mut mass, mut best) = (0.0, None);
        for (j, (_, &weight)) in held {
            mass += f64::from(weight);
            if best.is_none_or(|(_, largest)| weight > largest) {
                best = Some((j, weight));
            }
        }
        // (1 - p_gen) A is more than half of p.
        let part = mass / (1.0 + f64::from(z).exp());
        let place = best.filter(|_| part > 0.5 * log_probability.exp());
        Some(place.map(|(j, _)| j))
    }
}

/// One row of an f32 matrix in host memory.
pub(super) fn row_of(t: &Tensor, row: usize) -> Result<&[f32]> {
    let width = t.shape().last();
    Ok(&t.data::<f32>()?[row * width..][..width])
}
