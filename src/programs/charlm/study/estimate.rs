//! Means with their intervals: a percentile bootstrap over files (Efron 1979).
//!
//! Characters of one file are not independent of each other, files are: so whole files are drawn, with
//! replacement, as many as there are.

use serde::{Deserialize, Serialize};

use crate::rng::{Purpose, Stream};

/// Fewer events than this say too little: their figures stay blank.
pub const FEWEST: u64 = 50;
/// How often files are drawn.
pub const RESAMPLES: u32 = 1000;
/// The seed of every draw of a study.
pub const SEED: u64 = 1;

/// A mean over events and the middle 95 % of what resampled files give.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The mean over all events.
    pub mean: f64,
    /// The lower end of the interval; none where all events are of one file.
    pub low: Option<f64>,
    /// The upper end.
    pub high: Option<f64>,
}

/// Values of events by file, for their mean.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    events: u64,
    /// By file: the sum of the values and of their weights.
    files: Vec<(f64, f64)>,
}

impl Tally {
    /// Counts an event of a file.
    pub fn add(&mut self, file: usize, value: f64) {
        self.add_weighted(file, value, 1.0);
    }

    /// Counts an event whose value is a mean over `weight` of something.
    pub fn add_weighted(&mut self, file: usize, value: f64, weight: f64) {
        if self.files.len() <= file {
            self.files.resize(file + 1, (0.0, 0.0));
        }
        let (sum, weights) = &mut self.files[file];
        *sum += value * weight;
        *weights += weight;
        self.events += 1;
    }

    /// Events counted.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Files with events.
    pub fn files(&self) -> usize {
        self.files
            .iter()
            .filter(|(_, weight)| *weight > 0.0)
            .count()
    }

    /// Whether there are too few events.
    pub fn is_blank(&self) -> bool {
        self.events < FEWEST
    }

    /// The mean with every file taken once.
    pub fn mean(&self) -> Option<f64> {
        self.mean_of(|_| 1.0)
    }

    /// The mean with each file taken so many times.
    pub fn mean_of(&self, times: impl Fn(usize) -> f64) -> Option<f64> {
        let (mut sum, mut weights) = (0.0, 0.0);
        for (file, (s, w)) in self.files.iter().enumerate() {
            sum += s * times(file);
            weights += w * times(file);
        }
        (weights > 0.0).then(|| sum / weights)
    }
}

/// How often each file is drawn in each resample.
#[derive(Clone, Debug)]
pub struct Bootstrap {
    draws: Vec<Vec<u16>>,
}

impl Bootstrap {
    /// [`RESAMPLES`] draws of this many files.
    pub fn new(files: usize) -> Self {
        let draw = |resample: u32| {
            let mut times = vec![0u16; files];
            let mut reader = Stream::new(SEED, Purpose::Study, 0).lane(resample).reader();
            for _ in 0..files {
                let file = reader.below(files as u32) as usize;
                times[file] = times[file].saturating_add(1);
            }
            times
        };
        Bootstrap {
            draws: (0..RESAMPLES).map(draw).collect(),
        }
    }

    /// The mean of values, each of a file; none of fewer than [`FEWEST`].
    pub fn mean(&self, values: impl IntoIterator<Item = (usize, f64)>) -> Option<Estimate> {
        let mut tally = Tally::default();
        for (file, value) in values {
            tally.add(file, value);
        }
        self.estimate(&tally)
    }

    /// The mean of a tally; none where it is blank.
    pub fn estimate(&self, tally: &Tally) -> Option<Estimate> {
        self.of(&[tally], |means| means[0])
    }

    /// A figure made of the means of several tallies; none where one of them is blank.
    pub fn of(&self, tallies: &[&Tally], figure: impl Fn(&[f64]) -> f64) -> Option<Estimate> {
        if tallies.iter().any(|tally| tally.is_blank()) {
            return None;
        }
        let means = |times: &dyn Fn(usize) -> f64| {
            let means = tallies.iter().map(|tally| tally.mean_of(times));
            Some(figure(&means.collect::<Option<Vec<_>>>()?))
        };
        let files = tallies.iter().map(|tally| tally.files()).min();
        let [low, high] = self.interval(files.unwrap_or(0), means);
        Some(Estimate {
            mean: means(&|_| 1.0)?,
            low,
            high,
        })
    }

    /// The middle 95 % of a figure over the resamples that have one. The figure is a function of how
    /// often each file is taken, and has events in `files` of them: what is seen in one file alone says
    /// nothing of others, so it has no interval.
    pub fn interval(
        &self,
        files: usize,
        figure: impl Fn(&dyn Fn(usize) -> f64) -> Option<f64>,
    ) -> [Option<f64>; 2] {
        if files < 2 {
            return [None; 2];
        }
        let drawn = self.draws.iter();
        let found = drawn.filter_map(|times| figure(&|file| f64::from(times[file])));
        let mut found: Vec<f64> = found.collect();
        found.sort_by(f64::total_cmp);
        let outside = found.len() / 40;
        let last = found.len().checked_sub(1 + outside);
        [Some(outside), last].map(|at| found.get(at?).copied())
    }
}
