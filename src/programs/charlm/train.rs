//! `rnnx train-charlm`: the character LM as a job of a training session.

use super::config::{CharLmConfig, ClipMode};
use super::generate::sample;
use super::gpu_loop::{GpuLoop, SLOTS};
use super::step::{CharLmStep, StepConfig};
use crate::data::corpus::{Corpus, CorpusSpec};
use crate::data::vocab::{CharVocab, Vocab};
use crate::error::Result;
use crate::files::run::RunFolder;
use crate::files::state::TrainState;
use crate::files::tensors::TensorFile;
use crate::optim::{Adam, AdamConfig, Clip};
use crate::programs::charlm::data::CharData;
use crate::programs::charlm::model::{CharLstm, CharLstmSizes};
use crate::tensor::Tensor;
use crate::train::job::{Job, Parts, Plan, Request, Sample, Valid};
use crate::train::memory;
use crate::train::progress::{Progress, thousands};
use crate::train::scores::Scores;
use crate::train::session::{self, Summary};

/// Trains. Ctrl-C (see [`interrupt`](super::interrupt)) saves and returns
/// [`Error::Interrupted`](crate::Error::Interrupted).
///
/// # Errors
/// Everything of interface.md's exit codes; what had been saved stays.
pub fn run(request: Request<CharLmConfig>) -> Result<Summary> {
    let config = request.config.clone();
    let trained = session::run::<CharLmJob>(request, |progress| load_corpus(&config, progress));
    trained.map(|(summary, _)| summary)
}

/// Characters of the sample written after each epoch.
const SAMPLE_LENGTH: usize = 600;

/// A character LM in training.
struct CharLmJob {
    config: CharLmConfig,
    data: CharData,
    step: CharLmStep,
    /// On a GPU, the text and the captured step.
    feed: Option<GpuLoop>,
    /// Windows in the order of the epoch.
    order: Vec<u32>,
}

impl Job for CharLmJob {
    const PROGRAM: &'static str = "charlm";
    type Config = CharLmConfig;
    type Source = Corpus;
    type Vocab = CharVocab;

    // ---- starting ----------------------------------------------------------------------------

    fn sha256(corpus: &Corpus) -> &str {
        &corpus.report.sha256
    }

    fn foreign(corpus: &Corpus) -> String {
        format!(
            "the text of {} is not the one that the run began with (its SHA-256 is another): \
             restore it, name it with --corpus if it has moved",
            corpus.report.source
        )
    }

    fn read_vocab(folder: &RunFolder) -> Result<CharVocab> {
        Vocab::read_chars(folder)
    }

    fn make(parts: Parts<Self>) -> Result<Self> {
        let (config, chosen) = (parts.config, parts.chosen);
        let data = make_data(config, &parts.source, parts.vocab, chosen.gpu.is_none())?;
        let mut model = make_model(config, data.vocab.len())?;
        if let Some(file) = parts.weights.model() {
            model.import(file)?;
        }
        let layout = model.params().layout();
        let mut adam = Adam::new::<f32>(AdamConfig::keras(config.learning_rate), layout);
        parts.weights.restore(&mut adam, layout)?;
        parts.progress.line(&format!(
            "model: {} layers of {} units, {} parameters, vocabulary {}; {} steps an epoch of {} \
             characters",
            config.num_layers,
            config.hidden_size,
            thousands(layout.parameters() as f64),
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
            step = step.to_gpu(gpu, parts.scaler)?;
        }
        let (length, batch) = (config.seq_length, config.batch_size);
        let windows = data.split.train_windows;
        let feed = GpuLoop::new(&step, data.train_ids(), windows, length, batch)?;
        Ok(CharLmJob {
            config: config.clone(),
            data,
            step,
            feed,
            order: Vec::new(),
        })
    }

    fn vocab_text(&self) -> String {
        self.data.vocab.to_file().to_text()
    }

    fn plan(&self) -> Plan {
        let c = &self.config;
        Plan {
            epochs: c.epochs as u64,
            steps_per_epoch: self.data.steps_per_epoch() as u64,
            max_steps: c.max_steps.map(|n| n as u64),
            log_every: c.log_every as u64,
            checkpoint_every: c.checkpoint_every.map(|n| n as u64),
            learning_rate: c.learning_rate,
            clip_norm: c.clip_norm,
            seed: c.seed,
            step_streams: &["dropout"],
            unit: (c.batch_size * c.seq_length) as f64,
        }
    }

    // ---- training ----------------------------------------------------------------------------

    fn begin_epoch(&mut self, state: &TrainState) -> Result<()> {
        let (seed, shuffle) = (self.config.seed, self.config.shuffle);
        self.order = self.data.epoch_order(seed, state.epoch as u32, shuffle);
        match &mut self.feed {
            Some(feed) => feed.begin(&self.order, state.step_in_epoch, state.step),
            None => Ok(()),
        }
    }

    /// One step on the CPU; on a GPU as many as the ring keeps the figures of.
    fn train(&mut self, state: &TrainState, n: u64) -> Result<Vec<Scores>> {
        if let Some(feed) = &mut self.feed {
            let n = n.min(SLOTS as u64) as usize;
            return feed.run(&mut self.step, state.step, n);
        }
        let first = state.step_in_epoch as usize * self.config.batch_size;
        let windows = &self.order[first..first + self.config.batch_size];
        let (mut ids, mut targets) = (Vec::new(), Vec::new());
        self.data.train_batch(windows, &mut ids, &mut targets);
        let shape = [self.config.seq_length, windows.len()];
        let ids = Tensor::from_slice(&ids, shape)?;
        let targets = Tensor::from_slice(&targets, shape)?;
        Ok(vec![self.step.train(&ids, &targets, state.step)?])
    }

    fn news(&mut self) -> Option<String> {
        self.feed.as_mut().and_then(GpuLoop::news)
    }

    fn validate(&self) -> Result<Option<Valid>> {
        validate(&self.step, &self.data, &self.config)
    }

    fn weights(&self) -> Result<TensorFile> {
        self.step.weights()
    }

    fn moments(&self) -> Result<TensorFile> {
        self.step.moments()
    }

    /// A short text. Generation cannot take weights beyond f16.
    fn sample(&self, epoch: u64) -> Result<Result<Sample>> {
        let file = self.step.weights()?;
        let text = sample::weights(&file).and_then(|weights| {
            sample::text(&weights, &self.data.vocab, SAMPLE_LENGTH, self.config.seed)
        });
        let file = format!("epoch-{epoch}.txt");
        Ok(text.map(|text| Sample { file, text }))
    }
}

/// Mean loss and accuracy over every validation window; none where nothing validates.
///
/// # Errors
/// If the data does not fit the model, or the device fails.
pub fn validate(
    step: &CharLmStep,
    data: &CharData,
    config: &CharLmConfig,
) -> Result<Option<Valid>> {
    let order = data.valid_order();
    if order.is_empty() {
        return Ok(None);
    }
    let (mut loss, mut correct, mut tokens) = (0.0, 0.0, 0.0);
    let (mut ids, mut targets) = (Vec::new(), Vec::new());
    for windows in order.chunks(config.batch_size) {
        data.valid_batch(windows, &mut ids, &mut targets);
        let shape = [config.seq_length, windows.len()];
        let scores = step.evaluate(
            &Tensor::from_slice(&ids, shape)?,
            &Tensor::from_slice(&targets, shape)?,
        )?;
        loss += scores.ce * scores.tokens;
        correct += scores.correct as f64;
        tokens += scores.tokens;
    }
    Ok(Some(Valid {
        loss: loss / tokens,
        accuracy: correct / tokens,
    }))
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
