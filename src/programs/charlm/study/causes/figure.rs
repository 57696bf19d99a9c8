//! Figures with intervals: files are resampled, for characters of one file are not independent.
//!
//! The percentile bootstrap (Efron & Tibshirani 1993, chapter 13) over files, 95 %.

use serde::Serialize;

use crate::rng::{Purpose, Stream};

/// Resamples of a bootstrap.
const RESAMPLES: u32 = 1000;
/// A figure from fewer events stays blank.
pub const FEWEST: usize = 50;
/// The random stream of resamples among those of a study.
const LANE: u32 = 1;

/// A figure and its 95 % interval over files.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// Over all files.
    pub value: f64,
    /// The 2.5 % point of the resamples.
    pub low: f64,
    /// The 97.5 % point.
    pub high: f64,
    /// Events that it is from.
    pub events: usize,
}

/// What a file adds to a mean.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Share {
    /// Sum over the file's events.
    pub sum: f64,
    /// Events of the file.
    pub events: usize,
}

impl Share {
    /// Adds an event.
    pub fn add(&mut self, value: f64) {
        self.sum += value;
        self.events += 1;
    }
}

/// A statistic of `files` files, each of which counts as often as its weight says, from `events`
/// events. None from fewer than [`FEWEST`], and where the statistic is not finite. Resamples in which
/// it is not finite are left out.
pub fn bootstrap(
    files: usize,
    events: usize,
    seed: u64,
    statistic: impl Fn(&[u32]) -> f64,
) -> Option<Figure> {
    let value = statistic(&vec![1; files]);
    if events < FEWEST || !value.is_finite() {
        return None;
    }
    let resamples = (0..RESAMPLES).map(|n| {
        let mut random = Stream::new(seed, Purpose::Study, n).lane(LANE).reader();
        let mut weights = vec![0; files];
        for _ in 0..files {
            weights[random.below(files as u32) as usize] += 1;
        }
        statistic(&weights)
    });
    let mut values: Vec<f64> = resamples.filter(|v| v.is_finite()).collect();
    values.sort_unstable_by(f64::total_cmp);
    let last = values.len().checked_sub(1)? as f64;
    let at = |share: f64| values[(last * share).round() as usize];
    Some(Figure {
        value,
        low: at(0.025),
        high: at(0.975),
        events,
    })
}

/// The mean over all events, files resampled.
pub fn mean(files: &[Share], seed: u64) -> Option<Figure> {
    let events = files.iter().map(|file| file.events).sum();
    bootstrap(files.len(), events, seed, |weights| {
        let (mut sum, mut n) = (0.0, 0.0);
        for (file, weight) in files.iter().zip(weights) {
            sum += f64::from(*weight) * file.sum;
            n += f64::from(*weight) * file.events as f64;
        }
        sum / n
    })
}
