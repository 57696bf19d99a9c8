//! `--tensorboard`: event files that say what `metrics.jsonl` says, whatever has become of the run; read
//! back here, and by TensorBoard itself where a Python has it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::python;
use super::support::{EPOCH, Place, train_args};

/// What is in the event files for each field of the metrics.
const CURVES: [(&str, &str, &str); 16] = [
    ("step", "loss", "train/loss"),
    ("step", "ce", "train/ce"),
    ("step", "accuracy", "train/accuracy"),
    ("step", "grad_norm", "train/grad_norm"),
    ("step", "lr", "train/lr"),
    ("step", "loss_scale", "train/loss_scale"),
    ("step", "tokens_per_s", "train/tokens_per_s"),
    ("epoch", "train_loss", "epoch/train_loss"),
    ("epoch", "train_accuracy", "epoch/train_accuracy"),
    ("epoch", "seconds", "epoch/seconds"),
    ("epoch", "valid_loss", "valid/loss"),
    ("epoch", "valid_accuracy", "valid/accuracy"),
    ("valid", "valid_loss", "valid/loss"),
    ("valid", "valid_accuracy", "valid/accuracy"),
    ("average", "valid_loss", "average/loss"),
    ("average", "valid_accuracy", "average/accuracy"),
];

/// The points of each curve, by its name.
type Curves = BTreeMap<String, Vec<(u64, f32)>>;

/// The curves that `metrics.jsonl` holds.
fn of_metrics(run: &Path) -> Curves {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let mut curves = Curves::new();
    for line in text.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let of = match event["averaged"].is_null() {
            true => event["event"].as_str().unwrap(),
            false => "average",
        };
        for (kind, field, tag) in CURVES {
            if let (true, Some(y)) = (of == kind, event[field].as_f64()) {
                let point = (event["step"].as_u64().unwrap(), y as f32);
                curves.entry(tag.to_owned()).or_default().push(point);
            }
        }
    }
    curves
}

// ---- reading here --------------------------------------------------------------------------

/// An event: its time, its step and its values; a file's version and a session's status.
#[derive(Debug, Default, PartialEq)]
struct Read {
    time: f64,
    step: u64,
    values: Vec<(String, f32)>,
    version: String,
    session: u64,
}

/// The one event file of a run; an empty one before it is that of an earlier process.
fn event_file(run: &Path) -> PathBuf {
    let all = fs::read_dir(run.join("tensorboard")).unwrap();
    let mut all: Vec<PathBuf> = all.map(|entry| entry.unwrap().path()).collect();
    all.sort();
    let last = all.pop().unwrap();
    let lengths: Vec<u64> = all.iter().map(|p| fs::metadata(p).unwrap().len()).collect();
    assert!(matches!(lengths[..], [] | [0]), "{lengths:?}");
    assert!(last.to_str().unwrap().contains("tfevents"));
    last
}

/// Every record of a file, whose checksums are right and which ends with a record.
fn read_events(path: &Path) -> Vec<Read> {
    let bytes = fs::read(path).unwrap();
    let (mut rest, mut events) = (&bytes[..], Vec::new());
    while !rest.is_empty() {
        let (length, after) = rest.split_at(8);
        let (of_length, after) = after.split_at(4);
        let size = u64::from_le_bytes(length.try_into().unwrap()) as usize;
        let (body, after) = after.split_at(size);
        let (of_body, after) = after.split_at(4);
        assert_eq!([masked(length), masked(body)], [of_length, of_body]);
        events.push(event(body));
        rest = after;
    }
    events
}

/// CRC-32C (reflected polynomial 0x82f63b78) bit by bit, rotated and added to as TFRecord has it.
fn masked(bytes: &[u8]) -> [u8; 4] {
    let crc = bytes.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |c, _| {
            (c >> 1) ^ (0x82f6_3b78 * (c & 1))
        })
    });
    let crc = (!crc).rotate_right(15).wrapping_add(0xa282_ead8);
    crc.to_le_bytes()
}

/// The fields of a protobuf message: numbers, and what they hold.
fn fields(mut rest: &[u8]) -> Vec<(u64, u64, &[u8])> {
    fn varint(rest: &mut &[u8]) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = rest[0];
            *rest = &rest[1..];
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                return value;
            }
        }
    }
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let key = varint(&mut rest);
        let number = match key & 7 {
            0 => varint(&mut rest),
            1 => 8,
            2 => varint(&mut rest),
            5 => 4,
            other => panic!("wire type {other}"),
        };
        let (content, after) = rest.split_at(if key & 7 == 0 { 0 } else { number as usize });
        fields.push((key >> 3, number, content));
        rest = after;
    }
    fields
}

fn event(body: &[u8]) -> Read {
    let mut read = Read::default();
    for (field, number, content) in fields(body) {
        match field {
            1 => read.time = f64::from_le_bytes(content.try_into().unwrap()),
            2 => read.step = number,
            3 => read.version = String::from_utf8(content.to_vec()).unwrap(),
            5 => read.values = fields(content).iter().map(|f| scalar(f.2)).collect(),
            7 => read.session = fields(content)[0].1,
            other => panic!("field {other}"),
        }
    }
    read
}

fn scalar(body: &[u8]) -> (String, f32) {
    let [(1, _, tag), (2, _, value)] = fields(body)[..] else {
        panic!("no scalar: {body:?}");
    };
    let tag = String::from_utf8(tag.to_vec()).unwrap();
    (tag, f32::from_le_bytes(value.try_into().unwrap()))
}

/// The curves of events, which begin as a file has to.
fn of_events(events: &[Read]) -> Curves {
    let [version, start, points @ ..] = events else {
        panic!("{events:?}");
    };
    assert_eq!(
        (version.version.as_str(), version.step),
        ("brain.Event:2", 0)
    );
    assert_eq!((start.session, start.step), (1, 0));
    let mut curves = Curves::new();
    for point in points {
        assert_eq!((point.version.as_str(), point.session), ("", 0));
        for (tag, y) in &point.values {
            curves
                .entry(tag.clone())
                .or_default()
                .push((point.step, *y));
        }
    }
    curves
}

/// The event file says what the metrics say; returns its events.
#[track_caller]
fn check(run: &Path) -> Vec<Read> {
    let events = read_events(&event_file(run));
    assert_eq!(of_events(&events), of_metrics(run));
    events
}

#[test]
fn every_figure_of_the_metrics_is_in_the_event_file() {
    let place = Place::with_run(
        "a",
        "--epochs 2 --eval-every 3 --average 2 --tensorboard --quiet",
    );
    let events = check(&place.path("a"));
    let curves = of_events(&events);
    let steps = curves["train/loss"].iter().map(|p| p.0);
    assert!(steps.eq(1..=2 * EPOCH));
    let validated: Vec<u64> = curves["valid/loss"].iter().map(|p| p.0).collect();
    assert_eq!(validated, [3, 6, 8, 9, 12, 15, 16]);
    assert_eq!(curves["average/loss"][0].0, 16);
    // In fp32 there is no loss scale.
    let tags: Vec<&str> = curves.keys().map(String::as_str).collect();
    assert!(
        !tags.contains(&"train/loss_scale") && tags.len() == 13,
        "{tags:?}"
    );
    assert!(events.windows(2).all(|e| e[0].time <= e[1].time));
    assert!(events[0].time > 1.7e9);
    // Without the flag there is no such folder, and a new run in its place deletes the old files.
    place.write("a/tensorboard/of-another", "stays");
    place.train("a", "--max-steps 1 --force --quiet").ok();
    let left = fs::read_dir(place.path("a/tensorboard")).unwrap();
    let left: Vec<_> = left.map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["of-another"]);
}

#[test]
fn a_run_that_goes_on_leaves_neither_gaps_nor_duplicates() {
    let place = Place::with_run("a", "--max-steps 11 --tensorboard --quiet");
    let run = place.path("a");
    // The validation at its end is none of a run that goes on.
    assert_eq!(of_metrics(&run)["valid/loss"].len(), 2);
    let first = check(&run);
    // It died while it wrote a record.
    let old = event_file(&run);
    let bytes = fs::read(&old).unwrap();
    fs::write(&old, &bytes[..bytes.len() - 7]).unwrap();
    place
        .run("train-charlm --out a --resume --max-steps 13 --quiet")
        .ok();
    let second = check(&run);
    assert_ne!(event_file(&run), old);
    // What was there keeps its time.
    assert_eq!(second[2..10], first[2..10]);
    // Steps that were trained after the last checkpoint, and are trained again.
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let (line, _) = metrics
        .lines()
        .rfind(|l| l.contains("\"step\":13"))
        .unwrap()
        .split_once(",\"crc32\"")
        .unwrap();
    let lost =
        line.replacen(":13", ":14", 1)
            .replacen("\"event\":\"valid\"", "\"event\":\"step\"", 1);
    place.write("a/metrics.jsonl", format!("{metrics}{lost}}}\n"));
    place
        .run("train-charlm --out a --resume --max-steps 15 --quiet")
        .ok();
    let curves = of_events(&check(&run));
    assert!(curves["train/loss"].iter().map(|p| p.0).eq(1..=15));
}

#[test]
fn a_run_that_began_without_is_there_from_its_first_step_on() {
    let place = Place::with_run("a", "--epochs 1 --quiet");
    assert!(!place.path("a/tensorboard").exists());
    place
        .run("train-charlm --out a --resume --epochs 2 --tensorboard --quiet")
        .ok();
    let curves = of_events(&check(&place.path("a")));
    assert_eq!(curves["train/loss"].len() as u64, 2 * EPOCH);
    place
        .run("train-charlm --out a --resume --epochs 3 --no-tensorboard --quiet")
        .ok();
    let config = fs::read_to_string(place.path("a/config.toml")).unwrap();
    assert!(config.contains("\ntensorboard = false\n"));
}

// ---- reading there -------------------------------------------------------------------------

/// Prints the scalars of a folder, and again with what has come after each line of its input.
const READER: &str = r#"
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
board = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0})
while True:
    board.Reload()
    tags = board.Tags()["scalars"]
    print(json.dumps({t: [[e.step, e.value] for e in board.Scalars(t)] for t in tags}), flush=True)
    if not sys.stdin.readline():
        break
"#;

#[test]
fn tensorboard_reads_the_same_and_follows_a_run_that_goes_on() {
    let Some(python) = python::with(&["tensorboard"]) else {
        return;
    };
    let place = Place::new();
    place
        .run_args(&train_args("a", "--max-steps 11 --tensorboard --quiet"))
        .ok();
    let mut reader = Command::new(python);
    reader
        .args(["-c", READER])
        .arg(place.path("a/tensorboard"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut reader = reader.spawn().unwrap();
    let (mut go_on, out) = (reader.stdin.take().unwrap(), reader.stdout.take().unwrap());
    let mut lines = BufReader::new(out).lines();
    let mut read = || serde_json::from_str::<Curves>(&lines.next().unwrap().unwrap()).unwrap();
    let first = read();
    assert_eq!(first, of_metrics(&place.path("a")));
    // Step 11's validation, which only the run's end was there for, is gone when it goes on.
    place
        .run("train-charlm --out a --resume --max-steps 16 --quiet")
        .ok();
    go_on.write_all(b"\n").unwrap();
    let second = read();
    assert_eq!(second, of_metrics(&place.path("a")));
    assert_eq!(first["valid/loss"][1].0, 11);
    assert!(second["valid/loss"].iter().all(|point| point.0 != 11));
    drop(go_on);
    assert!(reader.wait().unwrap().success());
}
