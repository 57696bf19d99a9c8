//! `rnnx train-seq2seq`: what a run leaves, of one model and of all three.

use std::fs;

use rnnx::files::tensors::TensorFile;
use serde_json::{Value, json};

use super::support::{Done, Place, assert_same_run, json_of, state_number};

/// How a small model is trained, unless a test says otherwise.
const SMALL: [(&str, &str); 7] = [
    ("--train", "train.jsonl"),
    ("--valid", "valid.jsonl"),
    ("--test", "test.jsonl"),
    ("--embedding-dim", "6"),
    ("--hidden-size", "10"),
    ("--batch-size", "4"),
    ("--log-every", "1"),
];

pub const KINDS: [&str; 3] = ["rnn", "lstm", "attention"];

/// Pairs of `train.jsonl`.
const TRAIN: usize = 22;
/// Training steps of an epoch with these flags; the last one has two pairs.
pub const EPOCH: u64 = 6;

/// Pairs of many lengths, as lines of JSON; those of two seeds have few in common.
pub fn pairs(n: usize, seed: usize) -> String {
    let verbs = ["load", "scan", "find", "join", "read", "send", "sort"];
    let things = ["file", "list", "name", "tree", "node"];
    let line = |i: usize| {
        let (verb, thing) = (verbs[i * (seed + 1) % 7], things[(i * i + seed) % 5]);
        let twice = format!(" + {verb} ( x )").repeat(i % 4);
        let docstring = format!("{verb} the {thing}{}", " again".repeat(i % 3));
        let code = format!("def {verb} ( x ) : return x . {thing}{twice}");
        format!("{}\n", json!({"docstring": docstring, "code": code}))
    };
    (0..n).map(line).collect()
}

/// A folder with three files of pairs.
pub fn place() -> Place {
    let place = Place::new();
    place.write("train.jsonl", pairs(TRAIN, 1));
    place.write("valid.jsonl", pairs(7, 2));
    place.write("test.jsonl", pairs(5, 3));
    place
}

/// The arguments that train small models into `out`.
pub fn train_args<'a>(out: &'a str, flags: &'a str) -> Vec<&'a str> {
    let given: Vec<&str> = flags.split_whitespace().collect();
    let mut args = vec!["train-seq2seq", "--out", out];
    for (flag, value) in SMALL {
        if !given.contains(&flag) {
            args.extend([flag, value]);
        }
    }
    args.extend(given);
    args
}

pub fn train(place: &Place, out: &str, flags: &str) -> Done {
    place.run_args(&train_args(out, flags))
}

/// The lines of a file of JSON.
pub fn json_lines(place: &Place, file: &str) -> Vec<Value> {
    let text = fs::read_to_string(place.path(file)).unwrap();
    text.lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect()
}

/// The events of a kind that a run has recorded.
pub fn events(place: &Place, run: &str, kind: &str) -> Vec<Value> {
    let mut events = json_lines(place, &format!("{run}/metrics.jsonl"));
    events.retain(|e| e["event"] == kind);
    events
}

#[test]
fn a_run_leaves_what_the_manual_says() {
    let place = place();
    for kind in KINDS {
        let done = train(&place, kind, &format!("--model {kind} --epochs 2 --seed 3")).ok();
        for name in [
            "config.toml",
            "vocab.json",
            "metrics.jsonl",
            "report.html",
            "samples/epoch-1.txt",
            "samples/epoch-2.txt",
            "samples/test.jsonl",
            "checkpoints/step-12/model.safetensors",
            "checkpoints/step-12/optimizer.safetensors",
            "best/model.safetensors",
            "last/state.json",
        ] {
            assert!(place.path(kind).join(name).is_file(), "{kind}: {name}");
        }
        let vocab = &json_of(&place, &format!("{kind}/vocab.json"));
        assert_eq!(vocab["kind"], "words");
        let tokens = |side: &str| vocab[side].as_array().unwrap().len() as f64;

        let steps = events(&place, kind, "step");
        assert_eq!(steps.len() as u64, 2 * EPOCH);
        let keys: Vec<_> = steps[0].as_object().unwrap().keys().cloned().collect();
        let expected =
            "event step epoch loss ce accuracy grad_norm lr loss_scale tokens_per_s crc32";
        assert_eq!(keys.join(" "), expected);
        // Before it has learned, a model is near the entropy of equal chances.
        let loss = steps[0]["loss"].as_f64().unwrap();
        assert!((loss - tokens("target").ln()).abs() < 0.3, "{kind}: {loss}");
        assert_eq!(
            (&steps[0]["lr"], &steps[0]["ce"]),
            (&json!(1e-3), &steps[0]["loss"])
        );

        let epochs = events(&place, kind, "epoch");
        let valid = |n: usize| epochs[n]["valid_loss"].as_f64().unwrap();
        assert!(valid(1) < valid(0), "{kind} learned nothing");
        check_test(&place, kind);

        for words in [
            "pairs: 22 train, 7 valid, 5 test; train.jsonl, valid.jsonl, test.jsonl",
            "device: cpu",
            &format!("vocabulary: {} source tokens", tokens("source")),
            &format!("model: {kind}, 10 units, "),
            "parameters; 6 steps an epoch of 4 pairs",
            "epoch 2/2",
            "on 5 pairs, decoded greedily",
            "done: 12 steps",
            " target tokens/s  ETA ",
        ] {
            assert!(done.stderr.contains(words), "{words}: {}", done.stderr);
        }
        // One unit of speed: a line for each step and one at the end.
        let count = |unit| done.stderr.matches(unit).count();
        assert_eq!((count(" target tokens/s"), count("tokens/s")), (13, 13));
        for words in ["BLEU-4", "exact match", "test loss", kind] {
            assert!(done.stdout.contains(words), "{words}: {}", done.stdout);
        }
    }
}

/// The test event and the predictions of a run of the model `kind`.
fn check_test(place: &Place, kind: &str) {
    let tests = events(place, kind, "test");
    assert_eq!(tests.len(), 1);
    let test = &tests[0];
    let best = fs::read_link(place.path(kind).join("best")).unwrap();
    assert_eq!(
        best.to_str().unwrap(),
        format!("checkpoints/step-{}", test["step"])
    );
    assert_eq!((&test["model"], &test["seed"]), (&kind.into(), &3.into()));
    assert_eq!((&test["epochs"], &test["pairs"]), (&2.into(), &5.into()));
    for key in [
        "loss",
        "bleu",
        "bleu_smoothed",
        "exact_match",
        "token_accuracy",
        "chrf",
        "parse_rate",
        "unk_rate",
        "train_loss",
        "valid_loss",
        "best_valid_loss",
        "parameters",
        "train_seconds",
    ] {
        assert!(test[key].is_number(), "{key} in {test}");
    }
    // As many as the tensors of the checkpoint have, where one of two biases is not trained.
    let path = place.path(kind).join("best/model.safetensors");
    let file = TensorFile::load(&path).unwrap();
    let trained = file
        .tensors
        .iter()
        .filter(|(name, _)| !name.contains("bias_hh"));
    let numbers: usize = trained.map(|(_, t)| t.data.len()).sum();
    assert_eq!(test["parameters"], numbers);

    let written = json_lines(place, &format!("{kind}/samples/test.jsonl"));
    let given = json_lines(place, "test.jsonl");
    assert_eq!(written.len(), given.len());
    for (written, given) in written.iter().zip(&given) {
        assert_eq!(written["docstring"], given["docstring"]);
        let words = |text: &Value| -> Vec<Value> {
            text.as_str().unwrap().split(' ').map(Value::from).collect()
        };
        assert_eq!(written["reference"], Value::from(words(&given["code"])));
        assert!(written["prediction"].is_array());
        if kind != "attention" {
            assert!(written["attention"].is_null());
            continue;
        }
        let columns = words(&given["docstring"]).len();
        for row in written["attention"].as_array().unwrap() {
            let row = row.as_array().unwrap();
            assert_eq!(row.len(), columns);
            let sum: f64 = row.iter().map(|w| w.as_f64().unwrap()).sum();
            // Weights are f32.
            assert!((sum - 1.0).abs() < 1e-5, "{sum}");
        }
    }
}

#[test]
fn all_three_are_trained_and_compared() {
    let place = place();
    let done = train(&place, "all", "--epochs 2").ok();
    let table = |key: &str| {
        let line = done.stdout.lines().find(|l| l.starts_with(key)).unwrap();
        line[key.len()..]
            .split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(table("   "), KINDS);
    let rows = json_of(&place, "all/comparison.json");
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 3);
    for (n, (kind, row)) in KINDS.iter().zip(rows).enumerate() {
        assert_eq!(row["model"], *kind);
        let run = format!("all/{kind}");
        let test = &events(&place, &run, "test")[0];
        for (key, name) in [
            ("bleu", "bleu"),
            ("test_loss", "loss"),
            ("train_loss", "train_loss"),
            ("valid_loss", "valid_loss"),
            ("parameters", "parameters"),
            ("seconds", "train_seconds"),
            ("epochs", "epochs"),
            ("seed", "seed"),
            ("identifier_f1", "identifier_f1"),
            ("tree_match", "tree_match"),
        ] {
            assert!(
                row[key].is_number() && row[key] == test[name],
                "{key}: {row}"
            );
        }
        let shown = format!("{:.4}", row["test_loss"].as_f64().unwrap());
        assert_eq!(table("test loss")[n], shown);
        let config = fs::read_to_string(place.path(&run).join("config.toml")).unwrap();
        assert!(
            config.contains(&format!("\nmodel = \"{kind}\"\n")),
            "{config}"
        );
        // The same as the model alone.
        train(&place, kind, &format!("--model {kind} --epochs 2 --quiet")).ok();
        assert_same_run(&place.path(kind), &place.path(&run));
        assert!(place.path(&run).join("report.html").is_file());
    }
    let page = fs::read_to_string(place.path("all/report.html")).unwrap();
    for kind in KINDS {
        assert!(page.contains(kind), "{kind}");
    }
    // Once more: refused, and with --force replaced.
    train(&place, "all", "--epochs 1").fails(2, &["all/rnn already holds a run", "--resume"]);
    let done = train(&place, "all", "--epochs 1 --force --json --quiet").ok();
    let printed: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(printed, json_of(&place, "all/comparison.json"));
    assert_eq!(
        (&printed[2]["epochs"], done.stderr.as_str()),
        (&1.into(), "")
    );
}

#[test]
fn the_training_loss_is_a_mean_over_tokens() {
    // A rate that changes no weight: the epoch's loss is that of the initial weights, as the
    // validation's on the same pairs. A mean over steps would be another: their batches differ.
    let place = place();
    let flags = "--model lstm --valid train.jsonl --learning-rate 1e-30 --dropout 0 --epochs 1 \
                 --no-shuffle --batch-size 7";
    train(&place, "a", flags).ok();
    let epoch = &events(&place, "a", "epoch")[0];
    let number = |key: &str| epoch[key].as_f64().unwrap();
    // Equal but for the rounding of f32 in sums of a batch.
    assert!(
        (number("train_loss") - number("valid_loss")).abs() < 1e-6,
        "{epoch}"
    );
    assert_eq!(epoch["train_accuracy"], epoch["valid_accuracy"]);
    let steps = events(&place, "a", "step");
    let sum: f64 = steps.iter().map(|s| s["loss"].as_f64().unwrap()).sum();
    let mean = sum / steps.len() as f64;
    assert!(
        (mean - number("valid_loss")).abs() > 1e-4,
        "{mean}: the test shows nothing"
    );
}

#[test]
fn settings_come_from_flags_a_file_and_defaults() {
    let place = place();
    place.write(
        "my.toml",
        "kind = \"seq2seq\"\nmodel = \"rnn\"\nseed = 9\ndropout = 0\n",
    );
    // The file names one model, so --out is its folder.
    train(&place, "a", "--config my.toml --dropout 0.5 --max-steps 0").ok();
    let config = fs::read_to_string(place.path("a/config.toml")).unwrap();
    for line in [
        "model = \"rnn\"",
        "seed = 9",
        "dropout = 0.5",
        "max-source = 30",
        "beam = 1",
    ] {
        assert!(config.lines().any(|l| l == line), "{line}: {config}");
    }
    // A flag wins over it, also for all of them.
    train(&place, "b", "--config my.toml --model lstm --max-steps 0").ok();
    train(&place, "c", "--config my.toml --model all --max-steps 0").ok();
    assert!(place.path("b/last").exists() && place.path("c/attention/last").exists());
    // A run's configuration is itself a configuration file.
    train(&place, "d", "--config a/config.toml").ok();
    assert_same_run(&place.path("a"), &place.path("d"));
    // Where --out is left out.
    let flags = "--train train.jsonl --valid valid.jsonl --test test.jsonl --max-steps 0";
    place
        .run(&format!("train-seq2seq {flags} --model rnn --quiet"))
        .ok();
    assert!(place.path("runs/seq2seq/rnn/last").exists());
}

#[test]
fn weights_are_imported() {
    let place = place();
    train(&place, "a", "--model attention --max-steps 3 --quiet").ok();
    for from in ["a", "a/last", "a/last/model.safetensors"] {
        let flags = format!("--model attention --max-steps 0 --force --init-from {from}");
        train(&place, "b", &flags).ok();
        let model = |run: &str| fs::read(place.path(run).join("last/model.safetensors")).unwrap();
        assert!(model("a") == model("b"), "{from}");
        assert_eq!(state_number(&place.path("b"), "step"), 0);
    }
    // A run lends its vocabularies with its weights; rare tokens that they lack stay unknown.
    place.write("more.jsonl", pairs(9, 5));
    let flags = "--train more.jsonl --model attention --max-steps 1 --init-from a";
    train(&place, "c", flags).fails(3, &["'node'", "raise min-frequency"]);
    train(&place, "c", &format!("{flags} --min-frequency 99")).ok();
    let vocab = |run: &str| fs::read(place.path(run).join("vocab.json")).unwrap();
    assert!(vocab("a") == vocab("c"));
}

#[test]
fn one_step_on_the_emulated_device() {
    let place = place();
    for kind in KINDS {
        let flags = format!("--model {kind} --max-steps 2 --quiet");
        let loss = |device: &str| {
            let out = format!("{kind}-{device}");
            train(&place, &out, &format!("{flags} --device {device}")).ok();
            let steps = events(&place, &out, "step");
            steps
                .iter()
                .map(|s| s["loss"].as_f64().unwrap())
                .collect::<Vec<_>>()
        };
        for (a, b) in loss("cpu").iter().zip(loss("emulated")) {
            // fp16 has 11 bits, in sums of a few dozen terms.
            assert!((a - b).abs() < 5e-3 * a, "{kind}: {a} and {b}");
        }
    }
}
