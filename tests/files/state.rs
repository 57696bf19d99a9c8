//! `state.json`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rnnx::files::{Best, Direction, EpochSums, LossScaler, TrainState};
use serde_json::{Value, json};

use crate::{checkpoint_message, state};

/// Fields that stand only in files of runs that use them.
const OPTIONAL: [&str; 3] = ["rate_cuts", "stale", "valid_step"];

/// A state with every field filled.
fn full() -> TrainState {
    let mut full = state(u64::MAX);
    full.epoch_sums = EpochSums {
        loss: 0.1 + 0.2,
        correct: 123_456.789_012_345_67,
        tokens: 1e300 / 3.0,
    };
    full.adam_step = 3;
    full.loss_scaler = Some(LossScaler {
        scale: 65_536.0,
        good_steps: 4,
        skipped: 5,
    });
    full.best = Some(Best {
        score: 1.0 / 3.0,
        metric: "valid_loss".into(),
        direction: Direction::Min,
        step: 6,
    });
    full.elapsed_seconds = 12.5;
    full.streams.insert("dropout".into(), u64::MAX - 1);
    full.vocab_sha256 = Some("cd".repeat(32));
    full.settings.insert("hidden-size".into(), "16".into());
    full.rate_cuts = 2;
    full.stale = 3;
    full.valid_step = Some(4);
    full
}

/// `state.json` as the first version wrote it: without checksums and settings.
fn old(path: &Path) -> Value {
    full().save(path).unwrap();
    let mut value: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let fields = value.as_object_mut().unwrap();
    for newer in ["sha256", "vocab_sha256", "settings"]
        .iter()
        .chain(&OPTIONAL)
    {
        fields.remove(*newer).unwrap();
    }
    fields["format_version"] = json!(1);
    value
}

#[test]
fn round_trip() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.json");
    for state in [full(), state(0)] {
        state.save(&path).unwrap();
        assert_eq!(TrainState::load(&path).unwrap(), state);
    }
}

#[test]
fn sums_come_back_to_the_bit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.json");
    let mut state = state(1);
    // A multiplicative walk through the bit patterns, NaN and infinities on the way.
    let specials = [f64::INFINITY, f64::NEG_INFINITY, -0.0, f64::MIN_POSITIVE];
    let walk = (1..200_u64).map(|i| f64::from_bits(i.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    for value in specials.into_iter().chain(walk) {
        state.epoch_sums.loss = value;
        state.save(&path).unwrap();
        let back = TrainState::load(&path).unwrap().epoch_sums.loss;
        assert!(
            back.to_bits() == value.to_bits() || (back.is_nan() && value.is_nan()),
            "{value:e} became {back:e}"
        );
    }
}

#[test]
fn the_fields_stand_under_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.json");
    full().save(&path).unwrap();
    let value: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(value["format_version"], 2);
    assert_eq!(value["program"], "charlm");
    assert_eq!(value["step"], u64::MAX);
    assert_eq!(value["epoch_sums"]["loss"], "0.30000000000000004");
    assert_eq!(
        value["best"],
        json!({"score": "0.3333333333333333", "metric": "valid_loss", "direction": "min", "step": 6})
    );
    assert_eq!(value["streams"]["dropout"], u64::MAX - 1);
}

/// Versions that do not know these fields read the files of runs that do without.
#[test]
fn what_a_run_does_not_use_stands_in_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.json");
    for (state, stands) in [(state(0), false), (full(), true)] {
        state.save(&path).unwrap();
        let value: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        for field in OPTIONAL {
            assert_eq!(value.get(field).is_some(), stands, "{field}");
        }
    }
}

#[test]
fn each_missing_or_unknown_field_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.json");
    let whole = old(&path);
    let check = |value: &Value, expected: &str| {
        fs::write(&path, value.to_string()).unwrap();
        let text = checkpoint_message(TrainState::load(&path), &path);
        assert!(text.contains(expected), "`{expected}` is not in: {text}");
    };
    let fields: Vec<String> = whole.as_object().unwrap().keys().cloned().collect();
    assert_eq!(fields.len(), 14);
    for field in &fields {
        let mut value = whole.clone();
        value.as_object_mut().unwrap().remove(field);
        check(&value, &format!("missing field `{field}`"));
    }
    for (part, field) in [
        ("epoch_sums", "accuracy"),
        ("loss_scaler", "scale"),
        ("best", "direction"),
    ] {
        let mut value = whole.clone();
        value[part].as_object_mut().unwrap().remove(field);
        check(&value, &format!("missing field `{field}`"));
    }
    let mut value = whole.clone();
    value["stepp"] = json!(1);
    check(&value, "unknown field `stepp`");
    let mut value = whole.clone();
    value["best"]["score"] = json!("high");
    check(&value, "`high` is not a number");
    let mut value = whole.clone();
    value["best"]["direction"] = json!("up");
    check(&value, "unknown variant `up`");
    value["best"]["direction"] = json!("max");
    check(&value, "unknown variant `max`, expected `min`");
}

#[test]
fn a_sum_that_only_older_files_have_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.json");
    let mut old = old(&path);
    old["epoch_sums"]["ce"] = json!("1.5");
    fs::write(&path, old.to_string()).unwrap();
    let read = TrainState::load(&path).unwrap();
    assert_eq!((read.format_version, read.vocab_sha256.as_ref()), (1, None));
    // It is written as this version writes.
    read.save(&path).unwrap();
    let expected = TrainState {
        vocab_sha256: None,
        settings: BTreeMap::new(),
        rate_cuts: 0,
        stale: 0,
        valid_step: None,
        ..full()
    };
    assert_eq!(TrainState::load(&path).unwrap(), expected);
}

#[test]
fn a_field_that_has_changed_does_not_match_the_checksum() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.json");
    full().save(&path).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    for (from, to, words) in [
        (
            "\"adam_step\": 3",
            "\"adam_step\": 4",
            "do not match its SHA-256",
        ),
        (
            "\"0.3333333333333333\"",
            "\"0.3333333333333332\"",
            "do not match its SHA-256",
        ),
        ("\"sha256\"", "\"sha257\"", "does not end with its checksum"),
    ] {
        let changed = text.replace(from, to);
        assert_ne!(changed, text);
        fs::write(&path, changed).unwrap();
        let text = checkpoint_message(TrainState::load(&path), &path);
        assert!(text.contains(words) && text.contains("damaged"), "{text}");
    }
}

#[test]
fn a_newer_format_and_another_program_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.json");
    fs::write(
        &path,
        r#"{"format_version":3,"rnnx_version":"9.8.7","new":[]}"#,
    )
    .unwrap();
    let text = checkpoint_message(TrainState::load(&path), &path);
    assert!(
        text.contains("format version 3") && text.contains("use rnnx 9.8.7"),
        "{text}"
    );
    fs::write(&path, r#"{"format_version":4}"#).unwrap();
    let text = checkpoint_message(TrainState::load(&path), &path);
    assert!(
        text.contains("format version 4") && text.contains("use a newer rnnx"),
        "{text}"
    );

    let state = full();
    state.require_program(&path, "charlm").unwrap();
    let text = checkpoint_message(state.require_program(&path, "seq2seq"), &path);
    assert!(text.contains("`charlm`, not of `seq2seq`"), "{text}");
}

#[test]
fn damage_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.json");
    checkpoint_message(TrainState::load(&path), &path);
    full().save(&path).unwrap();
    let whole = fs::read(&path).unwrap();
    // All but the line end is needed.
    for length in 0..whole.len() - 1 {
        fs::write(&path, &whole[..length]).unwrap();
        checkpoint_message(TrainState::load(&path), &path);
    }
    fs::write(&path, b"{\"format_version\":\xff}").unwrap();
    let text = checkpoint_message(TrainState::load(&path), &path);
    assert!(text.contains("not UTF-8"), "{text}");
}
