//! What reaches a terminal: no escape of others, and plain lines where it can draw nothing.

use std::fs::{self, File};
use std::io::{Cursor, Read, Write};
use std::process::{Command, Stdio};

use nix::pty::openpty;
use rnnx::files::tensors::{HostTensor, TensorFile};
use serde_json::{Value, json};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::seq2seq;
use super::support::{Place, age, train_args};

/// Sets a terminal's title, clears it, and turns the direction of writing: as C0, C1 and bidi.
const HOSTILE: &str = "\x1b]0;pwned\x07\u{9b}2J\u{202e}";
/// The same as it is shown.
const SHOWN: &str = r"\u001b]0;pwned\u0007\u009b2J\u202e";

fn on_terminal(place: &Place, term: Option<&str>, args: &[&str]) -> (Option<i32>, String) {
    watch(place.command(args), term)
}

/// The exit code, and all that a terminal gets of a program that writes both its outputs to it.
fn watch(mut command: Command, term: Option<&str>) -> (Option<i32>, String) {
    let pty = openpty(None, None).unwrap();
    match term {
        Some(term) => command.env("TERM", term),
        None => command.env_remove("TERM"),
    };
    command.stdout(Stdio::from(pty.slave.try_clone().unwrap()));
    command.stderr(Stdio::from(pty.slave));
    let mut child = command.spawn().unwrap();
    // Our ends of the terminal: nobody but the child holds it now.
    drop(command);
    let (mut terminal, mut bytes, mut piece) = (File::from(pty.master), Vec::new(), [0; 4096]);
    // Linux tells the end of a terminal by an error.
    while let Ok(n @ 1..) = terminal.read(&mut piece) {
        bytes.extend_from_slice(&piece[..n]);
    }
    let code = child.wait().unwrap().code();
    (code, String::from_utf8(bytes).unwrap())
}

/// Nothing of [`HOSTILE`] is in the text as it was, and all of it is shown.
#[track_caller]
fn assert_harmless(text: &str) {
    for obeyed in ["\x1b]", "\x07", "\u{9b}", "\u{202e}"] {
        assert!(!text.contains(obeyed), "{obeyed:?} in {text:?}");
    }
    // TOML writes its digits with capital letters.
    let (text, shown) = (text.to_lowercase(), SHOWN.to_lowercase());
    assert!(text.contains(&shown), "{text:?}");
}

/// Runs the program on a terminal and in pipes: neither gets an escape.
#[track_caller]
fn harmless(place: &Place, code: i32, args: &[&str]) {
    let (ended, text) = on_terminal(place, Some("xterm"), args);
    assert_eq!(ended, Some(code), "{text}");
    assert_harmless(&text);
    let done = place.run_args(args);
    assert_eq!(done.code, Some(code), "{}", done.stderr);
    assert_harmless(&format!("{}{}", done.stdout, done.stderr));
}

// ---- foreign text --------------------------------------------------------------------------

#[test]
fn tensor_names_and_metadata() {
    let place = Place::new();
    let mut file = TensorFile::new();
    let tensor = HostTensor {
        shape: vec![1],
        data: vec![0.5],
    };
    file.tensors.insert(HOSTILE.into(), tensor);
    file.metadata
        .insert(HOSTILE.into(), format!("{HOSTILE}\nx"));
    file.save(&place.path("m.safetensors")).unwrap();
    harmless(&place, 0, &["inspect", "m.safetensors"]);
    // JSON says the same name, on a terminal, too.
    let args = ["inspect", "m.safetensors", "--json"];
    let (_, text) = on_terminal(&place, Some("xterm"), &args);
    for text in [text, place.run_args(&args).stdout] {
        assert_harmless(&text);
        let object: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(object["tensors"][0]["name"], HOSTILE);
        assert_eq!(object["metadata"][HOSTILE], format!("{HOSTILE}\nx"));
    }
    // An error that names it.
    place.write("vocab.json", r#"{"kind":"char","tokens":["d"]}"#);
    let args = train_args(
        "a",
        "--max-steps 0 --init-from m.safetensors --extend-vocab",
    );
    harmless(&place, 3, &args);
}

#[test]
fn tokens_of_a_character_vocabulary() {
    let place = Place::with_run("a", "--max-steps 1 --quiet");
    // So that nothing says which vocabulary the run had.
    age(&place.path("a"));
    let path = place.path("a/vocab.json");
    let mut vocab: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    vocab["tokens"][3] = json!("\x1b");
    fs::write(&path, vocab.to_string()).unwrap();
    let args: Vec<&str> = "generate a --temperature 9 --length 500 --quiet"
        .split(' ')
        .collect();
    let exact = place.run_args(&args).ok().stdout;
    assert!(exact.contains('\x1b') && exact.chars().count() == 500);
    let (code, text) = on_terminal(&place, Some("xterm"), &args);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(text.replace("\r\n", "\n"), exact.replace('\x1b', r"\u001b"));
    let streams = [&args[..], &["--streams", "2"]].concat();
    let (_, text) = on_terminal(&place, Some("xterm"), &streams);
    assert!(
        text.contains(r"\u001b") && !text.contains('\x1b'),
        "{text:?}"
    );
}

#[test]
fn tokens_of_a_seq2seq_vocabulary() {
    let place = seq2seq::place();
    // Every target is this token, so that it is what the model writes.
    let line = json!({"docstring": "load the file", "code": HOSTILE}).to_string() + "\n";
    for split in ["train", "valid", "test"] {
        place.write(&format!("{split}.jsonl"), line.repeat(8));
    }
    let flags = "--model lstm --learning-rate 0.1 --epochs 30 --dropout 0 --quiet";
    seq2seq::train(&place, "a", flags).ok();
    let args = ["translate", "a", "load the file"];
    assert_eq!(place.run_args(&args).ok().stdout, format!("{HOSTILE}\n"));
    let (code, text) = on_terminal(&place, Some("xterm"), &args);
    assert_eq!(code, Some(0), "{text}");
    assert_harmless(&text);
}

#[test]
fn names_of_runs_corpora_and_members() {
    let place = Place::new();
    let (out, corpus) = (format!("run{HOSTILE}"), format!("{HOSTILE}.py"));
    fs::copy(place.path("text.py"), place.path(&corpus)).unwrap();
    let flags = "--max-steps 1 --force";
    let mut args = train_args(&out, flags);
    args.extend(["--corpus", &corpus]);
    harmless(&place, 0, &args);
    harmless(&place, 0, &["report", &out]);
    harmless(&place, 0, &["inspect", &out]);
    harmless(&place, 0, &["eval", &out]);
    harmless(&place, 0, &["data", "stats", "--corpus", &corpus]);
    // Errors.
    harmless(&place, 3, &["inspect", HOSTILE]);
    harmless(&place, 3, &["data", "stats", "--corpus", HOSTILE]);
    // A member that does not parse is listed.
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let code = place.path("text.py");
    let code = fs::read_to_string(code)
        .unwrap()
        .replace(":\n", ":\n    \"\"\"Give it.\"\"\"\n");
    for (name, content) in [("good.py", &code[..]), (&format!("{HOSTILE}.py"), "def (")] {
        let options = SimpleFileOptions::default();
        zip.start_file(name, options).unwrap();
        zip.write_all(content.as_bytes()).unwrap();
    }
    place.write("evil.zip", zip.finish().unwrap().into_inner());
    let args = ["data", "prepare", "evil.zip", "--out", "pairs", "--force"];
    harmless(&place, 0, &args);
}

#[test]
fn flags_and_configurations() {
    let place = Place::new();
    harmless(&place, 2, &[HOSTILE]);
    harmless(&place, 2, &["train-charlm", "--epochs", HOSTILE]);
    harmless(&place, 2, &["bench", HOSTILE]);
    let hostile = json!(HOSTILE);
    for (line, code) in [
        (format!("corpus = [{hostile}]\n"), 3),
        (format!("cell = {hostile}\n"), 2),
    ] {
        place.write("config.toml", line);
        harmless(&place, code, &["train-charlm", "--config", "config.toml"]);
    }
}

// ---- terminals -----------------------------------------------------------------------------

#[test]
fn a_terminal_that_draws_nothing_gets_plain_lines() {
    let place = Place::new();
    // U+0001 is dropped, with a note.
    place.write("text.py", "def f(x):\n    return 1\n".repeat(20) + "\u{1}");
    let args = train_args("a", "--epochs 1 --force");
    for term in [Some("dumb"), Some(""), None] {
        let (code, text) = on_terminal(&place, term, &args);
        assert_eq!(code, Some(0), "{text}");
        assert!(!text.contains('\x1b'), "{text:?}");
        let lines = [
            "device: cpu",
            "corpus: ",
            "note: dropped 1 character",
            "model: ",
            "step 1/",
            "epoch 1/1  train loss",
            "done: ",
        ];
        let places = lines.map(|line| text.find(&format!("\n{line}")).or(text.find(line)));
        assert!(places.iter().all(Option::is_some), "{text}");
        assert!(places.is_sorted(), "{text}");
    }
    let (_, text) = on_terminal(&place, Some("xterm"), &args);
    assert!(
        text.contains("\x1b[") && !text.contains("step 1/"),
        "{text}"
    );
    // No bar before the first step.
    assert!(
        text.contains("\nnote: dropped 1 character") && !text.contains("0/0"),
        "{text}"
    );
}

#[test]
fn an_error_has_a_colour_only_where_there_are_colours() {
    let place = Place::new();
    for (term, colours, coloured) in [
        (Some("xterm"), "", true),
        (Some("xterm"), "1", false),
        (Some("dumb"), "", false),
        (None, "", false),
    ] {
        let mut command = place.command(&["inspect", "none"]);
        command.env("NO_COLOR", colours);
        let (code, text) = watch(command, term);
        assert_eq!(code, Some(3), "{text}");
        assert_eq!(
            text.contains("\x1b[1;31merror:\x1b[0m none"),
            coloured,
            "{text:?}"
        );
        assert_eq!(text.contains('\x1b'), coloured, "{text:?}");
    }
}
