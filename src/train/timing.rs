//! Timing of training steps and other work.

use crate::device::Gpu;
use crate::error::Result;
use std::time::Instant;

/// Times of one piece of work, in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// The median.
    pub median: f64,
    /// The shortest.
    pub best: f64,
    /// The longest.
    pub worst: f64,
    /// How many there were.
    pub runs: usize,
}

impl Times {
    /// Sums up measured times, of which there is at least one.
    pub fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        Times {
            median: times[times.len() / 2],
            best: times[0],
            worst: times[times.len() - 1],
            runs: times.len(),
        }
    }

    /// The median of `f`'s times, after one run that does not count, over at least 3 runs and
    /// `seconds`.
    ///
    /// # Errors
    /// Those of `f`.
    pub fn measure(seconds: f64, mut f: impl FnMut() -> Result<()>) -> Result<Self> {
        Times::collect(seconds, || {
            let start = Instant::now();
            f()?;
            Ok(start.elapsed().as_secs_f64())
        })
    }

    /// As [`Times::measure`], for work that measures its own time in seconds.
    ///
    /// # Errors
    /// Those of `f`.
    pub fn collect(seconds: f64, mut f: impl FnMut() -> Result<f64>) -> Result<Self> {
        f()?;
        let began = Instant::now();
        let mut times = Vec::new();
        while times.len() < 3 || began.elapsed().as_secs_f64() < seconds {
            times.push(f()?);
        }
        Ok(Times::of(times))
    }

    /// The times of one of `n` equal parts of the work.
    pub fn each(self, n: usize) -> Self {
        let part = 1.0 / n as f64;
        Times {
            median: self.median * part,
            best: self.best * part,
            worst: self.worst * part,
            runs: self.runs * n,
        }
    }
}

/// Seconds that a device spends on `work`, by its own events.
///
/// # Errors
/// If the device fails.
pub fn on_device(gpu: &Gpu, work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let before = gpu.driver().record()?;
    work()?;
    let after = gpu.driver().record()?;
    Ok(f64::from(gpu.driver().elapsed_ms(&before, &after)?) / 1e3)
}

/// The process's largest resident size in MB (10^6 bytes), where the system tells (Linux).
pub fn peak_rss_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024.0 / 1e6)
}
