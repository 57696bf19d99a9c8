//! Choosing output tokens: greedy and beam search.
//!
//! `<PAD>` and `<SOS>` are never chosen. Ties go to the lowest token. A sequence ends with `<EOS>`,
//! or at the largest length.

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
    let params = model.params().bind(&mut tape);
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
