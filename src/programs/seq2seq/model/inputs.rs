//! A batch where the model is: in host memory, or on a GPU.

use crate::autograd::Var;
use crate::data::packing::Packing;
use crate::data::spans::Spans;
use crate::device::Gpu;
use crate::error::{Error, Result};
use crate::ops::dot_attention::Sequences;
use crate::ops::recurrent::Packed;
use crate::programs::seq2seq::data::{SeqBatch, SourceBatch};
use crate::tensor::Tensor;
use std::sync::Arc;

/// The source side of a batch; see [`SourceBatch`].
#[derive(Clone, Debug)]
pub struct Source {
    pub(super) packing: Packing,
    /// The packing's offsets.
    first_rows: Tensor,
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
    /// The step of each packed row `[M]`.
    pub(super) steps: Tensor,
    /// The packed rows of the source of each decoder row.
    pub(super) sequences: Sequences,
}

/// What a decoder's rows can copy, where the model is.
#[derive(Clone, Debug)]
pub struct Copyable {
    /// The extended id of each position `[M]`.
    pub ids: Tensor,
    /// 0, 1, .. B - 1: what a single step reads, one a row.
    pub rows: Tensor,
}

impl Copyable {
    /// Other positions, of so many rows.
    pub(super) fn select(
        &self,
        positions: &[u32],
        rows: usize,
        gpu: Option<&Arc<Gpu>>,
    ) -> Result<Self> {
        let ids = self.ids.to_cpu()?;
        let ids = ids.data::<u32>()?;
        let ids = positions.iter().map(|&position| ids[position as usize]);
        let each: Vec<u32> = (0..rows as u32).collect();
        Ok(Copyable {
            ids: index(&ids.collect::<Vec<_>>(), gpu)?,
            rows: index(&each, gpu)?,
        })
    }
}

/// A batch; see [`SeqBatch`].
#[derive(Clone, Debug)]
pub struct Inputs {
    pub(super) source: Source,
    pub(super) packing: Packing,
    /// The packing's offsets.
    first_rows: Tensor,
    /// The decoder's inputs, in host memory.
    pub(super) tokens: Vec<u32>,
    /// The same where the model is.
    pub(super) inputs: Tensor,
    pub(super) targets: Tensor,
    pub(super) rows: Tensor,
    /// The step of each packed row `[N]`.
    pub(super) steps: Tensor,
    /// The packed rows of each target.
    pub(super) sequences: Sequences,
    gpu: Option<Arc<Gpu>>,
}

/// What a decoder reads: whole targets, or one step of each.
#[derive(Clone, Copy)]
pub(super) struct Steps<'a> {
    /// Embeddings of the previous tokens `[N, E]`, packed.
    pub x: &'a Var,
    /// The decoder row of each packed row `[N]`; none of one step, which has them all in their order.
    pub rows: Option<&'a Tensor>,
    pub packed: Packed<'a>,
    /// The packed rows of each target.
    pub sequences: &'a Sequences,
}

/// Indices, and what each is below.
pub(super) type List<'a> = (&'a [u32], usize);

/// Lists of indices where the model is; see [`place_both`].
pub(super) fn place<const N: usize>(
    lists: [List; N],
    gpu: Option<&Arc<Gpu>>,
) -> Result<[Tensor; N]> {
    let (own, []) = place_both(lists, [], gpu)?;
    Ok(own)
}

/// Lists of indices where the model is: views of one tensor, so that a GPU is given them in one copy. They
/// are checked here, as kernels do not.
fn place_both<const M: usize, const N: usize>(
    first: [List; M],
    second: [List; N],
    gpu: Option<&Arc<Gpu>>,
) -> Result<([Tensor; M], [Tensor; N])> {
    let mut all = Vec::new();
    for (ids, limit) in first.into_iter().chain(second) {
        if let Some(id) = ids.iter().find(|&&id| id as usize >= limit) {
            let message = format!("id {id} for {limit} rows");
            return Err(Error::op("seq2seq", message));
        }
        all.extend_from_slice(ids);
    }
    let all = index(&all, gpu)?;
    let mut at = 0;
    let mut view = |(ids, _): List| {
        at += ids.len();
        all.part(at - ids.len(), [ids.len()])
    };
    Ok((first.map(&mut view), second.map(view)))
}

/// Numbers of rows where a model is.
pub(super) fn index(rows: &[u32], gpu: Option<&Arc<Gpu>>) -> Result<Tensor> {
    let rows = Tensor::from_slice(rows, [rows.len()])?;
    gpu.map_or(Ok(rows.clone()), |gpu| rows.to_gpu(gpu))
}

/// The indices that a [`Source`] is made of.
const SOURCE: usize = 10;

/// The indices of the source that are made of a batch's.
struct Made {
    /// Of each position its rows in the two runs, which lie side by side: `[M, 2]`.
    both: Vec<u32>,
    /// The step of each packed row.
    steps: Vec<u32>,
    /// The packed row that each step begins with.
    first_rows: Vec<u32>,
    /// The decoder's rows, which a single step of a model that copies reads.
    each: Vec<u32>,
}

impl Made {
    fn of(batch: &SourceBatch) -> Self {
        let pairs = batch.positions.iter().zip(&batch.reversed_positions);
        let both = pairs.flat_map(|(ahead, back)| [2 * ahead, 2 * back + 1]);
        Made {
            both: both.collect(),
            steps: batch.packing.steps_of_rows(),
            first_rows: batch.packing.offsets(),
            each: match batch.copies {
                Some(_) => (0..batch.spans.rows() as u32).collect(),
                None => Vec::new(),
            },
        }
    }
}

impl Source {
    /// Places a batch's sources, whose ids are below `vocab`.
    ///
    /// # Errors
    /// For an id outside the vocabulary, or if the device fails.
    pub fn new(batch: &SourceBatch, vocab: usize, gpu: Option<&Arc<Gpu>>) -> Result<Self> {
        let made = Made::of(batch);
        Self::of(batch, place(Self::lists(batch, &made, vocab), gpu)?)
    }

    fn lists<'a>(batch: &'a SourceBatch, made: &'a Made, vocab: usize) -> [List<'a>; SOURCE] {
        let (rows, packed) = (batch.packing.batch(), batch.packing.rows());
        [
            (&batch.ids, vocab),
            (&batch.reversed, packed),
            (&batch.rows, rows),
            (batch.spans.offsets(), batch.spans.total() + 1),
            (&made.both, 2 * packed),
            // Names of tokens, not rows of anything.
            (batch.copies.as_deref().unwrap_or_default(), usize::MAX),
            (&made.each, rows),
            (&batch.positions, packed),
            (&made.steps, batch.packing.steps()),
            (&made.first_rows, packed + 1),
        ]
    }

    fn of(
        batch: &SourceBatch,
        [
            ids,
            reversed,
            rows,
            offsets,
            both,
            copies,
            each,
            ahead,
            steps,
            first_rows,
        ]: [Tensor; SOURCE],
    ) -> Result<Self> {
        let offsets = offsets.gpu().is_some().then_some(offsets);
        Ok(Source {
            packing: batch.packing.clone(),
            first_rows,
            positions: both.reshape([batch.spans.total(), 2])?,
            sequences: Sequences::of(&batch.spans, Some(&ahead), offsets.as_ref()),
            steps,
            offsets,
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

    /// Where the packed rows lie.
    pub(super) fn packed(&self) -> Packed<'_> {
        Packed {
            packing: &self.packing,
            offsets: Some(&self.first_rows),
        }
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
        let (made, packing) = (Made::of(&batch.source), &batch.packing);
        let extended = match batch.source.copies {
            Some(_) => vocab.1 + batch.source.spans.longest(),
            None => vocab.1,
        };
        let (order, steps) = (packing.by_sequence(), packing.steps_of_rows());
        let first_rows = packing.offsets();
        let spans = Spans::new(&packing.lengths())?;
        let lists: [List; 7] = [
            (&batch.inputs, vocab.1),
            (&batch.targets, extended),
            (&batch.rows, packing.batch()),
            (&order, packing.rows()),
            (&steps, packing.steps()),
            (spans.offsets(), packing.rows() + 1),
            (&first_rows, packing.rows() + 1),
        ];
        let of_source = Source::lists(&batch.source, &made, vocab.0);
        let (of_source, placed) = place_both(of_source, lists, gpu)?;
        let [inputs, targets, rows, order, steps, offsets, first_rows] = placed;
        let offsets = offsets.gpu().is_some().then_some(offsets);
        Ok(Inputs {
            source: Source::of(&batch.source, of_source)?,
            sequences: Sequences::of(&spans, Some(&order), offsets.as_ref()),
            packing: packing.clone(),
            first_rows,
            tokens: batch.inputs.clone(),
            inputs,
            targets,
            rows,
            steps,
            gpu: gpu.cloned(),
        })
    }

    /// The embeddings of the targets' tokens as a decoder reads them.
    pub(super) fn steps<'a>(&'a self, x: &'a Var) -> Steps<'a> {
        Steps {
            x,
            rows: Some(&self.rows),
            packed: Packed {
                packing: &self.packing,
                offsets: Some(&self.first_rows),
            },
            sequences: &self.sequences,
        }
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
