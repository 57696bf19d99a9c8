//! `rnnx bench hardware`: micro-benchmarks of what the kernels of whole sequences are predicted from. Each
//! has a known result, which is checked.

use crate::device::Gpu;
use crate::device::driver::{Arg, DevicePtr, Launch};
use crate::train::timing::{Times, on_device};
use crate::{Error, Result};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Blocks of the clusters whose number at once is asked for.
const SIZES: [u32; 3] = [4, 8, 16];
/// A kernel of as many registers and threads as the published model's.
const KERNEL: &str = "lstm_whole_fwd_256";
/// Bytes of shared memory that let a multiprocessor run one block at once.
const ONE_BLOCK: u32 = 128 << 10;
/// Threads of `measure_mma`, its chains, and the multiplications of an instruction.
const THREADS: u32 = 256;
const CHAINS: u32 = 4;
const OF_MMA: u32 = 16 * 8 * 16;

/// What was measured; null where the device has no such thing.
#[derive(Debug)]
pub struct Figures {
    clusters: Vec<(u32, u32)>,
    exchange_ns: Option<f64>,
    mma_tflops: Option<f64>,
}

impl Figures {
    /// Measures a device.
    ///
    /// # Errors
    /// [`Error::Op`] where a result is not what it has to be, or if the device fails.
    pub fn of(gpu: &Arc<Gpu>, emulated: bool, seconds: f64) -> Result<Self> {
        let rounds = if emulated { 8 } else { 10_000 };
        let fit = |&blocks: &u32| {
            let launch = Launch {
                cluster: blocks,
                ..Launch::new(KERNEL, blocks, THREADS)
            };
            Ok((blocks, gpu.driver().clusters(&launch)?))
        };
        Ok(Figures {
            clusters: SIZES.iter().map(fit).collect::<Result<_>>()?,
            exchange_ns: exchange(gpu, rounds, seconds)?,
            mma_tflops: mma(gpu, rounds, seconds)?,
        })
    }

    /// By name.
    pub fn json(&self) -> Value {
        let clusters = self.clusters.iter();
        let clusters: Map<String, Value> = clusters
            .map(|(blocks, n)| (blocks.to_string(), json!(n)))
            .collect();
        json!({
            "clusters_at_once": clusters,
            "exchange_ns": self.exchange_ns,
            "mma_tflops": self.mma_tflops,
        })
    }

    /// For people.
    pub fn lines(&self) -> Vec<String> {
        let clusters: Vec<String> = self
            .clusters
            .iter()
            .map(|(blocks, n)| format!("{n} of {blocks}"))
            .collect();
        let or = |figure: Option<String>| figure.unwrap_or_else(|| "not there".into());
        let exchange = self.exchange_ns.map(|ns| format!("{ns:.0} ns"));
        let mma = self.mma_tflops.map(|t| format!("{t:.1} TFLOP/s"));
        vec![
            format!(
                "clusters of blocks that run at once: {}",
                clusters.join(", ")
            ),
            format!(
                "a number from block to block (st.async, mbarrier): {}",
                or(exchange)
            ),
            format!("matrix instructions from registers (m16n8k16): {}", or(mma)),
        ]
    }
}

/// `n` words in device memory, for as long as `with` works.
fn with_words<R>(gpu: &Arc<Gpu>, n: usize, with: impl FnOnce(DevicePtr) -> Result<R>) -> Result<R> {
    let buffer = gpu.alloc(4 * n)?;
    with(buffer.ptr())
}

/// Seconds of a launch and the words that it leaves.
fn run(gpu: &Gpu, launch: &Launch, y: DevicePtr, n: usize, rounds: u32) -> Result<(f64, Vec<u32>)> {
    let args = [Arg::from(y), Arg::from(rounds)];
    let time = on_device(gpu, || gpu.launch(launch, &args))?;
    let mut words = vec![0; n];
    gpu.driver()
        .download(bytemuck::cast_slice_mut(&mut words), y)?;
    Ok((time, words))
}

fn wrong(what: &str, got: impl std::fmt::Debug, want: impl std::fmt::Debug) -> Error {
    Error::op(
        "bench hardware",
        format!("{what} gave {got:?}, not {want:?}"),
    )
}

/// Nanoseconds from one block of a cluster to another: of twice the rounds less once.
fn exchange(gpu: &Arc<Gpu>, rounds: u32, seconds: f64) -> Result<Option<f64>> {
    let launch = Launch {
        cluster: 2,
        ..Launch::new("measure_ping_pong", 2, 32)
    };
    if gpu.driver().clusters(&launch)? == 0 {
        return Ok(None);
    }
    with_words(gpu, 2, |y| {
        let once = |rounds: u32| {
            let (time, got) = run(gpu, &launch, y, 2, rounds)?;
            let want = [2 * rounds, 2 * rounds - 1];
            match got == want {
                true => Ok(time),
                false => Err(wrong("the exchange between blocks", got, want)),
            }
        };
        let short = Times::collect(seconds / 4.0, || once(rounds))?;
        let long = Times::collect(seconds / 4.0, || once(2 * rounds))?;
        let each = (long.median - short.median) / f64::from(2 * rounds);
        Ok(Some(each * 1e9))
    })
}

/// Rate of matrix instructions, one block of eight warps a multiprocessor.
fn mma(gpu: &Arc<Gpu>, rounds: u32, seconds: f64) -> Result<Option<f64>> {
    let one = Launch {
        shared_bytes: ONE_BLOCK,
        ..Launch::new("measure_mma", 1, THREADS)
    };
    let blocks = gpu.driver().clusters(&one)?;
    if blocks == 0 {
        return Ok(None);
    }
    let launch = Launch {
        grid: [blocks, 1, 1],
        ..one
    };
    let n = (blocks * THREADS) as usize;
    with_words(gpu, n, |y| {
        let want = (16 * CHAINS * rounds) as f32;
        let times = Times::collect(seconds / 2.0, || {
            let (time, got) = run(gpu, &launch, y, n, rounds)?;
            match got.iter().find(|&&bits| f32::from_bits(bits) != want) {
                None => Ok(time),
                Some(&bits) => Err(wrong("a matrix instruction", f32::from_bits(bits), want)),
            }
        })?;
        let warps = f64::from(blocks * THREADS / 32);
        let of_warp = f64::from(CHAINS) * f64::from(rounds) * f64::from(OF_MMA);
        Ok(Some(2.0 * warps * of_warp / times.median / 1e12))
    })
}
