//! TensorBoard's event files, in `tensorboard/` of a run's folder: the curves of `metrics.jsonl`.
//!
//! A file is a sequence of TFRecords (length, CRC-32C of it, bytes, CRC-32C of them; little endian, the
//! checksums masked), each of which is an `Event` of TensorFlow's `event.proto`. A process that trains
//! begins one file, of all that `metrics.jsonl` holds then, and appends to it; those of earlier
//! processes give way, of which the last one is left empty. So the curves are those of the metrics, whatever became of an earlier process.
//! The file's second record starts a session at step 0: a TensorBoard that has read earlier files
//! drops what they said.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use prost::Message;

use super::atomic::write_atomic;
use super::metrics::{self, Event};
use super::own::{EVENTS_END, EVENTS_START};
use super::run::RunFolder;
use crate::error::{Error, Result};

/// The format of the events, as the first record of a file has it.
const VERSION: &str = "brain.Event:2";
/// `SessionLog.START`.
const START: i32 = 1;
/// Added to a rotated checksum, so that one of data that holds checksums is a good one, too.
const MASK: u32 = 0xa282_ead8;

/// A run's event file, appended to while the run trains.
#[derive(Debug)]
pub struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// Begins the event file of a run that this process trains, with all that its `metrics.jsonl`
    /// holds. A record that an earlier event file has keeps its time; others are of now.
    ///
    /// # Errors
    /// As [`metrics::read`]; [`Error::Io`] that names a file of `tensorboard/`.
    pub fn begin(run: &RunFolder) -> Result<Self> {
        let folder = run.tensorboard_path();
        fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
        let (old, now) = (run.event_files()?, now());
        let mut times = BTreeMap::new();
        for path in &old {
            let bytes = fs::read(path).map_err(Error::io("read", path))?;
            let records = Records(&bytes).filter_map(|r| Some((r.place()?, r.wall_time)));
            times.extend(records);
        }
        let first = times.values().copied().fold(now, f64::min);
        let mut bytes = Record::version(first).framed();
        bytes.extend(Record::start(first).framed());
        if run.metrics_path().exists() {
            for event in metrics::read(&run.metrics_path())? {
                if let Some(mut record) = Record::of(&event, now) {
                    let known = record.place().and_then(|place| times.get(&place));
                    record.wall_time = known.copied().unwrap_or(now);
                    bytes.extend(record.framed());
                }
            }
        }
        let path = folder.join(later_name(&old, now));
        write_atomic(&path, |w| w.write_all(&bytes))?;
        if let Some((last, earlier)) = old.split_last() {
            // A TensorBoard that has it open goes on from there to the new one, but not from one that is
            // gone.
            fs::write(last, []).map_err(Error::io("write", last))?;
            for path in earlier {
                fs::remove_file(path).map_err(Error::io("remove", path))?;
            }
        }
        let opened = OpenOptions::new().append(true).open(&path);
        let file = opened.map_err(Error::io("open", &path))?;
        Ok(EventFile { path, file })
    }

    /// Appends an event with one write. Those that are no curves are left out.
    ///
    /// # Errors
    /// [`Error::Io`] that names the file.
    pub fn write(&mut self, event: &Event) -> Result<()> {
        let Some(record) = Record::of(event, now()) else {
            return Ok(());
        };
        let written = self.file.write_all(&record.framed());
        written.map_err(Error::io("write", &self.path))
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

/// A name that TensorBoard, which reads files by name, reads after the old ones.
fn later_name(old: &[PathBuf], now: f64) -> String {
    let seconds = |path: &Path| {
        let name = path.file_name()?.to_str()?;
        let digits = name.strip_prefix(EVENTS_START)?.strip_suffix(EVENTS_END)?;
        digits.parse::<u64>().ok()
    };
    let last = old.iter().filter_map(|path| seconds(path)).max();
    let seconds = last.map_or(0, |n| n.saturating_add(1)).max(now as u64);
    format!("{EVENTS_START}{seconds:010}{EVENTS_END}")
}

// ---- records -------------------------------------------------------------------------------

/// What is used of `Event` in TensorFlow's `event.proto`.
#[derive(Clone, PartialEq, Message)]
struct Record {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
    #[prost(message, optional, tag = "7")]
    session_log: Option<SessionLog>,
}

#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    #[prost(int32, tag = "1")]
    status: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Scalar>,
}

/// `Summary.Value`.
#[derive(Clone, PartialEq, Message)]
struct Scalar {
    #[prost(string, tag = "1")]
    tag: String,
    /// None would leave out a zero.
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

impl Record {
    fn version(wall_time: f64) -> Self {
        Record {
            wall_time,
            file_version: Some(VERSION.into()),
            ..Record::default()
        }
    }

    fn start(wall_time: f64) -> Self {
        Record {
            wall_time,
            session_log: Some(SessionLog { status: START }),
            ..Record::default()
        }
    }

    /// The record of an event, if it has figures that belong to a step. Those that are not finite are
    /// left out, as `metrics.jsonl` does not tell them apart.
    fn of(event: &Event, wall_time: f64) -> Option<Self> {
        let (step, figures) = figures(event)?;
        let figures = figures.into_iter().filter(|(_, y)| y.is_finite());
        let value = figures.map(|(tag, y)| Scalar {
            tag: tag.into(),
            simple_value: Some(y as f32),
        });
        let value: Vec<Scalar> = value.collect();
        (!value.is_empty()).then_some(Record {
            wall_time,
            step: i64::try_from(step).ok()?,
            summary: Some(Summary { value }),
            ..Record::default()
        })
    }

    /// Its step and its first curve, which no other record of a run has.
    fn place(&self) -> Option<(i64, String)> {
        let first = self.summary.as_ref()?.value.first()?;
        Some((self.step, first.tag.clone()))
    }

    /// The TFRecord.
    fn framed(&self) -> Vec<u8> {
        let body = self.encode_to_vec();
        let length = (body.len() as u64).to_le_bytes();
        let [of_length, of_body] = [&length[..], &body].map(|part| masked(part).to_le_bytes());
        [&length[..], &of_length, &body, &of_body].concat()
    }
}

/// The step of an event and what it adds to the curves.
fn figures(event: &Event) -> Option<(u64, Vec<(&'static str, f64)>)> {
    let nan = f64::NAN;
    match event {
        Event::Step(e) => {
            let figures = vec![
                ("train/loss", e.loss),
                ("train/ce", e.ce),
                ("train/accuracy", e.accuracy),
                ("train/grad_norm", e.grad_norm),
                ("train/lr", e.lr),
                ("train/loss_scale", e.loss_scale.unwrap_or(nan)),
                ("train/tokens_per_s", e.tokens_per_s),
            ];
            Some((e.step, figures))
        }
        Event::Epoch(e) => {
            let figures = vec![
                ("epoch/train_loss", e.train_loss),
                ("epoch/train_accuracy", e.train_accuracy),
                ("epoch/seconds", e.seconds),
                ("valid/loss", e.valid_loss.unwrap_or(nan)),
                ("valid/accuracy", e.valid_accuracy.unwrap_or(nan)),
            ];
            Some((e.step?, figures))
        }
        Event::Valid(e) => {
            let [loss, accuracy] = match e.averaged {
                None => ["valid/loss", "valid/accuracy"],
                Some(_) => ["average/loss", "average/accuracy"],
            };
            let figures = vec![(loss, e.valid_loss), (accuracy, e.valid_accuracy)];
            Some((e.step, figures))
        }
        Event::Change(_) | Event::Test(_) | Event::Other { .. } => None,
    }
}

/// The checksum of a TFRecord.
fn masked(bytes: &[u8]) -> u32 {
    let crc = crc32c::crc32c(bytes);
    crc.rotate_right(15).wrapping_add(MASK)
}

/// The whole records of a file, up to the first that is damaged or not written to its end.
struct Records<'a>(&'a [u8]);

impl Iterator for Records<'_> {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        let (length, rest) = self.0.split_first_chunk::<8>()?;
        let (of_length, rest) = rest.split_first_chunk::<4>()?;
        let size = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        let (body, rest) = rest.split_at_checked(size)?;
        let (of_body, rest) = rest.split_first_chunk::<4>()?;
        let good = [(&length[..], of_length), (body, of_body)];
        let good = good.map(|(part, crc)| masked(part) == u32::from_le_bytes(*crc));
        self.0 = rest;
        match good {
            [true, true] => Record::decode(body).ok(),
            _ => None,
        }
    }
}
