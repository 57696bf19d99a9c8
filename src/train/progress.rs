//! Progress on stderr: a bar on a terminal that can draw one, plain lines elsewhere, nothing when
//! quiet.

use crate::log;
use crate::terminal::{draws, visible};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::Duration;

/// Where a run's progress goes.
#[derive(Clone, Debug)]
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
    /// So many of the unit a second; none where the clock shows no time.
    pub rate: Option<f64>,
    /// The unit of speed, as `tokens/s`.
    pub unit: &'static str,
    /// Time to the end of the run.
    pub left: Duration,
}

impl Progress {
    /// A bar if stderr is a terminal that can draw one.
    pub fn new(quiet: bool) -> Self {
        let bar = (!quiet && draws()).then(|| {
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
            // Before the first step there is no bar to stay above.
            Some(bar) if bar.length().is_some() => bar.println(visible(text)),
            _ => log::line(text),
        }
    }

    /// After a step. `logged` says that this step is also in metrics.jsonl: without a terminal only
    /// those steps are shown.
    pub fn step(&self, s: &Shown, logged: bool) {
        let text = s.text();
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

impl Shown {
    fn text(&self) -> String {
        let rate = self.rate.map(|rate| speed(rate, self.unit));
        format!(
            "epoch {}/{}  loss {:.4}  accuracy {:.4}  {}ETA {}",
            self.epoch,
            self.epochs,
            self.loss,
            self.accuracy,
            rate.map_or(String::new(), |rate| rate + "  "),
            clock(self.left)
        )
    }
}

/// A rate with its unit, as `45,678 tokens/s`.
pub fn speed(rate: f64, unit: &str) -> String {
    format!("{} {unit}", thousands(rate))
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
    fn a_rate_is_shown_where_there_is_one() {
        let mut shown = Shown {
            epoch: 1,
            epochs: 2,
            step: 3,
            steps: 4,
            loss: 2.5,
            accuracy: 0.25,
            rate: Some(1234.5),
            unit: "characters/s",
            left: Duration::from_secs(63),
        };
        let text = "epoch 1/2  loss 2.5000  accuracy 0.2500  1,235 characters/s  ETA 1:03";
        assert_eq!(shown.text(), text);
        shown.rate = None;
        assert_eq!(shown.text(), text.replace("1,235 characters/s  ", ""));
    }

    #[test]
    fn figures_are_readable() {
        assert_eq!(thousands(1234567.8), "1,234,568");
        assert_eq!(thousands(999.0), "999");
        assert_eq!(clock(Duration::from_secs(3723)), "1:02:03");
        assert_eq!(clock(Duration::from_secs(63)), "1:03");
    }
}
