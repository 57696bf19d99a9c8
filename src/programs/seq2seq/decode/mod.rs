//! Choosing output tokens: greedy and beam search.
//!
//! `<PAD>` and `<SOS>` are never chosen. Ties go to the lowest token. A sequence ends with `<EOS>`,
//! or at the largest length.

mod beam;

use crate::autograd::{Tape, Var};
use crate::data::words::{EOS, PAD, SOS, UNK};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::nn::Bound;
use crate::ops::cast::convert;
use crate::programs::seq2seq::data::SourceBatch;
use crate::programs::seq2seq::model::{Decoded, Encoded, Seq2Seq, Source};
use crate::tensor::Tensor;
use crate::train::model::Model;
use rayon::prelude::*;

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
    fn width(self) -> usize {
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
struct Partial {
    tokens: Vec<u32>,
    log_probability: f64,
    attention: Vec<Vec<f32>>,
}

impl Partial {
    fn start() -> Self {
        Partial {
            tokens: vec![SOS],
            log_probability: 0.0,
            attention: Vec::new(),
        }
    }

    /// The last token.
    fn last(&self) -> u32 {
        self.tokens[self.tokens.len() - 1]
    }

    /// Tokens so far, `<SOS>` not counted.
    fn len(&self) -> usize {
        self.tokens.len() - 1
    }

    fn extended(&self, token: u32, log_probability: f64, attention: Option<Vec<f32>>) -> Self {
        let mut longer = self.clone();
        longer.tokens.push(token);
        longer.log_probability += log_probability;
        longer.attention.extend(attention);
        longer
    }

    /// Mean log-probability a token.
    fn score(&self) -> f64 {
        self.log_probability / self.len().max(1) as f64
    }

    fn finish(self) -> Hypothesis {
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

/// Decodes some sources, each the ids of at least one token. The outputs stand in their order.
///
/// # Errors
/// [`Error::Op`] for an empty source, a beam or length of 0, or an id outside the vocabulary; or if
/// the device fails.
pub fn decode(
    model: &Seq2Seq,
    sources: &[&[u32]],
    options: DecodeOptions,
) -> Result<Vec<Hypothesis>> {
    let width = options.search.width();
    if width == 0 || options.max_length == 0 {
        return Err(Error::op(
            "decode",
            format!("{options:?}: nothing to choose"),
        ));
    }
    // Each hypothesis of a beam has a row of its own.
    let rows: Vec<&[u32]> = sources
        .iter()
        .flat_map(|s| std::iter::repeat_n(*s, width))
        .collect();
    let batch = SourceBatch::new(&rows)?;
    let source = Source::new(&batch, model.vocab().0, model.gpu())?;
    let mut tape = Tape::inference();
    let params = model.params().bind(&mut tape)?;
    let from = model.encode(&mut tape, &params, &source, None)?;
    let mut run = Run {
        model,
        params: &params,
        from,
        lengths: sources.iter().map(|s| s.len()).collect(),
        options,
    };
    match options.search {
        Search::Greedy => run.greedy(sources.len()),
        Search::Beam(_) => run.beams(sources.len(), width),
    }
}

/// A decoding under way.
struct Run<'a> {
    model: &'a Seq2Seq,
    params: &'a Bound,
    from: Encoded,
    /// Tokens of each source.
    lengths: Vec<usize>,
    options: DecodeOptions,
}

impl Run<'_> {
    /// One step of every row.
    fn step(&mut self, tokens: &[u32]) -> Result<Decoded> {
        let mut tape = Tape::inference();
        let out = self
            .model
            .step(&mut tape, self.params, &self.from, tokens)?;
        self.from.state = out.state.clone();
        Ok(out)
    }

    fn greedy(&mut self, rows: usize) -> Result<Vec<Hypothesis>> {
        let mut outputs = vec![Partial::start(); rows];
        let longest = self.options.max_length;
        let open = |o: &Partial| o.last() != EOS && o.len() < longest;
        for _ in 0..longest {
            if !outputs.iter().any(open) {
                break;
            }
            let last: Vec<u32> = outputs.iter().map(Partial::last).collect();
            let out = self.step(&last)?;
            let alpha = weights(&out)?;
            let scores = in_f32(out.logits.value())?;
            let chosen = best_tokens(&scores, self.options.no_unk)?;
            let gains = gains(&scores, &chosen)?;
            for (row, output) in outputs.iter_mut().enumerate() {
                if !open(output) {
                    continue;
                }
                let (token, gain) = (chosen[row], gains[row]);
                let weights = alpha
                    .as_ref()
                    .map(|a| self.weights_of(a, row))
                    .transpose()?;
                *output = output.extended(token, gain, weights);
            }
        }
        Ok(outputs.into_iter().map(Partial::finish).collect())
    }

    /// The attention weights of one row, over its source's tokens.
    fn weights_of(&self, alpha: &Tensor, row: usize) -> Result<Vec<f32>> {
        let length = self.lengths[row / self.options.search.width()];
        Ok(row_of(alpha, row)?[..length].to_vec())
    }

    /// Rows of state in another order.
    fn reorder(&mut self, parents: &[u32]) -> Result<()> {
        let mut tape = Tape::inference();
        let order = Tensor::from_slice(parents, [parents.len()])?;
        let order = match self.model.gpu() {
            Some(gpu) => order.to_gpu(gpu)?,
            None => order,
        };
        let mut pick = |v: &Var| crate::ops::gather(&mut tape, v, &order);
        let state = &mut self.from.state;
        state.h = pick(&state.h)?;
        if let Some(c) = &mut state.c {
            *c = pick(c)?;
        }
        Ok(())
    }
}

/// The attention weights of a step in host memory.
fn weights(out: &Decoded) -> Result<Option<Tensor>> {
    out.alpha.as_ref().map(in_f32).transpose()
}

/// A tensor as f32 in host memory.
fn in_f32(t: &Tensor) -> Result<Tensor> {
    match t.dtype() {
        DType::F32 => t.to_cpu(),
        _ => convert(t, DType::F32)?.to_cpu(),
    }
}

/// One row of an f32 matrix in host memory.
fn row_of(t: &Tensor, row: usize) -> Result<&[f32]> {
    let width = t.shape().last();
    Ok(&t.data::<f32>()?[row * width..][..width])
}

/// Whether a token may be chosen.
fn allowed(token: usize, no_unk: bool) -> bool {
    let token = token as u32;
    token != PAD && token != SOS && !(no_unk && token == UNK)
}

/// The likeliest token of each row of logits `[B, V]` that may be chosen.
///
/// # Errors
/// If the device fails.
pub fn best_tokens(logits: &Tensor, no_unk: bool) -> Result<Vec<u32>> {
    let logits = in_f32(logits)?;
    let best = |row: &[f32]| {
        let mut best = EOS as usize;
        for (token, &x) in row.iter().enumerate() {
            let better = x > row[best] || (x == row[best] && token < best);
            if better && allowed(token, no_unk) {
                best = token;
            }
        }
        best as u32
    };
    let rows = logits.data::<f32>()?.par_chunks(logits.shape().last());
    Ok(rows.map(best).collect())
}

/// The log-probability of one token of each row.
fn gains(logits: &Tensor, tokens: &[u32]) -> Result<Vec<f64>> {
    let rows = logits.data::<f32>()?.par_chunks(logits.shape().last());
    let gain = |(row, &token): (&[f32], &u32)| f64::from(row[token as usize]) - log_sum(row);
    Ok(rows.zip(tokens).map(gain).collect())
}

/// log of the sum of the exponentials, in f64.
fn log_sum(row: &[f32]) -> f64 {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = row.iter().map(|&x| f64::from(x - max).exp()).sum();
    f64::from(max) + sum.ln()
}
