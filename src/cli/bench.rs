//! `rnnx bench`: times matrix products, and what the programs have to be timed.

use super::args::BenchArgs;
use super::bench_args::OF_GPUS;
use super::bench_hardware::Figures;
use super::bench_recurrence;
use super::process::emit;
use crate::device::Gpu;
use crate::device::cpu::gemm::{Mat, gemm};
use crate::dtype::DType;
use crate::log;
use crate::ops::gpu::{self, GpuMat};
use crate::programs;
use crate::programs::orders::{BenchOrder, BenchResult};
use crate::rng::{Purpose, Stream};
use crate::tensor::Tensor;
use crate::train::settings::DeviceChoice;
use crate::train::timing::{Times, on_device};
use crate::{Error, Result};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Side of the square matrices on a CPU.
const GEMM: usize = 2048;
/// Products between two looks at a GPU's clock.
const BURST: usize = 20;

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
    if args.profile && chosen.gpu.is_none() {
        return Err(Error::Usage(
            "--profile is for GPUs, and this is the CPU: leave it out (`perf` shows where a CPU's \
             time goes)"
                .into(),
        ));
    }
    let wants = |name: &str| args.kinds.iter().any(|kind| kind == name || kind == "all");
    let settings = &args.sizes.0;
    let emulated = args.device.device == Some(DeviceChoice::Emulated);
    // The steps come before the product they are compared with, so that their peak memory is their
    // own.
    let mut results = Vec::new();
    for bench in programs::ALL
        .iter()
        .flat_map(|p| p.benches())
        .filter(|bench| wants(bench.name))
    {
        let order = BenchOrder {
            settings,
            seconds: args.seconds,
            chosen: &chosen,
            emulated,
            alone: results.is_empty(),
            profile: args.profile,
        };
        results.push((bench.name, (bench.run)(&order)?));
    }
    let of_gpu = of_gpu(args, chosen.gpu.as_ref(), emulated)?;
    if let Some(gpu) = chosen.gpu.as_ref().filter(|_| !args.quiet) {
        gpu.news().iter().for_each(|news| log::line(news));
    }
    let mut json = Map::new();
    json.insert("device".into(), json!(chosen.name));
    let mut table = String::new();
    let is_rate = |result: &BenchResult| matches!(result, BenchResult::Rate { .. });
    let mut gemm = f64::NAN;
    if wants("gemm") || results.iter().any(|(_, result)| !is_rate(result)) {
        let (size, dtype, gflops) = match &chosen.gpu {
            None => (GEMM, "f32", on_cpu(args.seconds)?),
            Some(gpu) => on_gpu(gpu, chosen.mixed, emulated, args.seconds)?,
        };
        gemm = gflops;
        table += &format!("gemm      {size} x {size} x {size} {dtype}: {gflops:.0} GFLOP/s\n");
        let product = json!({"gflops": gflops, "size": size, "dtype": dtype});
        json.insert("gemm".into(), product);
    }
    for (name, result) in &results {
        for line in result.lines(gemm) {
            table += &format!("{name:<9} {line}\n");
        }
        json.insert((*name).into(), result.json(gemm));
    }
    for (name, lines, figures) in of_gpu {
        for line in lines {
            table += &format!("{name:<10} {line}\n");
        }
        json.insert(name.into(), figures);
    }
    match args.json {
        true => emit(&format!("{:#}\n", Value::Object(json))),
        false => emit(&table),
    }
}

/// What is timed of a GPU alone: name, table and figures, which are null on a CPU.
type OfGpu = (&'static str, Vec<String>, Value);

fn of_gpu(args: &BenchArgs, gpu: Option<&Arc<Gpu>>, emulated: bool) -> Result<Vec<OfGpu>> {
    let named = |name: &&str| args.kinds.iter().any(|kind| kind == name);
    let mut results = Vec::new();
    for name in OF_GPUS.into_iter().filter(named) {
        let Some(gpu) = gpu else {
            let why = "not measured: this is the CPU, and it is for GPUs".to_owned();
            results.push((name, vec![why], Value::Null));
            continue;
        };
        if name == OF_GPUS[0] {
            let figures = Figures::of(gpu, emulated, args.seconds)?;
            results.push((name, figures.lines(), figures.json()));
            continue;
        }
        let measured = bench_recurrence::measure(gpu, emulated, args.seconds)?;
        if args.keep {
            let file = measured.keep(&gpu.driver().description())?;
            if !args.quiet {
                log::line(&format!("the table is kept in {}", file.display()));
            }
        }
        let lines = bench_recurrence::lines(&measured);
        results.push((name, lines, json!(measured)));
    }
    Ok(results)
}

/// The rate of a large square product in GFLOP/s.
fn on_cpu(seconds: f64) -> Result<f64> {
    let (a, b) = (random_numbers(GEMM, 1), random_numbers(GEMM, 2));
    let mut c = vec![0.0f32; GEMM * GEMM];
    fn mat(data: &[f32]) -> Mat<'_, f32> {
        Mat {
            data,
            stored: (GEMM, GEMM),
            transposed: false,
        }
    }
    let times = Times::measure(seconds, || gemm(mat(&a), mat(&b), &mut c, false))?;
    Ok(2.0 * (GEMM as f64).powi(3) / times.median / 1e9)
}

/// The same on a GPU: size, data type and rate.
fn on_gpu(
    gpu: &Arc<Gpu>,
    mixed: bool,
    emulated: bool,
    seconds: f64,
) -> Result<(usize, &'static str, f64)> {
    let size = if emulated { 64 } else { 8192 };
    let (dtype, name) = match mixed {
        true => (DType::F16, "f16"),
        false => (DType::F32, "f32"),
    };
    let matrix = |seed: u64| -> Result<Tensor> {
        let host = Tensor::from_slice(&random_numbers(size, seed), [size, size])?;
        crate::ops::cast::convert(&host.to_gpu(gpu)?, dtype)
    };
    let (a, b) = (matrix(1)?, matrix(2)?);
    let c = Tensor::on_gpu(gpu, dtype, [size, size])?;
    let (a, b, c) = (GpuMat::of(&a, false)?, GpuMat::of(&b, false)?, c.ptr()?);
    let times = Times::collect(seconds, || {
        on_device(gpu, || {
            (0..BURST).try_for_each(|_| gpu::gemm(gpu, a, b, c, dtype, false))
        })
    })?;
    let flop = 2.0 * (size as f64).powi(3) * BURST as f64;
    Ok((size, name, flop / times.median / 1e9))
}

/// A square matrix.
fn random_numbers(size: usize, seed: u64) -> Vec<f32> {
    let mut random = Stream::new(seed, Purpose::Init, 0).reader();
    (0..size * size)
        .map(|_| random.uniform() as f32 - 0.5)
        .collect()
}
