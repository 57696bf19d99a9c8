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
use crate::programs::seq2seq::data::{Example, SourceBatch};
use crate::programs::seq2seq::model::{Seq2Seq, Source};
use crate::train::model::Model;
use run::Run;

/// The tokens of a source, at least one.
#[derive(Clone, Copy, Debug)]
pub struct SourceIds<'a> {
    /// Their ids in the source vocabulary.
    pub ids: &'a [u32],
    /// Their ids in the extended vocabulary of the source, for a model that copies.
    pub copies: Option<&'a [u32]>,
}

impl<'a> From<&'a [u32]> for SourceIds<'a> {
    fn from(ids: &'a [u32]) -> Self {
        SourceIds { ids, copies: None }
    }
}

impl<'a> From<&'a Example> for SourceIds<'a> {
    fn from(example: &'a Example) -> Self {
        let extended = example.extended.as_ref();
        SourceIds {
            ids: &example.source_ids,
            copies: extended.map(|extended| &extended.source[..]),
        }
    }
}

/// Decodes some sources. The outputs stand in their order.
///
/// # Errors
/// [`Error::Op`] for an empty source, a beam or length of 0, an id outside the vocabulary, or a source
/// without extended ids for a model that copies; or if the device fails.
pub fn decode<'a>(
    model: &Seq2Seq,
    sources: &[impl Into<SourceIds<'a>> + Copy],
    options: DecodeOptions,
) -> Result<Vec<Hypothesis>> {
    let width = options.search.width();
    if width == 0 || options.max_length == 0 {
        return Err(Error::op(
            "decode",
            format!("{options:?}: nothing to choose"),
        ));
    }
    let sources: Vec<SourceIds> = sources.iter().map(|&source| source.into()).collect();
    let count = sources.len();
    // Each hypothesis of a beam has a row of its own.
    let rows: Vec<SourceIds> = sources
        .iter()
        .flat_map(|s| std::iter::repeat_n(*s, width))
        .collect();
    let batch = SourceBatch::new(&rows.iter().map(|row| row.ids).collect::<Vec<_>>())?;
    let copies: Option<Vec<&[u32]>> = rows.iter().map(|row| row.copies).collect();
    let batch = match copies {
        Some(copies) if model.copies() => batch.with_copies(&copies)?,
        _ => batch,
    };
    let source = Source::new(&batch, model.vocab().0, model.gpu())?;
    let mut tape = Tape::inference();
    let params = model.params().bind(&mut tape);
    let from = model.encode(&mut tape, &params, &source, None)?;
    let mut run = Run {
        model,
        params: &params,
        from,
        sources,
        options,
    };
    match options.search {
        Search::Greedy => run.greedy(count),
        Search::Beam(_) => run.beams(count, width),
    }
}
