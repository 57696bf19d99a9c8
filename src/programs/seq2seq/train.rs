//! `rnnx train-seq2seq`: a docstring-to-code model as a job of a training session.

use super::config::Seq2SeqConfig;
use super::score::forced;
use super::step::{Seq2SeqStep, Seq2SeqStepConfig};
use crate::data::pairs::Splits;
use crate::data::vocab::Vocab;
use crate::data::words::WordVocab;
use crate::error::Result;
use crate::files::run::RunFolder;
use crate::files::state::TrainState;
use crate::files::tensors::TensorFile;
use crate::log;
use crate::optim::{Adam, AdamConfig};
use crate::programs::seq2seq::data::{Example, SeqData, Split};
use crate::programs::seq2seq::decode::{DecodeOptions, Search, decode};
use crate::programs::seq2seq::model::Seq2Seq;
use crate::train::job::{Job, Parts, Plan, Sample, Valid};
use crate::train::memory;
use crate::train::progress::thousands;
use crate::train::scores::Scores;
use std::fmt::Write as _;
use std::sync::Arc;

/// Validation pairs whose outputs are written after each epoch.
const SAMPLES: usize = 5;

/// A docstring-to-code model in training.
pub struct Seq2SeqJob {
    pub(super) config: Seq2SeqConfig,
    pub(super) data: SeqData,
    pub(super) step: Seq2SeqStep,
    /// The batches of the epoch, as numbers of pairs.
    batches: Vec<Vec<u32>>,
}

impl Job for Seq2SeqJob {
    const PROGRAM: &'static str = "seq2seq";
    type Config = Seq2SeqConfig;
    type Source = Arc<Splits>;
    type Vocab = (WordVocab, WordVocab);

    // ---- starting ----------------------------------------------------------------------------

    fn sha256(splits: &Arc<Splits>) -> &str {
        &splits.sha256
    }

    fn foreign(splits: &Arc<Splits>) -> String {
        format!(
            "the pairs of {} are not those that the run began with (their SHA-256 is another): \
             restore them, name them with --train, --valid and --test if they have moved",
            splits.source
        )
    }

    fn read_vocab(folder: &RunFolder) -> Result<Self::Vocab> {
        Vocab::read_words(folder)
    }

    fn make(parts: Parts<Self>) -> Result<Self> {
        let (config, chosen) = (parts.config, parts.chosen);
        let data = make_data(config, &parts.source, parts.vocab)?;
        parts.progress.line(&vocabulary_line(config, &data));
        if chosen.gpu.is_none() {
            check_memory(config, &data)?;
        }
        let mut model = make_model(config, &data)?;
        if let Some(file) = parts.weights.model() {
            model.import(file)?;
        }
        let layout = model.params().layout();
        let mut adam = Adam::new::<f32>(AdamConfig::torch(config.learning_rate), layout);
        parts.weights.restore(&mut adam, layout)?;
        parts.progress.line(&format!(
            "model: {}, {} units, {} parameters; {} steps an epoch of {} pairs",
            config.model,
            config.hidden_size,
            thousands(layout.parameters() as f64),
            thousands(data.steps_per_epoch(config.batch_size) as f64),
            config.batch_size
        ));
        let step = Seq2SeqStepConfig {
            dropout: config.dropout,
            clip: config.clip(),
            seed: config.seed,
            teacher_forcing: config.teacher_forcing,
        };
        let mut step = Seq2SeqStep::new(model, adam, step);
        if let Some(gpu) = &chosen.gpu {
            step = step.to_gpu(gpu, parts.scaler)?;
        }
        Ok(Seq2SeqJob {
            config: config.clone(),
            data,
            step,
            batches: Vec::new(),
        })
    }

    fn vocab_text(&self) -> String {
        let vocab = Vocab::Words {
            source: self.data.source.tokens().to_vec(),
            target: self.data.target.tokens().to_vec(),
        };
        vocab.to_text()
    }

    fn plan(&self) -> Plan {
        let c = &self.config;
        Plan {
            epochs: c.epochs as u64,
            steps_per_epoch: self.data.steps_per_epoch(c.batch_size) as u64,
            max_steps: c.max_steps.map(|n| n as u64),
            log_every: c.log_every as u64,
            checkpoint_every: c.checkpoint_every.map(|n| n as u64),
            learning_rate: c.learning_rate,
            clip_norm: c.clip_norm,
            seed: c.seed,
            step_streams: &["dropout", "teacher-forcing"],
            unit: 1.0,
        }
    }

    // ---- training ----------------------------------------------------------------------------

    fn begin_epoch(&mut self, state: &TrainState) -> Result<()> {
        let c = &self.config;
        let epoch = (c.seed, state.epoch as u32);
        self.batches = self
            .data
            .epoch_batches(epoch, c.batch_size, c.shuffle, c.bucket_batches);
        Ok(())
    }

    fn train(&mut self, state: &TrainState, _: u64) -> Result<Vec<Scores>> {
        let pairs = &self.batches[state.step_in_epoch as usize];
        let batch = self.data.batch(Split::Train, pairs)?;
        Ok(vec![self.step.train(&batch, state.step)?])
    }

    /// Mean over all real tokens of the validation pairs, teacher forced.
    fn validate(&self) -> Result<Option<Valid>> {
        let (model, batch) = (self.step.model(), self.config.batch_size);
        let scores = forced(model, &self.data, Split::Valid, batch)?;
        Ok(scores.map(|f| Valid {
            loss: f.loss,
            accuracy: f.accuracy,
        }))
    }

    fn weights(&self) -> Result<TensorFile> {
        self.step.weights()
    }

    fn moments(&self) -> Result<TensorFile> {
        self.step.moments()
    }

    /// What the model writes for the first validation pairs.
    fn sample(&self, epoch: u64) -> Result<Result<Sample>> {
        let examples = self.data.examples(Split::Valid);
        let examples = &examples[..examples.len().min(SAMPLES)];
        let sources: Vec<&[u32]> = examples.iter().map(|e| &e.source_ids[..]).collect();
        let options = DecodeOptions {
            search: Search::Greedy,
            max_length: self.config.max_target,
            no_unk: false,
        };
        let outputs = decode(self.step.model(), &sources, options)?;
        let mut text = String::new();
        for (Example { source, target, .. }, output) in examples.iter().zip(&outputs) {
            let tokens = output.tokens.iter().map(|&id| self.data.target.token(id));
            let _ = writeln!(
                text,
                "docstring   {}\nreference   {}\nprediction  {}\n",
                source.join(" "),
                target.join(" "),
                tokens.collect::<Vec<_>>().join(" ")
            );
        }
        let file = format!("epoch-{epoch}.txt");
        Ok(Ok(Sample { file, text }))
    }
}

// ---- parts of the start --------------------------------------------------------------------

/// The data of a configuration, with the vocabularies of a saved model or of the training pairs.
///
/// # Errors
/// As [`SeqData::new`].
pub fn make_data(
    config: &Seq2SeqConfig,
    splits: &Splits,
    vocab: Option<(WordVocab, WordVocab)>,
) -> Result<SeqData> {
    match vocab {
        Some((source, target)) => SeqData::with_vocab(splits, source, target, config.limits()),
        None => SeqData::new(splits, config.limits()),
    }
}

/// A model of a configuration's sizes with initial values.
///
/// # Errors
/// As [`Seq2Seq::new`].
pub fn make_model(config: &Seq2SeqConfig, data: &SeqData) -> Result<Seq2Seq> {
    let sizes = config.sizes(data.source.len(), data.target.len());
    Seq2Seq::new::<f32>(config.model, sizes, config.seed)
}

/// The sizes of the vocabularies, and what the limits cut.
fn vocabulary_line(config: &Seq2SeqConfig, data: &SeqData) -> String {
    let [source, target, docstrings, codes] = [
        data.source.len(),
        data.target.len(),
        data.cut.sources,
        data.cut.targets,
    ]
    .map(|n| log::thousands(n as u64));
    format!(
        "vocabulary: {source} tokens of docstrings, {target} of code; the limits cut {docstrings} \
         docstrings to {} tokens and {codes} functions to {}",
        config.max_source, config.max_target
    )
}

/// Fails if the largest batch that there can be does not fit the memory.
fn check_memory(config: &Seq2SeqConfig, data: &SeqData) -> Result<()> {
    let pairs = data.examples(Split::Train);
    let longest = |length: fn(&Example) -> usize| pairs.iter().map(length).max().unwrap_or(0);
    let batch = config.batch_size.min(pairs.len());
    let source = batch * longest(|e| e.source_ids.len());
    let target = batch * longest(|e| e.target_ids.len() + 1);
    let sizes = config.sizes(data.source.len(), data.target.len());
    memory::check_with(
        memory::seq2seq_step(config.model, sizes, source, target),
        "--batch-size, --max-target, --embedding-dim or --hidden-size",
    )
}
