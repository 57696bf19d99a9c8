//! `rnnx eval` through the binary, for a character LM.

use std::fs;
use std::path::Path;

use rnnx::files::tensors::TensorFile;
use serde_json::Value;

use super::support::{EPOCH, Place, age, python, snapshot};

/// What a logarithm and its inverse leave of a number near 3: some units of 2^-52.
const ROUNDING: f64 = 1e-14;

/// The object that `rnnx eval --json` prints.
#[track_caller]
fn eval(place: &Place, line: &str) -> Value {
    let done = place.run(&format!("eval {line} --json --quiet")).ok();
    assert_eq!(done.stderr, "");
    serde_json::from_str(&done.stdout).unwrap()
}

/// The record of the epoch that ended at `step`.
fn epoch_at(run: &Path, step: u64) -> Value {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let mut records = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let found = records.find(|r| r["event"] == "epoch" && r["step"] == step);
    found.expect("the epoch is recorded")
}

/// Three validation windows in two batches, and a second epoch that is worse than the first.
const WORSE: &str = "--epochs 2 --batch-size 2 --learning-rate 0.02 --quiet";

#[test]
fn the_loss_is_the_one_that_training_recorded() {
    let place = Place::with_run("a", WORSE);
    let run = place.path("a");
    let end = 2 * EPOCH;
    let first = format!("a/checkpoints/step-{end}");
    let cases = [
        ("a", end),
        ("a/best", end),
        (first.as_str(), end),
        ("a/last", 2 * end),
    ];
    for (what, step) in cases {
        let (got, want) = (eval(&place, what), epoch_at(&run, step));
        assert_eq!(got["loss"], want["valid_loss"], "{what}");
        assert_eq!(got["accuracy"], want["valid_accuracy"], "{what}");
        let loss = got["loss"].as_f64().unwrap();
        let bits = got["bits_per_char"].as_f64().unwrap();
        assert!((bits * 2f64.ln() - loss).abs() < ROUNDING, "{what}");
        let perplexity = got["perplexity"].as_f64().unwrap();
        assert!((perplexity.ln() - loss).abs() < ROUNDING, "{what}");
        assert_eq!(got["step"], step);
        // 62 characters validate: three windows of 17, 16 predicted in each.
        assert_eq!(
            (&got["split"], &got["characters"]),
            (&"valid".into(), &48.into())
        );
    }
    assert_ne!(eval(&place, "a")["loss"], eval(&place, "a/last")["loss"]);
}

#[test]
fn flags_that_change_nothing_or_little() {
    let place = Place::with_run("a", "--epochs 1 --quiet --device cpu");
    let before = snapshot(&place.path("a"));
    let usual = eval(&place, "a");
    for flags in [
        "--split valid",
        "--threads 1",
        "--device cpu --precision fp32",
        "--precision auto",
        "--corpus text.py",
    ] {
        assert_eq!(eval(&place, &format!("a {flags}")), usual, "{flags}");
    }
    // Other orders of f32 sums, on another device and in other batches; f16 rounds to 11 bits.
    for (flags, tolerance) in [
        ("--batch-size 1", 1e-6),
        ("--device emulated", 1e-5),
        ("--device emulated --precision fp16", 5e-3),
    ] {
        let loss = |json: &Value| json["loss"].as_f64().unwrap();
        let got = eval(&place, &format!("a {flags}"));
        let off = (loss(&got) - loss(&usual)).abs();
        assert!(off < tolerance, "{flags}: off by {off}");
    }
    assert!(snapshot(&place.path("a")) == before);
}

#[test]
fn a_run_in_fp16_is_scored_as_it_was_trained() {
    let place = Place::with_run("a", "--epochs 1 --quiet --device emulated");
    let want = epoch_at(&place.path("a"), EPOCH);
    let loss = |flags: &str| eval(&place, &format!("a --device emulated {flags}"))["loss"].clone();
    assert_eq!(loss(""), want["valid_loss"]);
    assert_eq!(loss("--precision fp16"), want["valid_loss"]);
    assert_ne!(loss("--precision fp32"), want["valid_loss"]);
    let done = place.run("eval a --device emulated").ok();
    assert!(done.stderr.contains("emulated") && done.stderr.contains("fp16"));
}

#[test]
fn what_is_printed_for_people() {
    let place = Place::with_run("a", "--epochs 1 --quiet");
    let json = eval(&place, "a");
    let done = place.run("eval a").ok();
    let names: Vec<&str> = done
        .stdout
        .lines()
        .filter_map(|l| l.split_whitespace().next())
        .collect();
    assert_eq!(names, ["loss", "bits_per_char", "perplexity", "accuracy"]);
    for name in names {
        let shown = format!("{:.4}", json[name].as_f64().unwrap());
        assert!(done.stdout.contains(&shown), "{name}: {}", done.stdout);
    }
    for words in [
        "device: cpu",
        "corpus: ",
        "48 characters of the validation part",
    ] {
        assert!(done.stderr.contains(words), "{}", done.stderr);
    }
}

// ---- what cannot be used -------------------------------------------------------------------

#[test]
fn flags_of_seq2seq() {
    let place = Place::with_run("a", "--epochs 1 --quiet");
    place
        .run("eval a --split test")
        .fails(2, &["--split test", "character LM", "--split valid"]);
    place
        .run("eval a --split train")
        .fails(2, &["--split", "'train'"]);
    place
        .run("eval a --predictions p.jsonl")
        .fails(2, &["--predictions", "character LM", "seq2seq"]);
    assert!(!place.path("p.jsonl").exists());
    for (flag, values) in [
        ("--batch-size", ["0", "-1", "nan", "99999999999"]),
        ("--threads", ["0", "-1", "nan", "99999999"]),
    ] {
        for value in values {
            let done = place.run(&format!("eval a {flag} {value}"));
            done.fails(2, &[flag, &format!("'{value}'"), "give a "]);
        }
    }
    place
        .run("eval a --device cuda")
        .fails(4, &["device cuda: no NVIDIA", "device cpu"]);
    place
        .run("eval a --device cpu --precision fp16")
        .fails(2, &["precision fp16", "fp32"]);
}

#[test]
fn runs_that_are_none() {
    let place = Place::with_run("a", "--epochs 1 --quiet");
    place
        .run("eval none")
        .fails(3, &["none: no such run", "train one"]);
    place.run("eval text.py").fails(3, &["text.py"]);
    place
        .run("eval .")
        .fails(3, &["not the folder of a run", "config.toml"]);
    place.run("eval").fails(2, &["<RUN>"]);
    place.sh("cp -rL a/last alone", &[]).ok();
    place
        .run("eval alone")
        .fails(3, &["alone", "outside of its run"]);
    let words = "{\"kind\":\"words\",\"source\":[\"<PAD>\"],\"target\":[\"<PAD>\"]}";
    age(&place.path("a"));
    place.write("a/vocab.json", words);
    place
        .run("eval a")
        .fails(3, &["state.json", "seq2seq", "charlm"]);
}

#[test]
fn a_checkpoint_that_is_damaged() {
    let spoil = |file: &str, spoil: &dyn Fn(&mut Vec<u8>), words: &[&str]| {
        let place = Place::with_run("a", "--epochs 1 --quiet");
        let path = place.path("a/best").join(file);
        let mut bytes = fs::read(&path).unwrap();
        spoil(&mut bytes);
        fs::write(&path, bytes).unwrap();
        place.run("eval a").fails(3, words);
    };
    let cut = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() - 100);
    let model = "model.safetensors";
    spoil(model, &cut, &[model, "truncated"]);
    let flip = |bytes: &mut Vec<u8>| *bytes.last_mut().unwrap() ^= 4;
    spoil(model, &flip, &[model, "SHA-256"]);
    spoil("state.json", &cut, &["state.json", "damaged"]);
    let place = Place::with_run("a", "--epochs 1 --quiet");
    let path = place.path("a/best").join(model);
    let mut file = TensorFile::load(&path).unwrap();
    drop(file.tensors.remove("out.bias").unwrap());
    file.save(&path).unwrap();
    place.run("eval a").fails(3, &["out.bias", "missing"]);
    // Weights that are numbers, and a loss that is none.
    let place = Place::with_run("a", "--epochs 1 --quiet");
    let path = place.path("a/best").join(model);
    let mut file = TensorFile::load(&path).unwrap();
    let bias = file.tensors.get_mut("lstm.bias_ih_l1").unwrap();
    bias.data.fill(20.0);
    let out = file.tensors.get_mut("out.weight").unwrap();
    out.data.fill(3e38);
    file.save(&path).unwrap();
    place
        .run("eval a --json")
        .fails(3, &[model, "not a finite number", "diverged"]);
}

#[test]
fn a_corpus_that_moved_or_changed() {
    let place = Place::with_run("a", "--epochs 1 --quiet");
    let loss = eval(&place, "a")["loss"].clone();
    place.sh("mkdir there && mv text.py there/", &[]).ok();
    place.run("eval a").fails(
        3,
        &["a/config.toml", "Tried: text.py: no such file", "as corpus"],
    );
    assert_eq!(eval(&place, "a --corpus there/text.py")["loss"], loss);
    place
        .run("eval a --corpus none.py")
        .fails(3, &["corpus none.py", "no such file"]);
    place.write("text.py", python(19).replace("load_4", "LOAD_4"));
    place.run("eval a").fails(
        3,
        &[
            "the text of text.py is not the one",
            "restore it",
            "as corpus",
        ],
    );
}

#[test]
fn a_run_that_validates_nothing() {
    let place = Place::with_run("a", "--valid-fraction 0 --max-steps 1 --quiet");
    place.run("eval a").fails(
        3,
        &[
            "a/config.toml",
            "no validation part",
            "valid-fraction above 0",
        ],
    );
}

#[test]
fn a_result_that_cannot_be_written() {
    let place = Place::with_run("a", "--epochs 1 --quiet");
    for flags in ["", "--json"] {
        place
            .sh(&format!("exec \"$0\" eval a {flags} >/dev/full"), &[])
            .fails(1, &["cannot write", "No space left"]);
        place
            .sh(&format!("exec \"$0\" eval a {flags} 2>/dev/full"), &[])
            .ok();
    }
}
