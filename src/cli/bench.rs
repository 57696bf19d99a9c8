//! `rnnx bench`: times matrix products, training steps and generation on this machine.

use super::args::{BenchArgs, BenchKind};
use super::{bench_gpu, bench_seq2seq, emit};
use crate::Result;
use crate::device::cpu::gemm::{Mat, gemm};
use crate::files::state::LossScaler;
use crate::log;
use crate::optim::{Adam, AdamConfig, Clip};
use crate::programs::charlm::config::DeviceChoice;
use crate::programs::charlm::generate::generator::Generator;
use crate::programs::charlm::generate::sample;
use crate::programs::charlm::generate::sampling::{Sampler, SamplingOptions};
use crate::programs::charlm::model::{CharLstm, CharLstmSizes};
use crate::programs::charlm::step::{CharLmStep, StepConfig};
use crate::rng::{Purpose, Stream};
use crate::tensor::Tensor;
use crate::train::device::Chosen;
use crate::train::memory;
use serde_json::{Map, Value, json};
use std::time::Instant;

/// Characters of the vocabulary: printable ASCII and newline, less the rarest.
pub(super) const VOCAB: usize = 95;
/// Windows a step, unless a flag says otherwise.
const BATCH: usize = 512;
/// Numbers that stand for a character, unless a flag says otherwise.
const EMBEDDING: usize = 64;
/// Side of the square matrices.
const GEMM: usize = 2048;

/// Times what was asked for; a table, or one JSON object.
///
/// # Errors
/// As [`DeviceArgs::settle`](super::args::DeviceArgs::settle), and for a step that needs more
/// memory than there is.
pub fn run(args: &BenchArgs) -> Result<()> {
    let chosen = args.device.settle(DeviceChoice::Auto)?;
    if !args.quiet {
        log::line(&chosen.line());
    }
    let wants = |kind| args.kinds.contains(&kind) || args.kinds.contains(&BenchKind::All);
    let mut results = Map::new();
    results.insert("device".into(), json!(chosen.name));
    let mut table = String::new();
    // The steps come before the product they are compared with, so that their peak memory is their
    // own.
    let charlm = wants(BenchKind::Charlm)
        .then(|| charlm(args, &chosen))
        .transpose()?;
    let seq2seq = wants(BenchKind::Seq2seq)
        .then(|| bench_seq2seq::run(args, &chosen, charlm.is_none()))
        .transpose()?;
    if wants(BenchKind::Gemm) || charlm.is_some() || seq2seq.is_some() {
        let (size, dtype, gflops) = match &chosen.gpu {
            None => (GEMM, "f32", gemm_rate(args.seconds)?),
            Some(gpu) => bench_gpu::gemm_rate(gpu, chosen.mixed, args)?,
        };
        table += &format!("gemm      {size} x {size} x {size} {dtype}: {gflops:.0} GFLOP/s\n");
        results.insert(
            "gemm".into(),
            json!({"gflops": gflops, "size": size, "dtype": dtype}),
        );
        if let Some(c) = charlm {
            table += &c.line(args, gflops);
            results.insert("charlm".into(), c.json(args, gflops));
        }
        if let Some(s) = seq2seq {
            table += &s.lines(gflops);
            results.insert("seq2seq".into(), s.json(gflops));
        }
    }
    if wants(BenchKind::Generate) {
        let rate = generate(args)?;
        table += &format!(
            "generate  1 stream, {} units, {} layers, on the CPU: {rate:.0} characters/s\n",
            args.hidden_size, args.num_layers
        );
        results.insert(
            "generate".into(),
            json!({"chars_per_s": rate, "device": "cpu"}),
        );
    }
    match args.json {
        true => emit(&format!("{:#}\n", Value::Object(results))),
        false => emit(&table),
    }
}

/// The median of `f`'s times in seconds, after one run that does not count, over at least 3 runs
/// and `seconds`.
pub(super) fn median_time(seconds: f64, mut f: impl FnMut() -> Result<()>) -> Result<Times> {
    median_of(seconds, || {
        let start = Instant::now();
        f()?;
        Ok(start.elapsed().as_secs_f64())
    })
}

/// As [`median_time`], for work that measures its own time in seconds.
pub(super) fn median_of(seconds: f64, mut f: impl FnMut() -> Result<f64>) -> Result<Times> {
    f()?;
    let began = Instant::now();
    let mut times = Vec::new();
    while times.len() < 3 || began.elapsed().as_secs_f64() < seconds {
        times.push(f()?);
    }
    Ok(Times::of(times))
}

/// Times of one piece of work, in seconds.
pub(super) struct Times {
    pub(super) median: f64,
    pub(super) best: f64,
    pub(super) worst: f64,
    pub(super) runs: usize,
}

impl Times {
    /// Sums up measured times, of which there is at least one.
    pub(super) fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        Times {
            median: times[times.len() / 2],
            best: times[0],
            worst: times[times.len() - 1],
            runs: times.len(),
        }
    }
}

// ---- gemm ----------------------------------------------------------------------------------

fn gemm_rate(seconds: f64) -> Result<f64> {
    let a = random_numbers(GEMM * GEMM, 1);
    let b = random_numbers(GEMM * GEMM, 2);
    let mut c = vec![0.0f32; GEMM * GEMM];
    fn mat(data: &[f32]) -> Mat<'_, f32> {
        Mat {
            data,
            stored: (GEMM, GEMM),
            transposed: false,
        }
    }
    let times = median_time(seconds, || gemm(mat(&a), mat(&b), &mut c, false))?;
    Ok(2.0 * (GEMM as f64).powi(3) / times.median / 1e9)
}

fn random_numbers(n: usize, seed: u64) -> Vec<f32> {
    let mut random = Stream::new(seed, Purpose::Init, 0).reader();
    (0..n).map(|_| random.uniform() as f32 - 0.5).collect()
}

// ---- the training step ---------------------------------------------------------------------

struct CharlmResult {
    times: Times,
    chars_per_s: f64,
    gflops: f64,
    peak_rss_mb: Option<f64>,
    /// On a GPU, whether the step was one captured graph.
    graph: Option<bool>,
}

fn sizes(args: &BenchArgs) -> CharLstmSizes {
    CharLstmSizes {
        vocab: VOCAB,
        embedding: args.embedding_dim.unwrap_or(EMBEDDING),
        hidden: args.hidden_size,
        layers: args.num_layers,
    }
}

/// Windows a step.
pub(super) fn batch_size(args: &BenchArgs) -> usize {
    args.batch_size.unwrap_or(BATCH)
}

/// Weights that are multiplied at every character; the embedding is only looked up.
fn weights(s: CharLstmSizes) -> f64 {
    let (e, h, l) = (s.embedding as f64, s.hidden as f64, s.layers as f64);
    4.0 * h * (e + h) + (l - 1.0) * 4.0 * h * 2.0 * h + h * s.vocab as f64
}

fn charlm(args: &BenchArgs, chosen: &Chosen) -> Result<CharlmResult> {
    let sizes = sizes(args);
    if chosen.gpu.is_none() {
        memory::check(memory::charlm_step(
            sizes,
            batch_size(args),
            args.seq_length,
        ))?;
    }
    let model = CharLstm::new::<f32>(sizes, 1)?;
    let config = AdamConfig::keras(1.8e-4);
    let adam = Adam::new::<f32>(config, model.params().layout());
    let config = StepConfig {
        dropout: 0.1,
        l2: 1e-4,
        clip: Clip::PerTensor { max: 1.0 },
        seed: 1,
    };
    let mut step = CharLmStep::new(model, adam, config);
    let tokens = args.seq_length * batch_size(args);
    let mut graph = None;
    let times = match &chosen.gpu {
        Some(gpu) => {
            step = step.to_gpu(gpu, chosen.mixed.then_some(LossScaler::FIRST))?;
            let (times, captured) = bench_gpu::step_times(gpu, step, args)?;
            graph = Some(captured);
            times
        }
        None => {
            let (ids, targets) = (random_ids(args, 1)?, random_ids(args, 2)?);
            let mut n = 0;
            median_time(args.seconds, || {
                n += 1;
                step.train(&ids, &targets, n).map(|_| ())
            })?
        }
    };
    let chars_per_s = tokens as f64 / times.median;
    Ok(CharlmResult {
        gflops: 6.0 * weights(sizes) * chars_per_s / 1e9,
        chars_per_s,
        // On a GPU the host's memory says nothing.
        peak_rss_mb: peak_rss_mb().filter(|_| chosen.gpu.is_none()),
        times,
        graph,
    })
}

/// Random characters `[T, B]`.
fn random_ids(args: &BenchArgs, seed: u64) -> Result<Tensor> {
    let mut random = Stream::new(seed, Purpose::Sample, 0).reader();
    let tokens = args.seq_length * batch_size(args);
    let ids: Vec<u32> = (0..tokens).map(|_| random.below(VOCAB as u32)).collect();
    Tensor::from_slice(&ids, [args.seq_length, batch_size(args)])
}

impl CharlmResult {
    fn line(&self, args: &BenchArgs, gemm: f64) -> String {
        let t = &self.times;
        format!(
            "charlm    B {} T {} H {}: {:.4} ms a step (best {:.4}, worst {:.4} of {}), \
             {:.0} characters/s, {:.0} GFLOP/s = {:.0} % of gemm{}\n",
            batch_size(args),
            args.seq_length,
            args.hidden_size,
            t.median * 1e3,
            t.best * 1e3,
            t.worst * 1e3,
            t.runs,
            self.chars_per_s,
            self.gflops,
            100.0 * self.gflops / gemm,
            self.peak_rss_mb
                .map_or(String::new(), |mb| format!(", peak memory {mb:.0} MB"))
        )
    }

    fn json(&self, args: &BenchArgs, gemm: f64) -> Value {
        json!({
            "batch_size": batch_size(args),
            "seq_length": args.seq_length,
            "hidden_size": args.hidden_size,
            "num_layers": args.num_layers,
            "ms_per_step": self.times.median * 1e3,
            "ms_best": self.times.best * 1e3,
            "ms_worst": self.times.worst * 1e3,
            "runs": self.times.runs,
            "chars_per_s": self.chars_per_s,
            "gflops": self.gflops,
            "share_of_gemm": self.gflops / gemm,
            "peak_rss_mb": self.peak_rss_mb,
            "graph": self.graph,
        })
    }
}

/// The process's largest resident size in MB (10^6 bytes), where the system tells (Linux).
pub(super) fn peak_rss_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024.0 / 1e6)
}

// ---- generation ----------------------------------------------------------------------------

/// Characters a second of one stream with sampling.
fn generate(args: &BenchArgs) -> Result<f64> {
    let model = CharLstm::new::<f32>(sizes(args), 1)?;
    let weights = sample::weights(&model.export()?)?;
    let mut generator = Generator::new(&weights, 1)?;
    let options = SamplingOptions {
        temperature: sample::TEMPERATURE,
        top_k: None,
        top_p: None,
    };
    let mut sampler = Sampler::new(options, VOCAB, 1, 0)?;
    let mut id = 0u8;
    const CHARS: usize = 2000;
    let times = median_time(args.seconds, || {
        for _ in 0..CHARS {
            id = sampler.sample(generator.step(&[id])) as u8;
        }
        Ok(())
    })?;
    Ok(CHARS as f64 / times.median)
}
