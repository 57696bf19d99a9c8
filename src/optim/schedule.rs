//! The learning rate of each step: a warm-up, and what follows it.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// How the learning rate goes after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleKind {
    /// It stays.
    #[default]
    Constant,
    /// It falls in a straight line to the least rate at the last step.
    Linear,
    /// It falls along half a period of the cosine to the least rate at the last step
    /// (Loshchilov & Hutter 2017, without restarts).
    Cosine,
    /// It halves whenever a validation is no better than the best before it.
    Plateau,
}

impl ScheduleKind {
    /// The words of the setting.
    pub const NAMES: [&'static str; 4] = ["constant", "linear", "cosine", "plateau"];

    /// The schedule of a word.
    pub fn of(word: &str) -> Option<Self> {
        use ScheduleKind::{Constant, Cosine, Linear, Plateau};
        let all = [Constant, Linear, Cosine, Plateau];
        Self::NAMES.iter().position(|w| *w == word).map(|i| all[i])
    }

    /// Whether the rate of a step depends on where training ends.
    pub fn needs_end(self) -> bool {
        matches!(self, ScheduleKind::Linear | ScheduleKind::Cosine)
    }
}

/// What the learning rate of every step follows from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// How it goes after the warm-up.
    pub kind: ScheduleKind,
    /// The rate at the end of the warm-up.
    pub base: f64,
    /// No rate is below this, in the warm-up neither; at most `base`.
    pub min: f64,
    /// Steps of the warm-up: the rate of the n-th is n / warmup of `base`.
    pub warmup: u64,
}

impl Schedule {
    /// Checks that the rates are in order.
    ///
    /// # Errors
    /// [`Error::Usage`] for a least rate above the base.
    pub fn check(&self) -> Result<()> {
        if self.min <= self.base {
            return Ok(());
        }
        Err(Error::Usage(format!(
            "min-lr = {} is above learning-rate = {}: it is the least rate that a schedule falls \
             to; lower it, or raise learning-rate",
            self.min, self.base
        )))
    }

    /// The learning rate of `step`, counted from 0, of a run of `steps` in all. `cuts` is how often a
    /// validation has halved it so far.
    pub fn rate(&self, step: u64, steps: u64, cuts: u32) -> f64 {
        let Schedule { base, min, .. } = *self;
        if step < self.warmup {
            let share = (step + 1) as f64 / self.warmup as f64;
            return (base * share).max(min);
        }
        // The last step of the warm-up has the whole rate, without one the first step.
        let peak = self.warmup.max(1) - 1;
        let fall = steps.saturating_sub(1).saturating_sub(peak).max(1);
        let done = ((step - peak) as f64 / fall as f64).min(1.0);
        let rate = match self.kind {
            ScheduleKind::Constant => base,
            ScheduleKind::Linear => base + (min - base) * done,
            ScheduleKind::Cosine => min + (base - min) * 0.5 * (1.0 + (PI * done).cos()),
            ScheduleKind::Plateau => base * 0.5f64.powi(cuts.min(1_000) as i32),
        };
        rate.min(base).max(min) // whatever was rounded
    }
}

#[cfg(test)]
mod tests {
    use super::ScheduleKind::{Constant, Cosine, Linear, Plateau};
    use super::*;

    const BASE: f64 = 0.8;
    const MIN: f64 = 0.2;

    fn schedule(kind: ScheduleKind, warmup: u64) -> Schedule {
        Schedule {
            kind,
            base: BASE,
            min: MIN,
            warmup,
        }
    }

    #[test]
    fn the_border_of_the_warm_up_the_middle_and_the_end() {
        for (kind, middle, last) in [
            (Constant, BASE, BASE),
            (Linear, 0.5, MIN),
            (Cosine, 0.5, MIN),
        ] {
            let rate = |step| schedule(kind, 4).rate(step, 24, 0);
            assert_eq!(rate(0), BASE / 4.0);
            assert_eq!(rate(1), BASE / 2.0);
            assert_eq!(rate(3), BASE, "{kind:?}");
            assert!((rate(13) - middle).abs() < 1e-15, "{kind:?}: {}", rate(13));
            assert!((rate(23) - last).abs() < 1e-15, "{kind:?}: {}", rate(23));
            // Without a warm-up the first step has the whole rate.
            assert_eq!(schedule(kind, 0).rate(0, 24, 0), BASE);
            assert_eq!(schedule(kind, 1).rate(0, 24, 0), BASE);
            assert!((schedule(kind, 0).rate(23, 24, 0) - last).abs() < 1e-15);
        }
        // A quarter of the cosine's half period: (1 + cos(pi / 4)) / 2 of the way.
        let quarter = schedule(Cosine, 0).rate(25, 101, 0);
        assert!((quarter - (MIN + 0.6 * 0.853_553_390_593_273_8)).abs() < 1e-15);
        assert!((schedule(Linear, 0).rate(25, 101, 0) - 0.65).abs() < 1e-15);
    }

    #[test]
    fn a_plateau_halves_down_to_the_least_rate() {
        let rate = |step, cuts| schedule(Plateau, 2).rate(step, 10, cuts);
        assert_eq!([0, 1, 2].map(|step| rate(step, 0)), [0.4, 0.8, 0.8]);
        assert_eq!(
            [1, 2, 3, u32::MAX].map(|n| rate(5, n)),
            [0.4, MIN, MIN, MIN]
        );
    }

    #[test]
    fn no_rate_is_below_the_least_nor_above_the_base() {
        for kind in [Constant, Linear, Cosine, Plateau] {
            for (warmup, steps) in [(0, 1), (0, 2), (1, 1), (3, 9), (9, 9), (20, 9), (20, 20)] {
                for step in 0..steps + 3 {
                    let rate = schedule(kind, warmup).rate(step, steps, (step / 2) as u32);
                    let place = format!("{kind:?} {warmup} {steps} {step}: {rate}");
                    assert!((MIN..=BASE).contains(&rate), "{place}");
                }
            }
        }
    }

    #[test]
    fn a_constant_rate_is_the_setting_to_the_bit() {
        let published = Schedule {
            base: 1.8e-4,
            min: 0.0,
            ..schedule(Constant, 0)
        };
        for step in [0, 1, 1_000_000, u64::MAX] {
            let rate = published.rate(step, 1_000_000, 0);
            assert_eq!(rate.to_bits(), 1.8e-4f64.to_bits());
        }
    }

    #[test]
    fn each_word_has_its_schedule() {
        let kinds = ScheduleKind::NAMES.map(|word| ScheduleKind::of(word).unwrap());
        assert_eq!(kinds, [Constant, Linear, Cosine, Plateau]);
        for (kind, word) in kinds.iter().zip(ScheduleKind::NAMES) {
            assert_eq!(serde_json::to_value(kind).unwrap(), word);
        }
        assert!(ScheduleKind::of("step").is_none());
    }

    #[test]
    fn a_least_rate_above_the_base_is_refused() {
        schedule(Cosine, 0).check().unwrap();
        let wrong = Schedule {
            min: 1.0,
            ..schedule(Cosine, 0)
        };
        let message = wrong.check().unwrap_err().to_string();
        assert!(
            message.contains("min-lr = 1 is above learning-rate = 0.8"),
            "{message}"
        );
    }
}
