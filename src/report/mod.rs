//! One self-contained HTML page of one or several runs, drawn from the files in their folders.

mod charts;
mod page;
mod svg;
mod text;

pub use page::render;

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde_json::{Map, Value};

use crate::{Error, Result};

/// What the page shows of one run.
#[derive(Clone, Debug, Default)]
pub struct RunData {
    /// The run's name, as legends show it.
    pub name: String,
    /// Configuration keys and their values, in the file's order.
    pub config: Vec<(String, String)>,
    /// Step records, by rising step.
    pub steps: Vec<StepPoint>,
    /// Epoch records, by rising epoch.
    pub epochs: Vec<EpochPoint>,
    /// File names and texts of the samples, oldest first.
    pub samples: Vec<(String, String)>,
}

/// One `step` record of `metrics.jsonl`; what the record lacks is NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepPoint {
    /// Optimizer steps done, from 1.
    pub step: u64,
    /// The epoch it belongs to, from 1.
    pub epoch: u64,
    /// Cross-entropy and L2, nats a token.
    pub loss: f64,
    /// Cross-entropy alone, nats a token.
    pub ce: f64,
    /// Share of tokens whose likeliest prediction is right.
    pub accuracy: f64,
    /// Norm of all gradients together, before clipping.
    pub grad_norm: f64,
    /// Learning rate.
    pub lr: f64,
    /// Factor that keeps fp16 gradients in range; 1 in fp32.
    pub loss_scale: f64,
    /// Tokens trained on in a second.
    pub tokens_per_s: f64,
}

/// One `epoch` record of `metrics.jsonl`; what the record lacks is NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EpochPoint {
    /// The epoch, from 1.
    pub epoch: u64,
    /// Steps done at its end, where the record says so.
    pub step: Option<u64>,
    /// Mean training loss of the epoch, nats a token.
    pub train_loss: f64,
    /// Training accuracy of the epoch, 0 to 1.
    pub train_accuracy: f64,
    /// Loss over the whole validation split, nats a token.
    pub valid_loss: f64,
    /// Accuracy over the whole validation split, 0 to 1.
    pub valid_accuracy: f64,
    /// Seconds that the epoch took.
    pub seconds: f64,
}

/// Reads the step and epoch records of a `metrics.jsonl`; other events and keys are passed over.
///
/// A resumed run writes steps again that an interrupted one had written after its last
/// checkpoint: the later record counts. A last line without its newline is being written and is
/// left out.
///
/// # Errors
/// [`Error::Io`] for a file that cannot be read; [`Error::Data`] with the line number for a line
/// that is not such a record.
pub fn read_metrics(path: &Path) -> Result<(Vec<StepPoint>, Vec<EpochPoint>)> {
    let mut file = BufReader::new(File::open(path).map_err(Error::io("open", path))?);
    let (mut steps, mut epochs) = (Vec::<StepPoint>::new(), Vec::<EpochPoint>::new());
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        file.read_until(b'\n', &mut line)
            .map_err(Error::io("read", path))?;
        if line.last() != Some(&b'\n') {
            break;
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let broken = |why: String| {
            let path = path.display();
            Error::Data(format!(
                "{path}:{number}: {why}. Delete this line to draw the rest"
            ))
        };
        let record: Map<String, Value> = serde_json::from_slice(&line)
            .map_err(|e| broken(format!("not a JSON object ({e})")))?;
        match record.get("event").and_then(Value::as_str) {
            Some("step") => {
                let point = step_point(&record).map_err(broken)?;
                while steps.last().is_some_and(|p| p.step >= point.step) {
                    steps.pop();
                }
                steps.push(point);
            }
            Some("epoch") => {
                let point = epoch_point(&record).map_err(broken)?;
                while epochs.last().is_some_and(|p| p.epoch >= point.epoch) {
                    epochs.pop();
                }
                epochs.push(point);
            }
            Some(_) => {}
            None => return Err(broken("a record without an \"event\"".into())),
        }
    }
    Ok((steps, epochs))
}

fn step_point(record: &Map<String, Value>) -> Result<StepPoint, String> {
    Ok(StepPoint {
        step: counter(record, "step")?,
        epoch: counter(record, "epoch")?,
        loss: number(record, "loss"),
        ce: number(record, "ce"),
        accuracy: number(record, "accuracy"),
        grad_norm: number(record, "grad_norm"),
        lr: number(record, "lr"),
        loss_scale: number(record, "loss_scale"),
        tokens_per_s: number(record, "tokens_per_s"),
    })
}

fn epoch_point(record: &Map<String, Value>) -> Result<EpochPoint, String> {
    Ok(EpochPoint {
        epoch: counter(record, "epoch")?,
        step: record.get("step").and_then(Value::as_u64),
        train_loss: number(record, "train_loss"),
        train_accuracy: number(record, "train_accuracy"),
        valid_loss: number(record, "valid_loss"),
        valid_accuracy: number(record, "valid_accuracy"),
        seconds: number(record, "seconds"),
    })
}

fn counter(record: &Map<String, Value>, key: &str) -> Result<u64, String> {
    let value = record.get(key).and_then(Value::as_u64);
    value.ok_or_else(|| format!("{key:?} is missing or not a whole number"))
}

/// JSON has no NaN: writers put null in its place.
fn number(record: &Map<String, Value>, key: &str) -> f64 {
    record.get(key).and_then(Value::as_f64).unwrap_or(f64::NAN)
}
