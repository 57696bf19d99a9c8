//! What `rnnx bench` times of the character LM.

use super::config::CharLmConfig;
use super::data::CharBatch;
use super::feed::TextFeed;
use super::generate::generator::Generator;
use super::generate::weights::CharLmWeights;
use super::generate::{Engine, sample};
use super::model::CharLm;
use super::train::CharLmJob;
use crate::device::profile::Profile;
use crate::device::{Gpu, Recurrence};
use crate::error::Result;
use crate::files::state::LossScaler;
use crate::optim::Adam;
use crate::programs::orders::{BenchOrder, BenchResult, Timed, figures};
use crate::rng::{Purpose, Stream};
use crate::sampling::{self, Sampler, SamplingOptions};
use crate::tensor::Tensor;
use crate::train::graph::GpuLoop;
use crate::train::job::Job;
use crate::train::memory;
use crate::train::model::Model;
use crate::train::settings::Config;
use crate::train::step::Step;
use crate::train::timing::{Times, on_device, peak_rss_mb};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Instant;

/// Characters of the vocabulary: printable ASCII and newline, less the rarest.
const VOCAB: usize = 95;
/// Steps between two looks at a GPU's clock.
const BURST: usize = 20;

/// Times the training step on random characters.
///
/// # Errors
/// For a step that needs more memory than there is, or if the device fails.
pub fn step(order: &BenchOrder) -> Result<BenchResult> {
    let config: CharLmConfig = order.config()?;
    let (length, batch) = (config.seq_length, config.batch_size);
    let sizes = config.sizes(VOCAB);
    if order.chosen.gpu.is_none() {
        memory::check(config.step_bytes(VOCAB), CharLmJob::MEMORY_SETTINGS)?;
    }
    let model = config.model(VOCAB);
    let adam = Adam::new::<f32>(config.optimizer(), model.params().layout());
    let mut step = Step::new(model, adam, config.clip(), config.seed);
    let passes = || order.chosen.gpu.as_ref().map(|gpu| gpu.whole_passes());
    let before = passes();
    let (times, wall, graph, profile) = match &order.chosen.gpu {
        Some(gpu) => {
            let scaler = order.chosen.mixed.then_some(LossScaler::FIRST);
            let on_gpu = on_gpu(gpu, step.to_gpu(gpu, scaler)?, &config, order)?;
            let OnGpu {
                times,
                wall,
                graph,
                profile,
            } = on_gpu;
            (times, Some(wall), Some(graph), profile)
        }
        None => {
            let ids = |seed| -> Result<Tensor> {
                let mut random = Stream::new(seed, Purpose::Sample, 0).reader();
                let ids: Vec<u32> = (0..length * batch)
                    .map(|_| random.below(VOCAB as u32))
                    .collect();
                Tensor::from_slice(&ids, [length, batch])
            };
            let (ids, targets) = (ids(1)?, ids(2)?);
            let (batch, mut n) = (CharBatch { ids, targets }, 0);
            let times = Times::measure(order.seconds, || {
                n += 1;
                step.train(&batch, n).map(|_| ())
            })?;
            (times, None, None, None)
        }
    };
    let chars_per_s = (length * batch) as f64 / times.median;
    let refused = graph.as_ref().and_then(|graph| graph.as_ref().err());
    let note = refused.map_or(String::new(), |why| format!(", no graph ({why})"));
    let timed = Timed {
        what: format!("B {batch} T {length} H {}{note}", config.hidden_size),
        times,
        rates: format!("{chars_per_s:.0} {}", CharLmJob::SPEED),
        rate_figures: figures([("chars_per_s", json!(chars_per_s))]),
        gflops: sizes.flop_per_char() * chars_per_s / 1e9,
        // On a GPU the host's memory says nothing.
        peak_rss_mb: peak_rss_mb().filter(|_| order.chosen.gpu.is_none()),
        figures: figures([
            ("batch_size", json!(batch)),
            ("seq_length", json!(length)),
            ("hidden_size", json!(config.hidden_size)),
            ("num_layers", json!(config.num_layers)),
            ("wall_ms_per_step", json!(wall.map(|seconds| seconds * 1e3))),
            ("graph", json!(graph.as_ref().map(Result::is_ok))),
            ("graph_refused", json!(refused)),
            (
                "recurrence",
                json!(passes().map(|n| taken(before < Some(n)))),
            ),
        ]),
        profile,
    };
    Ok(BenchResult::Step(timed))
}

/// How a GPU took the steps of a recurrence.
fn taken(whole: bool) -> Recurrence {
    match whole {
        true => Recurrence::Whole,
        false => Recurrence::Steps,
    }
}

/// A training step on a GPU.
struct OnGpu {
    /// Times, each the mean of a burst of steps that the host does not wait in.
    times: Times,
    /// The median of the same on the wall's clock, the host's reading of the figures included.
    wall: f64,
    /// Why the step was no captured graph, if it was none.
    graph: Result<(), String>,
    profile: Option<Profile>,
}

fn on_gpu(
    gpu: &Arc<Gpu>,
    mut step: Step<CharLm>,
    config: &CharLmConfig,
    order: &BenchOrder,
) -> Result<OnGpu> {
    let (length, batch) = (config.seq_length, config.batch_size);
    let burst = if order.emulated { 1 } else { BURST };
    let windows = burst * batch;
    let mut random = Stream::new(1, Purpose::Sample, 0).reader();
    let chars = windows * (length + 1);
    let text: Vec<u16> = (0..chars)
        .map(|_| random.below(VOCAB as u32) as u16)
        .collect();
    let feed = TextFeed::new(gpu, &text, windows, [length, batch])?;
    let in_order: Vec<u32> = (0..windows as u32).collect();
    feed.set_order(gpu, &in_order)?;
    let mut steps = GpuLoop::new(gpu, feed)?.measuring();
    let mut first = 0;
    let mut profile = None;
    if order.profile {
        steps.begin(0, 0)?;
        // The second step is the first one that asks for no memory, and the last one without a graph.
        steps.run(&mut step, 0, 1)?;
        steps.begin(0, 1)?;
        let (_, found) = gpu.profile(|| steps.run(&mut step, 1, 1))?;
        profile = Some(found);
        first = 2;
    }
    let mut run = || -> Result<f64> {
        steps.begin(0, first)?;
        let seconds = on_device(gpu, || steps.run(&mut step, first, burst).map(|_| ()))?;
        first += burst as u64;
        Ok(seconds)
    };
    // The first steps warm the memory up and are captured.
    (0..3).try_for_each(|_| run().map(|_| ()))?;
    let mut walls = Vec::new();
    let times = Times::collect(order.seconds, || {
        let start = Instant::now();
        let seconds = run()?;
        walls.push(start.elapsed().as_secs_f64());
        Ok(seconds)
    })?;
    // The first one does not count.
    let wall = Times::of(walls.split_off(1))?.each(burst).median;
    let graph = match steps.captured() {
        Some(Ok(())) => Ok(()),
        Some(Err(why)) => Err(why.to_owned()),
        None => Err("fewer than three steps ran".into()),
    };
    Ok(OnGpu {
        times: times.each(burst),
        wall,
        graph,
        profile,
    })
}

/// Streams that are given at once, and to the emulated device.
const STREAMS: [usize; 2] = [1024, 4];
/// Steps of many streams between two looks at the clock.
const STEPS: usize = 20;

/// Characters a second with sampling: of one stream, on the CPU, and of many on the device.
///
/// # Errors
/// For a configuration that makes no model; or if the device fails.
pub fn generate(order: &BenchOrder) -> Result<BenchResult> {
    let config: CharLmConfig = order.config()?;
    let model = CharLm::new::<f32>(config.sizes(VOCAB), config.seed);
    let weights = sample::weights(&model.export()?, config.tie_embeddings)?;
    let mut generator = Generator::new(&weights, 1)?;
    let options = SamplingOptions {
        temperature: sampling::TEMPERATURE,
        top_k: None,
        top_p: None,
    };
    let mut sampler = Sampler::new(options, VOCAB, 1, 0)?;
    let mut id = 0u16;
    const CHARS: usize = 2000;
    let times = Times::measure(order.seconds, || {
        for _ in 0..CHARS {
            id = sampler.sample(generator.step(&[id])) as u16;
        }
        Ok(())
    })?;
    let rate = CHARS as f64 / times.median;
    let streams = STREAMS[usize::from(order.emulated)];
    let of_many = many_streams(order, &weights, options, streams)?;
    let many = figures([
        ("streams", json!(streams)),
        ("chars_per_s", json!(of_many)),
        ("device", json!(order.chosen.name)),
    ]);
    Ok(BenchResult::Rate {
        line: format!(
            "1 stream, {} units, {} layers, on the CPU: {rate:.0} {speed}; {streams} streams, {}: \
             {of_many:.0} {speed}",
            config.hidden_size,
            config.num_layers,
            order.chosen.name,
            speed = CharLmJob::SPEED
        ),
        figures: figures([
            ("chars_per_s", json!(rate)),
            ("device", json!("cpu")),
            ("streams", Value::Object(many)),
        ]),
    })
}

/// Characters a second of all streams together, with sampling on the host.
fn many_streams(
    order: &BenchOrder,
    weights: &CharLmWeights,
    options: SamplingOptions,
    streams: usize,
) -> Result<f64> {
    let mut engine = Engine::new(weights, streams, order.chosen)?;
    let samplers = (0..streams).map(|s| Sampler::new(options, VOCAB, 1, s as u32));
    let mut samplers = samplers.collect::<Result<Vec<_>>>()?;
    let mut ids = vec![0u16; streams];
    let times = Times::measure(order.seconds, || {
        for _ in 0..STEPS {
            sampling::sample_all(&mut samplers, engine.step(&ids)?, &mut ids);
        }
        Ok(())
    })?;
    Ok((STEPS * streams) as f64 / times.median)
}
