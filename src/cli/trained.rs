//! A trained seq2seq model, from its run's folder.

use super::config_file;
use crate::Result;
use crate::data::words::WordVocab;
use crate::device::Gpu;
use crate::files::run::{MODEL, RunFolder};
use crate::models::seq2seq::Seq2Seq;
use crate::train::seq2seq::read_vocab;
use crate::train::seq2seq_config::Seq2SeqConfig;
use crate::train::start::load_weights;
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
    /// [`crate::Error::Checkpoint`] if it is missing, damaged, or of a character LM.
    pub fn open(path: &Path) -> Result<Self> {
        let (folder, checkpoint) = RunFolder::find(path)?;
        let (source, target) = read_vocab(&folder)?;
        let config: Seq2SeqConfig = config_file::read(&folder.config_path())?;
        let sizes = config.sizes(source.len(), target.len());
        let mut model = Seq2Seq::new::<f32>(config.model, sizes, config.seed)?;
        model.import(&load_weights(&checkpoint.join(MODEL))?)?;
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
