//! How a run of the character LM starts: corpus, data, model, weights, saved state.

use super::charlm::{Begin, CharLmRun, Session};
use super::checkpoint::import_adam;
use super::config::{CharLmConfig, ClipMode};
use super::device::Chosen;
use super::gpu_loop::GpuLoop;
use super::memory;
use super::progress::{Progress, thousands};
use super::step::{CharLmStep, StepConfig};
use crate::data::batch::CharData;
use crate::data::corpus::{Corpus, CorpusSpec};
use crate::data::vocab::CharVocab;
use crate::error::{Error, Result};
use crate::files::metrics::{self, Event, MetricsWriter};
use crate::files::run::{MODEL, OPTIMIZER, RunFolder, STATE};
use crate::files::state::{LossScaler, TrainState};
use crate::files::tensors::TensorFile;
use crate::models::char_lstm::{CharLstm, CharLstmSizes};
use crate::optim::{Adam, AdamConfig, Clip};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

impl Session {
    /// Reads and checks everything, and only then makes or changes the run's folder.
    pub(super) fn start(request: CharLmRun, progress: Progress, chosen: &Chosen) -> Result<Self> {
        let config = request.config;
        let corpus = load_corpus(&config, &progress)?;
        match &request.begin {
            Begin::New { force, init_from } => {
                let init = init_from.as_deref().map(Init::load).transpose()?;
                let vocab = init.as_ref().and_then(|i| i.vocab.clone());
                let data = make_data(&config, &corpus, vocab, chosen.gpu.is_none())?;
                let mut model = make_model(&config, data.vocab.len())?;
                if let Some(init) = &init {
                    model.import(&init.weights)?;
                }
                let folder = RunFolder::create(&request.out, *force)?;
                folder.write_config(&request.config_text)?;
                folder.write_vocab(&format!("{:#}\n", data.vocab.to_json()))?;
                let state = TrainState::new("charlm", config.seed, corpus.report.sha256.clone());
                let adam = Adam::new::<f32>(adam_config(&config), model.params().layout());
                Self::join(config, folder, data, (model, adam), state, progress, chosen)
            }
            Begin::Resume => {
                let folder = RunFolder::resume(&request.out)?;
                let last = folder.last()?;
                let state = load_state(&last, &corpus, &config)?;
                let vocab = read_vocab(&folder)?;
                let data = make_data(&config, &corpus, Some(vocab), chosen.gpu.is_none())?;
                check_state(&last, &state, &config, data.steps_per_epoch() as u64)?;
                let mut model = make_model(&config, data.vocab.len())?;
                model.import(&load_weights(&last.join(MODEL))?)?;
                let layout = model.params().layout();
                let mut adam = Adam::new::<f32>(adam_config(&config), layout);
                let moments = TensorFile::load(&last.join(OPTIMIZER))?;
                import_adam(&mut adam, layout, &moments, state.adam_step)?;
                // All is read and fits: only now the folder changes.
                folder.write_config(&request.config_text)?;
                metrics::truncate_after(&folder.metrics_path(), state.step, state.epoch)?;
                // The run may have died between saving its best checkpoint and marking it.
                if state.best.as_ref().is_some_and(|b| b.step == state.step) {
                    folder.mark_best(state.step)?;
                }
                progress.line(&format!(
                    "resuming {} at step {} ({} epochs done)",
                    request.out.display(),
                    state.step,
                    state.epoch
                ));
                Self::join(config, folder, data, (model, adam), state, progress, chosen)
            }
        }
    }

    fn join(
        config: CharLmConfig,
        folder: RunFolder,
        data: CharData,
        (model, adam): (CharLstm, Adam),
        mut state: TrainState,
        progress: Progress,
        chosen: &Chosen,
    ) -> Result<Self> {
        progress.line(&format!(
            "model: {} layers of {} units, {} parameters, vocabulary {}; {} steps an epoch of {} \
             characters",
            config.num_layers,
            config.hidden_size,
            thousands(model.params().layout().parameters() as f64),
            data.vocab.len(),
            data.steps_per_epoch(),
            config.batch_size * config.seq_length
        ));
        let step = StepConfig {
            dropout: config.dropout,
            l2: config.l2,
            clip: clip(&config),
            seed: config.seed,
        };
        let mut step = CharLmStep::new(model, adam, step);
        if let Some(gpu) = &chosen.gpu {
            if chosen.mixed {
                state.loss_scaler = state.loss_scaler.or(Some(LossScaler::FIRST));
            }
            step = step.to_gpu(gpu, state.loss_scaler.filter(|_| chosen.mixed))?;
        }
        let (length, batch) = (config.seq_length, config.batch_size);
        let windows = data.split.train_windows;
        let feed = GpuLoop::new(&step, data.train_ids(), windows, length, batch)?;
        if let Some(feed) = &feed {
            progress.line(&format!("step: {}", feed.describe()));
        }
        Ok(Session {
            metrics: MetricsWriter::append(&folder.metrics_path())?,
            step,
            feed,
            earlier: state.elapsed_seconds,
            epochs_took: epochs_took(&folder)?,
            started: Instant::now(),
            trained: 0,
            config,
            folder,
            data,
            state,
            progress,
        })
    }
}

// ---- parts of the start --------------------------------------------------------------------

fn load_corpus(config: &CharLmConfig, progress: &Progress) -> Result<Corpus> {
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

fn make_data(
    config: &CharLmConfig,
    corpus: &Corpus,
    vocab: Option<CharVocab>,
    on_cpu: bool,
) -> Result<CharData> {
    let (valid, length, batch) = (config.valid_fraction, config.seq_length, config.batch_size);
    let data = match vocab {
        Some(vocab) => CharData::with_vocab(corpus, vocab, valid, length, batch),
        None => CharData::new(corpus, valid, length, batch),
    }?;
    if on_cpu {
        let sizes = sizes(config, data.vocab.len());
        memory::check(memory::charlm_step(sizes, batch, length))?;
    }
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

fn make_model(config: &CharLmConfig, vocab: usize) -> Result<CharLstm> {
    CharLstm::new::<f32>(sizes(config, vocab), config.seed)
}

fn adam_config(config: &CharLmConfig) -> AdamConfig {
    AdamConfig {
        learning_rate: config.learning_rate,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-7,
    }
}

fn clip(config: &CharLmConfig) -> Clip {
    let max = config.clip_norm;
    match config.clip_mode {
        _ if max == 0.0 => Clip::Off,
        ClipMode::PerTensor => Clip::PerTensor { max },
        ClipMode::Global => Clip::Global { max, epsilon: 0.0 },
    }
}

/// Seconds of the epochs that metrics.jsonl holds.
fn epochs_took(folder: &RunFolder) -> Result<f64> {
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

fn load_state(checkpoint: &Path, corpus: &Corpus, config: &CharLmConfig) -> Result<TrainState> {
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
    [("dropout", state.step), ("shuffle", state.epoch)]
        .map(|(name, n)| (name.to_owned(), n))
        .into()
}

/// Checks that the counters of a state fit one another and the run: a digit that changed on the
/// disk would otherwise go unnoticed.
fn check_state(
    checkpoint: &Path,
    state: &TrainState,
    config: &CharLmConfig,
    per_epoch: u64,
) -> Result<()> {
    let done = state.epoch.checked_mul(per_epoch);
    let skipped = state.loss_scaler.map_or(0, |s| s.skipped);
    let fits = state.step_in_epoch <= per_epoch
        && done.and_then(|n| n.checked_add(state.step_in_epoch)) == Some(state.step)
        && state.adam_step.checked_add(skipped) == Some(state.step)
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
fn load_weights(path: &Path) -> Result<TensorFile> {
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
struct Init {
    weights: TensorFile,
    vocab: Option<CharVocab>,
}

impl Init {
    fn load(path: &Path) -> Result<Self> {
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
