//! What a session says of itself: to the eye while it trains, and when it has ended.

use super::{Session, Summary};
use crate::train::job::Job;
use crate::train::progress::Shown;
use crate::train::timing;
use std::time::Duration;

impl<J: Job> Session<J> {
    /// Mean loss and accuracy of the epoch so far.
    pub(super) fn means(&self) -> (f64, f64) {
        let sums = &self.state.epoch_sums;
        let weight = sums.tokens / self.plan.unit;
        (sums.loss / weight, sums.correct / sums.tokens)
    }

    pub(super) fn elapsed(&self) -> f64 {
        self.earlier + self.started.elapsed().as_secs_f64()
    }

    /// Steps of this process.
    pub(super) fn trained(&self) -> u64 {
        self.state.step - self.first_step
    }

    pub(super) fn rate(&self) -> Option<f64> {
        timing::rate(self.tokens, self.started.elapsed())
    }

    pub(super) fn shown(&self) -> Shown {
        let (loss, accuracy) = self.means();
        let left = self.plan.steps().saturating_sub(self.state.step) as f64;
        let a_step = self.started.elapsed().as_secs_f64() / self.trained() as f64;
        Shown {
            epoch: self.state.epoch + 1,
            epochs: self.plan.epochs,
            step: self.state.step_in_epoch,
            steps: self.plan.steps_per_epoch,
            loss,
            accuracy,
            rate: self.rate(),
            unit: J::SPEED,
            left: seconds(left * a_step),
        }
    }

    pub(super) fn summary(&self) -> Summary {
        Summary {
            step: self.state.step,
            trained: self.trained(),
            epoch: self.state.epoch,
            best: self.closing.or(self.state.best.as_ref().map(|b| b.score)),
            elapsed: seconds(self.elapsed()),
            rate: self.rate(),
            folder: self.folder.clone(),
        }
    }
}

/// A duration for people; what no clock can show is the longest.
pub(super) fn seconds(s: f64) -> Duration {
    Duration::try_from_secs_f64(s).unwrap_or(Duration::MAX)
}
