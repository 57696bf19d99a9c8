//! What `rnnx translate` refuses: nothing is printed, drawn or changed.

use std::fs;

use rnnx::files::tensors::TensorFile;
use serde_json::Value;

use super::seq2seq::train;
use super::support::{age, snapshot};
use super::translate::{begun, piped, retensor, translate};

#[test]
fn a_picture_that_cannot_be_drawn() {
    for kind in ["rnn", "lstm"] {
        let place = begun(kind, "");
        let words = ["--attention", kind, "--model attention"];
        translate(&place, "load", "--attention map.svg").fails(2, &words);
        assert!(!place.path("map.svg").exists());
    }
    let place = begun("attention", "");
    let done = piped(&place, " \n", "--attention map.svg");
    done.fails(2, &["line 1 of standard input is empty"]);
    let done = piped(&place, "load\nscan", "--attention map.svg");
    assert_eq!(done.stdout, "");
    done.fails(2, &["--attention", "several lines", "TEXT"]);
    assert!(!place.path("map.svg").exists());
}

#[test]
fn more_hypotheses_than_there_are() {
    let place = begun("rnn", "");
    let words = ["--n-best 5 of --beam 3", "give --beam 5"];
    translate(&place, "load", "--beam 3 --n-best 5").fails(2, &words);
    translate(&place, "load", "--n-best 2").fails(2, &["--beam"]);
    translate(&place, "load", "--beam 2 --length-penalty -1").fails(2, &["--length-penalty"]);
}

#[test]
fn input_that_holds_nothing() {
    let place = begun("rnn", "");
    for text in ["", " \t", "\n\n"] {
        translate(&place, text, "").fails(2, &["the text is empty", "nothing to translate"]);
    }
    // A blank line among others has a blank answer, so that the lines stay in step.
    let done = piped(&place, "load\n \nload\n\n", "").ok();
    let lines: Vec<&str> = done.stdout.split('\n').collect();
    assert_eq!(lines, [lines[0], "", lines[0], "", ""]);
    let note = "note: line 2 of standard input: it is blank, and so is its answer\n";
    assert!(done.stderr.contains(note), "{}", done.stderr);
    let done = piped(&place, "\n", "--json --quiet").ok();
    let object: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(object["prediction"], Value::Array(Vec::new()));
    assert_eq!(
        (&object["docstring"], done.stderr.as_str()),
        (&"".into(), "")
    );
    piped(&place, "", "").fails(2, &["standard input is empty", "TEXT"]);
    place
        .run("translate a")
        .fails(2, &["standard input is empty"]);
    let done = piped(&place, "load\nsc\\377an\n", "--quiet");
    assert_eq!(done.stdout.lines().count(), 1);
    done.fails(
        3,
        &["line 2 of standard input", "byte 3 is not UTF-8", "iconv"],
    );
}

#[test]
fn flags_out_of_range() {
    let place = begun("rnn", "");
    for (flag, values) in [
        ("--beam", ["0", "-1", "nan", "1001"]),
        ("--max-length", ["0", "-1", "nan", "10001"]),
        ("--threads", ["0", "-1", "nan", "99999999"]),
    ] {
        for value in values {
            let done = translate(&place, "load", &format!("{flag} {value}"));
            done.fails(2, &[flag, &format!("'{value}'"), "give a "]);
        }
    }
    translate(&place, "load", "--device cuda").fails(4, &["device cuda", "device cpu"]);
    translate(&place, "load", "--precision fp16").fails(2, &["precision fp16", "fp32"]);
    place.run("translate a load the file").fails(2, &["'the'"]);
    place.run("translate").fails(2, &["<RUN>"]);
    let help = place.run("translate --help").ok().stdout;
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        help.contains("auto is the CPU, as sources come one at a time [default: auto]"),
        "{help}"
    );
}

#[test]
fn runs_that_are_none() {
    let place = begun("lstm", "");
    place.train("chars", "--max-steps 1 --quiet").ok();
    train(&place, "three", "--max-steps 0 --quiet").ok();
    let refuse = |run: &str, words: &[&str]| {
        place.run(&format!("translate {run} load")).fails(3, words);
    };
    refuse("none", &["none: no such run", "train one"]);
    refuse("text.py", &["text.py"]);
    refuse("chars", &["chars/vocab.json", "character LM", "seq2seq"]);
    refuse("chars/last", &["vocab.json", "character LM", "seq2seq"]);
    refuse(
        "three",
        &[
            "three: is not the folder of a run",
            "attention, lstm, rnn",
            "name one",
        ],
    );
    place.run("translate three/rnn load").ok();
    place.sh("cp -rL a/last alone", &[]).ok();
    refuse("alone", &["alone", "outside of its run"]);
}

#[test]
fn runs_that_are_damaged() {
    let place = begun("attention", "");
    // As an older version left it: what has no checksum is looked at all the more.
    age(&place.path("a"));
    let spoiled = |file: &str, spoil: &dyn Fn(Vec<u8>) -> Vec<u8>, words: &[&str]| {
        let path = place.path("a").join(file);
        let good = fs::read(&path).unwrap();
        fs::write(&path, spoil(good.clone())).unwrap();
        let before = snapshot(&place.path("a"));
        let done = translate(&place, "load", "--attention map.svg");
        assert_eq!(done.stdout, "");
        done.fails(3, words);
        assert!(snapshot(&place.path("a")) == before && !place.path("map.svg").exists());
        fs::write(&path, good).unwrap();
    };
    let model = "last/model.safetensors";
    let cut = |bytes: Vec<u8>| bytes[..bytes.len() - 100].to_vec();
    spoiled(model, &cut, &["model.safetensors", "truncated"]);
    let flip = |mut bytes: Vec<u8>| {
        *bytes.last_mut().unwrap() ^= 4;
        bytes
    };
    spoiled(model, &flip, &["model.safetensors", "SHA-256"]);
    spoiled("vocab.json", &cut, &["vocab.json", "damaged"]);
    for (side, name) in [("source", "encoder"), ("target", "decoder")] {
        let fewer = |bytes: Vec<u8>| {
            let mut vocab: Value = serde_json::from_slice(&bytes).unwrap();
            vocab[side].as_array_mut().unwrap().pop();
            vocab.to_string().into()
        };
        let name = format!("{name}.embedding.weight");
        let words = ["vocab.json", side, &name, "different models", "restore"];
        spoiled("vocab.json", &fewer, &words);
    }
    let other = |bytes: Vec<u8>| {
        let text = String::from_utf8(bytes).unwrap();
        text.replace("hidden-size = 10", "hidden-size = 11").into()
    };
    spoiled(
        "config.toml",
        &other,
        &["encoder.rnn.weight_ih_l0", "[40, 6]", "[44, 6]"],
    );
    for value in [f32::NAN, f32::INFINITY] {
        let holds = move |bytes: Vec<u8>| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("x.safetensors");
            fs::write(&path, bytes).unwrap();
            let mut file = TensorFile::load(&path).unwrap();
            file.tensors.get_mut("out.bias").unwrap().data[5] = value;
            file.save(&path).unwrap();
            fs::read(&path).unwrap()
        };
        spoiled(
            model,
            &holds,
            &["model.safetensors", "`out.bias`", "index 5", "diverged"],
        );
    }
    translate(&place, "load", "").ok();
    // Finite weights, and logits that are none.
    retensor(&place, "out.weight", |w| w.fill(3e38));
    for beam in ["", "--beam 3"] {
        let done = translate(&place, "load", beam);
        assert_eq!(done.stdout, "");
        done.fails(3, &["not finite numbers", "diverged"]);
    }
}

#[test]
fn results_that_nobody_reads() {
    let place = begun("rnn", "");
    // Without an end of its input, only the reader's going ends the work; `timeout` ends a failure.
    let script = "yes load | (timeout 60 \"$0\" translate a --quiet; echo $? >code) | head -n 2; \
                  cat code";
    let done = place.sh(script, &[]).ok();
    assert_eq!(done.stdout.lines().count(), 3);
    assert!(done.stdout.ends_with("\n0\n"), "{}", done.stdout);
    place
        .sh("exec \"$0\" translate a load >/dev/full", &[])
        .fails(1, &["cannot write", "No space left"]);
    place
        .sh("exec \"$0\" translate a tin 2>/dev/full", &[])
        .ok();
}
