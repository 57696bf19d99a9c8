//! A training session, whatever the model: the loop over epochs and steps, checkpoints, records,
//! Ctrl-C, validation and the best checkpoint.

mod average;
mod figures;
mod page;
mod saving;
mod validation;

use super::device;
use super::job::{Begin, Job, Plan, Request};
use super::progress::Progress;
use super::scores::Scores;
use super::settings::{Config, Precision};
use super::start::{self, Started};
use super::timing;
use crate::device::Gpu;
use crate::error::{Error, Result};
use crate::files::metrics::{Event, MetricsWriter, StepEvent};
use crate::files::run::RunFolder;
use crate::files::state::TrainState;
use crate::files::tensorboard::EventFile;
use crate::interrupt;
use crate::optim::adam_gpu::RATES;
use crate::ranks::Ranks;
use page::Page;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Steps done in all.
    pub step: u64,
    /// Steps done by this process.
    pub trained: u64,
    /// Epochs finished.
    pub epoch: u64,
    /// Best validation loss in nats a token, if there was a validation.
    pub best: Option<f64>,
    /// Training time over all resumptions.
    pub elapsed: Duration,
    /// Tokens a second, of this process; none where it trained nothing or the clock shows no time.
    pub rate: Option<f64>,
    /// The run's folder, which no other process can train in as long as this lives.
    pub folder: RunFolder,
}

/// Trains on the data that `load` reads, and returns the trained job. Ctrl-C (see [`interrupt`]) saves
/// and returns [`Error::Interrupted`].
///
/// # Errors
/// Every [`Error`] there is; what had been saved stays.
pub fn run<J: Job>(
    request: Request<J::Config>,
    load: impl FnOnce(&Progress) -> Result<J::Source>,
) -> Result<(Summary, J)> {
    let starting = interrupt::at_once(request.nothing_lost())?;
    let progress = Progress::new(request.quiet);
    let common = request.config.common();
    // A resumed run keeps the precision of its checkpoint.
    let precision = match request.begin {
        Begin::New { .. } => common.precision,
        Begin::Resume => Precision::Auto,
    };
    let first = request.ranks.local_rank() as u32;
    let chosen = device::choose_from(common.device, precision, request.check, first)?;
    let gpu = chosen.gpu.clone();
    if let Some(gpu) = &gpu {
        gpu.set_recurrence(common.recurrence);
    }
    let started = start::start::<J>(&request, &progress, chosen, starting, load)?;
    let page = Page::new(request.ranks.is_first().then_some(request.draw));
    let mut session = Session::new(started, gpu, request.resume_out, progress, page);
    let ended = session.train();
    session.progress.finish();
    if session.is_cut_off(&ended) {
        return Err(session.rescue());
    }
    let (page, folder) = (&mut session.page, session.folder.path());
    page.draw_ended(folder, &session.progress);
    ended?;
    Ok((session.summary(), session.job))
}

/// A run under way.
struct Session<J> {
    job: J,
    /// What the job is on, if not the CPU.
    gpu: Option<Arc<Gpu>>,
    plan: Plan,
    folder: RunFolder,
    /// What `--out` has to name for `--resume`.
    resume_out: PathBuf,
    state: TrainState,
    /// At rank 0, which alone writes.
    metrics: Option<MetricsWriter>,
    events: Option<EventFile>,
    page: Page,
    progress: Progress,
    /// When this process began to train.
    started: Instant,
    /// Training time of earlier processes.
    earlier: f64,
    /// Whether there was a checkpoint to start from.
    resumed: bool,
    /// Whether max-time is over, as the ranks have agreed.
    late: bool,
    /// Training time of the finished epochs.
    epochs_took: f64,
    /// Steps of earlier processes.
    first_step: u64,
    /// Tokens that this process has trained on.
    tokens: f64,
    /// The text of `config.toml`.
    config_text: String,
    /// The loss of a validation at the run's end inside of an epoch, if it was the best.
    closing: Option<f64>,
}

impl<J: Job> Session<J> {
    fn new(
        started: Started<J>,
        gpu: Option<Arc<Gpu>>,
        resume_out: PathBuf,
        progress: Progress,
        page: Page,
    ) -> Self {
        Session {
            job: started.job,
            gpu,
            plan: started.plan,
            folder: started.folder,
            resume_out,
            earlier: started.state.elapsed_seconds,
            resumed: started.resumed,
            late: false,
            first_step: started.state.step,
            state: started.state,
            metrics: started.metrics,
            events: started.events,
            page,
            progress,
            started: Instant::now(),
            epochs_took: started.epochs_took,
            tokens: 0.0,
            config_text: started.config_text,
            closing: None,
        }
    }

    // ---- the loop --------------------------------------------------------------------------

    fn train(&mut self) -> Result<()> {
        let Plan {
            epochs,
            steps_per_epoch: per_epoch,
            ..
        } = self.plan;
        let limit = self.plan.max_steps.unwrap_or(u64::MAX);
        // An epoch whose last step was interrupted has yet to be validated, whatever the limit.
        let goes_on =
            |s: &TrainState| s.epoch < epochs && (s.step < limit || s.step_in_epoch == per_epoch);
        // The run may have died between its checkpoint and the sample of its epoch.
        if self.state.epoch > 0 && self.state.step_in_epoch == 0 {
            self.write_sample(true)?;
        }
        let is_done = !goes_on(&self.state) || self.over().is_some();
        if is_done && self.resumed {
            self.progress.line(&self.nothing_left());
            return self.close();
        }
        self.restore_best()?;
        self.validate_if_due()?;
        while goes_on(&self.state) && self.over().is_none() {
            self.job.begin_epoch(&self.state)?;
            while self.state.step_in_epoch < per_epoch
                && self.state.step < limit
                && self.over().is_none()
            {
                self.train_steps(limit)?;
                self.list_if_due();
                self.check_folder()?;
                self.validate_if_due()?;
                if self.is_asked()? {
                    return self.stop();
                }
                if self.checkpoint_is_due() {
                    self.save()?;
                    self.prune();
                }
            }
            if self.state.step_in_epoch == per_epoch {
                self.end_epoch()?;
                if self.is_asked()? {
                    return self.stop();
                }
            }
        }
        if let Some(why) = self.over().filter(|_| goes_on(&self.state)) {
            self.progress
                .line(&format!("stopped at step {}: {why}", self.state.step));
        }
        // The last epoch's end has saved; a run that ends before has not.
        if self.state.step_in_epoch > 0 || self.folder.last().is_err() {
            self.save()?;
            self.prune();
        }
        self.close()
    }

    /// Trains one step or more, at most as many as there are to the next record or checkpoint; where ranks
    /// train by themselves, a round.
    fn train_steps(&mut self, limit: u64) -> Result<()> {
        let began = Instant::now();
        let local = self.job.step().shards().local();
        let rates = self.rates(match local {
            Some(local) => self.steps_to(local.steps, limit),
            None => self.steps_to_record(limit).min(RATES as u64),
        });
        let scores = self.job.train(&self.state, &rates)?;
        let of_gpu = self.gpu.iter().flat_map(|gpu| gpu.news());
        for news in of_gpu.chain(self.job.news()) {
            self.progress.line(&news);
        }
        let tokens: f64 = scores.iter().map(|s| s.tokens).sum();
        let rate = timing::rate(tokens, began.elapsed());
        let steps = scores.iter().zip(rates);
        steps
            .into_iter()
            .try_for_each(|(s, lr)| self.account(s, lr, rate))
    }

    /// The learning rates of the next `n` steps.
    fn rates(&self, n: u64) -> Vec<f64> {
        let (plan, first) = (&self.plan, self.state.step);
        let rate = |step| plan.schedule.rate(step, plan.steps(), self.state.rate_cuts);
        (first..first + n).map(rate).collect()
    }

    /// Steps until something has to be written.
    fn steps_to_record(&self, limit: u64) -> u64 {
        let n = self.steps_to(self.plan.log_every, limit);
        let every = [self.plan.checkpoint_every, self.plan.eval_every];
        let every = every.into_iter().flatten();
        every.fold(n, |n, every| n.min(self.steps_to(every, limit)))
    }

    /// Steps to the next of every so many, or to the end of the epoch or the run.
    fn steps_to(&self, every: u64, limit: u64) -> u64 {
        let s = &self.state;
        let in_epoch = self.plan.steps_per_epoch - s.step_in_epoch;
        (every - s.step % every).min(in_epoch).min(limit - s.step)
    }

    /// Counts and records a step that has been trained.
    fn account(&mut self, scores: &Scores, lr: f64, rate: Option<f64>) -> Result<()> {
        self.check_finite(scores, lr)?;
        let (tokens, weight) = (scores.tokens, scores.tokens / self.plan.unit);
        self.tokens += tokens;
        let sums = &mut self.state.epoch_sums;
        sums.loss += scores.loss * weight;
        sums.correct += scores.correct as f64;
        sums.tokens += tokens;
        self.state.step += 1;
        self.state.step_in_epoch += 1;
        self.state.loss_scaler = scores.scaler.or(self.state.loss_scaler);
        self.state.adam_step += u64::from(!scores.skipped);
        let logged = self.state.step.is_multiple_of(self.plan.log_every);
        if logged {
            self.record(&Event::Step(StepEvent {
                step: self.state.step,
                epoch: self.state.epoch + 1,
                loss: scores.loss,
                ce: scores.ce,
                accuracy: scores.correct as f64 / tokens,
                grad_norm: scores.grad_norm,
                lr,
                loss_scale: scores.scaler.map(|s| s.scale),
                tokens_per_s: rate.unwrap_or(f64::NAN),
            }))?;
        }
        self.progress.step(&self.shown(), logged);
        Ok(())
    }

    /// Keeps an event, and shows it. `metrics.jsonl` comes after the event file, which so has all that
    /// it has.
    fn record(&mut self, event: &Event) -> Result<()> {
        if let Some(events) = &mut self.events {
            events.write(event)?;
        }
        if let Some(metrics) = &mut self.metrics {
            metrics.write(event)?;
        }
        let folder = self.folder.path();
        self.page.draw_if_due(folder, &self.progress);
        Ok(())
    }

    /// A loss or gradient that is not a number ends the run. Such a gradient updated nothing, and what
    /// is saved is from before.
    fn check_finite(&self, scores: &Scores, lr: f64) -> Result<()> {
        // In mixed precision an overflow is met by a lower loss scale, down to 1.
        let used = self.state.loss_scaler;
        let can_lower = scores.skipped && used.is_some_and(|s| s.scale > 1.0);
        if scores.loss.is_finite() && (scores.grad_norm.is_finite() || can_lower) {
            return Ok(());
        }
        let what = if scores.loss.is_finite() {
            "gradient"
        } else {
            "loss"
        };
        let kept = match self.folder.last() {
            Ok(last) => format!("the last good checkpoint is {}", last.display()),
            Err(_) => "no checkpoint had been saved yet".into(),
        };
        Err(Error::Diverged(format!(
            "training diverged: the {what} of step {} is not a finite number; {kept}. Start again \
             with a lower learning-rate (now {lr}) or a lower clip-norm (now {})",
            self.state.step + 1,
            self.plan.clip_norm
        )))
    }

    // ---- ranks ------------------------------------------------------------------------------

    fn ranks(&self) -> Arc<Ranks> {
        self.job.step().shards().ranks().clone()
    }

    /// Whether this process writes what the run leaves.
    fn writes(&self) -> bool {
        self.ranks().is_first()
    }

    /// Whether a rank has been asked to end; and whether max-time is over by the clock of rank 0. All
    /// ranks go by the same.
    fn is_asked(&mut self) -> Result<bool> {
        let time = self.plan.max_time;
        let late = time.is_some_and(|time| self.started.elapsed() >= time.duration());
        let own = vec![interrupt::asked().into(), late.into()];
        let signs = self.ranks().settle(own, |all| {
            let asked = all.iter().any(|signs| signs.first() == Some(&1));
            Ok(vec![asked.into(), late.into()])
        })?;
        self.late = signs.get(1) == Some(&1);
        Ok(signs.first() == Some(&1))
    }

    // ---- ends -------------------------------------------------------------------------------

    fn stop(&mut self) -> Result<()> {
        self.save()?;
        Err(Error::Interrupted(format!(
            "interrupted at step {}; everything is saved: go on with --resume --out {}",
            self.state.step,
            self.resume_out.display()
        )))
    }

    fn nothing_left(&self) -> String {
        if let Some(why) = self.over() {
            return format!("nothing is left to do: {why}");
        }
        let end = match self.plan.max_steps {
            Some(n) if self.state.step >= n => format!("max-steps {n}"),
            _ => format!("epochs {}", self.plan.epochs),
        };
        format!("nothing is left to do: the run has reached {end}; raise it to go on")
    }
}
