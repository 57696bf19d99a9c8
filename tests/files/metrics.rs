//! `metrics.jsonl`.

use std::fs;
use std::path::Path;

use rnnx::Error;
use rnnx::eval::bleu::NgramCounts;
use rnnx::eval::scores::{LengthScore, TextFigures};
use rnnx::files::metrics::{holds, read, read_test, truncate_after};
use rnnx::files::{
    ChangeEvent, EpochEvent, Event, MetricsWriter, StepEvent, TestEvent, ValidEvent,
};

use serde_json::json;

use crate::names;

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
        step: Some(step),
        train_loss: 2.0,
        train_accuracy: 0.25,
        valid_loss: Some(1.75),
        valid_accuracy: None,
        seconds: 3.0,
    })
}

fn valid(step: u64, closing: bool) -> Event {
    Event::Valid(ValidEvent {
        step,
        epoch: 2,
        valid_loss: 1.5,
        valid_accuracy: 0.5,
        closing,
        averaged: None,
    })
}

fn change(step: u64) -> Event {
    let changes = [
        ("learning-rate", [json!(1.8e-4), json!(0.1)]),
        ("max-steps", [json!(null), json!(7)]),
        ("schedule", [json!("constant"), json!("cosine")]),
    ];
    let changes = changes.map(|(name, values)| (name.to_owned(), values));
    Event::Change(ChangeEvent {
        step,
        changes: changes.into(),
    })
}

fn test_event() -> Event {
    Event::Test(Box::new(TestEvent {
        step: Some(4),
        epoch: Some(2),
        epochs: Some(3),
        model: Some("lstm".into()),
        seed: Some(7),
        beam: Some(1),
        length_penalty: None,
        parameters: Some(1000),
        train_loss: Some(2.0),
        valid_loss: None,
        best_valid_loss: Some(1.75),
        loss: Some(1.5),
        accuracy: Some(0.25),
        scores: TextFigures {
            pairs: Some(8),
            bleu: 0.5,
            bleu_smoothed: 0.625,
            bleu_python: 0.375,
            bleu_sentence: 0.875,
            ngram_counts: Some(NgramCounts {
                matches: [4, 3, 2, 1],
                totals: [5, 4, 3, 2],
                hyp_len: 5,
                ref_len: 6,
            }),
            exact_match: 0.0,
            token_accuracy: 0.8,
            chrf: 0.75,
            parse_rate: 1.0,
            reference_parse_rate: 1.0,
            identifier_f1: 0.375,
            tree_match: 0.25,
            unk_rate: 0.125,
            by_length: vec![LengthScore {
                from: 1,
                to: 5,
                pairs: 8,
                bleu: 0.5,
                bleu_smoothed: 0.625,
            }],
        },
        copied_rate: None,
        decode_seconds: Some(0.25),
        train_seconds: Some(3.5),
    }))
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
    // The checksums are zlib's.
    let expected = concat!(
        r#"{"event":"step","step":1,"epoch":1,"loss":0.30000000000000004,"ce":0.25,"accuracy":0.5,"grad_norm":1.5,"lr":0.00018,"loss_scale":null,"tokens_per_s":100000.0,"crc32":"fe777487"}"#,
        "\n",
        r#"{"event":"epoch","epoch":1,"step":1,"train_loss":2.0,"train_accuracy":0.25,"valid_loss":1.75,"valid_accuracy":null,"seconds":3.0,"crc32":"72965121"}"#,
        "\n",
        r#"{"event":"test","step":4,"epoch":2,"epochs":3,"model":"lstm","seed":7,"beam":1,"parameters":1000,"#,
        r#""train_loss":2.0,"valid_loss":null,"best_valid_loss":1.75,"loss":1.5,"accuracy":0.25,"#,
        r#""pairs":8,"bleu":0.5,"bleu_smoothed":0.625,"bleu_python":0.375,"bleu_sentence":0.875,"#,
        r#""ngram_counts":{"matches":[4,3,2,1],"#,
        r#""totals":[5,4,3,2],"hypothesis_length":5,"reference_length":6},"exact_match":0.0,"#,
        r#""token_accuracy":0.8,"chrf":0.75,"parse_rate":1.0,"reference_parse_rate":1.0,"#,
        r#""identifier_f1":0.375,"tree_match":0.25,"unk_rate":0.125,"#,
        r#""by_length":[{"from":1,"to":5,"pairs":8,"bleu":0.5,"bleu_smoothed":0.625}],"#,
        r#""decode_seconds":0.25,"train_seconds":3.5,"crc32":"58ab1aca"}"#,
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
        let error = read(&path).unwrap_err();
        assert!(matches!(error, Error::Data(_)), "{error:?}");
        let text = error.to_string();
        assert!(
            text.starts_with(&format!("{}:3: not a", path.display())),
            "{text}"
        );
    }
}

#[test]
fn a_line_that_has_changed_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("metrics.jsonl");
    write(&path, &[step(1), step(2)]);
    let whole = fs::read_to_string(&path).unwrap();
    let [first, second] = whole.lines().collect::<Vec<_>>()[..] else {
        panic!("{whole}")
    };
    let refused = |text: String, words: &str| {
        fs::write(&path, text).unwrap();
        let text = read(&path).unwrap_err().to_string();
        let start = format!("{}:2: {words}", path.display());
        assert!(text.starts_with(&start), "{text}");
        truncate_after(&path, 9, 9).unwrap_err();
    };
    let changed = second.replace("\"ce\":0.25", "\"ce\":0.35");
    refused(
        format!("{first}\n{changed}\n"),
        "damaged (it does not match its crc32)",
    );
    // The end of the last line: one that a crash left ends earlier.
    refused(format!("{first}\n{second}*"), "damaged at its end");
    // A line that was mended by hand has no checksum, and neither has one of an older rnnx.
    let (mended, _) = changed.split_once(",\"crc32\"").unwrap();
    fs::write(&path, format!("{first}\n{mended}}}\n")).unwrap();
    match read(&path).unwrap()[..] {
        [_, Event::Step(event)] => assert_eq!(event.ce, 0.35),
        ref other => panic!("{other:?}"),
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
        change(2),
        step(3),
        valid(3, false),
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
        (2, 1, 4),
        (3, 1, 6),
        (4, 1, 7),
        (4, 2, 8),
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
fn a_validation_at_the_end_of_a_run_goes_when_the_run_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("metrics.jsonl");
    write(&path, &[step(1), valid(1, false), step(2), valid(2, true)]);
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let start = "{\"event\":\"valid\",\"step\":1,\"epoch\":2,\"valid_loss\":1.5,\
                 \"valid_accuracy\":0.5,\"crc32\":\"";
    assert!(lines[1].starts_with(start), "{}", lines[1]);
    assert!(lines[3].contains(",\"closing\":true,"), "{}", lines[3]);
    truncate_after(&path, 2, 0).unwrap();
    assert_eq!(read(&path).unwrap(), [step(1), valid(1, false), step(2)]);
}

#[test]
fn a_change_is_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("metrics.jsonl");
    assert!(!holds(&path, &change(2)).unwrap());
    write(&path, &[step(1), change(2), step(2)]);
    let line = fs::read_to_string(&path).unwrap();
    let line = line.lines().nth(1).unwrap();
    let start = "{\"event\":\"change\",\"step\":2,\"changes\":{\"learning-rate\":[0.00018,0.1],\
                 \"max-steps\":[null,7],\"schedule\":[\"constant\",\"cosine\"]},\"crc32\":\"";
    assert!(line.starts_with(start), "{line}");
    let Event::Change(found) = &read(&path).unwrap()[1] else {
        panic!("{line}")
    };
    let text = "learning-rate 0.00018 → 0.1, max-steps not set → 7, schedule constant → cosine";
    assert_eq!(found.to_string(), text);
    for (at, held) in [(2, true), (3, false)] {
        assert_eq!(holds(&path, &change(at)).unwrap(), held);
    }
}

#[test]
fn the_last_test_comes_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("metrics.jsonl");
    assert_eq!(read_test(&path).unwrap(), None);
    // Digits that no number is printed with.
    let line = r#"{ "event":"test", "step":4, "bleu":0.1000000000000000055 }"#;
    fs::write(&path, format!("{{\"event\":\"test\"}}\n{line}\n")).unwrap();
    write(&path, &[step(5)]);
    let (kept, test) = read_test(&path).unwrap().unwrap();
    assert_eq!((kept.as_str(), test.step), (line, Some(4)));
    assert_eq!((test.scores.bleu, test.beam), (0.1, None));
    assert!(test.scores.chrf.is_nan());
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
