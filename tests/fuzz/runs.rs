//! The files of a run's folder: state, metrics, predictions, links.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rnnx::files::metrics::{read, read_test, truncate_after};
use rnnx::files::{
    Best, Direction, EpochEvent, EpochSums, Event, LossScaler, MetricsWriter, RunFolder, StepEvent,
    TrainState,
};
use rnnx::report::{read_metrics, read_pairs};

use super::{Slot, accepted, assert_survives, fuzz};

#[test]
fn state() {
    let slot = Slot::new("state.json");
    let copy = Slot::new("copy.json");
    let mut state = TrainState::new("charlm", 7, "ab".repeat(32));
    (state.step, state.epoch, state.step_in_epoch) = (12, 2, 3);
    state.epoch_sums = EpochSums {
        loss: 0.1 + 0.2,
        correct: 3.0,
        tokens: 1e9,
    };
    state.loss_scaler = Some(LossScaler::FIRST);
    state.best = Some(Best {
        score: f64::NAN,
        metric: "valid_loss".into(),
        direction: Direction::Min,
        step: 10,
    });
    state.streams = BTreeMap::from([("shuffle".into(), u64::MAX)]);
    state.save(&slot.path()).expect("a file");
    let valid = fs::read(slot.path()).expect("the file");
    fuzz("state.json", &[&valid], |bytes| {
        let Some(state) = accepted(TrainState::load(&slot.put(bytes))) else {
            return;
        };
        state.save(&copy.path()).expect("a file");
        assert_survives(&state, TrainState::load(&copy.path()));
        let required = state.require_program(&slot.path(), "charlm");
        assert_eq!(required.is_ok(), state.program == "charlm");
    });
}

fn metrics_text() -> Vec<u8> {
    let slot = Slot::new("metrics.jsonl");
    let mut writer = MetricsWriter::append(&slot.path()).expect("a file");
    for step in 1..4 {
        let event = StepEvent {
            step,
            epoch: 1,
            loss: 2.0 / step as f64,
            ce: f64::NAN,
            accuracy: 0.5,
            grad_norm: 1e-30,
            lr: 1e-3,
            loss_scale: Some(65536.0),
            tokens_per_s: 1e6,
        };
        writer.write(&Event::Step(event)).expect("a line");
    }
    let epoch = EpochEvent {
        epoch: 1,
        step: Some(3),
        train_loss: 1.0,
        train_accuracy: 0.25,
        valid_loss: Some(1.5),
        valid_accuracy: None,
        seconds: 2.5,
    };
    writer.write(&Event::Epoch(epoch)).expect("a line");
    for line in [
        r#"{"event":"test","step":3,"model":"lstm","bleu":0.25,"exact_match":0.5,"ngram_counts":{"matches":[1,0,0,0],"totals":[2,1,0,0],"hypothesis_length":2,"reference_length":3},"by_length":[{"from":1,"to":5,"pairs":1,"bleu":0.1,"bleu_smoothed":null}]}"#,
        r#"{"event":"note","step":4}"#,
    ] {
        writer.write_line(line.into()).expect("a line");
    }
    fs::read(slot.path()).expect("the file")
}

#[test]
fn metrics() {
    let slot = Slot::new("metrics.jsonl");
    fuzz("metrics.jsonl", &[&metrics_text()], |bytes| {
        let path = slot.put(bytes);
        let events = accepted(read(&path));
        assert_eq!(accepted(read_metrics(&path)).is_some(), events.is_some());
        assert_eq!(accepted(read_test(&path)).is_some(), events.is_some());
        let Some(events) = events else { return };
        // Another line can follow whatever the last one was.
        let mut writer = MetricsWriter::append(&path).expect("a log");
        writer
            .write_line(r#"{"event":"last"}"#.into())
            .expect("a line");
        let more = read(&path).expect("a log");
        assert_eq!(more.len(), events.len() + 1);
        assert_eq!(
            format!("{:?}", &more[..events.len()]),
            format!("{events:?}")
        );
        truncate_after(&path, 2, 1).expect("a log");
        let kept = fs::read(&path).expect("a log");
        assert!(read(&path).expect("a log").len() <= events.len());
        truncate_after(&path, 2, 1).expect("a log");
        assert!(fs::read(&path).expect("a log") == kept);
    });
}

#[test]
fn predictions() {
    let slot = Slot::new("test.jsonl");
    let valid = br#"{"docstring":"Add one.","source":["Add","one."],"reference":["return","x"],"prediction":["return","<UNK>"],"attention":[[0.5,0.5],[0.25,null],[1e-9,1]]}
{"docstring":"","source":[],"reference":[],"prediction":[],"attention":null}
"#;
    fuzz("test.jsonl", &[valid], |bytes| {
        for pair in accepted(read_pairs(&slot.put(bytes))).unwrap_or_default() {
            let rows = pair.attention.len();
            let tokens = pair.prediction.len();
            assert!([0, tokens, tokens + 1].contains(&rows), "{rows} rows");
            assert!(pair.attention.iter().all(|r| r.len() == pair.source.len()));
        }
    });
}

// ---- links -----------------------------------------------------------------------------------

/// `last` leads to `target`: a symbolic link, or the text file of a system without them.
fn link(run: &Path, target: &[u8], symbolic: bool) -> bool {
    let last = run.join("last");
    // A link, a file or nothing.
    let _ = fs::remove_file(&last);
    match symbolic {
        // The system itself refuses some targets: empty, with a NUL, too long.
        true => std::os::unix::fs::symlink(OsStr::from_bytes(target), last).is_ok(),
        false => fs::write(last, target).is_ok(),
    }
}

#[test]
fn links() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path();
    let checkpoints = path.join("checkpoints");
    fs::create_dir_all(checkpoints.join("step-3")).expect("a folder");
    fs::create_dir_all(checkpoints.join("step-99999999999999999999")).expect("a folder");
    fs::write(path.join("config.toml"), "").expect("a file");
    let valid: [&[u8]; 4] = [
        b"checkpoints/step-3",
        b"checkpoints/step-4\n",
        b"last",
        b".",
    ];
    fuzz("links", &valid, |target| {
        for symbolic in [true, false] {
            if !link(path, target, symbolic) {
                continue;
            }
            let run = RunFolder::open(path).expect("a run");
            let last = accepted(run.last());
            assert_eq!(accepted(run.checkpoint()), last);
            assert_eq!(accepted(run.best()), Some(None));
            assert_eq!(accepted(RunFolder::find(path)).map(|found| found.1), last);
            assert!(last.is_none_or(|last| last.is_dir()));
            accepted(RunFolder::find(&path.join("last")));
            // Nothing that a link says removes or makes anything.
            accepted(RunFolder::resume(path));
            assert!(checkpoints.join("step-3").is_dir());
        }
    });
}
