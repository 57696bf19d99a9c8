//! Timing of training steps and other work.

use crate::device::Gpu;
use crate::error::{Error, Result};
use std::time::{Duration, Instant};

/// So much a second, for the clock or the work that shows something.
pub fn rate(amount: f64, time: Duration) -> Option<f64> {
    let rate = amount / time.as_secs_f64();
    (rate.is_finite() && rate > 0.0).then_some(rate)
}

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
    ///
    /// # Errors
    /// [`Error::Op`] where the clock shows no time: no rate can be made of it.
    pub fn of(mut times: Vec<f64>) -> Result<Self> {
        times.sort_by(f64::total_cmp);
        let median = times[times.len() / 2];
        if median <= 0.0 {
            let message = "the clock shows no time for a run: time more work, with larger sizes";
            return Err(Error::op("timing", message));
        }
        Ok(Times {
            median,
            best: times[0],
            worst: times[times.len() - 1],
            runs: times.len(),
        })
    }

    /// The median of `f`'s times, after one run that does not count, over at least 3 runs and
    /// `seconds`.
    ///
    /// # Errors
    /// Those of `f`, and as [`Times::of`].
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
    /// Those of `f`, and as [`Times::of`].
    pub fn collect(seconds: f64, mut f: impl FnMut() -> Result<f64>) -> Result<Self> {
        f()?;
        let began = Instant::now();
        let mut times = Vec::new();
        while times.len() < 3 || began.elapsed().as_secs_f64() < seconds {
            times.push(f()?);
        }
        Times::of(times)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_time_gives_no_rate() {
        assert_eq!(rate(300.0, Duration::from_millis(1500)), Some(200.0));
        assert_eq!(rate(300.0, Duration::ZERO), None);
        assert_eq!(rate(0.0, Duration::ZERO), None);
        assert_eq!(rate(0.0, Duration::from_secs(1)), None);
        let error = Times::of(vec![0.0, 1.0, 0.0]).unwrap_err();
        assert!(error.to_string().contains("no time"), "{error}");
        assert_eq!(Times::of(vec![0.5, 0.0, 0.25]).unwrap().median, 0.25);
    }
}
