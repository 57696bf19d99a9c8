//! `rnnx inspect`.

use rnnx::cli::inspect;
use rnnx::files::{Best, Direction, HostTensor, RunFolder, TensorFile};
use serde_json::{Value, json};
use std::path::Path;

use crate::{checkpoint_message, small, state};

fn text(path: &Path) -> String {
    let mut out = Vec::new();
    inspect::run(path, false, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn value(path: &Path) -> Value {
    let mut out = Vec::new();
    inspect::run(path, true, &mut out).unwrap();
    serde_json::from_slice(&out).unwrap()
}

/// Two tensors: one with NaN and infinities beside -1 and 3, one without values.
fn file() -> TensorFile {
    let mut file = TensorFile::new();
    let mut insert = |name: &str, shape: &[usize], data: &[f32]| {
        let (shape, data) = (shape.to_vec(), data.to_vec());
        file.tensors.insert(name.into(), HostTensor { shape, data });
    };
    let inf = f32::INFINITY;
    insert("lstm.weight", &[5, 1], &[-1.0, f32::NAN, inf, 3.0, -inf]);
    insert("none", &[0], &[]);
    file.metadata.insert("kind".into(), "char".into());
    file
}

#[test]
fn a_file_is_described() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.safetensors");
    file().save(&path).unwrap();
    let shown = text(&path);
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(
        lines[2..7],
        [
            "name         dtype  shape   parameters        min       max      mean       std  nan  inf",
            "lstm.weight  F32    [5, 1]           5  -1.000000  3.000000  1.000000  2.000000    1    2",
            "none         F32    [0]              0          -         -         -         -    0    0",
            "",
            "2 tensors, 5 parameters, 20 bytes, SHA-256 verified",
        ]
    );
    assert!(shown.contains("\nmetadata kind = char\n"), "{shown}");

    small([-2.5e-9, -2.5e-9])
        .save(&dir.path().join("v"))
        .unwrap();
    let tiny = text(&dir.path().join("v"));
    assert!(
        tiny.contains(" -2.500e-9  -2.500e-9  -2.500e-9  0.000000 "),
        "{tiny}"
    );

    let value = value(&path);
    assert_eq!(value["parameters"], 5);
    assert_eq!(value["checksum_verified"], true);
    assert_eq!(value["metadata"]["kind"], "char");
    assert_eq!(
        value["tensors"][0],
        json!({"name": "lstm.weight", "dtype": "F32", "shape": [5, 1], "parameters": 5,
               "min": -1.0, "max": 3.0, "mean": 1.0, "std": 2.0, "nan": 1, "inf": 2})
    );
    assert_eq!(value["tensors"][1]["mean"], Value::Null);
    assert_eq!(value.get("step"), None);
}

#[test]
fn a_run_and_its_checkpoint_are_described() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    let run = RunFolder::create(&path, false).unwrap();
    run.write_config("").unwrap();
    let mut state = state(12);
    state.epoch = 3;
    state.best = Some(Best {
        score: 1.25,
        metric: "valid_loss".into(),
        direction: Direction::Min,
        step: 12,
    });
    let checkpoint = run
        .save_checkpoint(&small([1.0, 2.0]), &small([0.0, 0.0]), &state)
        .unwrap();
    let text = text(&path);
    for line in [
        format!("config   {}", run.config_path().display()),
        "step     12".into(),
        "epoch    3".into(),
        "best     valid_loss 1.25 (min) at step 12".into(),
        format!(
            "file     {}",
            checkpoint.join("model.safetensors").display()
        ),
    ] {
        assert!(
            text.lines().any(|l| l == line),
            "`{line}` is not in:\n{text}"
        );
    }
    for named in [&path, &checkpoint] {
        let value = value(named);
        assert_eq!((&value["step"], &value["epoch"]), (&json!(12), &json!(3)));
        assert_eq!(
            value["best"],
            json!({"score": 1.25, "metric": "valid_loss", "direction": "min", "step": 12})
        );
        assert_eq!(value["parameters"], 2);
    }
}

#[test]
fn a_damaged_file_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.safetensors");
    std::fs::write(&path, "nonsense").unwrap();
    let mut out = Vec::new();
    checkpoint_message(inspect::run(&path, false, &mut out), &path);
    let missing = dir.path().join("missing");
    checkpoint_message(inspect::run(&missing, false, &mut out), &missing);
    assert!(out.is_empty());
}
