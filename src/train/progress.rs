//! Progress on stderr: a bar on a terminal, plain lines elsewhere, nothing when quiet.

use crate::log;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::Duration;

/// Where a run's progress goes.
#[derive(Debug)]
pub struct Progress {
    quiet: bool,
    bar: Option<ProgressBar>,
}

/// What is shown of a training step.
#[derive(Clone, Copy, Debug)]
pub struct Shown {
    /// Epoch, from 1.
    pub epoch: u64,
    /// Epochs of the run.
    pub epochs: u64,
    /// Step in the epoch, from 1.
    pub step: u64,
    /// Steps of an epoch.
    pub steps: u64,
    /// Mean loss of the epoch so far, nats a token.
    pub loss: f64,
    /// Mean accuracy of the epoch so far, 0 to 1.
    pub accuracy: f64,
    /// Tokens a second.
    pub rate: f64,
    /// Time to the end of the run.
    pub left: Duration,
}

impl Progress {
    /// A bar if stderr is a terminal.
    pub fn new(quiet: bool) -> Self {
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{msg} [{bar:24}] {pos}/{len}") {
                bar.set_style(style.progress_chars("=> "));
            }
            bar
        });
        Progress { quiet, bar }
    }

    /// A line that stays.
    pub fn line(&self, text: &str) {
        match &self.bar {
            _ if self.quiet => {}
            Some(bar) => bar.println(text),
            None => log::line(text),
        }
    }

    /// After a step. `logged` says that this step is also in metrics.jsonl: without a terminal only
    /// those steps are shown.
    pub fn step(&self, s: &Shown, logged: bool) {
        let text = format!(
            "epoch {}/{}  loss {:.4}  accuracy {:.4}  {} tokens/s  ETA {}",
            s.epoch,
            s.epochs,
            s.loss,
            s.accuracy,
            thousands(s.rate),
            clock(s.left)
        );
        match &self.bar {
            Some(bar) => {
                bar.set_length(s.steps);
                bar.set_position(s.step);
                bar.set_message(text);
            }
            None if logged && !self.quiet => {
                log::line(&format!("step {}/{}  {text}", s.step, s.steps));
            }
            None => {}
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A rate for people, as 45,678.
pub fn thousands(x: f64) -> String {
    log::thousands(x.max(0.0).round() as u64)
}

/// A duration as 1:02:03 or 2:03.
pub fn clock(d: Duration) -> String {
    let s = d.as_secs();
    match s / 3600 {
        0 => format!("{}:{:02}", s / 60, s % 60),
        h => format!("{h}:{:02}:{:02}", s / 60 % 60, s % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_readable() {
        assert_eq!(thousands(1234567.8), "1,234,568");
        assert_eq!(thousands(999.0), "999");
        assert_eq!(clock(Duration::from_secs(3723)), "1:02:03");
        assert_eq!(clock(Duration::from_secs(63)), "1:03");
    }
}
