//! A trained seq2seq model, from its run's folder.

use super::config_file;
use crate::data::words::{WordVocab, words_from_json};
use crate::device::Gpu;
use crate::files::run::{MODEL, RunFolder};
use crate::files::tensors::TensorFile;
use crate::models::seq2seq::{Seq2Seq, Seq2SeqSizes};
use crate::train::seq2seq_config::Seq2SeqConfig;
use crate::{Error, Result};
use std::path::{Path, PathBuf};
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
    /// The checkpoint's folder.
    pub checkpoint: PathBuf,
}

impl Trained {
    /// Opens a run's best checkpoint, or the checkpoint that `path` names.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if it is missing, damaged, or of a character LM.
    pub fn open(path: &Path) -> Result<Self> {
        let (folder, checkpoint) = RunFolder::find(path)?;
        let vocab_path = folder.vocab_path();
        let vocab = serde_json::from_str(&folder.read_vocab("words")?)
            .map_err(|e| Error::checkpoint(&vocab_path, format!("is damaged: {e}")))?;
        let (source, target) = words_from_json(&vocab, &vocab_path)?;
        let config = config_file::read_seq2seq(&folder.config_path())?;
        let sizes = Seq2SeqSizes {
            source_vocab: source.len(),
            target_vocab: target.len(),
            embedding: config.embedding_dim,
            hidden: config.hidden_size,
        };
        let mut model = Seq2Seq::new::<f32>(config.model, sizes, config.seed)?;
        model.import(&TensorFile::load(&checkpoint.join(MODEL))?)?;
        Ok(Trained {
            model,
            source,
            target,
            config,
            checkpoint,
        })
    }

    /// Moves the model to a GPU; with `mixed` its products are f16.
    ///
    /// # Errors
    /// If the device fails or has not enough memory.
    pub fn to_gpu(&mut self, gpu: &Arc<Gpu>, mixed: bool) -> Result<()> {
        self.model.params_mut().to_gpu(gpu, mixed)
    }
}
