//! What a session does with validations: at the end of an epoch, every so many steps, and where the run
//! ends; the best checkpoint, the plateau of the learning rate, and patience.

use super::Session;
use super::figures::seconds;
use crate::error::{Error, Result};
use crate::files::metrics::{self, EpochEvent, Event, ValidEvent};
use crate::files::state::{Best, Direction, EpochSums};
use crate::optim::ScheduleKind;
use crate::train::job::Job;
use crate::train::progress::clock;
use crate::train::scores::Means;

impl<J: Job> Session<J> {
    /// Ends an epoch: validates, records, saves.
    pub(super) fn end_epoch(&mut self) -> Result<()> {
        let valid = self.validate()?;
        let (train_loss, train_accuracy) = self.means();
        self.state.epoch_sums = EpochSums::default();
        self.state.epoch += 1;
        self.state.step_in_epoch = 0;
        self.state.valid_step = None;
        self.list_for_average();
        let seconds = self.elapsed() - self.epochs_took;
        self.epochs_took += seconds;
        let event = EpochEvent {
            epoch: self.state.epoch,
            step: Some(self.state.step),
            train_loss,
            train_accuracy,
            valid_loss: valid.map(|v| v.loss),
            valid_accuracy: valid.map(|v| v.accuracy),
            seconds,
        };
        self.record(&Event::Epoch(event))?;
        self.show_epoch(&event);
        let improved = valid.is_some_and(|v| self.judge(v));
        self.save()?;
        if improved {
            self.mark_best(self.state.step)?;
        }
        self.write_sample(false)?;
        self.prune();
        Ok(())
    }

    /// Validates inside of an epoch, if that is due and has not been done at this step.
    pub(super) fn validate_if_due(&mut self) -> Result<()> {
        let s = &self.state;
        let due = self
            .plan
            .eval_every
            .is_some_and(|n| s.step.is_multiple_of(n));
        let inside = s.step_in_epoch > 0 && s.step_in_epoch < self.plan.steps_per_epoch;
        if !due || !inside || s.valid_step == Some(s.step) {
            return Ok(());
        }
        let Some(valid) = self.validate()? else {
            return Ok(());
        };
        self.record_valid(valid, false, None)?;
        self.state.valid_step = Some(self.state.step);
        if self.judge(valid) {
            self.save()?;
            self.mark_best(self.state.step)?;
            self.prune();
        }
        Ok(())
    }

    /// Validates what a run leaves that ends inside of an epoch, and marks it if it is the best. The
    /// state stays: a run that goes on from here is one that never stopped.
    pub(super) fn close(&mut self) -> Result<()> {
        self.validate_last()?;
        self.average()
    }

    fn validate_last(&mut self) -> Result<()> {
        if self.state.step_in_epoch == 0 || self.state.valid_step == Some(self.state.step) {
            return Ok(());
        }
        let Some(valid) = self.validate()? else {
            return Ok(());
        };
        self.record_valid(valid, true, None)?;
        if valid.loss < self.best() {
            self.mark_best(self.state.step)?;
            self.closing = Some(valid.loss);
        }
        Ok(())
    }

    /// Before training goes on: the best checkpoint is that of the state again, not one that only an
    /// earlier end of the run has marked. One that is gone stays gone.
    pub(super) fn restore_best(&self) -> Result<()> {
        let best = self.state.best.as_ref();
        match best.map(|best| self.mark_best(best.step)) {
            None | Some(Ok(()) | Err(Error::Checkpoint { .. })) => Ok(()),
            Some(Err(other)) => Err(other),
        }
    }

    /// Why the run ends before its last step, if it does.
    pub(super) fn over(&self) -> Option<String> {
        if let Some(n) = self.plan.patience.filter(|n| self.state.stale >= *n) {
            return Some(format!(
                "none of the last {} validations was better than the best (patience is {n}); raise \
                 patience to go on",
                self.state.stale
            ));
        }
        let time = self.plan.max_time.filter(|_| self.late)?;
        Some(format!(
            "max-time {time} is over; --resume goes on for as long again"
        ))
    }

    /// The figures of the validation data. If it is interrupted the run is saved as it was before: one
    /// that goes on from there validates.
    fn validate(&mut self) -> Result<Option<Means>> {
        self.validated(self.job.validate(self.job.step().model(), &self.ranks()))
    }

    /// The same of a validation of whichever weights.
    pub(super) fn validated(&mut self, valid: Result<Option<Means>>) -> Result<Option<Means>> {
        match valid {
            Err(Error::Interrupted(_)) => self.stop().map(|()| None),
            valid => valid,
        }
    }

    /// The best score so far.
    pub(super) fn best(&self) -> f64 {
        self.state.best.as_ref().map_or(f64::INFINITY, |b| b.score)
    }

    /// Takes a validation into the best score, the plateau and patience; true if it is the best.
    fn judge(&mut self, valid: Means) -> bool {
        let improved = valid.loss < self.best();
        if improved {
            self.state.stale = 0;
            self.state.best = Some(Best {
                score: valid.loss,
                metric: "valid_loss".into(),
                direction: Direction::Min,
                step: self.state.step,
            });
        } else {
            self.state.stale += u64::from(self.plan.patience.is_some());
            let cut = self.plan.schedule.kind == ScheduleKind::Plateau;
            self.state.rate_cuts += u32::from(cut);
        }
        improved
    }

    pub(super) fn record_valid(
        &mut self,
        valid: Means,
        closing: bool,
        averaged: Option<u64>,
    ) -> Result<()> {
        let event = ValidEvent {
            step: self.state.step,
            epoch: self.state.epoch + u64::from(self.state.step_in_epoch > 0),
            valid_loss: valid.loss,
            valid_accuracy: valid.accuracy,
            closing,
            averaged,
        };
        let what = match averaged {
            Some(n) => format!("average of the last {n} checkpoints"),
            None => format!("step {}", event.step),
        };
        self.progress.line(&format!(
            "{what}{}",
            shown(Some(valid.loss), Some(valid.accuracy))
        ));
        let event = Event::Valid(event);
        if !self.writes() {
            return Ok(());
        }
        // A process that died after it had validated may have left the record.
        let first = self.state.step == self.first_step;
        if first && metrics::holds(&self.folder.metrics_path(), &event)? {
            return Ok(());
        }
        self.record(&event)
    }

    fn show_epoch(&self, e: &EpochEvent) {
        self.progress.line(&format!(
            "epoch {}/{}  train loss {:.4}  accuracy {:.4}{}  {}",
            e.epoch,
            self.plan.epochs,
            e.train_loss,
            e.train_accuracy,
            shown(e.valid_loss, e.valid_accuracy),
            clock(seconds(e.seconds))
        ));
    }
}

/// The figures of a validation in a line; nothing where there was none.
fn shown(loss: Option<f64>, accuracy: Option<f64>) -> String {
    match (loss, accuracy) {
        (Some(loss), Some(accuracy)) => format!(
            "  valid loss {loss:.4} ({:.4} bits)  accuracy {accuracy:.4}",
            loss / std::f64::consts::LN_2
        ),
        _ => String::new(),
    }
}
