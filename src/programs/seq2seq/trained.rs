//! A trained seq2seq model, from its run's folder.

use crate::data::vocab::Vocab;
use crate::data::words::WordVocab;
use crate::device::Gpu;
use crate::files::run::{MODEL, RunFolder};
use crate::nn::torch_names;
use crate::programs::seq2seq::config::Seq2SeqConfig;
use crate::programs::seq2seq::model::Seq2Seq;
use crate::train::config_file;
use crate::train::model::Model;
use crate::train::start::load_weights;
use crate::{Error, Result};
use std::path::Path;
use std::sync::Arc;

/// A model with what it needs to read and write text.
#[derive(Debug)]
pub struct Trained {
    /// The model.
    pub model: Seq2Seq,
    /// The tokens it reads.
    pub source: WordVocab,
    /// The tokens it writes.
    pub target: WordVocab,
    /// The run's configuration.
    pub config: Seq2SeqConfig,
}

impl Trained {
    /// Opens a run's best checkpoint, or the checkpoint that `path` names.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if it is missing, damaged, of a character LM, or if its vocabularies
    /// are of other weights.
    pub fn open(path: &Path) -> Result<Self> {
        let (folder, checkpoint) = RunFolder::find(path)?;
        let (source, target) = Vocab::read_words(&folder)?;
        let config: Seq2SeqConfig = config_file::trained(&folder, &checkpoint)?;
        let path = checkpoint.join(MODEL);
        let weights = load_weights(&path)?;
        for (side, name, vocab) in [
            ("source", "encoder.embedding.weight", &source),
            ("target", "decoder.embedding.weight", &target),
        ] {
            let rows = weights.tensors.get(name).and_then(|t| t.shape.first());
            if let Some(rows) = rows.filter(|rows| **rows != vocab.len()) {
                let message = format!(
                    "\"{side}\" has {} tokens, but {name} of {} has {rows} rows: they belong to \
                     different models; restore the vocabulary that the run was trained with",
                    vocab.len(),
                    path.display()
                );
                return Err(Error::checkpoint(folder.vocab_path(), message));
            }
        }
        let sizes = config.sizes(source.len(), target.len());
        torch_names::check(&Seq2Seq::layout(config.model, sizes), &weights)?;
        let mut model = Seq2Seq::new::<f32>(config.model, sizes, config.seed);
        model.import(&weights)?;
        Ok(Trained {
            model,
            source,
            target,
            config,
        })
    }

    /// Moves the model to a GPU; with `mixed` its products are f16.
    ///
    /// # Errors
    /// If the device fails or has not enough memory.
    pub fn move_to_gpu(&mut self, gpu: &Arc<Gpu>, mixed: bool) -> Result<()> {
        self.model.params_mut().to_gpu(gpu, mixed)
    }
}
