//! A decoding under way: what greedy and beam search have in common.

use crate::autograd::Tape;
use crate::data::syntax::{Next, Syntax, Written};
use crate::data::words::{EOS, SOS};
use crate::error::Result;
use crate::nn::Bound;
use crate::programs::seq2seq::model::{Decoded, DecoderState, Seq2Seq, allowed};
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
    /// A search that keeps so many hypotheses.
    pub fn of_width(width: usize) -> Self {
        match width {
            1 => Search::Greedy,
            width => Search::Beam(width),
        }
    }

    /// Hypotheses kept for a source.
    pub fn width(self) -> usize {
        match self {
            Search::Greedy => 1,
            Search::Beam(width) => width,
        }
    }
}

/// How outputs are chosen.
#[derive(Clone, Copy, Debug)]
pub struct DecodeOptions<'a> {
    /// How they are looked for.
    pub search: Search,
    /// Tokens of an output at most, `<EOS>` not counted.
    pub max_length: usize,
    /// Never choose `<UNK>`.
    pub no_unk: bool,
    /// The power of an output's length by which its log-probability is divided: 1 is the mean a
    /// token, 0 favours short outputs. Only beams choose by it.
    pub length_penalty: f64,
    /// What outputs are held to: each is a text of this grammar, and has no `<UNK>`.
    pub syntax: Option<&'a Syntax>,
}

impl DecodeOptions<'_> {
    /// Greedy, with the mean log-probability a token as score.
    pub fn greedy(max_length: usize) -> Self {
        DecodeOptions {
            search: Search::Greedy,
            max_length,
            no_unk: false,
            length_penalty: 1.0,
            syntax: None,
        }
    }

    /// The score of an output: its log-probability in nats divided by a power of its tokens.
    pub(super) fn score(&self, log_probability: f64, tokens: usize) -> f64 {
        log_probability / (tokens.max(1) as f64).powf(self.length_penalty)
    }
}

/// One output.
#[derive(Clone, Debug, PartialEq)]
pub struct Hypothesis {
    /// Ids, without `<EOS>`.
    pub tokens: Vec<u32>,
    /// Whether it ended with `<EOS>`.
    pub ended: bool,
    /// Log-probability in nats, divided by the number of tokens with `<EOS>` (to the power of the
    /// length penalty).
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
    /// The same for a grammar.
    written: Option<Written>,
}

impl Partial {
    pub(super) fn start(options: &DecodeOptions) -> Self {
        Partial {
            tokens: vec![SOS],
            log_probability: 0.0,
            attention: Vec::new(),
            written: options.syntax.map(Syntax::begin),
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

    /// Which tokens may follow.
    pub(super) fn may<'a>(&'a self, options: &DecodeOptions<'a>) -> impl Fn(usize) -> bool + 'a {
        let (no_unk, room) = (options.no_unk, options.max_length - self.len());
        let next = self.written.as_ref().zip(options.syntax);
        let next = next.map(|(written, syntax)| written.next(syntax, room));
        move |token| {
            let may = |next: &Next| next.may(token as u32);
            allowed(token, no_unk) && next.as_ref().is_none_or(may)
        }
    }

    /// Goes on with a token that may follow.
    pub(super) fn push(
        &mut self,
        (token, gain): (u32, f64),
        attention: Option<Vec<f32>>,
        options: &DecodeOptions,
    ) {
        if let (Some(written), Some(syntax)) = (&mut self.written, options.syntax)
            && token != EOS
        {
            written.push(syntax.form_of(token));
        }
        self.tokens.push(token);
        self.log_probability += gain;
        self.attention.extend(attention);
    }

    pub(super) fn score(&self, options: &DecodeOptions) -> f64 {
        options.score(self.log_probability, self.len())
    }

    pub(super) fn finish(self, options: &DecodeOptions) -> Hypothesis {
        let ended = self.last() == EOS;
        let end = self.tokens.len() - usize::from(ended);
        Hypothesis {
            score: self.score(options),
            attention: (!self.attention.is_empty()).then_some(self.attention),
            tokens: self.tokens[1..end].to_vec(),
            ended,
        }
    }
}

/// A decoding under way. Its rows are those of `from`.
pub(super) struct Run<'a> {
    pub(super) model: &'a Seq2Seq,
    /// Records nothing, and keeps the packed weights from step to step.
    pub(super) tape: Tape,
    pub(super) params: &'a Bound,
    pub(super) from: DecoderState,
    /// Tokens of each source.
    pub(super) lengths: &'a [usize],
    pub(super) options: DecodeOptions<'a>,
}

impl Run<'_> {
    /// One step of every row.
    pub(super) fn step(&mut self, tokens: &Tensor) -> Result<Decoded> {
        let out = self
            .model
            .step(&mut self.tape, self.params, &self.from, tokens)?;
        self.from = out.state.clone();
        Ok(out)
    }

    /// The attention weights of one row over the tokens of its source.
    pub(super) fn weights_of(
        &self,
        alpha: Option<&Tensor>,
        row: usize,
        source: usize,
    ) -> Result<Option<Vec<f32>>> {
        let weights = alpha.map(|alpha| Ok(row_of(alpha, row)?[..self.lengths[source]].to_vec()));
        weights.transpose()
    }
}

/// Whether rows of which so many go on are worth moving: what stays in the memory of those that have
/// ended is computed in vain, and moving costs a copy of what is attended to.
pub(super) fn worth_moving(going: usize, rows: usize) -> bool {
    4 * going <= 3 * rows
}

/// One row of an f32 matrix in host memory.
pub(super) fn row_of(t: &Tensor, row: usize) -> Result<&[f32]> {
    let width = t.shape().last();
    Ok(&t.data::<f32>()?[row * width..][..width])
}
