//! Reads the files of a run's folder that the pages draw.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::{Map, Value};

use super::data::{EpochPoint, PairSample, StepPoint, TestPoint};
use crate::{Error, Result};

/// The records of a `metrics.jsonl`.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Step records, by rising step.
    pub steps: Vec<StepPoint>,
    /// Epoch records, by rising epoch.
    pub epochs: Vec<EpochPoint>,
    /// The last test record.
    pub test: Option<TestPoint>,
}

/// Reads the records of a `metrics.jsonl`; other events and keys are passed over.
///
/// A resumed run writes steps again that an interrupted one had written after its last
/// checkpoint: the later record counts. A last line without its newline is being written and is
/// left out.
///
/// # Errors
/// [`Error::Io`] for a file that cannot be read; [`Error::Data`] with the line number for a line
/// that is not such a record.
pub fn read_metrics(path: &Path) -> Result<Metrics> {
    let mut file = BufReader::new(File::open(path).map_err(Error::io("open", path))?);
    let mut metrics = Metrics::default();
    let (steps, epochs) = (&mut metrics.steps, &mut metrics.epochs);
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
        let event = record.get("event").and_then(Value::as_str);
        if let (Some("step" | "epoch"), Some(test)) = (event, &mut metrics.test) {
            test.overtaken = true;
        }
        match event {
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
            Some("test") => metrics.test = Some(test_point(&record).map_err(broken)?),
            Some(_) => {}
            None => return Err(broken("a record without an \"event\"".into())),
        }
    }
    Ok(metrics)
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

fn test_point(record: &Map<String, Value>) -> Result<TestPoint, String> {
    let count = |key: &str| record.get(key).and_then(Value::as_u64);
    Ok(TestPoint {
        step: count("step"),
        overtaken: false,
        epoch: count("epoch"),
        loss: number(record, "loss"),
        train_loss: number(record, "train_loss"),
        valid_loss: number(record, "valid_loss"),
        bleu: number(record, "bleu"),
        bleu_smoothed: number(record, "bleu_smoothed"),
        ngrams: part(record, "ngram_counts")?,
        exact_match: number(record, "exact_match"),
        token_accuracy: number(record, "token_accuracy"),
        chrf: number(record, "chrf"),
        parse_rate: number(record, "parse_rate"),
        unk_rate: number(record, "unk_rate"),
        parameters: count("parameters"),
        pairs: count("pairs"),
        train_seconds: number(record, "train_seconds"),
        decode_seconds: number(record, "decode_seconds"),
        by_length: part(record, "by_length")?.unwrap_or_default(),
    })
}

/// A value with a structure of its own; none where it is missing or null.
fn part<T: DeserializeOwned>(record: &Map<String, Value>, key: &str) -> Result<Option<T>, String> {
    match record.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => T::deserialize(value)
            .map(Some)
            .map_err(|e| format!("{key:?} is not as expected ({e})")),
    }
}

fn counter(record: &Map<String, Value>, key: &str) -> Result<u64, String> {
    let value = record.get(key).and_then(Value::as_u64);
    value.ok_or_else(|| format!("{key:?} is missing or not a whole number"))
}

/// JSON has no NaN: writers put null in its place.
fn number(record: &Map<String, Value>, key: &str) -> f64 {
    record.get(key).and_then(Value::as_f64).unwrap_or(f64::NAN)
}

/// Reads the test pairs of a seq2seq run, one JSON object a line. A last line without its newline
/// that is incomplete is being written and is left out.
///
/// # Errors
/// [`Error::Io`] for a file that cannot be read; [`Error::Data`] with the line number for a line
/// that is no pair, or whose attention has another shape than its tokens.
pub fn read_pairs(path: &Path) -> Result<Vec<PairSample>> {
    let bytes = fs::read(path).map_err(Error::io("read", path))?;
    let mut pairs = Vec::new();
    for (i, line) in bytes.split_inclusive(|b| *b == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let pair = match serde_json::from_slice::<PairSample>(line) {
            Ok(pair) => check_shape(&pair).map(|()| pair),
            Err(_) if !line.ends_with(b"\n") => break,
            Err(e) => Err(format!("not a test pair ({e})")),
        };
        pairs.push(pair.map_err(|why| {
            let (path, number) = (path.display(), i + 1);
            Error::Data(format!(
                "{path}:{number}: {why}. Delete this line to draw the rest"
            ))
        })?);
    }
    Ok(pairs)
}

/// One row for each token of the prediction, and perhaps one for `<EOS>`; one column for each of
/// the source.
fn check_shape(pair: &PairSample) -> Result<(), String> {
    let (rows, tokens) = (pair.attention.len(), pair.prediction.len());
    if rows == 0 {
        return Ok(());
    }
    if rows != tokens && rows != tokens + 1 {
        return Err(format!(
            "attention has {rows} rows for a prediction of {tokens} tokens"
        ));
    }
    let source = pair.source.len();
    match pair.attention.iter().find(|row| row.len() != source) {
        None => Ok(()),
        Some(row) => Err(format!(
            "a row of attention has {} weights for a source of {source} tokens",
            row.len()
        )),
    }
}

/// The numbers of source and target tokens in a `vocab.json` of words; none in one of characters.
///
/// # Errors
/// [`Error::Io`] for a file that cannot be read; [`Error::Data`] for one that is no vocabulary.
pub fn read_vocabulary(path: &Path) -> Result<Option<(usize, usize)>> {
    #[derive(Deserialize)]
    struct Sides {
        source: Option<Vec<IgnoredAny>>,
        target: Option<Vec<IgnoredAny>>,
    }
    let bytes = fs::read(path).map_err(Error::io("read", path))?;
    let sides: Sides = serde_json::from_slice(&bytes)
        .map_err(|e| Error::Data(format!("{}: not a vocabulary ({e})", path.display())))?;
    let (source, target) = (sides.source, sides.target);
    Ok(source.zip(target).map(|(s, t)| (s.len(), t.len())))
}
