//! The events of `metrics.jsonl`, and their lines.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use flate2::Crc;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::eval::scores::TextFigures;
use crate::eval::{nan, number};
use crate::files::text;

/// What stands before a line's checksum: the CRC-32 of the line up to here.
const MARK: &str = ",\"crc32\":\"";

/// One line of `metrics.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event {
    /// After an optimizer step.
    Step(StepEvent),
    /// After an epoch and its validation.
    Epoch(EpochEvent),
    /// After a validation inside of an epoch.
    Valid(ValidEvent),
    /// Where a run went on with other settings.
    Change(ChangeEvent),
    /// After training.
    Test(Box<TestEvent>),
    /// An event of another kind, which only stays in its file.
    #[serde(skip)]
    Other {
        /// The step that it names.
        step: Option<u64>,
    },
}

/// The figures of one optimizer step. JSON has no NaN: a value that is not finite is written as
/// `null`; one that is `null` or missing is read as NaN.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StepEvent {
    /// Optimizer steps done, this one included.
    pub step: u64,
    /// The epoch it belongs to, from 1.
    pub epoch: u64,
    /// Loss in nats a token, regularisation included.
    #[serde(default = "nan", deserialize_with = "number")]
    pub loss: f64,
    /// Cross-entropy in nats a token.
    #[serde(default = "nan", deserialize_with = "number")]
    pub ce: f64,
    /// Share of tokens predicted right, 0 to 1.
    #[serde(default = "nan", deserialize_with = "number")]
    pub accuracy: f64,
    /// Norm of the gradient before clipping.
    #[serde(default = "nan", deserialize_with = "number")]
    pub grad_norm: f64,
    /// Learning rate.
    #[serde(default = "nan", deserialize_with = "number")]
    pub lr: f64,
    /// The dynamic loss scale; none in f32.
    pub loss_scale: Option<f64>,
    /// Tokens trained a second.
    #[serde(default = "nan", deserialize_with = "number")]
    pub tokens_per_s: f64,
}

/// The figures of one epoch, as in [`StepEvent`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct EpochEvent {
    /// The epoch that ended, from 1.
    pub epoch: u64,
    /// Optimizer steps done at its end; none in a file that does not say.
    pub step: Option<u64>,
    /// Mean training loss in nats a token.
    #[serde(default = "nan", deserialize_with = "number")]
    pub train_loss: f64,
    /// Mean training accuracy, 0 to 1.
    #[serde(default = "nan", deserialize_with = "number")]
    pub train_accuracy: f64,
    /// Validation loss in nats a token; none without validation data.
    pub valid_loss: Option<f64>,
    /// Validation accuracy, 0 to 1.
    pub valid_accuracy: Option<f64>,
    /// Time of the epoch.
    #[serde(default = "nan", deserialize_with = "number")]
    pub seconds: f64,
}

/// The figures of a validation inside of an epoch, as in [`StepEvent`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ValidEvent {
    /// Optimizer steps done.
    pub step: u64,
    /// The epoch it belongs to, from 1.
    pub epoch: u64,
    /// Validation loss in nats a token.
    #[serde(default = "nan", deserialize_with = "number")]
    pub valid_loss: f64,
    /// Validation accuracy, 0 to 1.
    #[serde(default = "nan", deserialize_with = "number")]
    pub valid_accuracy: f64,
    /// Whether it is there because the run ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub closing: bool,
    /// Of how many checkpoints the weights are the average; none where they are the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub averaged: Option<u64>,
}

/// What settings were and what they became, by name; null where one is not set.
pub type Changes = BTreeMap<String, [Value; 2]>;

/// Settings that a run has changed on its way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChangeEvent {
    /// Optimizer steps done before.
    pub step: u64,
    /// What has changed.
    pub changes: Changes,
}

impl fmt::Display for ChangeEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = |value: &Value| match value {
            Value::Null => "not set".to_owned(),
            Value::String(word) => word.clone(),
            other => other.to_string(),
        };
        let changes = self.changes.iter();
        let changes =
            changes.map(|(name, [from, to])| format!("{name} {} → {}", value(from), value(to)));
        f.write_str(&changes.collect::<Vec<_>>().join(", "))
    }
}

/// The figures of a trained model on the test pairs. A value is none where the file does not say
/// it, a loss also where there was no epoch or no pair.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TestEvent {
    /// Optimizer steps behind the tested weights.
    pub step: Option<u64>,
    /// Epochs behind the tested weights.
    pub epoch: Option<u64>,
    /// Epochs that the run has trained.
    pub epochs: Option<u64>,
    /// Which model.
    pub model: Option<String>,
    /// Seed of the run.
    pub seed: Option<u64>,
    /// Hypotheses kept in decoding; 1 is greedy.
    pub beam: Option<u64>,
    /// The power of an output's tokens that a beam divides its log-probability by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length_penalty: Option<f64>,
    /// Trained numbers of the model.
    pub parameters: Option<u64>,
    /// Mean training loss of the last epoch, nats a token.
    pub train_loss: Option<f64>,
    /// Validation loss of the last epoch, nats a token.
    pub valid_loss: Option<f64>,
    /// The lowest validation loss of all epochs, nats a token.
    pub best_valid_loss: Option<f64>,
    /// Loss on the test pairs, teacher forced, nats a token.
    pub loss: Option<f64>,
    /// Share of tokens predicted right, teacher forced, 0 to 1.
    pub accuracy: Option<f64>,
    /// Scores of the outputs.
    #[serde(flatten)]
    pub scores: TextFigures,
    /// Share of the outputs' tokens that were copied from their sources; of a model that copies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copied_rate: Option<f64>,
    /// Seconds that decoding the test pairs took.
    pub decode_seconds: Option<f64>,
    /// Seconds that training took.
    pub train_seconds: Option<f64>,
}

impl Event {
    /// Reads one line, or says what is wrong with it.
    pub(super) fn from_line(line: &[u8]) -> Result<Self, String> {
        check(line)?;
        let record: Map<String, Value> =
            serde_json::from_slice(line).map_err(|e| format!("not a JSON object ({e})"))?;
        let kind = record.get("event").and_then(Value::as_str);
        let kind = kind.ok_or("not an event: it names no kind")?.to_owned();
        match kind.as_str() {
            "step" => fields(&kind, record).map(Event::Step),
            "epoch" => fields(&kind, record).map(Event::Epoch),
            "valid" => fields(&kind, record).map(Event::Valid),
            "change" => fields(&kind, record).map(Event::Change),
            "test" => fields(&kind, record).map(Event::Test),
            _ => Ok(Event::Other {
                step: record.get("step").and_then(Value::as_u64),
            }),
        }
    }

    /// Its line in the file `path`. f64 values are printed with as many digits as give back the same
    /// bits.
    pub(super) fn to_line(&self, path: &Path) -> Result<String> {
        let line = serde_json::to_string(self).map_err(|e| Error::io("write", path)(e.into()))?;
        let body = line.strip_suffix('}').unwrap_or(&line);
        Ok(format!("{body}{MARK}{}\"}}", crc32(body)))
    }

    /// Whether a run that stands at `step`, with `epochs_done` epochs behind it, has written it.
    pub(super) fn is_before(&self, step: u64, epochs_done: u64) -> bool {
        match self {
            Event::Step(event) => event.step <= step,
            Event::Epoch(event) => event.epoch <= epochs_done,
            Event::Change(event) => event.step <= step,
            Event::Valid(event) => !event.closing && event.step <= step,
            // A test, or an event without a step, closes a run: a resumed run writes it anew.
            Event::Test(_) => false,
            Event::Other { step: at } => at.is_some_and(|at| at <= step),
        }
    }
}

/// Whether a line matches its checksum, if it has one.
fn check(line: &[u8]) -> Result<(), String> {
    let Some((body, crc)) = std::str::from_utf8(line)
        .ok()
        .and_then(|line| text::split(line, MARK, "\"}"))
    else {
        return Ok(());
    };
    match crc == crc32(body) {
        true => Ok(()),
        false => Err("damaged (it does not match its crc32)".into()),
    }
}

/// CRC-32 as zlib and gzip have it, in hexadecimal.
fn crc32(text: &str) -> String {
    let mut crc = Crc::new();
    crc.update(text.as_bytes());
    format!("{:08x}", crc.sum())
}

/// The fields of an event of this kind.
fn fields<T: DeserializeOwned>(kind: &str, record: Map<String, Value>) -> Result<T, String> {
    let event = serde_json::from_value(Value::Object(record));
    event.map_err(|e| format!("not a {kind} event ({e})"))
}
