//! `--pretrain`: a decoder that learns code alone, and a run that goes on from it with sources.

use std::fs;

use rnnx::data::python::parses_as_line;
use rnnx::files::tensors::TensorFile;
use serde_json::{Value, json};

use super::seq2seq::{self, events, train, train_args};
use super::support::{Place, Running, assert_same_run, metrics, state_number};

/// Functions that no pair has, as lines of JSON.
fn code(n: usize) -> String {
    let line = |i: usize| {
        let body = " + again ( y )".repeat(i % 3);
        let code = format!("def made{i} ( y ) : yield y [ {i} ]{body}");
        format!("{}\n", json!({ "code": code }))
    };
    (0..n).map(line).collect()
}

fn place() -> Place {
    let place = seq2seq::place();
    place.write("code.jsonl", code(19));
    place
}

/// The flags of a small run of pre-training.
const PRETRAIN: &str = "--pretrain code.jsonl --dropout 0.1";

fn weights(place: &Place, run: &str) -> TensorFile {
    TensorFile::load(&place.path(run).join("model.safetensors")).unwrap()
}

/// Every model: what moves in pre-training, and what the next run begins with.
#[test]
fn the_decoder_learns_and_is_carried_over() {
    let place = place();
    let cases = [
        "--model rnn",
        "--model lstm --num-layers 2",
        "--model gru",
        "--model attention --copy --tie-embeddings",
        "--model transformer --num-heads 2",
    ];
    for (n, flags) in cases.iter().enumerate() {
        let (first, lm, tuned) = (format!("f{n}"), format!("lm{n}"), format!("t{n}"));
        let flags = format!("{flags} --quiet");
        train(&place, &first, &format!("{flags} {PRETRAIN} --max-steps 0")).ok();
        let epochs = "--epochs 1 --pretrain-epochs 3";
        train(&place, &lm, &format!("{flags} {PRETRAIN} {epochs}")).ok();
        let [before, after] = [&first, &lm].map(|run| weights(&place, &format!("{run}/last")));
        for (name, tensor) in &before.tensors {
            let moved = tensor != &after.tensors[name];
            let sources = ["encoder.", "bridge.", "attention.", "copy."];
            if sources.iter().any(|start| name.starts_with(start)) {
                assert!(!moved, "{flags}: {name}");
            } else if ["decoder.embedding.weight", "out.bias"].contains(&name.as_str()) {
                assert!(moved, "{flags}: {name}");
            }
        }
        let epochs = events(&place, &lm, "epoch");
        let loss = |n: usize| epochs[n]["valid_loss"].as_f64().unwrap();
        assert!(loss(2) < loss(0), "{flags}");
        // The run on pairs has its vocabulary, and begins with its best weights.
        train(
            &place,
            &tuned,
            &format!("{flags} --max-steps 0 --init-from {lm}"),
        )
        .ok();
        let best = weights(&place, &format!("{lm}/best"));
        let begun = weights(&place, &format!("{tuned}/last"));
        assert!(best.tensors == begun.tensors, "{flags}");
        let vocab = |run: &str| fs::read(place.path(run).join("vocab.json")).unwrap();
        assert!(vocab(&lm) == vocab(&tuned));
        train(&place, &tuned, &format!("{flags} --resume --max-steps 2")).ok();
        assert_eq!(events(&place, &tuned, "test").len(), 1);
    }
}

#[test]
fn what_is_told_and_kept() {
    let place = place();
    let done = train(&place, "lm", &format!("--model lstm --epochs 2 {PRETRAIN}")).ok();
    for words in [
        "targets: 41 train, 7 valid, 5 test; train.jsonl, valid.jsonl, test.jsonl; 19 of the 19 targets \
         of code.jsonl are new (0 left out",
        "; the limits cut 0 targets to 50 tokens\nunknown tokens: target ",
        "11 steps an epoch of 4 pairs",
        "epoch 2/2  train loss ",
        "  valid loss ",
        "next: rnnx train-seq2seq --init-from lm",
    ] {
        assert!(done.stderr.contains(words), "{words}: {}", done.stderr);
    }
    let loss = events(&place, "lm", "epoch")[1]["valid_loss"]
        .as_f64()
        .unwrap();
    let told = format!("lm: best validation loss {loss:.4} nats a token, without sources\n");
    assert_eq!(done.stdout, told);
    assert!(events(&place, "lm", "test").is_empty());
    let config = fs::read_to_string(place.path("lm/config.toml")).unwrap();
    assert!(config.contains("\npretrain = \"code.jsonl\"\n"), "{config}");
    let page = fs::read_to_string(place.path("lm/report.html")).unwrap();
    assert!(page.contains("pre-training: targets without their sources"));
    // Tokens of the code are in the vocabulary, which those of the pairs alone would not have.
    let vocab = fs::read_to_string(place.path("lm/vocab.json")).unwrap();
    let vocab: Value = serde_json::from_str(&vocab).unwrap();
    let has = |side: &str, word: &str| vocab[side].as_array().unwrap().contains(&json!(word));
    assert!(has("target", "yield") && !has("source", "yield"));
    assert!(has("source", "load") && has("target", "load"));
}

/// Language models are compared by their losses: what a test has of others is not there.
#[test]
fn all_are_compared_by_their_losses() {
    let place = place();
    let flags = format!("--epochs 1 {PRETRAIN}");
    let done = train(&place, "all", &format!("{flags} --json --quiet")).ok();
    let rows: Value = serde_json::from_str(&done.stdout).unwrap();
    let path = place.path("all/comparison.json");
    let file: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(rows, file);
    assert_eq!(rows.as_array().unwrap().len(), 3);
    for (row, model) in rows
        .as_array()
        .unwrap()
        .iter()
        .zip(["rnn", "lstm", "attention"])
    {
        let epochs = events(&place, &format!("all/{model}"), "epoch");
        let expected = json!({
            "model": model,
            "best_valid_loss": epochs[0]["valid_loss"],
            "epochs": 1,
            "seconds": row["seconds"],
        });
        assert_eq!(*row, expected);
        assert!(row["seconds"].is_number());
    }
}

/// Five texts are drawn after each epoch, of the same weights, too, others each time; under the run's grammar.
#[test]
fn texts_are_drawn_after_each_epoch() {
    let place = place();
    let still = "--model lstm --epochs 2 --learning-rate 1e-30 --quiet";
    let texts = |run: &str, flags: &str| {
        train(&place, run, &format!("{still} {PRETRAIN} {flags}")).ok();
        [1, 2].map(|epoch| {
            let path = place.path(&format!("{run}/samples/epoch-{epoch}.txt"));
            let text = fs::read_to_string(path).unwrap();
            let texts = text.strip_suffix('\n').unwrap().split("\n\n");
            texts.map(str::to_owned).collect::<Vec<_>>()
        })
    };
    let [first, second] = texts("free", "");
    assert_eq!((first.len(), second.len()), (5, 5));
    assert_ne!(first, second);
    let lines = texts("held", "--target-tokens python --grammar line").concat();
    for line in &lines {
        assert!(parses_as_line(line), "{line:?}");
    }
    assert_eq!(lines.len(), 10);
}

#[test]
fn a_run_that_was_stopped_has_the_same_bits() {
    let place = place();
    for (n, model) in ["attention --copy", "transformer --num-heads 2"]
        .iter()
        .enumerate()
    {
        let flags = format!("--model {model} {PRETRAIN} --quiet");
        let (whole, parts) = (format!("whole{n}"), format!("parts{n}"));
        train(&place, &whole, &format!("{flags} --max-steps 14")).ok();
        train(&place, &parts, &format!("{flags} --max-steps 5")).ok();
        // It knows its code and its mode without being told.
        let more = format!("train-seq2seq --out {parts} --resume --quiet --max-steps");
        place.run(&format!("{more} 11")).ok();
        place.run(&format!("{more} 14")).ok();
        assert_same_run(&place.path(&whole), &place.path(&parts));
    }
}

#[cfg(unix)]
#[test]
fn one_that_was_interrupted_goes_on() {
    let place = place();
    let flags = format!("--model lstm --epochs 100000 {PRETRAIN}");
    let mut run = Running::of(&place, "log", &train_args("cut", &flags));
    run.wait_for("epoch 2/");
    run.interrupt("cut");
    let steps = state_number(&place.path("cut"), "step") + 3;
    let flags = format!("{flags} --max-steps {steps} --quiet");
    train(&place, "cut", &format!("{flags} --resume")).ok();
    train(&place, "whole", &flags).ok();
    assert_same_run(&place.path("whole"), &place.path("cut"));
}

#[test]
fn with_other_code_or_without_it_is_another_run() {
    let place = place();
    train(
        &place,
        "lm",
        &format!("--model lstm --max-steps 2 --quiet {PRETRAIN}"),
    )
    .ok();
    let before = metrics(&place.path("lm"));
    place.write("code.jsonl", code(18));
    let resume = "train-seq2seq --out lm --resume --max-steps 3";
    place
        .run(resume)
        .fails(3, &["code.jsonl", "not those that the run began with"]);
    fs::remove_file(place.path("code.jsonl")).unwrap();
    place.run(resume).fails(3, &["code.jsonl", "pretrain"]);
    assert_eq!(metrics(&place.path("lm")), before);
    // Nor does a run on pairs become one.
    train(&place, "pairs", "--model lstm --max-steps 1 --quiet").ok();
    place.write("code.jsonl", code(18));
    let done = train(
        &place,
        "pairs",
        "--model lstm --resume --max-steps 2 --pretrain code.jsonl",
    );
    done.fails(3, &["not those that the run began with"]);
}

#[test]
fn code_that_cannot_be_used() {
    let place = place();
    let refuse = |name: &str, text: &str, words: &[&str]| {
        place.write(name, text);
        let flags = format!("--model lstm --max-steps 1 --pretrain {name}");
        train(&place, "no", &flags).fails(3, words);
        assert!(!place.path("no").exists());
    };
    refuse("empty.jsonl", "", &["empty.jsonl", "no pairs"]);
    refuse(
        "other.jsonl",
        "{\"text\": \"x\"}\n",
        &["other.jsonl:1", "no field \"code\""],
    );
    refuse(
        "bad.jsonl",
        "def f(): pass\n",
        &["bad.jsonl:1", "broken JSON"],
    );
    let test = fs::read_to_string(place.path("test.jsonl")).unwrap();
    let words = ["seen.jsonl: all of its 5 targets are left out", "--code"];
    refuse("seen.jsonl", &test, &words);
    // What else there is does.
    place.write("some.jsonl", test + &code(4));
    let flags = "--model lstm --max-steps 1 --pretrain some.jsonl";
    let done = train(&place, "lm", flags).ok();
    let told = "; 4 of the 9 targets of some.jsonl are new (5 left out";
    assert!(done.stderr.contains(told), "{}", done.stderr);
}

#[test]
fn a_language_model_answers_nothing() {
    let place = place();
    train(
        &place,
        "lm",
        &format!("--model attention --max-steps 1 --quiet {PRETRAIN}"),
    )
    .ok();
    for command in [
        "translate lm load",
        "eval lm",
        "score lm --source load --target x",
        "export lm --format torch -o no.safetensors",
    ] {
        let words = ["lm is the pre-training of a decoder", "--init-from"];
        place.run(command).fails(2, &words);
    }
    place.run("report lm").ok();
    place.run("inspect lm/last/model.safetensors").ok();
}

/// From Python files to a model, with the flags that the manual names.
#[test]
fn prepared_code_is_learned() {
    let place = Place::new();
    let function = |i: usize| {
        format!(
            "def f{i}(x):\n    \"\"\"Do {i}.\"\"\"\n    return x + {i}\n\n\
             def g{i}(y):\n    return [y, {i}]\n\n"
        )
    };
    place.write("code.py", (0..12).map(function).collect::<String>());
    let told = place
        .run("data prepare code.py --code --out pairs")
        .ok()
        .stdout;
    // Two pairs are held out: with the numbers and names of others they are near none.
    assert!(
        told.contains("code             22       pairs/code.jsonl.gz\n"),
        "{told}"
    );
    place
        .run("data prepare code.py --code --out pairs")
        .fails(2, &["pairs/train.jsonl.gz is there already"]);
    fs::remove_file(place.path("pairs/train.jsonl.gz")).unwrap();
    fs::remove_file(place.path("pairs/valid.jsonl.gz")).unwrap();
    fs::remove_file(place.path("pairs/test.jsonl.gz")).unwrap();
    place
        .run("data prepare code.py --code --out pairs")
        .fails(2, &["pairs/code.jsonl.gz is there already"]);
    let done = place
        .run("data prepare code.py --code --out pairs --force --json")
        .ok();
    let all: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(
        (&all["code"], &all["out"][3]),
        (&json!(22), &json!("pairs/code.jsonl.gz"))
    );
    place
        .run("data prepare code.py --task text --code --out no")
        .fails(2, &["--code is about pairs"]);
    let splits = ["train", "valid", "test"].map(|s| format!("--{s} pairs/{s}.jsonl.gz"));
    let flags = "--model gru --min-frequency 1 --hidden-size 5 --embedding-dim 4 --max-steps 2 --quiet \
                 --target-tokens python --source both";
    let run = |out: &str, more: &str| {
        let splits = splits.join(" ");
        place
            .run(&format!(
                "train-seq2seq {splits} {flags} --out {out} {more}"
            ))
            .ok();
    };
    run("lm", "--pretrain pairs/code.jsonl.gz");
    run("tuned", "--init-from lm");
    assert_eq!(events(&place, "tuned", "test").len(), 1);
}
