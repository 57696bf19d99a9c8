//! How a run of the character LM starts: corpus, data, model, weights, saved state.

use super::charlm::{Begin, CharLmRun, Session};
use super::checkpoint::import_adam;
use super::config::{CharLmConfig, ClipMode, Precision};
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

/// All that a run needs before its folder is made or changed: what can fail has been done, the
/// device's memory taken.
struct Ready {
    data: CharData,
    step: CharLmStep,
    feed: Option<GpuLoop>,
    state: TrainState,
}

impl Session {
    /// Reads and checks everything, and only then makes or changes the run's folder.
    pub(super) fn start(request: CharLmRun, progress: Progress, chosen: Chosen) -> Result<Self> {
        match &request.begin {
            Begin::New { force, init_from } => {
                let init = init_from.as_deref();
                Self::new_run(&request, *force, init, progress, &chosen)
            }
            Begin::Resume => Self::resumed_run(&request, progress, chosen),
        }
    }

    fn new_run(
        request: &CharLmRun,
        force: bool,
        init_from: Option<&Path>,
        progress: Progress,
        chosen: &Chosen,
    ) -> Result<Self> {
        let config = &request.config;
        progress.line(&chosen.line());
        let corpus = load_corpus(config, &progress)?;
        let init = init_from.map(Init::load).transpose()?;
        let vocab = init.as_ref().and_then(|i| i.vocab.clone());
        let data = make_data(config, &corpus, vocab, chosen.gpu.is_none())?;
        let mut model = make_model(config, data.vocab.len())?;
        if let Some(init) = &init {
            model.import(&init.weights)?;
        }
        let mut state = TrainState::new("charlm", config.seed, corpus.report.sha256);
        state.loss_scaler = chosen.mixed.then_some(LossScaler::FIRST);
        let adam = Adam::new::<f32>(
            AdamConfig::keras(config.learning_rate),
            model.params().layout(),
        );
        let ready = Ready::new(config, data, (model, adam), state, &progress, chosen)?;
        let folder = RunFolder::create(&request.out, force)?;
        folder.write_config(&request.config_text)?;
        folder.write_vocab(&format!("{:#}\n", ready.data.vocab.to_json()))?;
        ready.join(config.clone(), folder, progress)
    }

    fn resumed_run(request: &CharLmRun, progress: Progress, mut chosen: Chosen) -> Result<Self> {
        let config = &request.config;
        let corpus = load_corpus(config, &progress)?;
        let folder = RunFolder::resume(&request.out)?;
        let last = folder.last()?;
        let state = load_state(&last, &corpus)?;
        keep_precision(config, &state, &mut chosen)?;
        progress.line(&chosen.line());
        let vocab = read_vocab(&folder)?;
        let data = make_data(config, &corpus, Some(vocab), chosen.gpu.is_none())?;
        check_state(&last, &state, config, data.steps_per_epoch() as u64)?;
        let mut model = make_model(config, data.vocab.len())?;
        model.import(&load_weights(&last.join(MODEL))?)?;
        let layout = model.params().layout();
        let mut adam = Adam::new::<f32>(AdamConfig::keras(config.learning_rate), layout);
        let moments = TensorFile::load(&last.join(OPTIMIZER))?;
        import_adam(&mut adam, layout, &moments, state.adam_step)?;
        let ready = Ready::new(config, data, (model, adam), state, &progress, &chosen)?;
        // All is read and fits: only now the folder changes.
        let state = &ready.state;
        folder.write_config(&request.config_text)?;
        metrics::truncate_after(&folder.metrics_path(), state.step, state.epoch)?;
        // The run may have died between saving its best checkpoint and marking it.
        if state.best.as_ref().is_some_and(|b| b.step == state.step) {
            folder.mark_best(state.step)?;
        }
        let out = request.out.display();
        let (step, epoch) = (state.step, state.epoch);
        progress.line(&format!(
            "resuming {out} at step {step} ({epoch} epochs done)"
        ));
        ready.join(config.clone(), folder, progress)
    }
}

/// A run goes on in the precision it has: mixed if its checkpoint holds a loss scale. The CPU, which
/// has fp32 alone, takes over either.
fn keep_precision(config: &CharLmConfig, state: &TrainState, chosen: &mut Chosen) -> Result<()> {
    let mixed = state.loss_scaler.is_some();
    let (has, wrong) = match mixed {
        true => ("fp16", Precision::Fp32),
        false => ("fp32", Precision::Fp16),
    };
    if config.precision == wrong {
        return Err(Error::Usage(format!(
            "--resume: --precision {wrong} contradicts the saved run, which has {has}. Leave the \
             flag out to continue that run, or start a new one from its weights: --init-from FILE \
             with another --out"
        )));
    }
    if chosen.gpu.is_some() {
        if chosen.mixed && !mixed {
            chosen.why += " (the run began in fp32 and stays so; fp16 needs a new run)";
        }
        chosen.mixed = mixed;
    } else if mixed {
        chosen.why += "; the run began in fp16, which the CPU has not";
    }
    Ok(())
}

impl Ready {
    fn new(
        config: &CharLmConfig,
        data: CharData,
        (model, adam): (CharLstm, Adam),
        state: TrainState,
        progress: &Progress,
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
            clip: clip(config),
            seed: config.seed,
        };
        let mut step = CharLmStep::new(model, adam, step);
        if let Some(gpu) = &chosen.gpu {
            step = step.to_gpu(gpu, state.loss_scaler.filter(|_| chosen.mixed))?;
        }
        let (length, batch) = (config.seq_length, config.batch_size);
        let windows = data.split.train_windows;
        let feed = GpuLoop::new(&step, data.train_ids(), windows, length, batch)?;
        Ok(Ready {
            data,
            step,
            feed,
            state,
        })
    }

    fn join(self, config: CharLmConfig, folder: RunFolder, progress: Progress) -> Result<Session> {
        Ok(Session {
            metrics: MetricsWriter::append(&folder.metrics_path())?,
            step: self.step,
            feed: self.feed,
            earlier: self.state.elapsed_seconds,
            epochs_took: epochs_took(&folder)?,
            started: Instant::now(),
            trained: 0,
            config,
            folder,
            data: self.data,
            state: self.state,
            progress,
        })
    }
}

// ---- parts of the start --------------------------------------------------------------------

/// Reads the text of a configuration and tells what it is.
///
/// # Errors
/// As [`Corpus::load`].
pub fn load_corpus(config: &CharLmConfig, progress: &Progress) -> Result<Corpus> {
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

/// The data of a configuration, with the vocabulary of a saved model or of the text itself.
///
/// # Errors
/// As [`CharData::with_vocab`]; on the CPU also where a step needs more memory than is free.
pub fn make_data(
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

/// A model of a configuration's sizes with initial values.
///
/// # Errors
/// As [`CharLstm::new`].
pub fn make_model(config: &CharLmConfig, vocab: usize) -> Result<CharLstm> {
    CharLstm::new::<f32>(sizes(config, vocab), config.seed)
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
        Event::Epoch(e) if (0.0..1e12).contains(&e.seconds) => e.seconds,
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

fn load_state(checkpoint: &Path, corpus: &Corpus) -> Result<TrainState> {
    let path = checkpoint.join(STATE);
    let state = TrainState::load(&path)?;
    state.require_program(&path, "charlm")?;
    if state.data_sha256 != corpus.report.sha256 {
        return Err(Error::Data(format!(
            "--resume: the text of {} is not the one that the run began with (its SHA-256 is \
             another): restore it, name it with --corpus if it has moved, or start a new run from \
             these weights with --init-from {} --out ANOTHER",
            corpus.report.source,
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
        && (0.0..1e12).contains(&state.elapsed_seconds)
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
///
/// # Errors
/// [`Error::Checkpoint`] for a damaged file and for a value that is not finite.
pub fn load_weights(path: &Path) -> Result<TensorFile> {
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
