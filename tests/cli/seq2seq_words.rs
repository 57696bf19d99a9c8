//! `rnnx train-seq2seq` on pairs that are no code, that hold many unknown tokens or no source.

use std::fs;

use serde_json::{Value, json};

use super::seq2seq::{place, train};
use super::support::{Place, assert_same_run};
use super::translate::piped;

/// Dates in words and in figures, as lines of JSON.
fn dates(from: usize, n: usize) -> String {
    let months = ["january", "may", "june", "july"];
    let line = |i: usize| {
        let (day, month, year) = (i % 9 + 1, i % 4, 2000 + i % 3);
        let words = format!("{day} {} {year}", months[month]);
        let figures = format!("{year} - {month} - {day}");
        format!("{}\n", json!({"docstring": words, "code": figures}))
    };
    (from..from + n).map(line).collect()
}

fn dated() -> Place {
    let place = place();
    place.write("train.jsonl", dates(0, 36));
    place.write("valid.jsonl", dates(3, 6));
    place.write("test.jsonl", dates(7, 6));
    place
}

fn config(place: &Place, run: &str) -> String {
    fs::read_to_string(place.path(run).join("config.toml")).unwrap()
}

// ---- unknown tokens ------------------------------------------------------------------------

/// Every third source token and every second target token is there once.
fn rare(from: usize, n: usize) -> String {
    let line = |i| format!("{{\"docstring\": \"load it a{i}\", \"code\": \"go b{i}\"}}\n");
    (from..from + n).map(line).collect()
}

#[test]
fn the_shares_of_unknown_tokens_are_told() {
    let place = place();
    place.write("train.jsonl", rare(0, 8));
    place.write("valid.jsonl", rare(0, 4));
    place.write("test.jsonl", rare(6, 4));
    let done = train(&place, "a", "--model rnn --max-steps 1").ok();
    let shares = "unknown tokens: source 33.3 % of train, 33.3 % of valid, 33.3 % of test; target \
                  50.0 % of train, 50.0 % of valid, 50.0 % of test\n";
    let warning = "warning: more than 30 % of the tokens are unknown (source of train, source of \
                   valid, source of test, target of train, target of valid, target of test)";
    for words in [
        shares,
        warning,
        "a lower min-frequency (now 2), copy where targets repeat words of their sources (of a model \
         that attends), more training pairs",
    ] {
        assert!(done.stderr.contains(words), "{words}: {}", done.stderr);
    }
    let done = train(&place, "b", "--model rnn --max-steps 1 --min-frequency 1").ok();
    let shares = "unknown tokens: source 0.0 % of train, 0.0 % of valid, 16.7 % of test; target \
                  0.0 % of train, 0.0 % of valid, 25.0 % of test\n";
    assert!(done.stderr.contains(shares), "{}", done.stderr);
    assert!(!done.stderr.contains("warning"), "{}", done.stderr);
    place.write("test.jsonl", rare(8, 4));
    let done = train(&place, "c", "--model rnn --max-steps 1 --min-frequency 1").ok();
    let warning = "(source of test, target of test)";
    assert!(done.stderr.contains(warning), "{}", done.stderr);
    assert!(
        !done.stderr.contains("lower min-frequency"),
        "{}",
        done.stderr
    );
    let done = place.run("eval a --pairs valid.jsonl").ok();
    let shares = "unknown tokens: source 33.3 %, target 50.0 %\n";
    assert!(done.stderr.contains(shares), "{}", done.stderr);
    assert_eq!(
        train(&place, "d", "--model rnn --max-steps 1 --quiet")
            .ok()
            .stderr,
        ""
    );
}

// ---- targets that are no code --------------------------------------------------------------

#[test]
fn pairs_that_are_no_code_have_no_parse_rate_and_neutral_words() {
    let place = dated();
    let done = train(&place, "a", "--model attention --epochs 2").ok();
    assert!(
        done.stderr.contains("target-language: text (auto)\n"),
        "{}",
        done.stderr
    );
    assert!(config(&place, "a").contains("\ntarget-language = \"text\"\n"));
    let evaluated = place.run("eval a").ok();
    let page = fs::read_to_string(place.path("a/report.html")).unwrap();
    let sample = fs::read_to_string(place.path("a/samples/epoch-1.txt")).unwrap();
    let blank = piped(&place, "1 may 2000\n\n99\n", "").ok();
    for text in [
        &done.stderr,
        &done.stdout,
        &evaluated.stdout,
        &evaluated.stderr,
        &blank.stderr,
        &sample,
    ] {
        for word in ["ocstring", " code", "function", "Python", "parse"] {
            assert!(!text.contains(word), "{word}: {text}");
        }
    }
    assert!(page.contains("Source to target") && !page.contains("Docstring to code"));
    assert!(!page.contains(">parses") && !page.contains("valid Python"));
    let json: Value =
        serde_json::from_str(&place.run("eval a --json --quiet").ok().stdout).unwrap();
    for key in [
        "parse_rate",
        "reference_parse_rate",
        "identifier_f1",
        "tree_match",
    ] {
        assert!(json[key].is_null(), "{key}");
    }
    assert!(json["bleu"].is_number());
    // What the run has, it keeps.
    place.run("train-seq2seq --out a --resume --epochs 3").ok();
    assert!(config(&place, "a").contains("\ntarget-language = \"text\"\n"));
    place
        .run("train-seq2seq --out a --resume --target-language python")
        .fails(2, &["target-language = \"python\" contradicts"]);
    // Three runs in a table and a page.
    let done = train(&place, "all", "--epochs 1").ok();
    assert!(!done.stdout.contains("parses as Python"), "{}", done.stdout);
    // Unless it is said.
    let flags = "--model rnn --epochs 1 --target-language python";
    let done = train(&place, "said", flags).ok();
    assert!(done.stdout.contains("parses as Python"), "{}", done.stdout);
    assert!(!done.stderr.contains("(auto)"), "{}", done.stderr);
}

#[test]
fn code_has_a_parse_rate() {
    let place = place();
    let done = train(&place, "a", "--model rnn --epochs 1").ok();
    assert!(
        done.stderr.contains("target-language: python (auto)\n"),
        "{}",
        done.stderr
    );
    assert!(done.stdout.contains("parses as Python"), "{}", done.stdout);
    let page = fs::read_to_string(place.path("a/report.html")).unwrap();
    assert!(page.contains("Docstring to code") && page.contains(">parses"));
    // An older rnnx took all targets for Python, and did not say so.
    let old: Vec<String> = config(&place, "a").lines().map(str::to_owned).collect();
    let old: Vec<String> = old
        .into_iter()
        .filter(|l| !l.starts_with("target-lang") && !l.starts_with("# SHA-256"))
        .collect();
    place.write("a/config.toml", old.join("\n"));
    let json: Value =
        serde_json::from_str(&place.run("eval a --json --quiet").ok().stdout).unwrap();
    assert!(json["parse_rate"].is_number(), "{json}");
    let done = place.run("train-seq2seq --out a --resume --epochs 2").ok();
    assert!(done.stdout.contains("parses as Python"), "{}", done.stdout);
}

// ---- pairs without a source ----------------------------------------------------------------

/// Pairs with two more among them whose source is empty.
fn holed(pairs: &str) -> String {
    let mut lines: Vec<&str> = pairs.lines().collect();
    lines.insert(1, "{\"docstring\": \" \\n\", \"code\": \"x\"}");
    lines.push("{\"docstring\": \"\", \"code\": \"y\"}");
    lines.join("\n")
}

#[test]
fn pairs_without_a_source_are_counted_and_skipped() {
    let place = place();
    let flags = "--model rnn --max-steps 3";
    train(&place, "whole", flags).ok();
    for file in ["train.jsonl", "test.jsonl"] {
        let text = fs::read_to_string(place.path(file)).unwrap();
        place.write(file, holed(&text));
    }
    let done = train(&place, "a", flags).ok();
    let note = "note: skipped pairs whose source (docstring) is empty: 2 of train.jsonl, the first \
                in line 2; 2 of test.jsonl, the first in line 2; with strict they are an error\n";
    assert!(done.stderr.contains(note), "{}", done.stderr);
    assert!(
        done.stderr.contains("pairs: 22 train, 7 valid, 5 test"),
        "{}",
        done.stderr
    );
    assert_same_run(&place.path("whole"), &place.path("a"));
    let done = place.run("eval a").ok();
    assert!(done.stderr.contains(note), "{}", done.stderr);
    let done = place.run("eval a --pairs test.jsonl --json").ok();
    let note = "source (docstring) is empty: 2 of test.jsonl, the first in line 2";
    assert!(done.stderr.contains(note), "{}", done.stderr);
    let json: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(json["pairs"], 5);
    // Asked to be strict.
    let words = [
        "train.jsonl:2: ",
        "\"docstring\" is empty",
        "mend or remove",
    ];
    train(&place, "b", &format!("{flags} --strict")).fails(3, &words);
    place.run("eval a --strict").fails(3, &words);
    let words = ["test.jsonl:2: ", "\"docstring\" is empty"];
    place
        .run("eval a --pairs test.jsonl --strict")
        .fails(3, &words);
    // No other line is passed over.
    place.write("test.jsonl", "{\"docstring\": \"x\", \"code\": \" \"}\n");
    train(&place, "b", flags).fails(3, &["test.jsonl:1: ", "\"code\" is empty"]);
    place.write("test.jsonl", "{\"docstring\": \"\", \"code\": \"x\"}\n");
    train(&place, "b", flags).fails(3, &["test.jsonl", "no pairs but 1 whose \"docstring\""]);
    assert!(!place.path("b").exists());
}
