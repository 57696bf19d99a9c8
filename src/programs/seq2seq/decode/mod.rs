//! Choosing output tokens: greedy and beam search, and sampling.
//!
//! `<PAD>` and `<SOS>` are never chosen. Ties go to the lowest token. A sequence ends with `<EOS>`,
//! or at the largest length. Under a grammar each step chooses among the tokens that may follow, and
//! leaves length enough for what is open; probabilities are those of all tokens still. Where tokens are
//! drawn, those that may follow share the probability of all.

mod beam;
mod greedy;
mod likeliest;
mod run;

pub use run::{DecodeOptions, Hypothesis, Sampling, Search, SourceIds};

use crate::autograd::Tape;
use crate::error::{Error, Result};
use crate::programs::seq2seq::data::SourceBatch;
use crate::programs::seq2seq::model::{Seq2Seq, Source};
use crate::train::model::Model;
use run::{Grammar, Request, Run};

/// Decodes some sources. The outputs stand in their order.
///
/// # Errors
/// As [`decode_n_best`].
pub fn decode<'a>(
    model: &Seq2Seq,
    sources: &[impl Into<SourceIds<'a>> + Copy],
    options: DecodeOptions,
) -> Result<Vec<Hypothesis>> {
    let all = decode_n_best(model, sources, options, 1)?;
    Ok(all.into_iter().flatten().collect())
}

/// The `n` best outputs of each source, the best first: fewer where a beam has found fewer, at least
/// one, and one alone of a greedy search. Of sampling `n` samples, in the order of their numbers: the
/// first of many is what one alone is.
///
/// The best has no lower score than the greedy output: a beam may lose that on its way, and where it
/// is better than what the beam has found, it comes first.
///
/// # Errors
/// [`Error::Op`] for an empty source, a beam, length or `n` of 0, a length penalty below 0, an id
/// outside the vocabulary, or a source without its extended ids for a model that copies; for a length in
/// which nothing of the grammar can be written; or if the device fails. [`Error::Usage`] as
/// [`SamplingOptions::validate`](crate::sampling::SamplingOptions::validate).
pub fn decode_n_best<'a>(
    model: &Seq2Seq,
    sources: &[impl Into<SourceIds<'a>> + Copy],
    options: DecodeOptions,
    n: usize,
) -> Result<Vec<Vec<Hypothesis>>> {
    let width = options.search.width();
    if width == 0 || options.max_length == 0 || n == 0 || options.length_penalty < 0.0 {
        return Err(Error::op(
            "decode",
            format!("the {n} best of {options:?}: nothing to choose"),
        ));
    }
    if let Some(syntax) = options.syntax
        && syntax
            .shortest()
            .is_none_or(|shortest| shortest > options.max_length)
    {
        let message = format!("{} tokens are too few for {syntax:?}", options.max_length);
        return Err(Error::op("decode", message));
    }
    let sources: Vec<SourceIds> = sources.iter().map(|&source| source.into()).collect();
    let batch = SourceBatch::new(&sources.iter().map(|source| source.ids).collect::<Vec<_>>())?;
    let copies = sources
        .iter()
        .map(|source| Some(&source.extended?.source[..]));
    let batch = match copies.collect::<Option<Vec<&[u32]>>>() {
        Some(copies) if model.copies() => batch.with_copies(&copies)?,
        _ => batch,
    };
    let source = Source::new(&batch, model.vocab().0, model.gpu())?;
    let mut tape = Tape::of_steps();
    let params = model.params().bind(&mut tape);
    let from = model.encode(&mut tape, &params, &source, None)?;
    let mut run = Run {
        model,
        tape,
        params: &params,
        from: from.clone(),
        request: Request {
            grammar: options.syntax.map(|syntax| Grammar::new(syntax, &sources)),
            sources,
            options,
        },
    };
    if let Search::Sampling(sampling) = options.search {
        sampling.options.validate()?;
        let samples = run.grow(n)?;
        return Ok(samples.chunks(n).map(<[_]>::to_vec).collect());
    }
    let greedy = run.grow(1)?.into_iter();
    if width == 1 {
        return Ok(greedy.map(|output| vec![output]).collect());
    }
    run.from = from;
    let beams = run.beams(width, n)?.into_iter();
    let both = beams.zip(greedy).map(|(mut found, greedy)| {
        // A beam finds nothing where no logit is a number.
        if found.first().is_none_or(|best| greedy.score > best.score) {
            found.retain(|other| other.tokens != greedy.tokens || other.ended != greedy.ended);
            found.insert(0, greedy);
            found.truncate(n);
        }
        found
    });
    Ok(both.collect())
}
