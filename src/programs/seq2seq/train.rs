//! `rnnx train-seq2seq`: a seq2seq model as a job of a training session.

use super::config::Seq2SeqConfig;
use super::cost::{self, Work};
use super::data::{Example, SeqData};
use super::decode::{DecodeOptions, Sampling, Search, SourceIds, decode, decode_n_best};
use super::model::{Inputs, Seq2Seq};
use super::score::forced;
use super::tokens::{self, SeqVocab};
use super::unknown;
use crate::data::pairs::Splits;
use crate::data::split::Split;
use crate::data::syntax::Syntax;
use crate::data::vocab::Vocab;
use crate::data::words::EOS;
use crate::error::Result;
use crate::files::state::TrainState;
use crate::files::tensors::TensorFile;
use crate::log;
use crate::nn::Layout;
use crate::optim::Clip;
use crate::ranks::Ranks;
use crate::sampling::{SamplingOptions, TEMPERATURE};
use crate::train::job::{Job, Plan, Sample};
use crate::train::ring::{Ring, SLOTS};
use crate::train::scores::{Means, Scores};
use crate::train::settings::Config;
use crate::train::step::Step;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

/// Validation pairs whose outputs are written after each epoch.
const SAMPLES: usize = 5;

/// A docstring-to-code model in training.
pub struct Seq2SeqJob {
    pub(super) config: Seq2SeqConfig,
    pub(super) data: SeqData,
    pub(super) step: Step<Seq2Seq>,
    /// The figures of the last steps, on a GPU.
    ring: Option<Ring>,
    /// The step that the ring's counter stands at, once it was set.
    counted: Option<u64>,
    /// The batches of the epoch, as numbers of pairs.
    batches: Vec<Vec<u32>>,
    /// What outputs are held to.
    pub(super) syntax: Option<Syntax>,
}

impl Job for Seq2SeqJob {
    const PROGRAM: &'static str = "seq2seq";
    const SPEED: &'static str = "target tokens/s";
    const MEMORY_SETTINGS: &'static str =
        "batch-size, max-target, embedding-dim, hidden-size or num-layers";
    const TOKEN_ROWS: &'static [&'static [&'static str]] = &[
        &["encoder.embedding.weight"],
        &["decoder.embedding.weight", "out.weight", "out.bias"],
    ];
    const FEWER_TOKENS: &'static str = "raise min-frequency, so that rare ones stay unknown";
    type Config = Seq2SeqConfig;
    type Source = Arc<Splits>;
    type Vocab = SeqVocab;
    type Data = SeqData;
    type Model = Seq2Seq;

    // ---- starting ----------------------------------------------------------------------------

    fn sha256(splits: &Arc<Splits>) -> &str {
        &splits.sha256
    }

    fn foreign(splits: &Arc<Splits>) -> String {
        format!(
            "the pairs of {} are not those that the run began with (their SHA-256 is another): \
             restore them, give their new places (train, valid and test, or pairs) if they have moved",
            splits.source
        )
    }

    fn vocab(file: Vocab, path: &Path) -> Result<Self::Vocab> {
        SeqVocab::from_file(file, path)
    }

    fn tokens(config: &Seq2SeqConfig, splits: &Arc<Splits>, vocab: &Vocab) -> Result<Vocab> {
        let tokenizers = vocab.tokenizers();
        config.tokens().check(&tokenizers, "the vocabulary")?;
        Ok(tokens::wanted(splits, tokenizers, config.limits()))
    }

    fn data(
        config: &Seq2SeqConfig,
        splits: &Arc<Splits>,
        vocab: Option<SeqVocab>,
    ) -> Result<SeqData> {
        match vocab {
            Some(vocab) => SeqData::with_vocab(splits, vocab, config.limits()),
            None => SeqData::new(splits, config.limits(), config.tokens()),
        }
    }

    /// Of the largest batch that there can be.
    fn step_bytes(config: &Seq2SeqConfig, data: &SeqData) -> u128 {
        let pairs = data.examples(Split::Train);
        let longest = |length: fn(&Example) -> usize| pairs.iter().map(length).max().unwrap_or(0);
        let batch = config.batch_size.min(pairs.len());
        let source = longest(|e| e.source_ids.len());
        let target = longest(|e| e.target_ids.len() + 1);
        let work = Work {
            pairs: batch,
            source: batch * source,
            target: batch * target,
            attended: batch * target * source,
            own: batch * (target * (target + 1) / 2 + source * source),
        };
        let sizes = config.sizes(data.source.len(), data.target.len());
        cost::step_bytes(config.model, sizes, work)
    }

    fn layout(config: &Seq2SeqConfig, data: &SeqData) -> Layout {
        let sizes = config.sizes(data.source.len(), data.target.len());
        Seq2Seq::layout(config.model, sizes)
    }

    fn model(config: &Seq2SeqConfig, data: &SeqData) -> Seq2Seq {
        let sizes = config.sizes(data.source.len(), data.target.len());
        let model = Seq2Seq::new::<f32>(config.model, sizes, config.seed);
        let model = model.with_dropout(config.dropout);
        let model = model.with_output_dropout(config.output_dropout);
        let model = model.with_label_smoothing(config.label_smoothing);
        let model = model.with_teacher_forcing(config.teacher_forcing);
        match config.pretrain {
            Some(_) => model.without_source(),
            None => model,
        }
    }

    fn clip(config: &Seq2SeqConfig) -> Clip {
        config.clip()
    }

    fn describe(config: &Seq2SeqConfig, data: &SeqData, parameters: usize) -> String {
        let [source, target, sources, targets, parameters, steps] = [
            data.source.len(),
            data.target.len(),
            data.cut.sources,
            data.cut.targets,
            parameters,
            data.steps_per_epoch(config.batch_size * config.accumulate),
        ]
        .map(|n| log::thousands(n as u64));
        let kinds = match data.tokenizers.are_published() {
            true => String::new(),
            false => format!(
                "tokens: source {}, target {}\n",
                data.tokenizers.source.kind(),
                data.tokenizers.target.kind()
            ),
        };
        let sources = match config.pretrain {
            None => format!("{sources} sources to {} tokens and ", config.max_source),
            Some(_) => String::new(),
        };
        format!(
            "{kinds}vocabulary: {source} source tokens, {target} target tokens; the limits cut \
             {sources}{targets} targets to {} tokens\n\
             {}\n\
             model: {}, {}, {parameters} parameters; {steps} steps an epoch of {} pairs",
            config.max_target,
            unknown::told(data, config.limits()),
            config.model,
            config.told_sizes(),
            config.batch_size * config.accumulate
        )
    }

    fn new(config: Seq2SeqConfig, data: SeqData, step: Step<Seq2Seq>) -> Result<Self> {
        let gpu = step.gpu().filter(|_| step.shards().is_whole());
        let ring = gpu.map(|(gpu, _)| Ring::new(gpu)).transpose()?;
        let syntax = config.syntax(
            config.grammar,
            &data.target,
            ("max-target", config.max_target),
        )?;
        Ok(Seq2SeqJob {
            syntax,
            config,
            data,
            step,
            ring,
            counted: None,
            batches: Vec::new(),
        })
    }

    fn step(&self) -> &Step<Seq2Seq> {
        &self.step
    }

    fn with_weights(&self, weights: &TensorFile) -> Result<Seq2Seq> {
        let model = Self::model(&self.config, &self.data);
        self.step.placed(model, weights)
    }

    fn vocab_text(&self) -> String {
        self.data.vocab().to_file().to_text()
    }

    fn plan(&self) -> Plan {
        let (c, common) = (&self.config, self.config.common());
        Plan {
            epochs: c.passes() as u64,
            steps_per_epoch: self.data.steps_per_epoch(c.batch_size * c.accumulate) as u64,
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
            step_streams: &["dropout", "teacher-forcing"],
            unit: 1.0,
        }
    }

    // ---- training ----------------------------------------------------------------------------

    fn begin_epoch(&mut self, state: &TrainState) -> Result<()> {
        let c = &self.config;
        let epoch = (c.seed, state.epoch as u32);
        self.batches = self.data.epoch_batches(
            epoch,
            c.batch_size * c.accumulate,
            c.shuffle,
            c.bucket_batches,
        );
        Ok(())
    }

    /// On the CPU, or where it has several shards, one step, or a round; on a GPU several, none of which the
    /// host waits for before the last.
    fn train(&mut self, state: &TrainState, rates: &[f64]) -> Result<Vec<Scores>> {
        let accumulate = self.config.accumulate;
        // Batches are numbered as if every step had as many.
        let number = |step: u64| step * accumulate as u64;
        let batches = &self.batches[state.step_in_epoch as usize..];
        let Some(ring) = &self.ring else {
            let rows = |step: usize| {
                let pairs = batches.get(step).map_or(&[][..], Vec::as_slice);
                let parts = pairs.chunks(self.config.batch_size).collect();
                (parts, number(state.step + step as u64))
            };
            return self.step.train_next(state, rates, rows, |model, pairs| {
                model.inputs(&self.data.batch(Split::Train, pairs)?)
            });
        };
        self.step.set_rates(rates)?;
        if self.counted.take() != Some(state.step) {
            ring.begin(number(state.step_in_epoch), number(state.step))?;
        }
        let (mut tokens, mut sizes) = (Vec::new(), Vec::new());
        let most = rates.len().min(SLOTS / accumulate);
        for (step, pairs) in (state.step..).zip(batches.iter().take(most)) {
            let parts = self.inputs(pairs)?;
            for (i, inputs) in parts.iter().enumerate() {
                let draws = ring.draws(self.config.seed, number(step) + i as u64);
                let issued = self.step.add(inputs, &draws)?;
                if i + 1 == parts.len() {
                    self.step.finish()?;
                }
                ring.record(&self.step, &issued)?;
                tokens.push(issued.loss.tokens);
            }
            sizes.push(parts.len());
        }
        let parts = ring.read(number(state.step), &tokens, self.step.is_mixed())?;
        // The last step of an epoch may have fewer batches: then the counter is behind.
        let is_whole = sizes.last() == Some(&accumulate);
        self.counted = is_whole.then_some(state.step + sizes.len() as u64);
        let mut parts = &parts[..];
        let steps = sizes.iter().filter_map(|&n| {
            let step;
            (step, parts) = parts.split_at(n);
            Scores::joined(step)
        });
        Ok(steps.collect())
    }

    /// Mean over all real tokens of the validation pairs, teacher forced.
    fn validate(&self, model: &Seq2Seq, ranks: &Ranks) -> Result<Option<Means>> {
        let batch = self.config.batch_size;
        forced(model, &self.data, (Split::Valid, batch), ranks)
    }

    /// What the model writes for the first validation pairs, or draws where it reads no source.
    fn sample(&self, epoch: u64) -> Result<Result<Sample>> {
        let file = format!("epoch-{epoch}.txt");
        if self.config.pretrain.is_some() {
            let text = self.drawn(epoch)?;
            return Ok(Ok(Sample { file, text }));
        }
        let examples = self.data.examples(Split::Valid);
        let examples = &examples[..examples.len().min(SAMPLES)];
        let sources: Vec<SourceIds> = examples.iter().map(SourceIds::from).collect();
        let options = DecodeOptions {
            syntax: self.syntax.as_ref(),
            ..DecodeOptions::greedy(self.config.max_target)
        };
        let outputs = decode(self.step.model(), &sources, options)?;
        let (mut text, tokenizers) = (String::new(), &self.data.tokenizers);
        // Further lines stand below the first.
        let lines = |text: String| text.replace('\n', "\n            ");
        for (example, output) in examples.iter().zip(&outputs) {
            let tokens = example.tokens(&self.data.target, &output.tokens);
            let _ = writeln!(
                text,
                "source      {}\nreference   {}\nprediction  {}\n",
                lines(tokenizers.source.join(&example.source)),
                lines(tokenizers.target.join(&example.target)),
                lines(tokenizers.target.join(&tokens))
            );
        }
        Ok(Ok(Sample { file, text }))
    }
}

impl Seq2SeqJob {
    /// Targets that a model draws that reads no source, with an empty line between them.
    fn drawn(&self, epoch: u64) -> Result<String> {
        let sampling = Sampling {
            options: SamplingOptions {
                temperature: TEMPERATURE,
                top_k: None,
                top_p: None,
            },
            seed: self.config.seed,
            source: epoch as u32,
        };
        let options = DecodeOptions {
            search: Search::Sampling(sampling),
            syntax: self.syntax.as_ref(),
            ..DecodeOptions::greedy(self.config.max_target)
        };
        let outputs = decode_n_best(self.step.model(), &[&[EOS][..]], options, SAMPLES)?;
        let target = &self.data.target;
        let texts = outputs.iter().flatten().map(|output| {
            let tokens = output.tokens.iter().map(|&id| target.token(id).to_owned());
            self.data
                .tokenizers
                .target
                .join(&tokens.collect::<Vec<_>>())
        });
        Ok(texts.collect::<Vec<_>>().join("\n\n") + "\n")
    }

    /// The batches of a step that has these pairs, in device memory.
    fn inputs(&self, pairs: &[u32]) -> Result<Vec<Inputs>> {
        let parts = pairs.chunks(self.config.batch_size);
        let of = |part: &[u32]| {
            let batch = self.data.batch(Split::Train, part)?;
            self.step.model().inputs(&batch)
        };
        parts.map(of).collect()
    }
}
