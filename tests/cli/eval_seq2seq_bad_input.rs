//! What `rnnx eval` refuses of a seq2seq run.

use std::fs;

use rnnx::files::tensors::TensorFile;
use serde_json::Value;

use super::eval_seq2seq::{begun, eval};
use super::seq2seq::{pairs, train};
use super::support::age;

#[test]
fn pairs_that_moved_or_changed() {
    let place = begun("rnn");
    for file in ["train.jsonl", "valid.jsonl", "test.jsonl"] {
        let good = fs::read(place.path(file)).unwrap();
        fs::remove_file(place.path(file)).unwrap();
        place
            .run("eval a")
            .fails(3, &[file, "no such file", "restore it", "--pairs"]);
        place.write(file, pairs(6, 5));
        place.run("eval a --split valid").fails(
            3,
            &[
                "train.jsonl, valid.jsonl, test.jsonl",
                "SHA-256",
                "restore them",
                "--pairs",
            ],
        );
        place.write(file, good);
    }
    eval(&place, "");
    place.write(
        "bad.jsonl",
        "{\"docstring\": \"a\", \"code\": \"b\"}\n{\"docstring\": 1\n",
    );
    place
        .run("eval a --pairs bad.jsonl")
        .fails(3, &["bad.jsonl:2", "broken JSON"]);
    place.write("empty.jsonl", "\n");
    place
        .run("eval a --pairs empty.jsonl")
        .fails(3, &["empty.jsonl", "no pairs"]);
    place
        .run("eval a --pairs none.jsonl")
        .fails(3, &["none.jsonl", "no such file"]);
}

#[test]
fn flags_that_do_not_fit() {
    let place = begun("rnn");
    place
        .run("eval a --corpus text.py")
        .fails(2, &["--corpus", "seq2seq", "--pairs FILE.jsonl"]);
    for word in ["train", "tset", "Valid"] {
        let shown = format!("'{word}'");
        let done = place.run(&format!("eval a --split {word}"));
        done.fails(2, &["--split", &shown, "valid, test"]);
    }
    place
        .run("eval a --split valid --pairs test.jsonl")
        .fails(2, &["--split", "--pairs"]);
    for (flag, values) in [
        ("--beam", ["0", "-1", "nan", "1001"]),
        ("--batch-size", ["0", "-1", "nan", "99999999999"]),
    ] {
        for value in values {
            let done = place.run(&format!("eval a {flag} {value}"));
            done.fails(2, &[flag, &format!("'{value}'"), "give a "]);
        }
    }
    place
        .run("eval a --device cuda")
        .fails(4, &["device cuda", "device cpu"]);
    train(&place, "three", "--max-steps 0 --quiet").ok();
    place
        .run("eval three")
        .fails(3, &["three", "attention, lstm, rnn", "name one"]);
}

#[test]
fn checkpoints_that_are_damaged() {
    let place = begun("lstm");
    // As an older version left it: what has no checksum is looked at all the more.
    age(&place.path("a"));
    let spoiled = |file: &str, spoil: &dyn Fn(Vec<u8>) -> Vec<u8>, words: &[&str]| {
        let path = place.path("a").join(file);
        let good = fs::read(&path).unwrap();
        fs::write(&path, spoil(good.clone())).unwrap();
        let done = place.run("eval a --json --predictions p.jsonl");
        assert_eq!(done.stdout, "");
        done.fails(3, words);
        assert!(!place.path("p.jsonl").exists());
        fs::write(&path, good).unwrap();
    };
    let cut = |bytes: Vec<u8>| bytes[..bytes.len() - 100].to_vec();
    spoiled(
        "last/model.safetensors",
        &cut,
        &["model.safetensors", "truncated"],
    );
    spoiled("last/state.json", &cut, &["state.json", "damaged"]);
    spoiled("vocab.json", &cut, &["vocab.json", "damaged"]);
    let charlm = |bytes: Vec<u8>| {
        let text = String::from_utf8(bytes).unwrap();
        text.replace("\"seq2seq\"", "\"charlm\"").into()
    };
    spoiled("last/state.json", &charlm, &["state.json", "`charlm`"]);
    let more = |bytes: Vec<u8>| {
        let mut vocab: Value = serde_json::from_slice(&bytes).unwrap();
        vocab["target"].as_array_mut().unwrap().push("zebra".into());
        vocab.to_string().into()
    };
    spoiled(
        "vocab.json",
        &more,
        &["vocab.json", "decoder.embedding.weight", "restore"],
    );
    // Weights that are numbers, and a loss that is none.
    let huge = |bytes: Vec<u8>| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        fs::write(&path, bytes).unwrap();
        let mut file = TensorFile::load(&path).unwrap();
        file.tensors.get_mut("out.weight").unwrap().data.fill(3e38);
        file.tensors
            .get_mut("decoder.rnn.bias_ih_l0")
            .unwrap()
            .data
            .fill(20.0);
        file.save(&path).unwrap();
        fs::read(&path).unwrap()
    };
    let words = ["model.safetensors", "not a finite number", "diverged"];
    spoiled("last/model.safetensors", &huge, &words);
    eval(&place, "");
}

#[test]
fn results_that_cannot_be_written() {
    let place = begun("rnn");
    for flags in ["", "--json"] {
        place
            .sh(&format!("exec \"$0\" eval a {flags} >/dev/full"), &[])
            .fails(1, &["cannot write", "No space left"]);
        place
            .sh(&format!("exec \"$0\" eval a {flags} 2>/dev/full"), &[])
            .ok();
    }
}
