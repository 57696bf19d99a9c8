//! What `rnnx bench` times of the character LM.

use super::config::CharLmConfig;
use super::data::CharBatch;
use super::feed::TextFeed;
use super::generate::generator::Generator;
use super::generate::sample;
use super::generate::sampling::{Sampler, SamplingOptions};
use super::model::CharLm;
use super::train::CharLmJob;
use crate::device::Gpu;
use crate::error::Result;
use crate::files::state::LossScaler;
use crate::optim::Adam;
use crate::programs::orders::{BenchOrder, BenchResult, Timed, figures};
use crate::rng::{Purpose, Stream};
use crate::tensor::Tensor;
use crate::train::graph::GpuLoop;
use crate::train::job::Job;
use crate::train::memory;
use crate::train::model::Model;
use crate::train::step::Step;
use crate::train::timing::{Times, on_device, peak_rss_mb};
use serde_json::json;
use std::sync::Arc;

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
        memory::check(sizes.step_bytes(batch, length), CharLmJob::MEMORY_SETTINGS)?;
    }
    let model = CharLm::new::<f32>(sizes, config.seed);
    let model = model.with_dropout(config.dropout).with_l2(config.l2);
    let (constants, clip) = CharLmJob::optimizer(&config);
    let adam = Adam::new::<f32>(constants, model.params().layout());
    let mut step = Step::new(model, adam, clip, config.seed);
    let (times, graph) = match &order.chosen.gpu {
        Some(gpu) => {
            let scaler = order.chosen.mixed.then_some(LossScaler::FIRST);
            let (times, captured) = on_gpu(gpu, step.to_gpu(gpu, scaler)?, &config, order)?;
            (times, Some(captured))
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
            (times, None)
        }
    };
    let chars_per_s = (length * batch) as f64 / times.median;
    let timed = Timed {
        what: format!("B {batch} T {length} H {}", config.hidden_size),
        times,
        rates: format!("{chars_per_s:.0} characters/s"),
        rate_figures: figures([("chars_per_s", json!(chars_per_s))]),
        gflops: sizes.flop_per_char() * chars_per_s / 1e9,
        // On a GPU the host's memory says nothing.
        peak_rss_mb: peak_rss_mb().filter(|_| order.chosen.gpu.is_none()),
        figures: figures([
            ("batch_size", json!(batch)),
            ("seq_length", json!(length)),
            ("hidden_size", json!(config.hidden_size)),
            ("num_layers", json!(config.num_layers)),
            ("graph", json!(graph)),
        ]),
    };
    Ok(BenchResult::Step(timed))
}

/// Times of one training step, each the mean of a burst of steps that the host does not wait in, and
/// whether the step was one captured graph.
fn on_gpu(
    gpu: &Arc<Gpu>,
    mut step: Step<CharLm>,
    config: &CharLmConfig,
    order: &BenchOrder,
) -> Result<(Times, bool)> {
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
    let mut steps = GpuLoop::new(gpu, feed)?;
    let mut first = 0;
    let mut run = || -> Result<f64> {
        steps.begin(0, first)?;
        let seconds = on_device(gpu, || steps.run(&mut step, first, burst).map(|_| ()))?;
        first += burst as u64;
        Ok(seconds)
    };
    // The first steps warm the memory up and are captured.
    (0..3).try_for_each(|_| run().map(|_| ()))?;
    let times = Times::collect(order.seconds, run)?;
    Ok((times.each(burst), steps.is_captured() == Some(true)))
}

/// Characters a second of one stream with sampling, on the CPU.
///
/// # Errors
/// For a configuration that makes no model.
pub fn generate(order: &BenchOrder) -> Result<BenchResult> {
    let config: CharLmConfig = order.config()?;
    let model = CharLm::new::<f32>(config.sizes(VOCAB), config.seed);
    let weights = sample::weights(&model.export()?)?;
    let mut generator = Generator::new(&weights, 1)?;
    let options = SamplingOptions {
        temperature: sample::TEMPERATURE,
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
    Ok(BenchResult::Rate {
        line: format!(
            "1 stream, {} units, {} layers, on the CPU: {rate:.0} characters/s",
            config.hidden_size, config.num_layers
        ),
        figures: figures([("chars_per_s", json!(rate)), ("device", json!("cpu"))]),
    })
}
