//! What a run of the character LM is made from: corpus, data, model, weights, saved state.

use super::config::{CharLmConfig, ClipMode};
use super::memory;
use super::progress::Progress;
use crate::data::batch::CharData;
use crate::data::corpus::{Corpus, CorpusSpec};
use crate::data::vocab::CharVocab;
use crate::error::{Error, Result};
use crate::files::metrics::{self, Event};
use crate::files::run::{MODEL, RunFolder, STATE};
use crate::files::state::TrainState;
use crate::files::tensors::TensorFile;
use crate::models::char_lstm::{CharLstm, CharLstmSizes};
use crate::optim::{AdamConfig, Clip};
use std::collections::BTreeMap;
use std::path::Path;

pub(super) fn load_corpus(config: &CharLmConfig, progress: &Progress) -> Result<Corpus> {
    let corpus = Corpus::load(&CorpusSpec {
        paths: config.corpus.clone(),
        max_chars: config.max_chars,
        seed: config.seed,
    })?;
    progress.line(&format!("corpus: {}", corpus.report));
    if let Some(note) = corpus.report.dropped_note() {
        progress.line(&format!("note: {note}"));
    }
    Ok(corpus)
}

pub(super) fn make_data(
    config: &CharLmConfig,
    corpus: &Corpus,
    vocab: Option<CharVocab>,
) -> Result<CharData> {
    let (valid, length, batch) = (config.valid_fraction, config.seq_length, config.batch_size);
    let data = match vocab {
        Some(vocab) => CharData::with_vocab(corpus, vocab, valid, length, batch),
        None => CharData::new(corpus, valid, length, batch),
    }?;
    memory::check(memory::charlm_step(
        sizes(config, data.vocab.len()),
        batch,
        length,
    ))?;
    Ok(data)
}

fn sizes(config: &CharLmConfig, vocab: usize) -> CharLstmSizes {
    CharLstmSizes {
        vocab,
        embedding: config.embedding_dim,
        hidden: config.hidden_size,
        layers: config.num_layers,
    }
}

pub(super) fn make_model(config: &CharLmConfig, vocab: usize) -> Result<CharLstm> {
    CharLstm::new::<f32>(sizes(config, vocab), config.seed)
}

pub(super) fn adam_config(config: &CharLmConfig) -> AdamConfig {
    AdamConfig {
        learning_rate: config.learning_rate,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-7,
    }
}

pub(super) fn clip(config: &CharLmConfig) -> Clip {
    let max = config.clip_norm;
    match config.clip_mode {
        _ if max == 0.0 => Clip::Off,
        ClipMode::PerTensor => Clip::PerTensor { max },
        ClipMode::Global => Clip::Global { max, epsilon: 0.0 },
    }
}

/// Seconds of the epochs that metrics.jsonl holds.
pub(super) fn epochs_took(folder: &RunFolder) -> Result<f64> {
    let path = folder.metrics_path();
    if !path.exists() {
        return Ok(0.0);
    }
    let seconds = metrics::read(&path)?.into_iter().map(|event| match event {
        Event::Epoch(e) => e.seconds,
        _ => 0.0,
    });
    Ok(seconds.sum())
}

/// The vocabulary of a run.
///
/// # Errors
/// If it is missing, damaged, or of another kind of model.
pub fn read_vocab(folder: &RunFolder) -> Result<CharVocab> {
    let path = folder.vocab_path();
    let text = folder.read_vocab("char")?;
    let value = serde_json::from_str(&text)
        .map_err(|e| Error::checkpoint(&path, format!("is damaged: {e}")))?;
    CharVocab::from_json(&value, &path)
}

pub(super) fn load_state(
    checkpoint: &Path,
    corpus: &Corpus,
    config: &CharLmConfig,
) -> Result<TrainState> {
    let path = checkpoint.join(STATE);
    let state = TrainState::load(&path)?;
    state.require_program(&path, "charlm")?;
    if state.data_sha256 != corpus.report.sha256 {
        let names: Vec<String> = config
            .corpus
            .iter()
            .map(|p| p.display().to_string())
            .collect();
        return Err(Error::Data(format!(
            "--resume: the text of {} has changed since the run began (its SHA-256 is another); \
             restore it, or start a new run from these weights with --init-from {} --out ANOTHER",
            if names.is_empty() {
                "the embedded corpus".into()
            } else {
                names.join(", ")
            },
            checkpoint.display()
        )));
    }
    Ok(state)
}

/// The counter of every random stream: masks are numbered by step, orders of windows by epoch.
pub(super) fn streams(state: &TrainState) -> BTreeMap<String, u64> {
    [("dropout", state.adam_step), ("shuffle", state.epoch)]
        .map(|(name, n)| (name.to_owned(), n))
        .into()
}

/// Checks that the counters of a state fit one another and the run: a digit that changed on the
/// disk would otherwise go unnoticed.
pub(super) fn check_state(
    checkpoint: &Path,
    state: &TrainState,
    config: &CharLmConfig,
    per_epoch: u64,
) -> Result<()> {
    let done = state.epoch.checked_mul(per_epoch);
    let fits = state.step_in_epoch <= per_epoch
        && done.and_then(|n| n.checked_add(state.step_in_epoch)) == Some(state.step)
        && state.adam_step == state.step
        && state.seed == config.seed
        && state.streams == streams(state);
    if fits {
        return Ok(());
    }
    let message = format!(
        "its counters contradict one another (step {}, epoch {}, step_in_epoch {}, adam_step {}, \
         seed {}; an epoch has {per_epoch} steps): the file is damaged. Make `last` point to \
         another folder under checkpoints/, or start a new run with --init-from {} --out ANOTHER",
        state.step,
        state.epoch,
        state.step_in_epoch,
        state.adam_step,
        state.seed,
        checkpoint.display()
    );
    Err(Error::checkpoint(checkpoint.join(STATE), message))
}

/// The weights of a file; all of them are numbers that training can start from.
pub(super) fn load_weights(path: &Path) -> Result<TensorFile> {
    let file = TensorFile::load(path)?;
    for (name, tensor) in &file.tensors {
        if let Some(at) = tensor.data.iter().position(|x| !x.is_finite()) {
            let message = format!(
                "tensor `{name}` holds {} at index {at}: its training had diverged; use weights \
                 from before that",
                tensor.data[at]
            );
            return Err(Error::checkpoint(path, message));
        }
    }
    Ok(file)
}

/// Weights to start from, and the vocabulary where they come from a run.
pub(super) struct Init {
    pub(super) weights: TensorFile,
    pub(super) vocab: Option<CharVocab>,
}

impl Init {
    pub(super) fn load(path: &Path) -> Result<Self> {
        if !path.exists() {
            return Err(Error::checkpoint(path, "--init-from: no such file or run"));
        }
        if path.is_file() {
            return Ok(Init {
                weights: load_weights(path)?,
                vocab: None,
            });
        }
        let (folder, checkpoint) = RunFolder::find(path)?;
        Ok(Init {
            weights: load_weights(&checkpoint.join(MODEL))?,
            vocab: Some(read_vocab(&folder)?),
        })
    }
}
