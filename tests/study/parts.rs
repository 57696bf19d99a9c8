//! What a study keeps of what it has measured.

use std::fs;

use rnnx::programs::charlm::study::parts::Parts;
use rnnx::rng::{Purpose, Stream};
use rnnx::train::progress::Progress;
use serde_json::{Value, json};

#[test]
fn parts_are_read_as_they_were_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (parts, progress) = (Parts::open(folder.path()).unwrap(), Progress::new(true));
    let mut random = Stream::new(1, Purpose::Sample, 0).reader();
    let numbers: Vec<f64> = (0..3000)
        .map(|i| (random.uniform() - 0.5) * 10f64.powi(i % 30 - 20))
        .collect();
    let key = Parts::key(&["a", "b"]);
    assert_eq!(parts.get(&key, &progress).unwrap(), None);
    let found = json!({"numbers": numbers, "blank": null, "whole": [7, "x", u64::MAX]});
    let kept = parts.put(&key, &found).unwrap();
    assert_eq!(parts.get(&key, &progress).unwrap(), Some(kept.clone()));
    // Twelve digits, and nothing below 1e-11.
    let back: Vec<f64> = serde_json::from_value(kept["numbers"].clone()).unwrap();
    for (x, y) in numbers.iter().zip(back) {
        let error = if x.abs() < 1e-11 {
            y
        } else {
            (y / x - 1.0).abs()
        };
        assert!(error < 1e-11, "{x:e} {y:e}");
    }
    assert_eq!(kept["whole"], found["whole"]);
    assert_eq!(kept["blank"], Value::Null);
}

#[test]
fn keys_tell_words_apart_and_damage_is_no_part() {
    let folder = tempfile::tempdir().unwrap();
    let (parts, progress) = (Parts::open(folder.path()).unwrap(), Progress::new(true));
    assert_ne!(Parts::key(&["ab", "c"]), Parts::key(&["a", "bc"]));
    let key = Parts::key(&["a"]);
    parts.put(&key, &json!({"n": 12})).unwrap();
    let file = fs::read_dir(folder.path().join("study-parts"))
        .unwrap()
        .next();
    let file = file.unwrap().unwrap().path();
    let text = fs::read_to_string(&file).unwrap();
    for damaged in [text.replace("12", "13"), text[..text.len() / 2].to_owned()] {
        fs::write(&file, damaged).unwrap();
        assert_eq!(parts.get(&key, &progress).unwrap(), None);
    }
    fs::write(&file, &text).unwrap();
    assert_eq!(parts.get(&key, &progress).unwrap(), Some(json!({"n": 12})));
}
