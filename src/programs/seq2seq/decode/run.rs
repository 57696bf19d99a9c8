//! A decoding under way: what greedy and beam search have in common.

use crate::autograd::Tape;
use crate::data::syntax::{Form, Next, Syntax, Written};
use crate::data::words::{EOS, SOS};
use crate::error::Result;
use crate::nn::Bound;
use crate::ops::softmax_xent::log_sum;
use crate::programs::seq2seq::copying::Extended;
use crate::programs::seq2seq::data::Example;
use crate::programs::seq2seq::model::{Decoded, DecoderState, Seq2Seq, allowed, in_f32};
use crate::rng::{Purpose, Stream};
use crate::sampling::SamplingOptions;
use crate::tensor::Tensor;
use std::sync::Arc;

/// The tokens of a source, at least one.
#[derive(Clone, Copy, Debug)]
pub struct SourceIds<'a> {
    /// Their ids in the source vocabulary.
    pub ids: &'a [u32],
    /// What a model that copies can write of them.
    pub extended: Option<&'a Extended>,
}

impl<'a> From<&'a [u32]> for SourceIds<'a> {
    fn from(ids: &'a [u32]) -> Self {
        SourceIds {
            ids,
            extended: None,
        }
    }
}

impl<'a> From<&'a Example> for SourceIds<'a> {
    fn from(example: &'a Example) -> Self {
        SourceIds {
            ids: &example.source_ids,
            extended: example.extended.as_ref(),
        }
    }
}

/// How a sequence of tokens is looked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Search {
    /// The likeliest token at each step.
    Greedy,
    /// The likeliest of this many hypotheses that are kept at each step. One is the same as greedy.
    Beam(usize),
    /// A token drawn at each step, from the tokens that may follow.
    Sampling(Sampling),
}

/// How tokens are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Temperature and filters.
    pub options: SamplingOptions,
    /// Seed of the draws.
    pub seed: u64,
    /// The number of the first source. Each source draws numbers of its own, and so does each of its
    /// samples, whatever else is decoded beside them.
    pub source: u32,
}

impl Sampling {
    /// The random numbers of a sample, one a token.
    pub(super) fn draws(&self, source: usize, sample: usize) -> Stream {
        let source = self.source.wrapping_add(source as u32);
        Stream::new(self.seed, Purpose::Sample, source).lane(sample as u32)
    }
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
            Search::Greedy | Search::Sampling(_) => 1,
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
    /// Log-probability in nats of the tokens and, where it ended, `<EOS>`: the model's own, of all tokens,
    /// whatever the output was held to or its tokens were drawn with.
    pub log_probability: f64,
    /// The same divided by the number of tokens with `<EOS>` (to the power of the length penalty).
    pub score: f64,
    /// Of a model that attends: a row of weights over the source's tokens for each token, and for
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
    /// A row a token, shared with the hypotheses that began alike.
    attention: Vec<Arc<[f32]>>,
    copied: Vec<Option<usize>>,
    /// The same as its grammar reads it.
    written: Option<Written>,
}

impl Partial {
    pub(super) fn start(request: &Request) -> Self {
        Partial {
            tokens: vec![SOS],
            log_probability: 0.0,
            attention: Vec::new(),
            copied: Vec::new(),
            written: request
                .grammar
                .as_ref()
                .map(|grammar| grammar.syntax.begin()),
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

    /// Which tokens may follow, in an output of this source.
    pub(super) fn may<'a>(
        &'a self,
        request: &'a Request,
        source: usize,
    ) -> impl Fn(u32) -> bool + 'a {
        let options = &request.options;
        let (no_unk, room) = (options.no_unk, options.max_length - self.len());
        let next = self.written.as_ref().zip(request.grammar.as_ref());
        let next = next.map(|(written, grammar)| (written.next(grammar.syntax, room), grammar));
        move |token| {
            let fits = |(next, grammar): &(Next, &Grammar)| match token {
                EOS => next.may_end(),
                id if (id as usize) < grammar.syntax.tokens() => next.may_follow(id),
                id => grammar
                    .form(source, id)
                    .is_some_and(|form| next.may_be(form)),
            };
            allowed(token as usize, no_unk) && next.as_ref().is_none_or(fits)
        }
    }

    /// Goes on with a token that may follow.
    pub(super) fn push(
        &mut self,
        (token, gain): (u32, f64),
        read: Option<Read>,
        request: &Request,
        source: usize,
    ) {
        if let (Some(written), Some(grammar)) = (&mut self.written, &request.grammar)
            && let Some(form) = grammar.form(source, token).filter(|_| token != EOS)
        {
            written.push(form);
        }
        self.tokens.push(token);
        self.log_probability += gain;
        if let Some(read) = read {
            self.copied.extend(read.copied(token, gain));
            self.attention.push(read.attention);
        }
    }

    pub(super) fn score(&self, options: &DecodeOptions) -> f64 {
        options.score(self.log_probability, self.len())
    }

    pub(super) fn finish(self, options: &DecodeOptions) -> Hypothesis {
        let ended = self.last() == EOS;
        let end = self.tokens.len() - usize::from(ended);
        Hypothesis {
            log_probability: self.log_probability,
            score: self.score(options),
            copied: (!self.copied.is_empty()).then(|| {
                let of_tokens = self.copied.iter().take(end - 1);
                of_tokens.copied().collect()
            }),
            attention: (!self.attention.is_empty())
                .then(|| self.attention.iter().map(|row| row.to_vec()).collect()),
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
    pub(super) request: Request<'a>,
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
}

/// What is asked for.
pub(super) struct Request<'a> {
    pub(super) sources: Vec<SourceIds<'a>>,
    /// What the outputs are held to.
    pub(super) grammar: Option<Grammar<'a>>,
    pub(super) options: DecodeOptions<'a>,
}

impl Request<'_> {
    /// What one row, of a source, read at a step; none for a model without attention.
    pub(super) fn read(&self, seen: &Seen, row: usize, source: usize) -> Result<Option<Read<'_>>> {
        let Some(alpha) = &seen.alpha else {
            return Ok(None);
        };
        let source = self.sources[source];
        let gate = seen.gate.as_ref().map(|gate| row_of(gate, row));
        let copies = source.extended.map(|extended| &extended.source[..]);
        Ok(Some(Read {
            attention: row_of(alpha, row)?[..source.ids.len()].into(),
            copies: copies.zip(gate.transpose()?.map(|gate| gate[0])),
        }))
    }
}

/// A grammar over the extended vocabularies of some sources.
pub(super) struct Grammar<'a> {
    syntax: &'a Syntax,
    /// Of each source's unknown tokens.
    unknown: Vec<Vec<Form>>,
}

impl<'a> Grammar<'a> {
    pub(super) fn new(syntax: &'a Syntax, sources: &[SourceIds]) -> Self {
        let forms = |source: &SourceIds| {
            let unknown = source
                .extended
                .iter()
                .flat_map(|extended| &extended.unknown);
            unknown.map(|token| syntax.form(token)).collect()
        };
        Grammar {
            syntax,
            unknown: sources.iter().map(forms).collect(),
        }
    }

    /// The form of a token that a source's output may have; none of an id that is no token.
    fn form(&self, source: usize, id: u32) -> Option<&Form> {
        match (id as usize).checked_sub(self.syntax.tokens()) {
            None => Some(self.syntax.form_of(id)),
            Some(place) => self.unknown[source].get(place),
        }
    }
}

/// Whether rows of which so many go on are worth moving: what stays in the memory of those that have
/// ended is computed in vain, and moving costs a copy of what is attended to.
pub(super) fn worth_moving(going: usize, rows: usize) -> bool {
    8 * going <= 7 * rows
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
    attention: Arc<[f32]>,
    /// The extended ids of those, and the logit of p_gen; of a model that copies.
    copies: Option<(&'a [u32], f32)>,
}

impl Read<'_> {
    /// Where the chosen token was copied from, for a model that copies.
    fn copied(&self, token: u32, log_probability: f64) -> Option<Option<usize>> {
        let (ids, z) = self.copies?;
        let held = ids.iter().zip(&self.attention[..]).enumerate();
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

/// log of the sum of exp of a row of logits; those of a model that copies are log-probabilities already.
pub(super) fn log_total(row: &[f32], copies: bool) -> f64 {
    if copies { 0.0 } else { log_sum(row) }
}
