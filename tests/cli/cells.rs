//! The recurrent cells from training to text.

use std::fs;

use serde_json::Value;

use super::seq2seq;
use super::support::{Place, age, assert_same_run};

#[test]
fn each_cell_trains_resumes_scores_and_writes() {
    for (cell, gates, tensors) in [("lstm", 4, 11), ("gru", 3, 11), ("rnn", 1, 11)] {
        let place = Place::new();
        place.train("a", &format!("--cell {cell} --epochs 2")).ok();
        place.train("b", &format!("--cell {cell} --epochs 1")).ok();
        place
            .run("train-charlm --out b --resume --epochs 2 -q")
            .ok();
        assert_same_run(&place.path("a"), &place.path("b"));

        let config = fs::read_to_string(place.path("a/config.toml")).unwrap();
        assert!(config.contains(&format!("cell = \"{cell}\"")), "{config}");
        let inspected = place.run("inspect a --json").ok();
        let inspected: Value = serde_json::from_str(&inspected.stdout).unwrap();
        let found = inspected["tensors"].as_array().unwrap();
        assert_eq!(found.len(), tensors, "{cell}");
        let name = format!("{cell}.weight_hh_l1");
        let weight = found.iter().find(|t| t["name"] == name.as_str()).unwrap();
        assert_eq!(weight["shape"], serde_json::json!([gates * 16, 16]));

        let scored = place.run("eval a --json -q").ok();
        let scored: Value = serde_json::from_str(&scored.stdout).unwrap();
        let log = fs::read_to_string(place.path("a/metrics.jsonl")).unwrap();
        let last: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
        assert_eq!(scored["loss"], last["valid_loss"], "{cell}");
        let text = place.run("generate a -n 50 -q --prompt def").ok();
        assert!(text.stdout.len() >= 50, "{}", text.stdout);

        let other = if cell == "gru" { "lstm" } else { "gru" };
        place
            .run(&format!(
                "train-charlm --out a --resume --epochs 3 --cell {other}"
            ))
            .fails(2, &["cell", other, cell]);
    }
}

#[test]
fn an_unknown_cell_is_refused_with_the_known_ones() {
    let place = Place::new();
    place.train("a", "--cell gro").fails(2, &["gro", "gru"]);
}

/// What was trained before there was a choice of cells is an LSTM.
#[test]
fn a_run_without_the_setting_is_an_lstm() {
    let place = Place::with_run("a", "--epochs 1");
    age(&place.path("a"));
    let path = place.path("a/config.toml");
    let config = fs::read_to_string(&path).unwrap();
    let kept: Vec<&str> = config.lines().filter(|l| !l.contains("cell")).collect();
    assert_eq!(kept.len() + 2, config.lines().count());
    fs::write(&path, kept.join("\n")).unwrap();
    place
        .run("train-charlm --out a --resume --epochs 2 -q")
        .ok();
    let config = fs::read_to_string(&path).unwrap();
    assert!(config.contains("cell = \"lstm\""), "{config}");
    place.run("generate a -n 5 -q").ok();
}

#[test]
fn a_gru_reads_and_writes_pairs_too() {
    let place = seq2seq::place();
    seq2seq::train(&place, "a", "--model gru --epochs 1").ok();
    let scored = place.run("eval a --json -q").ok();
    let scored: Value = serde_json::from_str(&scored.stdout).unwrap();
    assert_eq!(scored["model"], "gru");
    let tested = seq2seq::json_lines(&place, "a/metrics.jsonl");
    assert_eq!(scored["loss"], tested.last().unwrap()["loss"]);
    place.run("translate a -q copy").ok();
}
