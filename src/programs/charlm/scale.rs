//! `rnnx bench scale`: what it costs to divide a training step among shards, and these among ranks.
//!
//! The ranks are threads of this process, one core each, which reach each other as processes do.

use super::config::CharLmConfig;
use super::data::CharBatch;
use super::train::CharLmJob;
use crate::error::{Error, Result};
use crate::optim::Adam;
use crate::programs::orders::{BenchOrder, BenchResult, figures};
use crate::ranks::who::Meeting;
use crate::ranks::{Ranks, Who};
use crate::rng::{Purpose, Stream};
use crate::tensor::Tensor;
use crate::train::job::Job;
use crate::train::memory;
use crate::train::model::Model;
use crate::train::settings::Config;
use crate::train::shards::{OF_RANKS, Reduce, Shards};
use crate::train::step::Step;
use crate::train::timing::Times;
use serde_json::{Value, json};
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

/// Characters of the vocabulary.
const VOCAB: usize = 95;
/// Ranks and shards that are timed, if there are as many cores; the first is a run without either.
const CASES: [(usize, usize); 5] = [
    (1, 1),
    (1, OF_RANKS),
    (2, OF_RANKS),
    (4, OF_RANKS),
    (8, OF_RANKS),
];
/// Longest wait of a rank for another.
const LIMIT: Duration = Duration::from_secs(600);

/// What a step takes in one case.
struct Cost {
    ranks: usize,
    shards: usize,
    times: Times,
    /// Share of the time that rank 0 exchanges, or waits for the others.
    exchange: f64,
    /// Bytes that another rank than 0 gives and gets a step, or rank 0 where there is no other.
    bytes: f64,
}

/// Times training steps on random characters, on one core a rank.
///
/// # Errors
/// For a step that needs more memory than there is, and if ranks do not meet.
pub fn scale(order: &BenchOrder) -> Result<BenchResult> {
    let config: CharLmConfig = order.config()?;
    memory::check(config.step_bytes(VOCAB), CharLmJob::MEMORY_SETTINGS)?;
    let cores = thread::available_parallelism().map_or(1, |n| n.get());
    let mut costs: Vec<Cost> = Vec::new();
    for (ranks, shards) in CASES.into_iter().filter(|(ranks, _)| *ranks <= cores) {
        let steps = costs.first().map(|cost| cost.times.runs);
        costs.push(case(&config, (ranks, shards), steps, order.seconds)?);
    }
    let one = costs[0].times.median;
    let sizes = format!(
        "B {} T {} H {}, one core a rank",
        config.batch_size, config.seq_length, config.hidden_size
    );
    let lines = costs.iter().map(|cost| {
        let Cost { ranks, shards, .. } = cost;
        format!(
            "\n          ranks {ranks} shards {shards}: {:.2} ms a step, {:.2} times as fast, exchange \
             {:.1} % of it, {:.2} MB a step and rank",
            cost.times.median * 1e3,
            one / cost.times.median,
            100.0 * cost.exchange,
            cost.bytes / 1e6
        )
    });
    Ok(BenchResult::Rate {
        line: sizes + &lines.collect::<String>(),
        figures: figures([
            ("batch_size", json!(config.batch_size)),
            ("seq_length", json!(config.seq_length)),
            ("hidden_size", json!(config.hidden_size)),
            ("cases", costs.iter().map(Cost::json).collect()),
        ]),
    })
}

impl Cost {
    fn json(&self) -> Value {
        json!({
            "ranks": self.ranks,
            "shards": self.shards,
            "ms_per_step": self.times.median * 1e3,
            "ms_best": self.times.best * 1e3,
            "ms_worst": self.times.worst * 1e3,
            "runs": self.times.runs,
            "exchange_share": self.exchange,
            "bytes_per_step": self.bytes,
        })
    }
}

/// Times one case; each rank is a thread.
fn case(
    config: &CharLmConfig,
    (size, shards): (usize, usize),
    steps: Option<usize>,
    seconds: f64,
) -> Result<Cost> {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
    let port = free.map_err(Error::io("listen on", "127.0.0.1"))?.port();
    let ended = thread::scope(|scope| {
        let start = |rank| {
            let who = Who {
                rank,
                size,
                meeting: Ok(Meeting {
                    host: "127.0.0.1".into(),
                    port,
                }),
                job: format!("bench {}", std::process::id()),
                ..Who::alone()
            };
            scope.spawn(move || one_core(|| rank_of(config, &who, shards, steps, seconds)))
        };
        let threads: Vec<_> = (0..size).map(start).collect();
        let ended = threads.into_iter().map(|thread| thread.join());
        let failed = || Error::op("bench", "a rank's thread failed");
        ended
            .map(|ended| ended.map_err(|_| failed()).flatten())
            .collect::<Result<Vec<_>>>()
    })?;
    let (times, exchange, _) = ended[0];
    let (_, _, bytes) = ended[size - 1];
    Ok(Cost {
        ranks: size,
        shards,
        times,
        exchange,
        bytes,
    })
}

fn one_core<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    let pool = pool.map_err(|e| Error::op("bench", e.to_string()))?;
    pool.install(work)
}

/// A rank's times, its share of exchange, and its bytes a step. Without a number of steps it takes as
/// many as the seconds hold.
fn rank_of(
    config: &CharLmConfig,
    who: &Who,
    shards: usize,
    steps: Option<usize>,
    seconds: f64,
) -> Result<(Times, f64, f64)> {
    let ranks = Ranks::join(who, LIMIT)?;
    let model = config.model(VOCAB);
    let adam = Adam::new::<f32>(config.optimizer(), model.params().layout());
    let step = Step::new(model, adam, config.clip(), config.seed);
    let mut step = step.with_shards(Shards::new(&ranks, shards, Reduce::Exact)?);
    let windows: Vec<u32> = (0..config.batch_size as u32).collect();
    let mut number = 0;
    let mut one = || {
        let began = Instant::now();
        number += 1;
        step.train_rows(&[&windows], number, |_, windows| {
            random_batch(config.seq_length, windows)
        })?;
        Ok(began.elapsed().as_secs_f64())
    };
    one()?;
    let before = ranks.spent();
    let began = Instant::now();
    let times = match steps {
        // The first step has been taken.
        Some(steps) => Times::of((0..steps).map(|_| one()).collect::<Result<Vec<_>>>()?)?,
        None => Times::collect(seconds, one)?,
    };
    let took = began.elapsed().as_secs_f64();
    let spent = ranks.spent();
    let exchanged = (spent.time - before.time).as_secs_f64();
    let bytes = match who.size {
        1 => 0.0,
        _ => (spent.bytes - before.bytes) as f64 / times.runs as f64,
    };
    Ok((times, exchanged / took, bytes))
}

/// Windows of random characters, each of its own.
fn random_batch(length: usize, windows: &[u32]) -> Result<CharBatch> {
    let shape = [length, windows.len()];
    let mut random = Stream::new(
        windows.first().copied().unwrap_or(0).into(),
        Purpose::Sample,
        0,
    )
    .reader();
    let mut ids = || -> Vec<u32> {
        (0..length * windows.len())
            .map(|_| random.below(VOCAB as u32))
            .collect()
    };
    Ok(CharBatch {
        ids: Tensor::from_slice(&ids(), shape)?,
        targets: Tensor::from_slice(&ids(), shape)?,
    })
}
