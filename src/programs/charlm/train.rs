//! `rnnx train-charlm`: the character LM as a job of a training session.

use super::config::CharLmConfig;
use super::data::{CharData, CharSource};
use super::feed::TextFeed;
use super::generate::sample;
use super::model::CharLm;
use crate::data::chars::{CharVocab, UNK};
use crate::data::corpus::{Corpus, CorpusSpec};
use crate::data::input::{STDIN, stdin_of};
use crate::data::vocab::Vocab;
use crate::error::{Error, Result};
use crate::files::access;
use crate::files::run::RunFolder;
use crate::files::state::TrainState;
use crate::files::tensors::TensorFile;
use crate::nn::Layout;
use crate::optim::Clip;
use crate::ranks::Ranks;
use crate::train::graph::GpuLoop;
use crate::train::job::{Begin, Job, Plan, Request, Sample};
use crate::train::model::Model;
use crate::train::places::find_resumed;
use crate::train::progress::{Progress, thousands};
use crate::train::scores::{Means, Scores};
use crate::train::session::{self, Summary};
use crate::train::settings::Config;
use crate::train::step::{Step, score};
use std::path::Path;

/// Trains. Ctrl-C (see [`interrupt`](crate::interrupt)) saves and returns [`Error::Interrupted`].
///
/// # Errors
/// Every [`Error`] there is; what had been saved stays.
pub fn run(request: Request<CharLmConfig>) -> Result<Summary> {
    let (config, out) = (request.config.clone(), request.out.clone());
    let resumed = request.begin == Begin::Resume;
    let ranks = request.ranks.clone();
    if !resumed && !ranks.is_alone() && reads_stdin(&config) {
        return Err(Error::Usage(format!(
            "--corpus {STDIN}: standard input is one process's, and {} ranks train on the same text: write \
             it to a file that all of them see, and name that",
            ranks.size()
        )));
    }
    let trained = session::run::<CharLmJob>(request, |progress| {
        let source = match resumed {
            true => resumed_source(&config, (&out, &ranks))?,
            false => load(&config)?,
        };
        // Of a run that has begun the text is taken as it is; and the embedded corpus is what the
        // published rule makes it.
        if !resumed && !config.corpus.is_empty() {
            source.corpus.report.check_dropped()?;
        }
        tell(&source, progress);
        Ok(source)
    });
    trained.map(|(summary, _)| summary)
}

/// Characters of the sample written after each epoch.
const SAMPLE_LENGTH: usize = 600;

/// A character LM in training.
pub(super) struct CharLmJob {
    config: CharLmConfig,
    data: CharData,
    step: Step<CharLm>,
    /// On a GPU, the text and the captured step.
    feed: Option<GpuLoop<TextFeed>>,
    /// Windows in the order of the epoch.
    order: Vec<u32>,
}

impl Job for CharLmJob {
    const PROGRAM: &'static str = "charlm";
    const SPEED: &'static str = "characters/s";
    const MEMORY_SETTINGS: &'static str = "batch-size, seq-length or hidden-size";
    const TOKEN_ROWS: &'static [&'static [&'static str]] =
        &[&["embedding.weight", "out.weight", "out.bias"]];
    const FEWER_TOKENS: &'static str = "take a text without them";
    type Config = CharLmConfig;
    type Source = CharSource;
    type Vocab = CharVocab;
    type Data = CharData;
    type Model = CharLm;

    // ---- starting ----------------------------------------------------------------------------

    fn sha256(source: &CharSource) -> &str {
        &source.sha256
    }

    fn foreign(source: &CharSource) -> String {
        let foreign = source.foreign();
        format!("{foreign}, give its new place as corpus if it has moved")
    }

    fn vocab(file: Vocab, path: &Path) -> Result<CharVocab> {
        file.into_chars(path)
    }

    fn tokens(config: &CharLmConfig, source: &CharSource, _: &Vocab) -> Result<Vocab> {
        Ok(CharVocab::of(&source.corpus, config.min_char_count)?.to_file())
    }

    fn data(
        config: &CharLmConfig,
        source: &CharSource,
        vocab: Option<CharVocab>,
    ) -> Result<CharData> {
        let vocab = match vocab {
            Some(vocab) => vocab,
            None => CharVocab::of(&source.corpus, config.min_char_count)?,
        };
        CharData::new(source, vocab)
    }

    fn step_bytes(config: &CharLmConfig, data: &CharData) -> u128 {
        config.step_bytes(data.vocab.len())
    }

    fn layout(config: &CharLmConfig, data: &CharData) -> Layout {
        CharLm::layout(config.sizes(data.vocab.len()))
    }

    fn model(config: &CharLmConfig, data: &CharData) -> CharLm {
        config.model(data.vocab.len())
    }

    fn clip(config: &CharLmConfig) -> Clip {
        config.clip()
    }

    fn describe(config: &CharLmConfig, data: &CharData, parameters: usize) -> String {
        format!(
            "model: {} {} layers of {} units, {} parameters, vocabulary {}{}; {} steps an epoch of {} \
             characters",
            config.num_layers,
            config.cell.name().to_uppercase(),
            config.hidden_size,
            thousands(parameters as f64),
            data.vocab.len(),
            match data.unknown {
                0 => String::new(),
                n => format!(
                    " ({} characters of the text are {UNK})",
                    thousands(n as f64)
                ),
            },
            data.steps_per_epoch(),
            config.batch_size * config.accumulate * config.seq_length
        )
    }

    fn new(config: CharLmConfig, data: CharData, step: Step<CharLm>) -> Result<Self> {
        let feed = match step.gpu() {
            Some((gpu, _)) if step.shards().is_whole() => {
                let (windows, shape) = (
                    data.split.train_windows,
                    [config.seq_length, config.batch_size],
                );
                let feed = TextFeed::new(gpu, data.train_ids(), windows, shape)?;
                Some(GpuLoop::new(gpu, feed)?.accumulating(config.accumulate))
            }
            _ => None,
        };
        Ok(CharLmJob {
            config,
            data,
            step,
            feed,
            order: Vec::new(),
        })
    }

    fn step(&self) -> &Step<CharLm> {
        &self.step
    }

    fn with_weights(&self, weights: &TensorFile) -> Result<CharLm> {
        let model = Self::model(&self.config, &self.data);
        self.step.placed(model, weights)
    }

    fn only_copy(&self) -> Option<&[u8]> {
        self.data.stdin.as_deref()
    }

    fn vocab_text(&self) -> String {
        self.data.vocab.to_file().to_text()
    }

    fn plan(&self) -> Plan {
        let (c, common) = (&self.config, self.config.common());
        Plan {
            epochs: c.epochs as u64,
            steps_per_epoch: self.data.steps_per_epoch() as u64,
            max_steps: common.max_steps,
            log_every: c.log_every as u64,
            checkpoint_every: common.checkpoint_every,
            keep: c.keep,
            average: c.average,
            eval_every: common.eval_every,
            patience: c.patience.map(|n| n as u64),
            max_time: c.max_time,
            schedule: c.schedule(),
            clip_norm: c.clip_norm,
            seed: c.seed,
            step_streams: &["dropout"],
            unit: (c.batch_size * c.accumulate * c.seq_length) as f64,
        }
    }

    // ---- training ----------------------------------------------------------------------------

    fn begin_epoch(&mut self, state: &TrainState) -> Result<()> {
        let (seed, shuffle) = (self.config.seed, self.config.shuffle);
        self.order = self.data.epoch_order(seed, state.epoch as u32, shuffle);
        if let (Some(feed), Some((gpu, _))) = (&mut self.feed, self.step.gpu()) {
            feed.feed().set_order(gpu, &self.order)?;
            feed.begin(state.step_in_epoch, state.step)?;
        }
        Ok(())
    }

    /// One step on the CPU, or where it has several shards, or a round; on a GPU as many as the ring keeps
    /// the figures of.
    fn train(&mut self, state: &TrainState, rates: &[f64]) -> Result<Vec<Scores>> {
        if let Some(feed) = &mut self.feed {
            self.step.set_rates(rates)?;
            return feed.run(&mut self.step, state.step, rates.len());
        }
        let CharLmConfig {
            batch_size,
            accumulate,
            ..
        } = self.config;
        let (first, number) = (state.step_in_epoch as usize, state.step as usize);
        let rows = |step: usize| {
            let windows = self.order.chunks_exact(batch_size);
            let windows = windows.skip((first + step) * accumulate).take(accumulate);
            (windows.collect(), ((number + step) * accumulate) as u64)
        };
        self.step.train_next(state, rates, rows, |model, windows| {
            let batch = self.data.train_batch(windows)?;
            batch.to_device(model.params().values().gpu())
        })
    }

    fn news(&mut self) -> Option<String> {
        self.feed.as_mut().and_then(GpuLoop::news)
    }

    fn validate(&self, model: &CharLm, ranks: &Ranks) -> Result<Option<Means>> {
        validate(model, &self.data, self.config.batch_size, ranks)
    }

    /// A short text. Generation cannot take weights beyond f16.
    fn sample(&self, epoch: u64) -> Result<Result<Sample>> {
        let file = self.step.model().export()?;
        let weights = sample::weights(&file, self.config.tie_embeddings);
        let text = weights.and_then(|weights| {
            sample::text(&weights, &self.data.vocab, SAMPLE_LENGTH, self.config.seed)
        });
        let file = format!("epoch-{epoch}.txt");
        Ok(text.map(|text| Sample { file, text }))
    }
}

/// Mean loss and accuracy over every validation window, `batch` at a time, which `ranks` share; none
/// where nothing validates.
///
/// # Errors
/// If the data does not fit the model, the device fails, or a rank is lost.
pub fn validate(
    model: &CharLm,
    data: &CharData,
    batch: usize,
    ranks: &Ranks,
) -> Result<Option<Means>> {
    let order = data.valid_order();
    Means::over(ranks, order.chunks(batch), |windows| {
        let batch = data.valid_batch(windows)?;
        score(model, &batch.to_device(model.params().values().gpu())?)
    })
}

// ---- parts of the start --------------------------------------------------------------------

/// Reads the text of a configuration, of standard input too, and divides it.
///
/// # Errors
/// As [`stdin_of`], [`Corpus::load`] and [`CharSource::new`].
pub fn load(config: &CharLmConfig) -> Result<CharSource> {
    let stdin = stdin_of(&config.corpus)?;
    let spec = CorpusSpec {
        stdin: stdin.clone(),
        ..config.corpus()
    };
    let source = CharSource::new(Corpus::load(&spec)?, config.division())?;
    Ok(CharSource { stdin, ..source })
}

fn reads_stdin(config: &CharLmConfig) -> bool {
    config.corpus.iter().any(|path| path == Path::new(STDIN))
}

/// The text of the run that goes on in `out`, which has kept what standard input gave.
fn resumed_source(config: &CharLmConfig, (out, ranks): (&Path, &Ranks)) -> Result<CharSource> {
    let mut source = find_resumed((out, ranks), config, load, |source| &source.sha256)?;
    if reads_stdin(config) {
        source.stdin = Some(access::read(&RunFolder::at(out).stdin_path())?.into());
    }
    Ok(source)
}

/// Tells what a text is and what of it validates.
pub fn tell(source: &CharSource, progress: &Progress) {
    let corpus = &source.corpus;
    progress.line(&format!("corpus: {}", corpus.report));
    if let Some(note) = corpus.report.dropped_note() {
        progress.line(&format!("note: {note}"));
    }
    let validates = source.spec.describe(corpus, &source.held_out);
    progress.line(&format!("validation: {validates}"));
}
