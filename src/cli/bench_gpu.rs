//! What `rnnx bench` times on a GPU.

use super::args::BenchArgs;
use super::bench::{Times, VOCAB, batch_size, median_of};
use crate::device::Gpu;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::gpu::{GpuMat, gemm};
use crate::programs::charlm::config::DeviceChoice;
use crate::programs::charlm::gpu_loop::GpuLoop;
use crate::programs::charlm::step::CharLmStep;
use crate::rng::{Purpose, Stream};
use crate::tensor::Tensor;
use std::sync::Arc;

/// Products, or training steps, between two looks at the clock.
const BURST: usize = 20;

/// The rate of a large square product: its size, data type and GFLOP/s.
pub(super) fn gemm_rate(
    gpu: &Arc<Gpu>,
    mixed: bool,
    args: &BenchArgs,
) -> Result<(usize, &'static str, f64)> {
    let size = if is_emulated(args) { 64 } else { 8192 };
    let (dtype, name) = if mixed {
        (DType::F16, "f16")
    } else {
        (DType::F32, "f32")
    };
    let matrix = |seed: u64| -> Result<Tensor> {
        let mut random = Stream::new(seed, Purpose::Init, 0).reader();
        let numbers: Vec<f32> = (0..size * size)
            .map(|_| random.uniform() as f32 - 0.5)
            .collect();
        let host = Tensor::from_slice(&numbers, [size, size])?;
        crate::ops::cast::convert(&host.to_gpu(gpu)?, dtype)
    };
    let (a, b) = (matrix(1)?, matrix(2)?);
    let c = Tensor::on_gpu(gpu, dtype, [size, size])?;
    let (a, b, c) = (GpuMat::of(&a, false)?, GpuMat::of(&b, false)?, c.ptr()?);
    let times = median_of(args.seconds, || {
        on_device(gpu, || {
            (0..BURST).try_for_each(|_| gemm(gpu, a, b, c, dtype, false))
        })
    })?;
    let flop = 2.0 * (size as f64).powi(3) * BURST as f64;
    Ok((size, name, flop / times.median / 1e9))
}

/// Times of one training step, each the mean of a burst of steps that the host does not wait in, and
/// whether the step was one captured graph.
pub(super) fn step_times(
    gpu: &Arc<Gpu>,
    mut step: CharLmStep,
    args: &BenchArgs,
) -> Result<(Times, bool)> {
    let (length, batch) = (args.seq_length, batch_size(args));
    let burst = if is_emulated(args) { 1 } else { BURST };
    let windows = burst * batch;
    let mut random = Stream::new(1, Purpose::Sample, 0).reader();
    let chars = windows * (length + 1);
    let text: Vec<u8> = (0..chars)
        .map(|_| random.below(VOCAB as u32) as u8)
        .collect();
    let order: Vec<u32> = (0..windows as u32).collect();
    let mut feed = GpuLoop::new(&step, &text, windows, length, batch)?
        .ok_or_else(|| Error::op("bench", "the model is not on a GPU"))?;
    let mut first = 0;
    let mut run = || -> Result<f64> {
        feed.begin(&order, 0, first)?;
        let seconds = on_device(gpu, || feed.run(&mut step, first, burst).map(|_| ()))?;
        first += burst as u64;
        Ok(seconds)
    };
    // The first steps warm the memory up and are captured.
    (0..3).try_for_each(|_| run().map(|_| ()))?;
    let times = median_of(args.seconds, run)?;
    let captured = feed.is_captured() == Some(true);
    let each = 1.0 / burst as f64;
    let times = Times {
        median: times.median * each,
        best: times.best * each,
        worst: times.worst * each,
        runs: times.runs * burst,
    };
    Ok((times, captured))
}

/// Seconds that the device spends on `work`, by its own events.
fn on_device(gpu: &Gpu, work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let before = gpu.driver().record()?;
    work()?;
    let after = gpu.driver().record()?;
    Ok(f64::from(gpu.driver().elapsed_ms(&before, &after)?) / 1e3)
}

fn is_emulated(args: &BenchArgs) -> bool {
    args.device.device == Some(DeviceChoice::Emulated)
}
