//! `metrics.jsonl`.

use std::fs;
use std::path::Path;

use rnnx::files::metrics::{read, truncate_after};
use rnnx::files::{EpochEvent, Event, MetricsWriter, StepEvent};
use serde_json::{Value, json};

use crate::{checkpoint_message, names};

fn step(step: u64) -> Event {
    Event::Step(StepEvent {
        step,
        epoch: 1,
        loss: 0.1 + 0.2,
        ce: 0.25,
        accuracy: 0.5,
        grad_norm: 1.5,
        lr: 1.8e-4,
        loss_scale: None,
        tokens_per_s: 1e5,
    })
}

fn epoch(epoch: u64, step: u64) -> Event {
    Event::Epoch(EpochEvent {
        epoch,
        step,
        train_loss: 2.0,
        train_accuracy: 0.25,
        valid_loss: Some(1.75),
        valid_accuracy: None,
        seconds: 3.0,
    })
}

fn test_event() -> Event {
    match json!({"event": "test", "bleu": 0.5, "ngram_counts": [1, 2]}) {
        Value::Object(map) => Event::Other(map),
        _ => unreachable!(),
    }
}

fn write(path: &Path, events: &[Event]) {
    let mut writer = MetricsWriter::append(path).unwrap();
    for event in events {
        writer.write(event).unwrap();
    }
}

#[test]
fn lines_are_those_of_the_interface() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("metrics.jsonl");
    let events = [step(1), epoch(1, 1), test_event()];
    write(&path, &events[..1]);
    write(&path, &events[1..]);
    let expected = concat!(
        r#"{"event":"step","step":1,"epoch":1,"loss":0.30000000000000004,"ce":0.25,"accuracy":0.5,"grad_norm":1.5,"lr":0.00018,"loss_scale":null,"tokens_per_s":100000.0}"#,
        "\n",
        r#"{"event":"epoch","epoch":1,"step":1,"train_loss":2.0,"train_accuracy":0.25,"valid_loss":1.75,"valid_accuracy":null,"seconds":3.0}"#,
        "\n",
        r#"{"event":"test","bleu":0.5,"ngram_counts":[1,2]}"#,
        "\n"
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), expected);
    assert_eq!(read(&path).unwrap(), events);
}

#[test]
fn every_number_is_printed_to_the_bit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("metrics.jsonl");
    let mut values: Vec<f64> = (1..300_u64)
        .map(|i| f64::from_bits(i.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
        .filter(|v| v.is_finite())
        .collect();
    values.push(-0.0);
    let mut writer = MetricsWriter::append(&path).unwrap();
    for &value in &values {
        let Event::Step(mut event) = step(1) else {
            unreachable!()
        };
        event.loss = value;
        writer.write(&Event::Step(event)).unwrap();
    }
    let text = fs::read_to_string(&path).unwrap();
    for (line, value) in text.lines().zip(&values) {
        let printed = line.split("\"loss\":").nth(1).unwrap();
        let printed = printed.split(',').next().unwrap();
        assert_eq!(printed.parse::<f64>().unwrap().to_bits(), value.to_bits());
    }
    assert_eq!(text.lines().count(), values.len());
}

#[test]
fn a_value_that_is_no_number_is_null() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("metrics.jsonl");
    let Event::Step(mut event) = step(1) else {
        unreachable!()
    };
    event.grad_norm = f64::INFINITY;
    write(&path, &[Event::Step(event)]);
    assert!(
        fs::read_to_string(&path)
            .unwrap()
            .contains(r#""grad_norm":null"#)
    );
    match read(&path).unwrap()[..] {
        [Event::Step(back)] => assert!(back.grad_norm.is_nan() && back.loss == event.loss),
        ref other => panic!("{other:?}"),
    }
}

#[test]
fn a_broken_last_line_is_dropped_and_one_elsewhere_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("metrics.jsonl");
    write(&path, &[step(1), step(2)]);
    let whole = fs::read_to_string(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 5]).unwrap();
    assert_eq!(read(&path).unwrap(), [step(1)]);
    // Appending first cuts the broken line off.
    write(&path, &[step(3)]);
    assert_eq!(read(&path).unwrap(), [step(1), step(3)]);

    for broken in [
        "{\"event\":\"st",
        "{\"event\":\"step\",\"step\":1}",
        "7",
        "\u{fffd}",
    ] {
        let lines = format!("{}\n\n{broken}\n{whole}", whole.lines().next().unwrap());
        fs::write(&path, lines).unwrap();
        let text = checkpoint_message(read(&path), &path);
        assert!(text.contains("line 3 is not a valid event"), "{text}");
    }
}

#[test]
fn a_resumed_file_equals_one_never_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("metrics.jsonl");
    let all = [
        step(1),
        step(2),
        epoch(1, 2),
        step(3),
        step(4),
        epoch(2, 4),
        test_event(),
    ];
    write(&path, &all);
    let whole = fs::read_to_string(&path).unwrap();
    // Stopped at each point of the run, with later lines and half a line beyond the checkpoint.
    for (at, epochs, kept) in [
        (0, 0, 0),
        (1, 0, 1),
        (2, 0, 2),
        (2, 1, 3),
        (3, 1, 4),
        (4, 1, 5),
        (4, 2, 6),
    ] {
        fs::write(&path, &whole[..whole.len() - 9]).unwrap();
        truncate_after(&path, at, epochs).unwrap();
        assert_eq!(
            read(&path).unwrap(),
            all[..kept],
            "step {at}, {epochs} epochs"
        );
        write(&path, &all[kept..]);
        assert_eq!(fs::read_to_string(&path).unwrap(), whole);
        // The closing event is written anew by the run that goes on.
        truncate_after(&path, at, epochs).unwrap();
        assert_eq!(read(&path).unwrap(), all[..kept]);
    }
    assert_eq!(names(dir.path()), ["metrics.jsonl"]);
    truncate_after(&dir.path().join("missing"), 1, 0).unwrap();
}

#[test]
fn kept_lines_keep_their_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("metrics.jsonl");
    let line = "{ \"event\":\"note\", \"step\":1, \"x\":0.1000000000000000055 }\n";
    fs::write(&path, format!("{line}{{\"event\":\"note\",\"step\":9}}\n")).unwrap();
    truncate_after(&path, 5, 0).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), line);
}
