//! Reads the files of a run's folder that the pages draw.

use std::fs;
use std::path::Path;

use super::run::PairSample;
use crate::files::metrics::{
    self, ChangeEvent, EpochEvent, Event, StepEvent, TestEvent, ValidEvent,
};
use crate::{Error, Result};

/// The records of a `metrics.jsonl`.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Step records, by rising step.
    pub steps: Vec<StepEvent>,
    /// Epoch records, by rising epoch.
    pub epochs: Vec<EpochEvent>,
    /// Validations inside of epochs, by rising step.
    pub valids: Vec<ValidEvent>,
    /// The validation of the average of checkpoints.
    pub average: Option<ValidEvent>,
    /// Where the run went on with other settings, by rising step.
    pub changes: Vec<ChangeEvent>,
    /// The last test record.
    pub test: Option<TestEvent>,
    /// Whether records of training follow the test.
    pub overtaken: bool,
}

/// Reads the records of a `metrics.jsonl`; those of other kinds are passed over.
///
/// A resumed run writes steps again that an interrupted one had written after its last
/// checkpoint: the later record counts.
///
/// # Errors
/// As [`metrics::read`].
pub fn read_metrics(path: &Path) -> Result<Metrics> {
    let mut read = Metrics::default();
    for event in metrics::read(path)? {
        match event {
            Event::Step(event) => {
                let kept = read.steps.iter().rposition(|s| s.step < event.step);
                read.steps.truncate(kept.map_or(0, |i| i + 1));
                read.steps.push(event);
                read.overtaken = true;
            }
            Event::Epoch(event) => {
                let kept = read.epochs.iter().rposition(|e| e.epoch < event.epoch);
                read.epochs.truncate(kept.map_or(0, |i| i + 1));
                read.epochs.push(event);
                read.overtaken = true;
            }
            // It is of the step of the last checkpoint, which has its own.
            Event::Valid(event) if event.averaged.is_some() => {
                read.average = Some(event);
                read.overtaken = true;
            }
            Event::Valid(event) => {
                let kept = read.valids.iter().rposition(|v| v.step < event.step);
                read.valids.truncate(kept.map_or(0, |i| i + 1));
                read.valids.push(event);
                read.overtaken = true;
            }
            Event::Change(event) => {
                let kept = read.changes.iter().rposition(|c| c.step <= event.step);
                read.changes.truncate(kept.map_or(0, |i| i + 1));
                read.changes.push(event);
            }
            Event::Test(event) => {
                read.test = Some(*event);
                read.overtaken = false;
            }
            Event::Other { .. } => {}
        }
    }
    read.overtaken &= read.test.is_some();
    Ok(read)
}

/// Reads the test pairs of a run, one JSON object a line. A last line without its newline
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
