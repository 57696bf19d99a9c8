//! `rnnx train-charlm`: the run of a character LM from its configuration to its last checkpoint.

use super::config::{CharLmConfig, Precision};
use super::device;
use super::gpu_loop::{GpuLoop, SLOTS};
use super::interrupt;
use super::progress::{Progress, Shown, clock};
use super::sample;
use super::start::streams;
use super::step::{CharLmStep, Scores};
use crate::data::batch::CharData;
use crate::error::{Error, Result};
use crate::files::atomic::write_atomic;
use crate::files::metrics::{EpochEvent, Event, MetricsWriter, StepEvent};
use crate::files::run::RunFolder;
use crate::files::state::{Best, Direction, EpochSums, TrainState};
use crate::tensor::Tensor;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Where a run's weights come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Begin {
    /// A new run; with `force` in place of an old one.
    New {
        /// Replace an existing run.
        force: bool,
        /// Take the weights of this safetensors file, run or checkpoint.
        init_from: Option<PathBuf>,
    },
    /// Go on from the last checkpoint.
    Resume,
}

/// What `rnnx train-charlm` was asked for.
#[derive(Clone, Debug)]
pub struct CharLmRun {
    /// The resolved configuration.
    pub config: CharLmConfig,
    /// The same as the text of `config.toml`.
    pub config_text: String,
    /// The run's folder.
    pub out: PathBuf,
    /// Where the weights come from.
    pub begin: Begin,
    /// No progress on stderr.
    pub quiet: bool,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Steps done in all.
    pub step: u64,
    /// Best validation loss in nats a character, if there was a validation.
    pub best: Option<f64>,
    /// Training time over all resumptions.
    pub elapsed: Duration,
    /// Characters a second, of this process.
    pub rate: f64,
}

/// Trains. Ctrl-C (see [`interrupt`]) saves and returns [`Error::Interrupted`].
///
/// # Errors
/// Everything of interface.md's exit codes; what had been saved stays.
pub fn run(request: CharLmRun) -> Result<Summary> {
    let progress = Progress::new(request.quiet);
    // A resumed run keeps the precision of its checkpoint.
    let precision = match request.begin {
        Begin::New { .. } => request.config.precision,
        Begin::Resume => Precision::Auto,
    };
    let chosen = device::choose(request.config.device, precision)?;
    let mut session = Session::start(request, progress, chosen)?;
    let ended = session.train();
    session.progress.finish();
    ended?;
    Ok(session.summary())
}

/// Characters of the sample written after each epoch.
const SAMPLE_LENGTH: usize = 600;

/// A run under way.
pub(super) struct Session {
    pub(super) config: CharLmConfig,
    pub(super) folder: RunFolder,
    pub(super) data: CharData,
    pub(super) step: CharLmStep,
    /// On a GPU, the text and the captured step.
    pub(super) feed: Option<GpuLoop>,
    pub(super) state: TrainState,
    pub(super) metrics: MetricsWriter,
    pub(super) progress: Progress,
    /// When this process began to train.
    pub(super) started: Instant,
    /// Training time of earlier processes.
    pub(super) earlier: f64,
    /// Training time of the finished epochs.
    pub(super) epochs_took: f64,
    /// Characters trained on by this process.
    pub(super) trained: u64,
}

impl Session {
    // ---- the loop --------------------------------------------------------------------------

    fn train(&mut self) -> Result<()> {
        let per_epoch = self.data.steps_per_epoch() as u64;
        let epochs = self.config.epochs as u64;
        let limit = self.config.max_steps.map_or(u64::MAX, |n| n as u64);
        // An epoch whose last step was interrupted has yet to be validated, whatever the limit.
        let goes_on =
            |s: &TrainState| s.epoch < epochs && (s.step < limit || s.step_in_epoch == per_epoch);
        if !goes_on(&self.state) && self.folder.last().is_ok() {
            self.progress.line(&self.nothing_left());
            return Ok(());
        }
        while goes_on(&self.state) {
            let epoch = self.state.epoch;
            let order = self
                .data
                .epoch_order(self.config.seed, epoch as u32, self.config.shuffle);
            if let Some(feed) = &mut self.feed {
                feed.begin(&order, self.state.step_in_epoch, self.state.step)?;
            }
            while self.state.step_in_epoch < per_epoch && self.state.step < limit {
                self.train_steps(&order, limit)?;
                if interrupt::asked() {
                    return self.stop();
                }
                let due = |every: usize| self.state.step.is_multiple_of(every as u64);
                if self.state.step_in_epoch < per_epoch
                    && self.config.checkpoint_every.is_some_and(due)
                {
                    self.save()?;
                }
            }
            if self.state.step_in_epoch == per_epoch {
                self.end_epoch()?;
                if interrupt::asked() {
                    return self.stop();
                }
            }
        }
        // The last epoch's end has saved; a run cut short by --max-steps has not.
        if self.state.step_in_epoch > 0 || self.folder.last().is_err() {
            self.save()?;
        }
        Ok(())
    }

    /// Trains one step; on a GPU as many as there are to the next record or checkpoint.
    fn train_steps(&mut self, order: &[u32], limit: u64) -> Result<()> {
        let began = Instant::now();
        let tokens = (self.config.batch_size * self.config.seq_length) as f64;
        let n = self.steps_to_record(limit);
        let scores = match &mut self.feed {
            Some(feed) => {
                let scores = feed.run(&mut self.step, self.state.step, n)?;
                if let Some(news) = feed.news() {
                    self.progress.line(&news);
                }
                scores
            }
            None => vec![self.train_step(order)?],
        };
        let rate = scores.len() as f64 * tokens / began.elapsed().as_secs_f64();
        scores
            .iter()
            .try_for_each(|s| self.account(s, tokens, rate))
    }

    /// Steps until something has to be written, at most what a GPU keeps the figures of.
    fn steps_to_record(&self, limit: u64) -> usize {
        let s = &self.state;
        let to = |every: usize| every as u64 - s.step % every as u64;
        let in_epoch = self.data.steps_per_epoch() as u64 - s.step_in_epoch;
        let n = in_epoch.min(limit - s.step).min(to(self.config.log_every));
        let n = n.min(self.config.checkpoint_every.map_or(n, to));
        n.min(SLOTS as u64) as usize
    }

    /// One step on the CPU.
    fn train_step(&mut self, order: &[u32]) -> Result<Scores> {
        let first = self.state.step_in_epoch as usize * self.config.batch_size;
        let windows = &order[first..first + self.config.batch_size];
        let (mut ids, mut targets) = (Vec::new(), Vec::new());
        self.data.train_batch(windows, &mut ids, &mut targets);
        let shape = [self.config.seq_length, windows.len()];
        let ids = Tensor::from_slice(&ids, shape)?;
        self.step
            .train(&ids, &Tensor::from_slice(&targets, shape)?, self.state.step)
    }

    /// Counts and records a step that has been trained.
    fn account(&mut self, scores: &Scores, tokens: f64, rate: f64) -> Result<()> {
        self.check_finite(scores)?;
        self.trained += tokens as u64;
        let sums = &mut self.state.epoch_sums;
        sums.loss += scores.loss;
        sums.ce += scores.ce;
        sums.accuracy += scores.correct as f64;
        sums.tokens += tokens;
        self.state.step += 1;
        self.state.step_in_epoch += 1;
        self.state.loss_scaler = scores.scaler.or(self.state.loss_scaler);
        self.state.adam_step += u64::from(!scores.skipped);
        let logged = self.state.step.is_multiple_of(self.config.log_every as u64);
        if logged {
            self.metrics.write(&Event::Step(StepEvent {
                step: self.state.step,
                epoch: self.state.epoch + 1,
                loss: scores.loss,
                ce: scores.ce,
                accuracy: scores.correct as f64 / tokens,
                grad_norm: scores.grad_norm,
                lr: self.config.learning_rate,
                loss_scale: scores.scaler.map(|s| s.scale),
                tokens_per_s: rate,
            }))?;
        }
        self.progress.step(&self.shown(), logged);
        Ok(())
    }

    /// A loss or gradient that is not a number ends the run. Such a gradient updated nothing, and what
    /// is saved is from before.
    fn check_finite(&self, scores: &Scores) -> Result<()> {
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
             with a lower --learning-rate (now {}) or a lower --clip-norm (now {})",
            self.state.step + 1,
            self.config.learning_rate,
            self.config.clip_norm
        )))
    }

    fn end_epoch(&mut self) -> Result<()> {
        let valid = validate(&self.step, &self.data, &self.config)?;
        let sums = std::mem::take(&mut self.state.epoch_sums);
        let steps = self.state.step_in_epoch as f64;
        self.state.epoch += 1;
        self.state.step_in_epoch = 0;
        let seconds = self.elapsed() - self.epochs_took;
        self.epochs_took += seconds;
        let event = EpochEvent {
            epoch: self.state.epoch,
            step: self.state.step,
            train_loss: sums.loss / steps,
            train_accuracy: sums.accuracy / sums.tokens,
            valid_loss: valid.map(|v| v.0),
            valid_accuracy: valid.map(|v| v.1),
            seconds,
        };
        self.metrics.write(&Event::Epoch(event))?;
        self.show_epoch(&event);
        let best = self.state.best.as_ref().map_or(f64::INFINITY, |b| b.score);
        let improved = valid.is_some_and(|(loss, _)| loss < best);
        if let (true, Some((loss, _))) = (improved, valid) {
            self.state.best = Some(Best {
                score: loss,
                metric: "valid_loss".into(),
                direction: Direction::Min,
                step: self.state.step,
            });
        }
        self.save()?;
        if improved {
            self.folder.mark_best(self.state.step)?;
        }
        self.write_sample()?;
        self.folder.prune()
    }

    // ---- saving and showing ----------------------------------------------------------------

    fn save(&mut self) -> Result<()> {
        self.state.elapsed_seconds = self.elapsed();
        self.state.streams = streams(&self.state);
        let (weights, moments) = (self.step.weights()?, self.step.moments()?);
        self.folder
            .save_checkpoint(&weights, &moments, &self.state)?;
        Ok(())
    }

    /// Keeps a short text of this epoch's model beside the curves. Weights that generation cannot
    /// take, as those beyond f16, are no reason to stop training.
    fn write_sample(&self) -> Result<()> {
        let file = self.step.weights()?;
        let text = sample::weights(&file).and_then(|weights| {
            sample::text(&weights, &self.data.vocab, SAMPLE_LENGTH, self.config.seed)
        });
        let text = match text {
            Ok(text) => text,
            Err(e) => {
                let epoch = self.state.epoch;
                self.progress
                    .line(&format!("note: no sample of epoch {epoch}: {e}"));
                return Ok(());
            }
        };
        let samples = self.folder.samples_path();
        std::fs::create_dir_all(&samples).map_err(Error::io("create", &samples))?;
        let path = samples.join(format!("epoch-{}.txt", self.state.epoch));
        write_atomic(&path, |w| w.write_all(text.as_bytes()))
    }

    fn stop(&mut self) -> Result<()> {
        self.save()?;
        Err(Error::Interrupted(format!(
            "interrupted at step {}; everything is saved: go on with --resume --out {}",
            self.state.step,
            self.folder.path().display()
        )))
    }

    fn nothing_left(&self) -> String {
        let flag = match self.config.max_steps {
            Some(n) if self.state.step >= n as u64 => format!("--max-steps {n}"),
            _ => format!("--epochs {}", self.config.epochs),
        };
        format!("nothing is left to do: the run has reached {flag}; raise it to go on")
    }

    fn elapsed(&self) -> f64 {
        self.earlier + self.started.elapsed().as_secs_f64()
    }

    fn rate(&self) -> f64 {
        self.trained as f64 / self.started.elapsed().as_secs_f64()
    }

    fn shown(&self) -> Shown {
        let EpochSums {
            loss,
            accuracy,
            tokens,
            ..
        } = self.state.epoch_sums;
        let steps = self.data.steps_per_epoch() as u64;
        let all = steps * self.config.epochs as u64;
        let last = self.config.max_steps.map_or(all, |n| all.min(n as u64));
        let left = last.saturating_sub(self.state.step) as f64;
        let per_step = (self.config.batch_size * self.config.seq_length) as f64;
        Shown {
            epoch: self.state.epoch + 1,
            epochs: self.config.epochs as u64,
            step: self.state.step_in_epoch,
            steps,
            loss: loss / self.state.step_in_epoch as f64,
            accuracy: accuracy / tokens,
            rate: self.rate(),
            left: seconds(left * per_step / self.rate().max(1.0)),
        }
    }

    fn show_epoch(&self, e: &EpochEvent) {
        let valid = match (e.valid_loss, e.valid_accuracy) {
            (Some(loss), Some(accuracy)) => format!(
                "  valid loss {loss:.4} ({:.4} bits)  accuracy {accuracy:.4}",
                loss / std::f64::consts::LN_2
            ),
            _ => String::new(),
        };
        self.progress.line(&format!(
            "epoch {}/{}  train loss {:.4}  accuracy {:.4}{valid}  {}",
            e.epoch,
            self.config.epochs,
            e.train_loss,
            e.train_accuracy,
            clock(seconds(e.seconds))
        ));
    }

    fn summary(&self) -> Summary {
        Summary {
            step: self.state.step,
            best: self.state.best.as_ref().map(|b| b.score),
            elapsed: seconds(self.elapsed()),
            rate: self.rate(),
        }
    }
}

/// Mean loss in nats a character and accuracy over every validation window; none where nothing
/// validates.
///
/// # Errors
/// If the data does not fit the model, or the device fails.
pub fn validate(
    step: &CharLmStep,
    data: &CharData,
    config: &CharLmConfig,
) -> Result<Option<(f64, f64)>> {
    let order = data.valid_order();
    if order.is_empty() {
        return Ok(None);
    }
    let (mut loss, mut correct, mut tokens) = (0.0, 0.0, 0.0);
    let (mut ids, mut targets) = (Vec::new(), Vec::new());
    for windows in order.chunks(config.batch_size) {
        data.valid_batch(windows, &mut ids, &mut targets);
        let shape = [config.seq_length, windows.len()];
        let scores = step.evaluate(
            &Tensor::from_slice(&ids, shape)?,
            &Tensor::from_slice(&targets, shape)?,
        )?;
        loss += scores.ce * ids.len() as f64;
        correct += scores.correct as f64;
        tokens += ids.len() as f64;
    }
    Ok(Some((loss / tokens, correct / tokens)))
}

/// A duration for people; what no clock can show is the longest.
fn seconds(s: f64) -> Duration {
    Duration::try_from_secs_f64(s).unwrap_or(Duration::MAX)
}
