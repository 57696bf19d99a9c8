//! `metrics.jsonl`: one event a line, appended while a run trains.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::atomic::write_atomic;
use crate::error::{Error, Result};
use crate::log;

/// One line of `metrics.jsonl`.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// After an optimizer step.
    Step(StepEvent),
    /// After an epoch and its validation.
    Epoch(EpochEvent),
    /// Any other event, for example `test`, as it stands.
    Other(Map<String, Value>),
}

/// The figures of one optimizer step. JSON has no NaN: a value that is not finite is written as
/// `null` and read as NaN.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StepEvent {
    /// Optimizer steps done, this one included.
    pub step: u64,
    /// The epoch it belongs to, from 1.
    pub epoch: u64,
    /// Loss in nats a token, regularisation included.
    #[serde(deserialize_with = "number")]
    pub loss: f64,
    /// Cross-entropy in nats a token.
    #[serde(deserialize_with = "number")]
    pub ce: f64,
    /// Share of tokens predicted right, 0 to 1.
    #[serde(deserialize_with = "number")]
    pub accuracy: f64,
    /// Norm of the gradient before clipping.
    #[serde(deserialize_with = "number")]
    pub grad_norm: f64,
    /// Learning rate.
    #[serde(deserialize_with = "number")]
    pub lr: f64,
    /// The dynamic loss scale; none in f32.
    pub loss_scale: Option<f64>,
    /// Tokens trained a second.
    #[serde(deserialize_with = "number")]
    pub tokens_per_s: f64,
}

/// The figures of one epoch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct EpochEvent {
    /// The epoch that ended, from 1.
    pub epoch: u64,
    /// Optimizer steps done at its end.
    pub step: u64,
    /// Mean training loss in nats a token.
    #[serde(deserialize_with = "number")]
    pub train_loss: f64,
    /// Mean training accuracy, 0 to 1.
    #[serde(deserialize_with = "number")]
    pub train_accuracy: f64,
    /// Validation loss in nats a token; none without validation data.
    pub valid_loss: Option<f64>,
    /// Validation accuracy, 0 to 1.
    pub valid_accuracy: Option<f64>,
    /// Time of the epoch.
    #[serde(deserialize_with = "number")]
    pub seconds: f64,
}

/// A number, or `null` for one that was not finite.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

/// How an event that rnnx knows stands in a line: the fields of the struct, and its kind.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Tagged<'a> {
    Step(&'a StepEvent),
    Epoch(&'a EpochEvent),
}

impl Event {
    /// The line without its line end.
    ///
    /// f64 values are printed with as many digits as give back the same bits.
    fn to_line(&self) -> serde_json::Result<String> {
        match self {
            Event::Step(step) => serde_json::to_string(&Tagged::Step(step)),
            Event::Epoch(epoch) => serde_json::to_string(&Tagged::Epoch(epoch)),
            Event::Other(map) => serde_json::to_string(map),
        }
    }

    /// Reads one line.
    fn from_line(line: &[u8]) -> serde_json::Result<Self> {
        let map: Map<String, Value> = serde_json::from_slice(line)?;
        match map.get("event").and_then(Value::as_str) {
            Some("step") => Ok(Event::Step(serde_json::from_value(Value::Object(map))?)),
            Some("epoch") => Ok(Event::Epoch(serde_json::from_value(Value::Object(map))?)),
            _ => Ok(Event::Other(map)),
        }
    }

    /// Whether a run that stands at `step`, with `epochs_done` epochs behind it, has written it.
    fn is_before(&self, step: u64, epochs_done: u64) -> bool {
        match self {
            Event::Step(event) => event.step <= step,
            Event::Epoch(event) => event.epoch <= epochs_done,
            // A test, or an event without a step, closes a run: a resumed run writes it anew.
            Event::Other(map) if map.get("event").is_some_and(|e| e == "test") => false,
            Event::Other(map) => map
                .get("step")
                .and_then(Value::as_u64)
                .is_some_and(|at| at <= step),
        }
    }
}

// ---- writing -------------------------------------------------------------------------------

/// Appends events to `metrics.jsonl`, each with one write.
#[derive(Debug)]
pub struct MetricsWriter {
    path: PathBuf,
    file: File,
    /// Length of the whole lines, in bytes.
    length: u64,
}

impl MetricsWriter {
    /// Opens the file for appending, or creates it. A last line without its end, which a crash
    /// left, is cut off.
    ///
    /// # Errors
    /// [`Error::Io`] that names `path`.
    pub fn append(path: &Path) -> Result<Self> {
        let mut options = OpenOptions::new();
        let file = options
            .append(true)
            .create(true)
            .open(path)
            .map_err(Error::io("open", path))?;
        let bytes = fs::read(path).map_err(Error::io("read", path))?;
        let length = bytes.iter().rposition(|&b| b == b'\n').map_or(0, |i| i + 1) as u64;
        if length < bytes.len() as u64 {
            file.set_len(length).map_err(Error::io("write", path))?;
        }
        Ok(Self {
            path: path.to_path_buf(),
            file,
            length,
        })
    }

    /// Writes one event; it is in the file when this returns.
    ///
    /// # Errors
    /// [`Error::Io`] that names the file, which then still ends with a whole line.
    pub fn write(&mut self, event: &Event) -> Result<()> {
        let line = event
            .to_line()
            .map_err(|e| Error::io("write", &self.path)(e.into()))?;
        self.write_line(line)
    }

    /// Writes an event as it stood in a line before, digit by digit.
    ///
    /// # Errors
    /// As [`MetricsWriter::write`].
    pub fn write_line(&mut self, mut line: String) -> Result<()> {
        line.push('\n');
        let written = self.file.write_all(line.as_bytes());
        if let Err(error) = written {
            // Half a line would make the file unreadable once more lines follow.
            let _ = self.file.set_len(self.length);
            return Err(Error::io("write", &self.path)(error));
        }
        self.length += line.len() as u64;
        Ok(())
    }
}

// ---- reading -------------------------------------------------------------------------------

/// Reads the events. A broken last line, which a crash left, is dropped with a note on stderr.
///
/// # Errors
/// [`Error::Checkpoint`] with the line number for a broken line elsewhere; [`Error::Io`].
pub fn read(path: &Path) -> Result<Vec<Event>> {
    let bytes = fs::read(path).map_err(Error::io("read", path))?;
    let lines = parse(path, &bytes)?;
    Ok(lines.into_iter().map(|(_, event)| event).collect())
}

/// Cuts the file back to what a run had written when it stood at `step` with `epochs_done` epochs
/// finished, so that a resumed run's file equals that of a run never stopped. A missing file is
/// fine.
///
/// # Errors
/// As [`read`]; the file is replaced atomically.
pub fn truncate_after(path: &Path, step: u64, epochs_done: u64) -> Result<()> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(Error::io("read", path))?,
    };
    // The lines are kept as they stand: not one digit changes.
    let kept = parse(path, &bytes)?
        .into_iter()
        .filter(|(_, event)| event.is_before(step, epochs_done))
        .flat_map(|(line, _)| [line, b"\n"])
        .collect::<Vec<_>>()
        .concat();
    if kept == bytes {
        return Ok(());
    }
    write_atomic(path, |w| w.write_all(&kept))
}

/// Each line with its event; blank lines are skipped.
fn parse<'a>(path: &Path, bytes: &'a [u8]) -> Result<Vec<(&'a [u8], Event)>> {
    let lines: Vec<(usize, &[u8])> = bytes
        .split(|&b| b == b'\n')
        .enumerate()
        .filter(|(_, line)| !line.trim_ascii().is_empty())
        .collect();
    let mut events = Vec::with_capacity(lines.len());
    for (i, &(number, line)) in lines.iter().enumerate() {
        match Event::from_line(line) {
            Ok(event) => events.push((line, event)),
            Err(_) if i + 1 == lines.len() => log::line(&format!(
                "note: {}: line {} is incomplete and is left out",
                path.display(),
                number + 1
            )),
            Err(error) => {
                let message = format!(
                    "line {} is not a valid event ({error}): mend or delete the line",
                    number + 1
                );
                return Err(Error::checkpoint(path, message));
            }
        }
    }
    Ok(events)
}
