//! `rnnx bench seq2seq`: the training step of the docstring-to-code models on real pairs.
//!
//! Each step has a batch that was not there before, as in training: its lengths and its number of
//! tokens are its own. Batches are made before the clock runs; placing them on the device counts.

use super::args::BenchArgs;
use super::bench::{Times, peak_rss_mb};
use crate::error::{Error, Result};
use crate::files::state::LossScaler;
use crate::log::thousands;
use crate::optim::{Adam, AdamConfig};
use crate::programs::seq2seq::config::Seq2SeqConfig;
use crate::programs::seq2seq::data::{SeqBatch, SeqData, Split};
use crate::programs::seq2seq::model::{ModelKind, Seq2SeqSizes};
use crate::programs::seq2seq::step::{Seq2SeqStep, Seq2SeqStepConfig};
use crate::programs::seq2seq::train::{make_data, make_model};
use crate::train::device::Chosen;
use crate::train::memory;
use serde_json::{Map, Value, json};
use std::collections::VecDeque;
use std::time::Instant;

/// Steps that do not count.
const WARM_UP: usize = 3;
/// Steps that count, at least.
const STEPS: usize = 5;

/// The pairs and what was measured on them.
pub(super) struct Seq2SeqResult {
    config: Seq2SeqConfig,
    source: String,
    pairs: usize,
    vocab: (usize, usize),
    models: Vec<(ModelKind, Measured)>,
}

/// One model's figures. Tokens and FLOP are means over the steps.
struct Measured {
    parameters: usize,
    times: Times,
    target_tokens_per_s: f64,
    target_tokens: f64,
    source_tokens: f64,
    gflop: f64,
    gflops: f64,
    peak_rss_mb: Option<f64>,
}

/// Times the models that are asked for. `alone` says that nothing was timed before in this process.
///
/// # Errors
/// As [`Seq2SeqConfig::splits`], for a step that needs more memory than there is, or if the device
/// fails.
pub(super) fn run(args: &BenchArgs, chosen: &Chosen, alone: bool) -> Result<Seq2SeqResult> {
    let usual = Seq2SeqConfig::default();
    let mut config = Seq2SeqConfig {
        train: args.seq2seq.train.clone(),
        valid: args.seq2seq.valid.clone(),
        test: args.seq2seq.test.clone(),
        batch_size: args.batch_size.unwrap_or(usual.batch_size),
        embedding_dim: args.embedding_dim.unwrap_or(usual.embedding_dim),
        hidden_size: args.hidden_size,
        ..usual
    };
    let splits = config.splits()?;
    let data = make_data(&config, &splits, None)?;
    // With fewer pairs than a batch has, the batch is all of them.
    config.batch_size = config.batch_size.min(splits.train.len()).max(1);
    let kinds = match args.seq2seq.model {
        Some(kind) => vec![kind],
        None => ModelKind::ALL.to_vec(),
    };
    // Of several models in one process, only the first one's peak would be its own.
    let alone = alone && kinds.len() == 1;
    let mut models = Vec::new();
    for kind in kinds {
        let config = Seq2SeqConfig {
            model: kind,
            ..config.clone()
        };
        let mut measured = measure(&config, &data, chosen, args.seconds)?;
        // On a GPU the host's memory says nothing.
        measured.peak_rss_mb = peak_rss_mb().filter(|_| alone && chosen.gpu.is_none());
        models.push((kind, measured));
    }
    Ok(Seq2SeqResult {
        source: splits.source.clone(),
        pairs: splits.train.len(),
        vocab: (data.source.len(), data.target.len()),
        config,
        models,
    })
}

// ---- timing --------------------------------------------------------------------------------

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

/// Times the training step of the model that `config` names.
fn measure(
    config: &Seq2SeqConfig,
    data: &SeqData,
    chosen: &Chosen,
    seconds: f64,
) -> Result<Measured> {
    let sizes = config.sizes(data.source.len(), data.target.len());
    let mut feed = Feed::new(data, config);
    let mut batch = feed.next()?;
    if chosen.gpu.is_none() {
        let (source, target) = (batch.source.packing.rows(), batch.packing.rows());
        let needed = memory::seq2seq_step(config.model, sizes, source, target);
        memory::check_with(needed, "--batch-size, --embedding-dim or --hidden-size")?;
    }
    let mut step = make_step(config, data, chosen)?;
    let parameters = step.model().params().layout().parameters();
    let (mut timed, mut number, mut began) = (Vec::new(), 0, Instant::now());
    let (mut source, mut target, mut flop) = (0, 0, 0.0);
    while timed.len() < STEPS || began.elapsed().as_secs_f64() < seconds {
        number += 1;
        let start = Instant::now();
        step.train(&batch, number as u64)?;
        if let Some(gpu) = &chosen.gpu {
            gpu.driver().synchronize()?;
        }
        let spent = start.elapsed().as_secs_f64();
        if number > WARM_UP {
            timed.push(spent);
            source += batch.source.packing.rows();
            target += batch.packing.rows();
            flop += step_flop(config.model, sizes, Work::of(&batch));
        } else {
            began = Instant::now();
        }
        batch = feed.next()?;
    }
    let (total, steps): (f64, _) = (timed.iter().sum(), timed.len() as f64);
    Ok(Measured {
        parameters,
        times: Times::of(timed),
        target_tokens_per_s: target as f64 / total,
        target_tokens: target as f64 / steps,
        source_tokens: source as f64 / steps,
        gflop: flop / steps / 1e9,
        gflops: flop / total / 1e9,
        peak_rss_mb: None,
    })
}

fn make_step(config: &Seq2SeqConfig, data: &SeqData, chosen: &Chosen) -> Result<Seq2SeqStep> {
    let model = make_model(config, data)?;
    let adam = AdamConfig::torch(config.learning_rate);
    let adam = Adam::new::<f32>(adam, model.params().layout());
    let how = Seq2SeqStepConfig {
        dropout: config.dropout,
        clip: config.clip(),
        seed: config.seed,
        teacher_forcing: config.teacher_forcing,
    };
    let step = Seq2SeqStep::new(model, adam, how);
    match &chosen.gpu {
        Some(gpu) => step.to_gpu(gpu, chosen.mixed.then_some(LossScaler::FIRST)),
        None => Ok(step),
    }
}

// ---- FLOP ----------------------------------------------------------------------------------

/// How often the weights of a step are used.
#[derive(Clone, Copy, Debug)]
struct Work {
    /// Pairs.
    pairs: usize,
    /// Tokens of the sources.
    source: usize,
    /// Tokens of the targets, `<EOS>` included.
    target: usize,
    /// Source positions that the targets' tokens attend to.
    attended: usize,
}

impl Work {
    fn of(batch: &SeqBatch) -> Self {
        let pairs = batch.packing.batch();
        let attended = (0..pairs).map(|b| batch.packing.length(b) * batch.source.spans.len(b));
        Work {
            pairs,
            source: batch.source.packing.rows(),
            target: batch.packing.rows(),
            attended: attended.sum(),
        }
    }
}

/// FLOP of a training step: 6 for each weight of a matrix product and row that it is multiplied
/// with, 2 forward and 4 backward. Embeddings are looked up and cost none. Scores and context of the
/// attention cost as much as H and 2H weights for each source position that a target token attends
/// to.
fn step_flop(kind: ModelKind, sizes: Seq2SeqSizes, work: Work) -> f64 {
    let [e, h, v] = [sizes.embedding, sizes.hidden, sizes.target_vocab].map(|n| n as f64);
    let [pairs, source, target, attended] =
        [work.pairs, work.source, work.target, work.attended].map(|n| n as f64);
    let products = match kind {
        ModelKind::Rnn => source * h * (e + h) + target * (h * (e + 2.0 * h) + h * v),
        ModelKind::Lstm => source * 4.0 * h * (e + h) + target * (4.0 * h * (e + h) + h * v),
        ModelKind::Attention => {
            let (encoder, keys, bridges) = (8.0 * h * (e + h), 2.0 * h * h, 4.0 * h * h);
            let (query, decoder) = (h * h, 4.0 * h * (e + 3.0 * h));
            source * (encoder + keys)
                + pairs * bridges
                + target * (query + decoder + (3.0 * h + e) * v)
                + attended * 3.0 * h
        }
    };
    6.0 * products
}

// ---- output --------------------------------------------------------------------------------

impl Seq2SeqResult {
    /// One line for each model; `gemm` is the product's rate in GFLOP/s.
    pub(super) fn lines(&self, gemm: f64) -> String {
        let lines = self.models.iter().map(|(kind, m)| {
            let t = &m.times;
            format!(
                "seq2seq   {kind}, B {} E {} H {}, target vocabulary {}: {:.4} ms a step (best \
                 {:.4}, worst {:.4} of {}), {:.0} target tokens and {:.0} source tokens a step, \
                 {:.0} target tokens/s, {:.2} GFLOP a step, {:.0} GFLOP/s = {:.0} % of gemm{}\n",
                self.config.batch_size,
                self.config.embedding_dim,
                self.config.hidden_size,
                thousands(self.vocab.1 as u64),
                t.median * 1e3,
                t.best * 1e3,
                t.worst * 1e3,
                t.runs,
                m.target_tokens,
                m.source_tokens,
                m.target_tokens_per_s,
                m.gflop,
                m.gflops,
                100.0 * m.gflops / gemm,
                m.peak_rss_mb
                    .map_or(String::new(), |mb| format!(", peak memory {mb:.0} MB"))
            )
        });
        lines.collect()
    }

    /// The same for programs.
    pub(super) fn json(&self, gemm: f64) -> Value {
        let model = |m: &Measured| {
            json!({
                "parameters": m.parameters,
                "ms_per_step": m.times.median * 1e3,
                "ms_best": m.times.best * 1e3,
                "ms_worst": m.times.worst * 1e3,
                "runs": m.times.runs,
                "target_tokens_per_s": m.target_tokens_per_s,
                "target_tokens_per_step": m.target_tokens,
                "source_tokens_per_step": m.source_tokens,
                "gflop_per_step": m.gflop,
                "gflops": m.gflops,
                "share_of_gemm": m.gflops / gemm,
                "peak_rss_mb": m.peak_rss_mb,
            })
        };
        let models = self.models.iter();
        let models: Map<_, _> = models.map(|(k, m)| (k.to_string(), model(m))).collect();
        json!({
            "pairs": self.source,
            "train_pairs": self.pairs,
            "source_vocabulary": self.vocab.0,
            "target_vocabulary": self.vocab.1,
            "batch_size": self.config.batch_size,
            "embedding_dim": self.config.embedding_dim,
            "hidden_size": self.config.hidden_size,
            "dropout": self.config.dropout,
            "clip_norm": self.config.clip_norm,
            "models": models,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::programs::seq2seq::model::Seq2Seq;

    const SIZES: Seq2SeqSizes = Seq2SeqSizes {
        source_vocab: 7,
        target_vocab: 11,
        embedding: 3,
        hidden: 5,
    };

    /// Where every weight meets one row, the formula counts the weights of the model's matrices.
    #[test]
    fn flop_of_one_row_is_six_for_each_weight_of_a_product() {
        let once = Work {
            pairs: 1,
            source: 1,
            target: 1,
            attended: 1,
        };
        for kind in ModelKind::ALL {
            let model = Seq2Seq::new::<f32>(kind, SIZES, 1).unwrap();
            let segments = model.params().layout().segments().iter();
            let matrices =
                segments.filter(|s| s.shape.dims().len() == 2 && !s.name.contains("embedding"));
            let weights: usize = matrices.map(|s| s.shape.numel()).sum();
            // The context multiplies activations: 2H of them for a position.
            let context = match kind {
                ModelKind::Attention => 2 * SIZES.hidden,
                _ => 0,
            };
            let flop = step_flop(kind, SIZES, once);
            assert_eq!(flop, 6.0 * (weights + context) as f64, "{kind}");
        }
    }

    #[test]
    fn work_counts_tokens_and_attended_positions() {
        let pairs: [(&[u32], &[u32]); 2] = [(&[4, 5], &[4]), (&[6], &[5, 6, 7])];
        let work = Work::of(&SeqBatch::new(&pairs).unwrap());
        assert_eq!((work.pairs, work.source, work.target), (2, 3, 6));
        // Two target tokens look at two positions each, four at one.
        assert_eq!(work.attended, 2 * 2 + 4);
        // 6 FLOP for each of 3H weights.
        let with = |attended| step_flop(ModelKind::Attention, SIZES, Work { attended, ..work });
        assert_eq!(with(8) - with(7), 6.0 * 3.0 * 5.0);
    }
}
