//! `--init-from`: whichever way weights are named, each row stays the row of its token.

use std::collections::BTreeMap;
use std::fs;

use rnnx::files::tensors::{HostTensor, TensorFile};
use serde_json::{Value, json};

use super::seq2seq;
use super::support::{Place, metrics, python};

/// The tokens of a list of a `vocab.json`.
fn tokens(place: &Place, file: &str, list: &str) -> Vec<String> {
    let text = fs::read_to_string(place.path(file)).unwrap();
    let json: Value = serde_json::from_str(&text).unwrap();
    let tokens = json[list].as_array().unwrap().iter();
    tokens.map(|t| t.as_str().unwrap().to_owned()).collect()
}

fn model(place: &Place, run: &str) -> TensorFile {
    TensorFile::load(&place.path(run).join("last/model.safetensors")).unwrap()
}

fn tensors(place: &Place, run: &str) -> BTreeMap<String, HostTensor> {
    model(place, run).tensors
}

/// The numbers of a tensor's row.
fn row<'a>(file: &'a TensorFile, name: &str, i: usize) -> &'a [f32] {
    let HostTensor { shape, data } = &file.tensors[name];
    let length = data.len() / shape[0];
    &data[i * length..][..length]
}

/// Every token of both lists has the same row, and the lists behind it the rows of `fresh`.
#[track_caller]
fn assert_rows(
    names: &[&str],
    (from, before): (&TensorFile, &[String]),
    (to, after): (&TensorFile, &[String]),
    fresh: &TensorFile,
) {
    for name in names {
        for (i, token) in after.iter().enumerate() {
            let (want, at) = match before.iter().position(|t| t == token) {
                Some(at) => (from, at),
                None => (fresh, i),
            };
            assert_eq!(row(to, name, i), row(want, name, at), "{name}: {token:?}");
        }
    }
}

/// `text.py` with some characters replaced: as many different ones, but others.
fn other_text(place: &Place) {
    let text = python(19).replace('d', "D").replace('x', "q");
    place.write("other.py", text);
}

const ROWS: [&str; 3] = ["embedding.weight", "out.weight", "out.bias"];

#[test]
fn another_vocabulary_of_the_same_size_is_no_silent_mix_up() {
    let place = Place::with_run("a", "--max-steps 2 --quiet");
    other_text(&place);
    let all = python(19) + "Dq";
    place.write("all.py", all);
    for from in ["a", "a/last", "a/last/model.safetensors"] {
        let flags = format!("--corpus other.py --max-steps 0 --init-from {from}");
        let done = place.train("b", &flags);
        done.fails(3, &["a/vocab.json", "lacks 2", "'D' 'q'", "--extend-vocab"]);
        assert!(!place.path("b").exists());
        let done = place.train("b", &format!("{flags} --extend-vocab")).ok();
        let told = "with initial values: 2 of the data's tokens: 'D' 'q'";
        assert!(done.stderr.contains(told), "{}", done.stderr);
        // A fresh model of as many characters.
        place
            .train("fresh", "--corpus all.py --max-steps 0 --force")
            .ok();
        let [before, after] =
            ["a", "b"].map(|run| tokens(&place, &format!("{run}/vocab.json"), "tokens"));
        assert_eq!(after[..before.len()], before);
        assert_eq!(after[before.len()..], ["D", "q"]);
        let [from, to, fresh] = ["a", "b", "fresh"].map(|run| model(&place, run));
        assert_rows(&ROWS, (&from, &before), (&to, &after), &fresh);
        let inner = "lstm.weight_hh_l1";
        assert_eq!(to.tensors[inner], from.tensors[inner]);
        place.run("generate b --prompt Dq --length 5 --quiet").ok();
        place
            .train("b", "--corpus other.py --resume --max-steps 2")
            .ok();
        fs::remove_dir_all(place.path("b")).unwrap();
    }
}

#[test]
fn a_file_keeps_its_vocabulary_as_a_run_does() {
    let place = Place::with_run("a", "--max-steps 1 --quiet");
    // A part of the characters: on its own this text would have a smaller vocabulary.
    place.write("part.py", "def load(x):\n    return x\n".repeat(30));
    // Beside its vocabulary, as somebody else hands it on.
    place
        .sh(
            "mkdir there && cp a/last/model.safetensors a/vocab.json there",
            &[],
        )
        .ok();
    let vocab = |run: &str| fs::read(place.path(run).join("vocab.json")).unwrap();
    for (n, from) in [
        "a/last/model.safetensors",
        "there",
        "there/model.safetensors",
        "a",
    ]
    .iter()
    .enumerate()
    {
        let out = format!("b{n}");
        let flags = format!("--corpus part.py --max-steps 0 --init-from {from}");
        place.train(&out, &flags).ok();
        assert_eq!(vocab("a"), vocab(&out), "{from}");
        assert!(tensors(&place, "a") == tensors(&place, &out), "{from}");
    }
}

#[test]
fn weights_without_a_vocabulary_are_refused() {
    let place = Place::with_run("a", "--max-steps 1 --quiet");
    place
        .sh("cp a/last/model.safetensors alone.safetensors", &[])
        .ok();
    place.sh("cp -rL a/last copy", &[]).ok();
    seq2seq::train(
        seq2seq_files(&place),
        "words",
        "--model rnn --max-steps 0 --quiet",
    )
    .ok();
    for from in ["alone.safetensors", "copy"] {
        let flags = format!("--max-steps 0 --init-from {from}");
        place
            .train("b", &flags)
            .fails(2, &[from, "no vocab.json", "--vocab FILE"]);
        place
            .train("b", &format!("{flags} --vocab none.json"))
            .fails(3, &["none.json", "no such vocabulary"]);
        place
            .train("b", &format!("{flags} --vocab text.py"))
            .fails(3, &["text.py", "not a vocabulary"]);
        place
            .train("b", &format!("{flags} --vocab words/vocab.json"))
            .fails(3, &["words/vocab.json", "seq2seq"]);
        let few = json!({"kind": "char", "tokens": ["a", "b"]}).to_string();
        place.write("few.json", few);
        place
            .train("b", &format!("{flags} --vocab few.json"))
            .fails(
                3,
                &[
                    "few.json",
                    "2 tokens",
                    "embedding.weight",
                    "different models",
                ],
            );
        assert!(!place.path("b").exists());
        place
            .train("b", &format!("{flags} --vocab a/vocab.json"))
            .ok();
        assert!(tensors(&place, "a") == tensors(&place, "b"));
        fs::remove_dir_all(place.path("b")).unwrap();
    }
    for flag in ["--vocab a/vocab.json", "--extend-vocab"] {
        place.train("b", flag).fails(2, &["--init-from"]);
    }
}

fn seq2seq_files(place: &Place) -> &Place {
    for (name, n, seed) in [("train", 22, 1), ("valid", 7, 2), ("test", 5, 3)] {
        place.write(&format!("{name}.jsonl"), seq2seq::pairs(n, seed));
    }
    place
}

#[test]
fn the_order_of_the_vocabulary_is_that_of_the_rows() {
    let place = Place::with_run("a", "--max-steps 3 --quiet");
    let mut file = model(&place, "a");
    let mut order = tokens(&place, "a/vocab.json", "tokens");
    order.reverse();
    for name in ROWS {
        let tensor = file.tensors.get_mut(name).unwrap();
        let length = tensor.data.len() / tensor.shape[0];
        let rows = tensor.data.chunks(length).rev();
        tensor.data = rows.flatten().copied().collect();
    }
    fs::create_dir(place.path("turned")).unwrap();
    file.save(&place.path("turned/model.safetensors")).unwrap();
    let vocab = json!({"kind": "char", "tokens": order}).to_string();
    place.write("turned/vocab.json", vocab);
    let loss = |from: &str| {
        let flags = format!("--dropout 0 --max-steps 1 --force --init-from {from}");
        place.train("b", &flags).ok();
        let line: Value =
            serde_json::from_str(&(metrics(&place.path("b"))[0].clone() + "}")).unwrap();
        line["ce"].as_f64().unwrap()
    };
    let off = (loss("a") - loss("turned")).abs();
    // The same model, whose softmax adds f32 numbers in another order.
    assert!(off < 1e-5, "{off}");
    assert_eq!(tokens(&place, "b/vocab.json", "tokens"), order);
}

#[test]
fn seq2seq_models_have_two_vocabularies() {
    let place = seq2seq::place();
    let flags = "--model attention --max-steps 2 --quiet";
    seq2seq::train(&place, "a", flags).ok();
    let new = seq2seq::pairs(22, 1).replace("file", "fille");
    place.write("new.jsonl", new.replace("x .", "y ."));
    for from in ["a", "a/last", "a/last/model.safetensors"] {
        let flags =
            format!("--model attention --train new.jsonl --max-steps 0 --force --init-from {from}");
        seq2seq::train(&place, "b", &flags).fails(
            3,
            &[
                "a/vocab.json",
                "(source) lacks 1",
                "'fille'",
                "--extend-vocab",
                "min-frequency",
            ],
        );
        let done = seq2seq::train(&place, "b", &format!("{flags} --extend-vocab")).ok();
        for told in [
            "(source), with initial values: 1 ",
            "(target), with initial values: 2 ",
        ] {
            assert!(done.stderr.contains(told), "{}", done.stderr);
        }
        let [from, to] = ["a", "b"].map(|run| model(&place, run));
        for (list, names) in [
            ("source", &["encoder.embedding.weight"][..]),
            (
                "target",
                &["decoder.embedding.weight", "out.weight", "out.bias"],
            ),
        ] {
            let [before, after] =
                ["a", "b"].map(|run| tokens(&place, &format!("{run}/vocab.json"), list));
            assert_eq!(after[..before.len()], before);
            assert!(after.len() > before.len(), "{list}");
            // What is not taken over is not zero.
            assert_rows(names, (&from, &before), (&to, &after), &to);
            for i in before.len()..after.len() {
                assert!(row(&to, names[0], i).iter().all(|x| *x != 0.0), "{list}");
            }
        }
        place.run("translate b load").ok();
        fs::remove_dir_all(place.path("b")).unwrap();
    }
    // Pairs of which nothing is frequent enough to be a word of its own.
    place.write(
        "one.jsonl",
        "{\"docstring\": \"load it\", \"code\": \"q ( z )\"}\n",
    );
    let flags = "--model attention --train one.jsonl --max-steps 1 --init-from a";
    seq2seq::train(&place, "one", flags).ok();
    let vocab = |run: &str| fs::read(place.path(run).join("vocab.json")).unwrap();
    assert_eq!(vocab("a"), vocab("one"));
}

/// A byte and a character of the same number are two things.
#[test]
fn a_vocabulary_of_bytes_takes_no_text_of_characters() {
    let place = Place::new();
    place.write("text.txt", "Grüße über Flüsse\n".repeat(400));
    let flags =
        |charset: &str| format!("--corpus text.txt --charset {charset} --max-steps 1 --quiet");
    place.train("bytes", &flags("bytes")).ok();
    place.train("chars", &flags("unicode")).ok();
    for (from, charset, words) in [
        ("bytes", "unicode", ["one of bytes", "charset bytes"]),
        ("chars", "bytes", ["one of characters", "another charset"]),
    ] {
        let flags = format!("{} --init-from {from} --extend-vocab", flags(charset));
        place.train("new", &flags).fails(3, &words);
    }
    let same = format!("{} --init-from bytes", flags("bytes"));
    place.train("new", &same).ok();
}
