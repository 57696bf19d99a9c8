//! `metrics.jsonl`: one event a line, appended while a run trains.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use flate2::Crc;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::atomic::write_atomic;
use super::text;
use crate::error::{Error, Result};
use crate::eval::scores::TextFigures;
use crate::eval::{nan, number};

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
    fn from_line(line: &[u8]) -> Result<Self, String> {
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
    fn to_line(&self, path: &Path) -> Result<String> {
        let line = serde_json::to_string(self).map_err(|e| Error::io("write", path)(e.into()))?;
        let body = line.strip_suffix('}').unwrap_or(&line);
        Ok(format!("{body}{MARK}{}\"}}", crc32(body)))
    }

    /// Whether a run that stands at `step`, with `epochs_done` epochs behind it, has written it.
    fn is_before(&self, step: u64, epochs_done: u64) -> bool {
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
            .read(true)
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
        self.write_line(event.to_line(&self.path)?)
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

    /// What has been written, wherever the file is by now.
    ///
    /// # Errors
    /// [`Error::Io`] that names the file.
    pub fn content(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut file = &self.file;
        file.rewind()
            .and_then(|()| file.read_to_end(&mut bytes))
            .map_err(Error::io("read", &self.path))?;
        Ok(bytes)
    }
}

// ---- reading -------------------------------------------------------------------------------

/// Reads the events. A last line without its end is left out: it is being written, or a crash left
/// it.
///
/// # Errors
/// [`Error::Data`] with the line's number for one that is no event or does not match its checksum;
/// [`Error::Io`].
pub fn read(path: &Path) -> Result<Vec<Event>> {
    let bytes = fs::read(path).map_err(Error::io("read", path))?;
    let lines = parse(path, &bytes)?;
    Ok(lines.into_iter().map(|(_, event)| event).collect())
}

/// The last test event and its line as it stands; none where there is none, and no file.
///
/// # Errors
/// As [`read`].
pub fn read_test(path: &Path) -> Result<Option<(String, TestEvent)>> {
    let bytes = read_if_any(path)?;
    let tests = parse(path, &bytes)?.into_iter().rev();
    let mut tests = tests.filter_map(|(line, event)| match event {
        Event::Test(test) => Some((String::from_utf8_lossy(line).into_owned(), *test)),
        _ => None,
    });
    Ok(tests.next())
}

/// Whether the file has this event, digit by digit. A missing file has none.
///
/// # Errors
/// As [`read`].
pub fn holds(path: &Path, event: &Event) -> Result<bool> {
    let (bytes, wanted) = (read_if_any(path)?, event.to_line(path)?);
    let lines = parse(path, &bytes)?;
    Ok(lines.into_iter().any(|(line, _)| line == wanted.as_bytes()))
}

/// Cuts the file back to what a run had written when it stood at `step` with `epochs_done` epochs
/// finished, so that a resumed run's file equals that of a run never stopped. A missing file is
/// fine.
///
/// # Errors
/// As [`read`]; the file is replaced atomically.
pub fn truncate_after(path: &Path, step: u64, epochs_done: u64) -> Result<()> {
    let bytes = read_if_any(path)?;
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

fn read_if_any(path: &Path) -> Result<Vec<u8>> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other.map_err(Error::io("read", path)),
    }
}

/// Each whole line with its event; blank lines are skipped.
fn parse<'a>(path: &Path, bytes: &'a [u8]) -> Result<Vec<(&'a [u8], Event)>> {
    let mut events = Vec::new();
    for (i, line) in bytes.split_inclusive(|&b| b == b'\n').enumerate() {
        let (line, event) = match line.strip_suffix(b"\n") {
            Some(line) if line.trim_ascii().is_empty() => continue,
            Some(line) => (line, Event::from_line(line)),
            None if has_lost_its_end(line) => (line, Err("damaged at its end".into())),
            None => break,
        };
        let event = event.map_err(|why| {
            let (path, number) = (path.display(), i + 1);
            Error::Data(format!(
                "{path}:{number}: {why}. Mend or delete this line to go on with the rest (a line \
                 mended by hand needs no crc32)"
            ))
        })?;
        events.push((line, event));
    }
    Ok(events)
}

/// Whether a last line is whole but for its end. One that is being written stops earlier.
fn has_lost_its_end(line: &[u8]) -> bool {
    let whole = line.split_last().map(|(_, whole)| whole);
    whole.is_some_and(|whole| serde_json::from_slice::<Map<String, Value>>(whole).is_ok())
}
