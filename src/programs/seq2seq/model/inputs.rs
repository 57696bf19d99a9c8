//! A batch where the model is: in host memory, or on a GPU.

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
    pub(super) positions: Tensor,
    pub(super) reversed_positions: Tensor,
}

/// A batch; see [`SeqBatch`].
#[derive(Clone, Debug)]
pub struct Inputs {
    pub(super) source: Source,
    pub(super) packing: Packing,
    /// The decoder's inputs, in host memory.
    pub(super) tokens: Vec<u32>,
    pub(super) targets: Tensor,
    pub(super) rows: Tensor,
    gpu: Option<Arc<Gpu>>,
}

/// Ids below `limit`, placed. They are checked here, as kernels do not.
pub(super) fn place(ids: &[u32], limit: usize, gpu: Option<&Arc<Gpu>>) -> Result<Tensor> {
    if let Some(id) = ids.iter().find(|&&id| id as usize >= limit) {
        let message = format!("id {id} for {limit} rows");
        return Err(Error::op("seq2seq", message));
    }
    let tensor = Tensor::from_slice(ids, [ids.len()])?;
    match gpu {
        Some(gpu) => tensor.to_gpu(gpu),
        None => Ok(tensor),
    }
}

impl Source {
    /// Places a batch's sources, whose ids are below `vocab`.
    ///
    /// # Errors
    /// For an id outside the vocabulary, or if the device fails.
    pub fn new(batch: &SourceBatch, vocab: usize, gpu: Option<&Arc<Gpu>>) -> Result<Self> {
        let (rows, packed) = (batch.packing.batch(), batch.packing.rows());
        Ok(Source {
            packing: batch.packing.clone(),
            ids: place(&batch.ids, vocab, gpu)?,
            reversed: place(&batch.reversed, packed, gpu)?,
            rows: place(&batch.rows, rows, gpu)?,
            spans: batch.spans.clone(),
            positions: place(&batch.positions, packed, gpu)?,
            reversed_positions: place(&batch.reversed_positions, packed, gpu)?,
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
        Ok(Inputs {
            source: Source::new(&batch.source, vocab.0, gpu)?,
            packing: batch.packing.clone(),
            tokens: batch.inputs.clone(),
            targets: place(&batch.targets, vocab.1, gpu)?,
            rows: place(&batch.rows, batch.packing.batch(), gpu)?,
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
