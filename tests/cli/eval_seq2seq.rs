//! `rnnx eval` through the binary, for a seq2seq model; other commands that read its run.

use std::collections::HashMap;
use std::fs;

use serde_json::{Value, json};

use super::seq2seq::{KINDS, events, json_lines, place, train};
use super::support::{Place, snapshot};

/// A place with the run `a` of this model, which has learned to write something.
fn learned(kind: &str) -> Place {
    let place = place();
    let flags = "--epochs 12 --learning-rate 0.05 --dropout 0 --device cpu --quiet";
    train(&place, "a", &format!("--model {kind} {flags}")).ok();
    place
}

/// A place with the run `a` of this model after one step.
pub fn begun(kind: &str) -> Place {
    let place = place();
    train(
        &place,
        "a",
        &format!("--model {kind} --max-steps 1 --quiet"),
    )
    .ok();
    place
}

/// The object that `rnnx eval a --json` prints.
#[track_caller]
pub fn eval(place: &Place, flags: &str) -> Value {
    let done = place.run(&format!("eval a --json --quiet {flags}")).ok();
    assert_eq!(done.stderr, "");
    serde_json::from_str(&done.stdout).unwrap()
}

/// The records of one kind in the run's metrics.
fn strings(value: &Value) -> Vec<&str> {
    let tokens = value.as_array().unwrap().iter();
    tokens.map(|t| t.as_str().unwrap()).collect()
}

const FIGURES: [&str; 15] = [
    "loss",
    "accuracy",
    "bleu",
    "bleu_smoothed",
    "bleu_python",
    "bleu_sentence",
    "exact_match",
    "token_accuracy",
    "chrf",
    "parse_rate",
    "reference_parse_rate",
    "identifier_f1",
    "tree_match",
    "unk_rate",
    "ngram_counts",
];

// ---- figures -------------------------------------------------------------------------------

#[test]
fn the_figures_are_those_that_training_recorded() {
    for kind in KINDS {
        let place = learned(kind);
        let before = snapshot(&place.path("a"));
        let test = &events(&place, "a", "test")[0];
        let epochs = events(&place, "a", "epoch");
        let got = eval(&place, "");
        for key in FIGURES
            .iter()
            .chain(&["pairs", "by_length", "step", "model", "beam"])
        {
            assert!(!got[key].is_null(), "{kind}: {key}");
            assert_eq!(got[key], test[key], "{kind}: {key}");
        }
        assert!(got["bleu"].as_f64().unwrap() > 0.0, "{got}");
        assert_eq!(got["split"], "test");
        assert_eq!(eval(&place, "--split test")["loss"], got["loss"]);
        for (run, link) in [("a", "best"), ("a/best", "best"), ("a/last", "last")] {
            let target = fs::read_link(place.path("a").join(link)).unwrap();
            let step = target
                .to_str()
                .unwrap()
                .strip_prefix("checkpoints/step-")
                .unwrap();
            let step: u64 = step.parse().unwrap();
            let done = place.run(&format!("eval {run} --split valid --json")).ok();
            let valid: Value = serde_json::from_str(&done.stdout).unwrap();
            let epoch = epochs.iter().find(|e| e["step"] == step).unwrap();
            assert_eq!(valid["step"], step);
            assert_eq!(valid["loss"], epoch["valid_loss"], "{kind}: {run}");
            assert_eq!(valid["accuracy"], epoch["valid_accuracy"], "{kind}: {run}");
            assert_eq!(
                (&valid["split"], &valid["pairs"]),
                (&"valid".into(), &7.into())
            );
            let line = format!(", step {step}: 7 pairs");
            assert!(done.stderr.contains(&line), "{}", done.stderr);
        }
        assert!(snapshot(&place.path("a")) == before);
    }
}

#[test]
fn what_is_printed_for_people() {
    let place = learned("lstm");
    let json = eval(&place, "");
    let done = place.run("eval a").ok();
    let rows: Vec<(&str, &str)> = done
        .stdout
        .lines()
        .map(|l| l.split_once(' ').unwrap())
        .collect();
    assert_eq!(rows.iter().map(|r| r.0).collect::<Vec<_>>(), FIGURES);
    for (name, value) in rows {
        let shown = match json[name].as_f64() {
            Some(x) => format!("{x:.4}"),
            None => json[name].to_string(),
        };
        assert_eq!(value.trim_start(), shown, "{name}");
    }
    assert!(done.stderr.contains("device: "), "{}", done.stderr);
}

/// N-grams of a list of tokens, counted.
fn ngrams<'a>(tokens: &[&'a str], n: usize) -> HashMap<Vec<&'a str>, usize> {
    let mut counts = HashMap::new();
    for ngram in tokens.windows(n) {
        *counts.entry(ngram.to_vec()).or_default() += 1;
    }
    counts
}

#[test]
fn predictions_hold_what_the_figures_are_made_of() {
    for kind in KINDS {
        let place = learned(kind);
        let figures = eval(&place, "--predictions p.jsonl");
        assert_eq!(
            fs::read(place.path("p.jsonl")).unwrap(),
            fs::read(place.path("a/samples/test.jsonl")).unwrap()
        );
        let written = json_lines(&place, "p.jsonl");
        let given = json_lines(&place, "test.jsonl");
        assert_eq!(written.len(), given.len());
        let (mut matches, mut totals, mut lengths, mut exact) = ([0; 4], [0; 4], [0; 2], 0);
        for (written, given) in written.iter().zip(&given) {
            let keys: Vec<_> = written.as_object().unwrap().keys().cloned().collect();
            let mut expected = vec!["docstring", "source", "reference", "prediction", "code"];
            if kind == "attention" {
                expected.push("attention");
                check_attention(written);
            }
            assert_eq!(keys, expected);
            assert_eq!(written["docstring"], given["docstring"]);
            let (reference, output) = (
                strings(&written["reference"]),
                strings(&written["prediction"]),
            );
            assert_eq!(reference.join(" "), given["code"].as_str().unwrap());
            assert_eq!(output.join(" "), written["code"].as_str().unwrap());
            for n in 1..=4 {
                let known = ngrams(&reference, n);
                for (ngram, count) in ngrams(&output, n) {
                    matches[n - 1] += count.min(known.get(&ngram).copied().unwrap_or(0));
                    totals[n - 1] += count;
                }
            }
            lengths[0] += output.len();
            lengths[1] += reference.len();
            exact += usize::from(reference == output);
        }
        let counts = json!({"matches": matches, "totals": totals,
            "hypothesis_length": lengths[0], "reference_length": lengths[1]});
        assert_eq!(figures["ngram_counts"], counts, "{kind}");
        assert_eq!(figures["exact_match"], exact as f64 / given.len() as f64);
        let precision = |n: usize| matches[n] as f64 / totals[n] as f64;
        let mean = (0..4).map(|n| precision(n).ln()).sum::<f64>() / 4.0;
        let brief = (1.0 - lengths[1] as f64 / lengths[0] as f64).min(0.0);
        let bleu = figures["bleu"].as_f64().unwrap();
        // Some roundings of f64.
        assert!(
            (bleu - (mean + brief).exp()).abs() < 1e-14,
            "{kind}: {bleu}"
        );
        let done = place.run("eval a --predictions p.jsonl").ok();
        assert!(
            done.stderr.contains("predictions: p.jsonl"),
            "{}",
            done.stderr
        );
        place
            .run("eval a --predictions none/p.jsonl")
            .fails(1, &["none/p.jsonl"]);
    }
}

/// Rows for all tokens and, where the output ended by itself, its end; a column for each source
/// token, none for padding.
fn check_attention(written: &Value) {
    let rows = written["attention"].as_array().unwrap();
    let tokens = strings(&written["prediction"]).len();
    assert!(rows.len() == tokens + 1 || (rows.len() == tokens && tokens == 50));
    let columns = strings(&written["source"]).len();
    for row in rows {
        let row: Vec<f64> = row
            .as_array()
            .unwrap()
            .iter()
            .map(|w| w.as_f64().unwrap())
            .collect();
        assert!(
            row.len() == columns && row.iter().all(|w| (0.0..=1.0).contains(w)),
            "{row:?}"
        );
        // Six digits each.
        assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-5, "{row:?}");
    }
}

#[test]
fn flags_that_change_little_or_much() {
    for kind in KINDS {
        let place = learned(kind);
        let usual = eval(&place, "--predictions usual.jsonl");
        // Other orders of f32 sums, on another device and in other batches.
        for flags in [
            "--batch-size 1",
            "--device emulated",
            "--threads 1 --beam 1",
        ] {
            let got = eval(&place, &format!("{flags} --predictions other.jsonl"));
            let loss = |json: &Value| json["loss"].as_f64().unwrap();
            let off = (loss(&got) - loss(&usual)).abs();
            assert!(off < 1e-5, "{kind} {flags}: off by {off}");
            assert_eq!(got["ngram_counts"], usual["ngram_counts"], "{kind} {flags}");
            assert_eq!(got["chrf"], usual["chrf"], "{kind} {flags}");
            let outputs = |file: &str| -> Vec<Value> {
                let lines = json_lines(&place, file).into_iter();
                lines.map(|l| l["prediction"].clone()).collect()
            };
            assert_eq!(
                outputs("other.jsonl"),
                outputs("usual.jsonl"),
                "{kind} {flags}"
            );
        }
        // A wider beam than there are rows in a batch.
        let beam = eval(&place, "--beam 9 --no-unk");
        assert_eq!((&beam["beam"], &beam["unk_rate"]), (&9.into(), &0.0.into()));
        assert_eq!(beam["loss"], usual["loss"]);
    }
}

#[test]
fn other_pairs() {
    let place = begun("attention");
    let test = eval(&place, "--pairs test.jsonl --predictions p.jsonl");
    assert_eq!(test["split"], "test.jsonl");
    let own = eval(&place, "");
    for key in FIGURES {
        assert_eq!(test[key], own[key], "{key}");
    }
    let valid = eval(&place, "--pairs valid.jsonl");
    assert_eq!(valid["loss"], eval(&place, "--split valid")["loss"]);
    // One of three references is no Python; another is longer than the run's limits.
    let long = format!("x = {}", "1 + ".repeat(40) + "1");
    let lines = [
        json!({"docstring": "load", "code": "def load ( ) : return 1"}),
        json!({"docstring": "scan", "code": "def scan ( :"}),
        json!({"docstring": "find ".repeat(31), "code": long}),
    ];
    place.write("three.jsonl", lines.map(|l| format!("{l}\n")).concat());
    let done = place.run("eval a --pairs three.jsonl --json").ok();
    let cut = "three.jsonl: the limits cut 1 sources to 30 tokens and 1 targets to 50";
    assert!(done.stderr.contains(cut), "{}", done.stderr);
    let three: Value = serde_json::from_str(&done.stdout).unwrap();
    // Cut after 50 tokens, a plus is the last one.
    assert_eq!(three["reference_parse_rate"], 1.0 / 3.0);
    assert_eq!(three["pairs"], 3);
    // The run's own pairs are not needed for others.
    fs::remove_file(place.path("train.jsonl")).unwrap();
    assert_eq!(eval(&place, "--pairs test.jsonl")["loss"], own["loss"]);
}

/// What is right as far as its reference was learned has neither the tree nor all names of the whole one.
#[test]
fn trees_and_names_are_those_of_whole_references() {
    for (max_target, names, tree) in [(3, 2.0 / 3.0, 0.0), (5, 1.0, 1.0)] {
        let place = Place::new();
        let pair = json!({"docstring": "add it", "code": "x = 1 + y"});
        for split in ["train", "valid", "test"] {
            place.write(&format!("{split}.jsonl"), format!("{pair}\n").repeat(8));
        }
        let flags = "--model lstm --epochs 12 --learning-rate 0.05 --dropout 0 --quiet";
        train(&place, "a", &format!("{flags} --max-target {max_target}")).ok();
        let figures = eval(&place, "");
        assert_eq!(
            (&figures["exact_match"], &figures["parse_rate"]),
            (&json!(1.0), &json!(1.0))
        );
        assert_eq!(
            (&figures["identifier_f1"], &figures["tree_match"]),
            (&json!(names), &json!(tree))
        );
    }
}

// ---- other commands on the run -------------------------------------------------------------

#[test]
fn inspect_and_generate() {
    let place = begun("attention");
    let done = place.run("inspect a").ok();
    for words in [
        "run      a (seq2seq)",
        "step     1\n",
        "best     none yet",
        "encoder.rnn.weight_ih_l0_reverse",
        "attention.energy.weight",
        "bridge.cell.bias",
        "SHA-256 verified",
    ] {
        assert!(done.stdout.contains(words), "{words}: {}", done.stdout);
    }
    let json: Value = serde_json::from_str(&place.run("inspect a --json").ok().stdout).unwrap();
    assert_eq!(
        (&json["program"], &json["step"]),
        (&"seq2seq".into(), &1.into())
    );
    let tensors = json["tensors"].as_array().unwrap();
    let energy = tensors
        .iter()
        .find(|t| t["name"] == "attention.energy.weight");
    assert_eq!(energy.unwrap()["shape"], json!([1, 10]));
    for run in ["a", "a/last"] {
        let done = place.run(&format!("generate {run} --prompt x"));
        done.fails(3, &["vocab.json", "seq2seq model", "character LM"]);
    }
}
