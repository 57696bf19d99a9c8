//! Choosing output tokens: greedy and beam search.
//!
//! `<PAD>` and `<SOS>` are never chosen. Ties go to the lowest token. A sequence ends with `<EOS>`,
//! or at the largest length. Under a grammar each step chooses among the tokens that may follow, and
//! leaves length enough for what is open; probabilities are those of all tokens still.

mod beam;
mod greedy;
mod run;

pub use run::{DecodeOptions, Hypothesis, Search};

use crate::autograd::Tape;
use crate::error::{Error, Result};
use crate::programs::seq2seq::data::SourceBatch;
use crate::programs::seq2seq::model::{Seq2Seq, Source};
use crate::train::model::Model;
use run::Run;

/// Decodes some sources, each the ids of at least one token. The outputs stand in their order.
///
/// # Errors
/// As [`decode_n_best`].
pub fn decode(
    model: &Seq2Seq,
    sources: &[&[u32]],
    options: DecodeOptions,
) -> Result<Vec<Hypothesis>> {
    let all = decode_n_best(model, sources, options, 1)?;
    Ok(all.into_iter().flatten().collect())
}

/// The `n` best outputs of each source, the best first: fewer where a beam has found fewer, at least
/// one, and one alone of a greedy search.
///
/// The best has no lower score than the greedy output: a beam may lose that on its way, and where it
/// is better than what the beam has found, it comes first.
///
/// # Errors
/// [`Error::Op`] for an empty source, a beam, length or `n` of 0, a length penalty below 0, or an id
/// outside the vocabulary; for a length in which nothing of the grammar can be written; or if the device
/// fails.
pub fn decode_n_best(
    model: &Seq2Seq,
    sources: &[&[u32]],
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
    let batch = SourceBatch::new(sources)?;
    let source = Source::new(&batch, model.vocab().0, model.gpu())?;
    let mut tape = Tape::inference();
    let params = model.params().bind(&mut tape);
    let from = model.encode(&mut tape, &params, &source, None)?;
    let lengths: Vec<usize> = sources.iter().map(|s| s.len()).collect();
    let mut run = Run {
        model,
        tape,
        params: &params,
        from: from.clone(),
        lengths: &lengths,
        options,
    };
    let greedy = run.greedy()?.into_iter();
    if width == 1 {
        return Ok(greedy.map(|output| vec![output]).collect());
    }
    run.from = from;
    let beams = run.beams(width, n)?.into_iter();
    let both = beams.zip(greedy).map(|(mut found, greedy)| {
        if greedy.score > found[0].score {
            found.retain(|other| other.tokens != greedy.tokens || other.ended != greedy.ended);
            found.insert(0, greedy);
            found.truncate(n);
        }
        found
    });
    Ok(both.collect())
}
