//! A trained seq2seq model, from its run's folder.

use crate::data::pair_files::{PairFormat, read_pairs, skipped_note};
use crate::data::pairs::Splits;
use crate::data::vocab::Vocab;
use crate::device::Gpu;
use crate::files::run::{MODEL, RunFolder};
use crate::nn::torch_names;
use crate::programs::seq2seq::config::Seq2SeqConfig;
use crate::programs::seq2seq::model::Seq2Seq;
use crate::programs::seq2seq::tokens::SeqVocab;
use crate::programs::seq2seq::train::Seq2SeqJob;
use crate::train::config_file;
use crate::train::init::{check_rows, load_weights};
use crate::train::job::Job;
use crate::train::model::Model;
use crate::{Error, Result};
use std::path::Path;
use std::sync::Arc;

/// A model with what it needs to read and write text.
#[derive(Debug)]
pub struct Trained {
    /// The model.
    pub model: Seq2Seq,
    /// The tokens it reads and those it writes.
    pub vocab: SeqVocab,
    /// The run's configuration.
    pub config: Seq2SeqConfig,
}

impl Trained {
    /// Opens a run's best checkpoint, or the checkpoint that `path` names.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if it is missing, damaged, of a character LM, or if its vocabularies
    /// are of other weights. [`Error::Usage`] for a language model of pre-training.
    pub fn open(path: &Path) -> Result<Self> {
        let (folder, checkpoint) = RunFolder::find(path)?;
        let (file, vocab_path) = (Vocab::read(&folder)?, folder.vocab_path());
        let vocab = SeqVocab::from_file(file.clone(), &vocab_path)?;
        let config: Seq2SeqConfig = config_file::trained(&folder, &checkpoint)?;
        if config.pretrain.is_some() {
            let run = folder.path().display();
            return Err(Error::Usage(format!(
                "{run} is the pre-training of a decoder: its model has learned targets alone and reads no \
                 source; train it on pairs with rnnx train-seq2seq --init-from {run} --out ANOTHER"
            )));
        }
        let path = checkpoint.join(MODEL);
        let weights = load_weights(&path)?;
        let rows = Seq2SeqJob::TOKEN_ROWS;
        check_rows((&file, &vocab_path), (&weights, &path), rows)?;
        let sizes = config.sizes(vocab.source.len(), vocab.target.len());
        torch_names::check(&Seq2Seq::layout(config.model, sizes), &weights, &[])?;
        let mut model = Seq2Seq::new::<f32>(config.model, sizes, config.seed);
        model.import(&weights)?;
        Ok(Trained {
            model,
            vocab,
            config,
        })
    }

    /// The pairs of a file, as test split. Its fields are the run's own unless `fields` names source and
    /// target.
    ///
    /// # Errors
    /// As [`read_pairs`], and as [`Seq2SeqConfig::check_signatures`] where the model reads signatures.
    pub fn pairs(&self, path: &Path, fields: [Option<&str>; 2], strict: bool) -> Result<Splits> {
        let [source, target] = fields;
        let own = self.config.format();
        let format = PairFormat {
            source_field: source.map_or(own.source_field, str::to_owned),
            target_field: target.map_or(own.target_field, str::to_owned),
            strict,
        };
        let file = read_pairs(path, &format)?;
        let skipped = [(path, &file.skipped[..])];
        let skipped = skipped_note(&format.source_field, skipped);
        let name = path.display().to_string();
        self.config.check_signatures(&file.pairs, &name)?;
        Ok(Splits {
            skipped,
            ..Splits::new(Vec::new(), Vec::new(), file.pairs, name)
        })
    }

    /// Moves the model to a GPU; with `mixed` its products are f16.
    ///
    /// # Errors
    /// If the device fails or has not enough memory.
    pub fn move_to_gpu(&mut self, gpu: &Arc<Gpu>, mixed: bool) -> Result<()> {
        gpu.set_recurrence(self.config.recurrence);
        self.model.params_mut().to_gpu(gpu, mixed)
    }
}
