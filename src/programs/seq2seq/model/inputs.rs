//! A batch where the model is: in host memory, or on a GPU.

use super::state::Copyable;
use crate::data::packing::Packing;
use crate::data::spans::Spans;
use crate::device::Gpu;
use crate::error::{Error, Result};
use crate::programs::seq2seq::data::{SeqBatch, SourceBatch};
use crate::tensor::Tensor;
use std::sync::Arc;

/// The source side of a batch; see [`SourceBatch`].
#[derive(Clone, Debug)]
pub struct Source {
    pub(super) packing: Packing,
    pub(super) ids: Tensor,
    pub(super) reversed: Tensor,
    pub(super) rows: Tensor,
    pub(super) spans: Spans,
    /// The spans' offsets, where the batch is on a GPU.
    pub(super) offsets: Option<Tensor>,
    /// `[M, 2]`: of each position its packed row in the run from the start, and in that from the end, as
    /// rows of the two side by side.
    pub(super) positions: Tensor,
    /// For a model that copies.
    pub(super) copies: Option<Copyable>,
}

/// A batch; see [`SeqBatch`].
#[derive(Clone, Debug)]
pub struct Inputs {
    pub(super) source: Source,
    pub(super) packing: Packing,
    /// The decoder's inputs, in host memory.
    pub(super) tokens: Vec<u32>,
    /// The same where the model is.
    pub(super) inputs: Tensor,
    pub(super) targets: Tensor,
    pub(super) rows: Tensor,
    gpu: Option<Arc<Gpu>>,
}

/// Lists of indices, each below its limit, where the model is: views of one tensor, so that a GPU is
/// given them in one copy. They are checked here, as kernels do not.
pub(super) fn place<const N: usize>(
    lists: [(&[u32], usize); N],
    gpu: Option<&Arc<Gpu>>,
) -> Result<[Tensor; N]> {
    let mut all = Vec::new();
    for (ids, limit) in lists {
        if let Some(id) = ids.iter().find(|&&id| id as usize >= limit) {
            let message = format!("id {id} for {limit} rows");
            return Err(Error::op("seq2seq", message));
        }
        all.extend_from_slice(ids);
    }
    let all = Tensor::from_slice(&all, [all.len()])?;
    let all = match gpu {
        Some(gpu) => all.to_gpu(gpu)?,
        None => all,
    };
    let mut at = 0;
    Ok(lists.map(|(ids, _)| {
        at += ids.len();
        all.part(at - ids.len(), [ids.len()])
    }))
}

/// The indices that a [`Source`] is made of.
const SOURCE: usize = 7;

impl Source {
    /// Places a batch's sources, whose ids are below `vocab`.
    ///
    /// # Errors
    /// For an id outside the vocabulary, or if the device fails.
    pub fn new(batch: &SourceBatch, vocab: usize, gpu: Option<&Arc<Gpu>>) -> Result<Self> {
        let (both, each) = (Self::both(batch), Self::each(batch));
        Self::of(
            batch,
            place(Self::lists(batch, (&both, &each), vocab), gpu)?,
        )
    }

    /// The decoder's rows, which a single step of a model that copies reads.
    fn each(batch: &SourceBatch) -> Vec<u32> {
        match batch.copies {
            Some(_) => (0..batch.spans.rows() as u32).collect(),
            None => Vec::new(),
        }
    }

    /// Of each position its rows in the two runs, which lie side by side: `[M, 2]`.
    fn both(batch: &SourceBatch) -> Vec<u32> {
        let pairs = batch.positions.iter().zip(&batch.reversed_positions);
        pairs
            .flat_map(|(ahead, back)| [2 * ahead, 2 * back + 1])
            .collect()
    }

    fn lists<'a>(
        batch: &'a SourceBatch,
        (both, each): (&'a [u32], &'a [u32]),
        vocab: usize,
    ) -> [(&'a [u32], usize); SOURCE] {
        let (rows, packed) = (batch.packing.batch(), batch.packing.rows());
        [
            (&batch.ids, vocab),
            (&batch.reversed, packed),
            (&batch.rows, rows),
            (batch.spans.offsets(), batch.spans.total() + 1),
            (both, 2 * packed),
            // Names of tokens, not rows of anything.
            (batch.copies.as_deref().unwrap_or_default(), usize::MAX),
            (each, rows),
        ]
    }

    fn of(
        batch: &SourceBatch,
        [ids, reversed, rows, offsets, both, copies, each]: [Tensor; SOURCE],
    ) -> Result<Self> {
        Ok(Source {
            packing: batch.packing.clone(),
            positions: both.reshape([batch.spans.total(), 2])?,
            offsets: offsets.gpu().is_some().then_some(offsets),
            spans: batch.spans.clone(),
            copies: batch.copies.is_some().then_some(Copyable {
                ids: copies,
                rows: each,
            }),
            ids,
            reversed,
            rows,
        })
    }

    /// Rows of the decoder.
    pub fn batch(&self) -> usize {
        self.packing.batch()
    }
}

impl Inputs {
    /// Places a batch, whose ids are below the vocabularies' sizes (source, target).
    ///
    /// # Errors
    /// For an id outside its vocabulary, or if the device fails.
    pub fn new(batch: &SeqBatch, vocab: (usize, usize), gpu: Option<&Arc<Gpu>>) -> Result<Self> {
        let source = &batch.source;
        let (both, each) = (Source::both(source), Source::each(source));
        let [a, b, c, d, e, f, g] = Source::lists(source, (&both, &each), vocab.0);
        let extended = match source.copies {
            Some(_) => vocab.1 + source.spans.longest(),
            None => vocab.1,
        };
        let (inputs, targets) = ((&batch.inputs[..], vocab.1), (&batch.targets[..], extended));
        let rows = (&batch.rows[..], batch.packing.batch());
        let lists = [a, b, c, d, e, f, g, inputs, targets, rows];
        let [a, b, c, d, e, f, g, inputs, targets, rows] = place(lists, gpu)?;
        Ok(Inputs {
            source: Source::of(source, [a, b, c, d, e, f, g])?,
            packing: batch.packing.clone(),
            tokens: batch.inputs.clone(),
            inputs,
            targets,
            rows,
            gpu: gpu.cloned(),
        })
    }

    /// Target tokens, `<EOS>` included.
    pub fn target_tokens(&self) -> usize {
        self.packing.rows()
    }

    /// The GPU that holds the batch.
    pub(super) fn gpu(&self) -> Option<&Arc<Gpu>> {
        self.gpu.as_ref()
    }
}
