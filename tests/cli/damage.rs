//! Damaged and foreign checkpoints, and failed writes.

use std::fs;

use rnnx::files::tensors::TensorFile;

use super::support::{Place, age, assert_same_run, python, snapshot, state_number};

// ---- checkpoints ---------------------------------------------------------------------------

/// Spoils a file of the run `a` and expects that a command refuses it and changes nothing.
fn spoiled(file: &str, spoil: impl Fn(Vec<u8>) -> Vec<u8>, commands: &[&str], words: &[&str]) {
    let place = Place::with_run("a", "--epochs 1 --quiet");
    spoiled_in(&place, file, spoil, commands, words);
}

/// The same with a run of an older version, whose files have no checksums.
fn old_and_spoiled(
    file: &str,
    spoil: impl Fn(Vec<u8>) -> Vec<u8>,
    commands: &[&str],
    words: &[&str],
) {
    let place = Place::with_run("a", "--epochs 1 --quiet");
    age(&place.path("a"));
    spoiled_in(&place, file, spoil, commands, words);
}

fn spoiled_in(
    place: &Place,
    file: &str,
    spoil: impl Fn(Vec<u8>) -> Vec<u8>,
    commands: &[&str],
    words: &[&str],
) {
    let path = place.path("a").join(file);
    fs::write(&path, spoil(fs::read(&path).unwrap())).unwrap();
    let before = snapshot(&place.path("a"));
    for command in commands {
        let command = command.replace(
            "TRAIN",
            "train-charlm --corpus text.py --valid-fraction 0.1 \
            --embedding-dim 8 --hidden-size 16 --seq-length 16 --batch-size 4",
        );
        place.run(&command).fails(3, words);
        assert!(snapshot(&place.path("a")) == before, "{command}");
        assert!(!place.path("b").exists(), "{command}");
    }
}

const RESUME: &str = "train-charlm --out a --resume --epochs 5";
const INIT: &str = "TRAIN --out b --init-from a";
const INIT_FILE: &str = "TRAIN --out b --init-from a/last/model.safetensors";
const GENERATE: &str = "generate a --prompt def";
const INSPECT: &str = "inspect a/last/model.safetensors";
const READERS: &[&str] = &[RESUME, INIT, INIT_FILE, GENERATE];

#[test]
fn a_truncated_checkpoint() {
    let cut = |bytes: Vec<u8>| bytes[..bytes.len() - 100].to_vec();
    let all: Vec<&str> = READERS.iter().chain(&[INSPECT]).copied().collect();
    spoiled(
        "last/model.safetensors",
        cut,
        &all,
        &["model.safetensors", "truncated"],
    );
    spoiled(
        "last/optimizer.safetensors",
        cut,
        &[RESUME],
        &["optimizer.safetensors", "truncated"],
    );
    spoiled(
        "last/state.json",
        cut,
        &[RESUME],
        &["state.json", "damaged"],
    );
}

#[test]
fn a_checkpoint_with_a_flipped_bit() {
    let flip = |mut bytes: Vec<u8>| {
        let at = bytes.len() - 77;
        bytes[at] ^= 4;
        bytes
    };
    spoiled(
        "last/model.safetensors",
        flip,
        READERS,
        &["model.safetensors", "SHA-256", "copy"],
    );
    spoiled(
        "last/optimizer.safetensors",
        flip,
        &[RESUME],
        &["optimizer.safetensors", "SHA-256"],
    );
    // A digit of a counter.
    let digit = |bytes: Vec<u8>| {
        let text = String::from_utf8(bytes).unwrap();
        text.replace("\"step_in_epoch\": 0", "\"step_in_epoch\": 9")
            .into()
    };
    spoiled(
        "last/state.json",
        digit,
        &[RESUME, INIT, GENERATE],
        &["state.json", "SHA-256", "damaged"],
    );
    old_and_spoiled(
        "last/state.json",
        digit,
        &[RESUME],
        &["state.json", "step_in_epoch 9", "damaged"],
    );
    let token = |bytes: Vec<u8>| {
        let text = String::from_utf8(bytes).unwrap();
        text.replace("\"d\"", "\"D\"").into()
    };
    spoiled(
        "vocab.json",
        token,
        &[RESUME, INIT, GENERATE, "eval a"],
        &["vocab.json", "SHA-256", "restore"],
    );
}

#[test]
fn a_foreign_checkpoint() {
    let text = |_| b"PK\x03\x04 this is a torch file, not a safetensors file".to_vec();
    spoiled(
        "last/model.safetensors",
        text,
        READERS,
        &["not a safetensors file"],
    );
    let words = |_| b"{\"kind\":\"words\",\"source\":[\"<PAD>\"],\"target\":[\"<PAD>\"]}".to_vec();
    let commands = [RESUME, INIT, GENERATE];
    old_and_spoiled(
        "vocab.json",
        words,
        &commands,
        &["vocab.json", "seq2seq", "character LM"],
    );
    spoiled(
        "vocab.json",
        |_| b"{]".to_vec(),
        &commands,
        &["vocab.json", "damaged"],
    );
    let seq2seq = |bytes: Vec<u8>| {
        let text = String::from_utf8(bytes).unwrap();
        text.replace("\"charlm\"", "\"seq2seq\"").into()
    };
    old_and_spoiled(
        "last/state.json",
        seq2seq,
        &[RESUME],
        &["state.json", "`seq2seq`"],
    );
    let newer = |bytes: Vec<u8>| {
        let text = String::from_utf8(bytes).unwrap();
        text.replace("\"format_version\": 2", "\"format_version\": 9")
            .into()
    };
    spoiled(
        "last/state.json",
        newer,
        &[RESUME],
        &["state.json", "format version 9"],
    );
}

/// Changes the tensors of a safetensors file, whose checksum is then right.
fn retensor(change: impl Fn(&mut TensorFile)) -> impl Fn(Vec<u8>) -> Vec<u8> {
    move |bytes| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        fs::write(&path, bytes).unwrap();
        let mut file = TensorFile::load(&path).unwrap();
        change(&mut file);
        file.save(&path).unwrap();
        fs::read(&path).unwrap()
    }
}

#[test]
fn a_checkpoint_of_another_model() {
    let model = "last/model.safetensors";
    let missing = retensor(|f| drop(f.tensors.remove("out.bias").unwrap()));
    spoiled(model, missing, READERS, &["out.bias", "missing"]);
    let turned = retensor(|f| f.tensors.get_mut("out.weight").unwrap().shape.reverse());
    let shapes = ["out.weight", "[16, 32]", "[32, 16]"];
    spoiled(model, &turned, &[RESUME, GENERATE], &shapes);
    let rows = ["vocab.json", "32 tokens", "out.weight", "16 rows"];
    spoiled(model, &turned, &[INIT, INIT_FILE], &rows);
    let more = retensor(|f| {
        let bias = f.tensors["out.bias"].clone();
        f.tensors.insert("encoder.bias".into(), bias);
    });
    spoiled(
        model,
        more,
        &[RESUME, INIT, INIT_FILE],
        &["encoder.bias", "another model"],
    );
    let moments = retensor(|f| drop(f.tensors.remove("v.out.bias").unwrap()));
    spoiled(
        "last/optimizer.safetensors",
        moments,
        &[RESUME],
        &["v.out.bias", "missing"],
    );
    for value in [f32::NAN, f32::INFINITY] {
        let bad = retensor(move |f| f.tensors.get_mut("out.bias").unwrap().data[3] = value);
        spoiled(
            model,
            bad,
            READERS,
            &["out.bias", &value.to_string(), "index 3", "diverged"],
        );
    }
}

#[test]
fn another_vocabulary_or_corpus() {
    let fewer = |bytes: Vec<u8>| {
        let mut vocab: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        vocab["tokens"].as_array_mut().unwrap().pop();
        vocab.to_string().into()
    };
    old_and_spoiled("vocab.json", fewer, &[RESUME, INIT], &["vocabulary"]);
    old_and_spoiled(
        "vocab.json",
        fewer,
        &[GENERATE],
        &["vocab.json", "31 tokens", "32 rows"],
    );
    // The corpus of a run has changed.
    let place = Place::with_run("a", "--max-steps 2 --quiet");
    let before = snapshot(&place.path("a"));
    place.write("text.py", python(19).replace("def load_4", "def LOAD_4"));
    place.train("a", "--resume").fails(
        3,
        &[
            "the text of text.py is not the one",
            "restore it",
            "--init-from a/",
        ],
    );
    assert!(snapshot(&place.path("a")) == before);
    // Weights of a file whose vocabulary lacks a character of the text.
    place.write("text.py", python(19) + "Q\n");
    place
        .train("b", "--init-from a/last/model.safetensors")
        .fails(3, &["a/vocab.json", "lacks 1", "'Q'", "--extend-vocab"]);
    place
        .train("b", "--init-from none.safetensors")
        .fails(3, &["none.safetensors", "no such file or run"]);
    assert!(!place.path("b").exists());
}

// ---- saving --------------------------------------------------------------------------------

/// Runs the rest of `$@` with files of at most `$1` blocks; beyond that writing fails.
const LIMITED: &str = "trap '' XFSZ; ulimit -f $1; shift; exec \"$0\" \"$@\"";

#[test]
fn a_full_disk_while_saving_leaves_the_last_checkpoint() {
    let flags = "--dropout 0.2 --quiet";
    let place = Place::with_run("a", &format!("{flags} --max-steps 3"));
    let before = snapshot(&place.path("a/checkpoints"));
    let more = format!("{flags} --max-steps 6 --resume");
    let model = fs::metadata(place.path("a/last/model.safetensors")).unwrap();
    assert!(model.len() > 16 << 10, "larger than the limit below");
    // 16 blocks are 8 or 16 KiB: room for the small files.
    let limited = [&["16"], &super::support::train_args("a", &more)[..]].concat();
    place.sh(LIMITED, &limited).fails(
        1,
        &[
            "cannot write a/checkpoints/step-6/model.safetensors",
            "File too large",
        ],
    );
    assert_eq!(state_number(&place.path("a"), "step"), 3);
    assert!(snapshot(&place.path("a/checkpoints")) == before);
    // With room again, the run goes on as if nothing had been.
    place.train("a", &more).ok();
    place.train("b", &format!("{flags} --max-steps 6")).ok();
    assert_same_run(&place.path("a"), &place.path("b"));
    // No room for anything: the configuration cannot be written.
    let limited = [&["0"], &super::support::train_args("c", flags)[..]].concat();
    place
        .sh(LIMITED, &limited)
        .fails(1, &["cannot write c/config.toml"]);
    place.train("c", &format!("{flags} --max-steps 1")).ok();
}

#[test]
fn folders_that_cannot_be_written() {
    let place = Place::with_run("a", "--max-steps 3 --quiet");
    place
        .train("text.py/run", "")
        .fails(1, &["text.py/run", "Not a directory"]);
    place
        .run("report a --out none/deeper/page.html")
        .fails(1, &["none/deeper/page.html"]);
    // A file stands where the checkpoints go.
    place.train("b", "--max-steps 0 --quiet").ok();
    fs::remove_file(place.path("b/last")).unwrap();
    fs::remove_dir_all(place.path("b/checkpoints")).unwrap();
    place.write("b/checkpoints", "");
    place
        .train("b", "--resume")
        .fails(1, &["b/checkpoints: Not a directory"]);
    // Nobody but root may write here; root may, so there is nothing to see then.
    let root = place.sh("id -u", &[]).stdout.trim() == "0";
    if !root {
        let before = snapshot(&place.path("a"));
        place.sh("chmod -R a-w a", &[]).ok();
        let done = place.train("a", "--resume --max-steps 5");
        place.sh("chmod -R u+w a", &[]).ok();
        done.fails(1, &["cannot", "a/", "Permission denied"]);
        assert!(snapshot(&place.path("a")) == before);
    }
    // Results that cannot be written.
    for command in [
        "doctor",
        "generate a --quiet",
        "data stats --corpus text.py",
        "inspect a",
    ] {
        let script = format!("exec \"$0\" {command} > /dev/full");
        place
            .sh(&script, &[])
            .fails(1, &["cannot write", "No space left"]);
    }
}

#[test]
fn times_that_no_clock_shows_do_not_end_the_program() {
    let place = Place::with_run("a", "--max-steps 2 --quiet");
    age(&place.path("a"));
    let path = place.path("a/last/state.json");
    let state = fs::read_to_string(&path).unwrap();
    let line = state
        .lines()
        .find(|l| l.contains("elapsed_seconds"))
        .unwrap();
    for seconds in ["-5.0", "1e40"] {
        fs::write(
            &path,
            state.replace(line, &format!("  \"elapsed_seconds\": {seconds},")),
        )
        .unwrap();
        place
            .train("a", "--resume --max-steps 3")
            .fails(3, &["state.json", "damaged"]);
    }
    fs::write(&path, &state).unwrap();
    let log = place.path("a/metrics.jsonl");
    let epoch = r#"{"event":"epoch","epoch":0,"step":1,"train_loss":1,"train_accuracy":1,"valid_loss":1,"valid_accuracy":1,"seconds":1e30}"#;
    let text = fs::read_to_string(&log).unwrap();
    fs::write(&log, format!("{epoch}\n{text}")).unwrap();
    place.train("a", "--resume --max-steps 3 --quiet").ok();
}
