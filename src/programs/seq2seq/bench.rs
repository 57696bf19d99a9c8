//! What `rnnx bench` times of the seq2seq models: the training step on real pairs, and what copying adds to
//! it; writing and decoding are in [`decoding`].
//!
//! Each step has a batch that was not there before, as in training: its lengths and its number of
//! tokens are its own. Batches are made before the clock runs; placing them on the device counts.

pub mod decoding;

use super::config::Seq2SeqConfig;
use super::cost::{self, Work};
use super::data::{SeqBatch, SeqData};
use super::model::ModelKind;
use super::train::Seq2SeqJob;
use crate::data::split::Split;
use crate::error::{Error, Result};
use crate::files::state::LossScaler;
use crate::log::thousands;
use crate::programs::orders::{BenchOrder, BenchResult, Timed, figures};
use crate::train::job::Job;
use crate::train::make::{self, Weights};
use crate::train::model::{Draws, Model};
use crate::train::ring::Ring;
use crate::train::timing::{Times, peak_rss_mb};
use serde_json::json;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// Steps, or bursts of steps, that do not count.
const WARM_UP: usize = 3;
/// Steps, or bursts of steps, that count, at least.
const STEPS: usize = 5;
/// Steps that a GPU is given before it is waited for, as often as training does.
const BURST: usize = 10;
/// How often two steps are timed in turn: what other processes take, they take of both.
const ROUNDS: usize = 3;

/// Times the training step of one model, or of all.
///
/// # Errors
/// As [`Seq2SeqConfig::splits`], for a step that needs more memory than there is, or if the device
/// fails.
pub fn steps(order: &BenchOrder) -> Result<BenchResult> {
    let mut config: Seq2SeqConfig = order.config()?;
    let splits = Arc::new(config.splits()?);
    let data = Seq2SeqJob::data(&config, &splits, None)?;
    // With fewer pairs than a batch has, the batch is all of them.
    config.batch_size = config.batch_size.min(splits.train.len()).max(1);
    let kinds = kinds(order, &config);
    // Of several models in one process, only the first one's peak would be its own. On a GPU the
    // host's memory says nothing.
    let peak = order.alone && kinds.len() == 1 && order.chosen.gpu.is_none();
    let mut models = Vec::new();
    for model in kinds {
        let config = Seq2SeqConfig {
            model,
            ..config.clone()
        };
        let mut timed = measure(&config, &data, order)?;
        timed.peak_rss_mb = peak_rss_mb().filter(|_| peak);
        models.push((model.to_string(), timed));
    }
    Ok(BenchResult::Steps {
        figures: figures([
            ("pairs", json!(splits.source)),
            ("train_pairs", json!(splits.train.len())),
            ("source_vocabulary", json!(data.source.len())),
            ("target_vocabulary", json!(data.target.len())),
            ("batch_size", json!(config.batch_size)),
            ("embedding_dim", json!(config.embedding_dim)),
            ("hidden_size", json!(config.hidden_size)),
            ("dropout", json!(config.dropout)),
            ("clip_norm", json!(config.clip_norm)),
        ]),
        models,
    })
}

/// Times the training step of a model that copies against that of the same one that does not, in turn.
///
/// # Errors
/// As [`steps`].
pub fn copying(order: &BenchOrder) -> Result<BenchResult> {
    let mut config: Seq2SeqConfig = order.config()?;
    if !config.model.attends() {
        return Ok(BenchResult::Rate {
            line: format!("{}: does not copy", config.model),
            figures: figures([("model", json!(config.model.to_string()))]),
        });
    }
    config.copy = true;
    let splits = Arc::new(config.splits()?);
    config.batch_size = config.batch_size.min(splits.train.len()).max(1);
    let copying = Seq2SeqJob::data(&config, &splits, None)?;
    let without = Seq2SeqConfig {
        copy: false,
        ..config.clone()
    };
    let plain = SeqData::with_vocab(&splits, copying.vocab(), without.limits())?;
    let mut best = [f64::INFINITY; 2];
    for _ in 0..ROUNDS {
        let turns = [(&without, &plain), (&config, &copying)];
        for (best, (config, data)) in best.iter_mut().zip(turns) {
            *best = best.min(measure(config, data, order)?.times.median);
        }
    }
    let [plain, copying] = best;
    let ratio = copying / plain;
    let line = format!(
        "{}, B {} {}: {:.2} ms a step that copies, {:.2} ms one that does not: {ratio:.3} times",
        config.model,
        config.batch_size,
        sizes(&without),
        copying * 1e3,
        plain * 1e3
    );
    let figures = figures([
        ("model", json!(config.model.to_string())),
        ("batch_size", json!(config.batch_size)),
        ("num_layers", json!(config.layers())),
        ("ms_per_step", json!(copying * 1e3)),
        ("ms_without", json!(plain * 1e3)),
        ("ratio", json!(ratio)),
    ]);
    Ok(BenchResult::Rate { line, figures })
}

/// The model that was asked for, or the published ones; of those attention alone copies.
fn kinds(order: &BenchOrder, config: &Seq2SeqConfig) -> Vec<ModelKind> {
    match order.settings.contains_key("model") {
        true => vec![config.model],
        false if config.copy => vec![ModelKind::Attention],
        false => ModelKind::ALL[..ModelKind::PUBLISHED].to_vec(),
    }
}

/// The sizes of a model as lines tell them: layers where there are several, and copying where it does.
fn sizes(config: &Seq2SeqConfig) -> String {
    let layers = match config.layers() {
        1 => String::new(),
        n => format!(", {n} layers"),
    };
    let copying = if config.copy { ", copying" } else { "" };
    let (embedding, hidden) = (config.embedding_dim, config.hidden_size);
    format!("E {embedding} H {hidden}{layers}{copying}")
}

/// The batches of epoch after epoch, shuffled as in training, without the smaller last ones.
struct Feed<'a> {
    data: &'a SeqData,
    size: usize,
    epoch: u32,
    waiting: VecDeque<Vec<u32>>,
}

impl<'a> Feed<'a> {
    fn new(data: &'a SeqData, config: &Seq2SeqConfig) -> Self {
        Feed {
            data,
            size: config.batch_size,
            epoch: 0,
            waiting: VecDeque::new(),
        }
    }

    fn next(&mut self) -> Result<SeqBatch> {
        if self.waiting.is_empty() {
            let epoch = (1, self.epoch);
            let batches = self.data.epoch_batches(epoch, self.size, true, 1);
            let whole = batches.into_iter().filter(|b| b.len() == self.size);
            self.waiting = whole.collect();
            self.epoch += 1;
        }
        let none = || Error::Data("there are no training pairs to make a batch of".into());
        let pairs = self.waiting.pop_front().ok_or_else(none)?;
        self.data.batch(Split::Train, &pairs)
    }
}

/// Times the training step of the model that `config` names. Tokens and FLOP are means over the
/// steps.
fn measure(config: &Seq2SeqConfig, data: &SeqData, order: &BenchOrder) -> Result<Timed> {
    let chosen = order.chosen;
    let scaler = chosen.mixed.then_some(LossScaler::FIRST);
    let mut step = make::step::<Seq2SeqJob>(config, data, &Weights::Fresh, (chosen, scaler))?;
    let model = step.model().sizes();
    let parameters = step.model().params().layout().parameters();
    let mut feed = Feed::new(data, config);
    let burst = match chosen.gpu {
        Some(_) if !order.emulated => BURST,
        _ => 1,
    };
    // The device counts the steps and records their figures, as in training.
    let ring = chosen.gpu.as_ref().map(Ring::new).transpose()?;
    ring.as_ref().map_or(Ok(()), |ring| ring.begin(0, 0))?;
    let (mut timed, mut number, mut began) = (Vec::new(), 0, Instant::now());
    let (mut source, mut target, mut flop) = (0, 0, 0.0);
    let passes = || chosen.gpu.as_ref().map(|gpu| gpu.whole_passes());
    let before = passes();
    while timed.len() < STEPS || began.elapsed().as_secs_f64() < order.seconds {
        let batches = (0..burst)
            .map(|_| feed.next())
            .collect::<Result<Vec<_>>>()?;
        let start = Instant::now();
        for batch in &batches {
            let inputs = step.model().inputs(batch)?;
            match &ring {
                Some(ring) => {
                    let issued = step.issue(&inputs, &ring.draws(config.seed, number))?;
                    ring.record(&step, &issued)?;
                }
                None => {
                    step.issue(&inputs, &Draws::new(config.seed, number))?;
                }
            }
            number += 1;
        }
        if let Some(gpu) = &chosen.gpu {
            gpu.driver().synchronize()?;
            gpu.check_measured()?;
        }
        let spent = start.elapsed().as_secs_f64() / burst as f64;
        if number <= (WARM_UP * burst) as u64 {
            began = Instant::now();
            continue;
        }
        timed.push(spent);
        for batch in &batches {
            let work = Work::of(batch);
            source += work.source;
            target += work.target;
            flop += cost::step_flop(config.model, model, work);
        }
    }
    let passes = passes().zip(before);
    let whole_passes = passes.map(|(all, before)| (all - before) as f64 / number as f64);
    let mut profile = None;
    if let (Some(gpu), true) = (&chosen.gpu, order.profile) {
        let inputs = step.model().inputs(&feed.next()?)?;
        let (_, found) = gpu.profile(|| step.train(&inputs, number))?;
        profile = Some(found);
    }
    let steps = (timed.len() * burst) as f64;
    let total = timed.iter().sum::<f64>() * burst as f64;
    let [target, source, gflop] = [target as f64, source as f64, flop / 1e9];
    let rate = target / total;
    Ok(Timed {
        what: format!(
            "{}, B {} {}, target vocabulary {}",
            config.model,
            config.batch_size,
            sizes(config),
            thousands(model.target_vocab as u64)
        ),
        times: Times::of(timed)?,
        rates: format!(
            "{:.0} target tokens and {:.0} source tokens a step, {rate:.0} {}, {:.2} \
             GFLOP a step",
            target / steps,
            source / steps,
            Seq2SeqJob::SPEED,
            gflop / steps
        ),
        rate_figures: figures([
            ("target_tokens_per_s", json!(rate)),
            ("target_tokens_per_step", json!(target / steps)),
            ("source_tokens_per_step", json!(source / steps)),
            ("gflop_per_step", json!(gflop / steps)),
        ]),
        gflops: gflop / total,
        peak_rss_mb: None,
        figures: figures([
            ("num_layers", json!(model.layers)),
            ("copy", json!(model.copy)),
            ("parameters", json!(parameters)),
            ("whole_passes_per_step", json!(whole_passes)),
        ]),
        profile,
    })
}
