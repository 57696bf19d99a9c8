//! `rnnx translate` of standard input: which lines answer which source.

use std::fs;

use serde_json::json;

use super::seq2seq::{place, train};
use super::support::Place;
use super::translate::{begun, piped, translate};

/// A run that has learned functions of two lines by heart.
fn of_functions(flags: &str) -> Place {
    let place = place();
    let line = |name: &str| {
        let code = format!("def {name}():\n    return {name}");
        json!({"docstring": format!("get {name}"), "code": code}).to_string() + "\n"
    };
    let pairs = ["it", "me"].map(line).concat().repeat(20);
    for split in ["train", "valid", "test"] {
        place.write(&format!("{split}.jsonl"), &pairs);
    }
    let flags = format!(
        "--model attention --target-tokens python --learning-rate 0.03 --dropout 0 --epochs 6 --quiet \
         {flags}"
    );
    train(&place, "a", &flags).ok();
    place
}

#[test]
fn a_blank_line_ends_answers_of_several_lines() {
    let place = of_functions("");
    let answers = "def it():\n    return it\n\ndef me():\n    return me\n\n";
    assert_eq!(piped(&place, "get it\nget me\n", "").ok().stdout, answers);
    // A blank line is no exception.
    let blank = piped(&place, "\nget it\n", "-q").ok().stdout;
    assert_eq!(blank, "\n\ndef it():\n    return it\n\n");
    // One source needs no end, and JSON has one line for each.
    let alone = translate(&place, "get it", "").ok().stdout;
    assert_eq!(alone, "def it():\n    return it\n");
    let lines = piped(&place, "get it\nget me\n", "--json").ok().stdout;
    assert_eq!(lines.lines().count(), 2, "{lines}");
    // One logical line of Python is one line, where no token has a line end.
    let lines = piped(&place, "get it\nget me\n", "--grammar line")
        .ok()
        .stdout;
    assert_eq!(
        lines.lines().filter(|line| !line.is_empty()).count(),
        2,
        "{lines}"
    );
}

#[test]
fn a_blank_line_ends_the_n_best() {
    let place = begun("lstm", "");
    let one = piped(&place, "load\nscan\n", "--beam 3").ok().stdout;
    assert_eq!(one.lines().count(), 2, "{one}");
    let best = piped(&place, "load\nscan\n", "--beam 3 --n-best 2")
        .ok()
        .stdout;
    let lines: Vec<&str> = best.lines().collect();
    assert_eq!((lines.len(), lines[2], lines[5]), (6, "", ""), "{best}");
}

#[test]
fn a_length_that_no_text_of_the_grammar_has() {
    let place = place();
    let line = |code: &str| json!({"docstring": "say", "code": code}).to_string() + "\n";
    for split in ["train", "valid", "test"] {
        place.write(&format!("{split}.jsonl"), line("(") + &line(")"));
    }
    let flags = "--model rnn --target-tokens python --target-language python --min-frequency 1 \
                 --max-steps 1 --quiet";
    let held = format!("{flags} --grammar statement");
    let words = ["grammar statement has 2 tokens", "raise"];
    let done = train(&place, "a", &format!("{held} --max-target 1"));
    done.fails(2, &[&words[..], &["max-target 1"]].concat());
    train(&place, "a", &format!("{held} --max-target 2")).ok();
    let done = translate(&place, "say", "--max-length 1");
    done.fails(2, &[&words[..], &["--max-length 1"]].concat());
    assert_eq!(translate(&place, "say", "").ok().stdout, "()\n");
    // What no data can mend is said before they are read.
    fs::remove_file(place.path("train.jsonl")).unwrap();
    let flags = "--grammar line --target-tokens chars";
    train(&place, "b", flags).fails(2, &["tokens of the kind chars", "grammar none"]);
    let flags = "--grammar line --target-tokens python --target-language text";
    train(&place, "b", flags).fails(2, &["grammar line: the targets are not Python"]);
}
