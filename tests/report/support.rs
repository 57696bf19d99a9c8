//! Runs to draw, and a check that a picture is well-formed XML.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use rnnx::eval::bleu::NgramCounts;
use rnnx::eval::scores::{LengthScore, TextFigures};
use rnnx::files::{EpochEvent, TestEvent};
use rnnx::report::{PairSample, RunData};

pub fn count(page: &str, what: &str) -> usize {
    page.matches(what).count()
}

/// Words of `text`, as the tokens of a pair.
pub fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// `rnnx report` with these arguments.
pub fn report(arguments: &[&Path]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rnnx"));
    command.arg("report").args(arguments).output().unwrap()
}

/// What a command wrote to its standard error.
pub fn message(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What stands between the first `from` and the next `to`.
#[track_caller]
pub fn between<'a>(page: &'a str, from: &str, to: &str) -> &'a str {
    let (_, rest) = page.split_once(from).unwrap_or_else(|| panic!("no {from}"));
    rest.split_once(to).unwrap_or_else(|| panic!("no {to}")).0
}

// ---- runs --------------------------------------------------------------------------------------

/// A trained and tested run of a seq2seq model, whose numbers depend on `quality` alone.
pub fn seq2seq(model: &str, quality: f64) -> RunData {
    let pair = |text: (&str, &str, &str)| PairSample {
        docstring: text.0.into(),
        source: words(text.0),
        reference: words(text.1),
        prediction: words(text.2),
        attention: Vec::new(),
        copied: Vec::new(),
    };
    let config = [
        ("kind", "seq2seq"),
        ("model", model),
        ("hidden-size", "256"),
        ("embedding-dim", "128"),
        ("seed", "7"),
    ];
    RunData {
        name: model.into(),
        config: config.map(|(k, v)| (k.to_owned(), v.to_owned())).to_vec(),
        epochs: vec![epoch(1, 7.0 - quality), epoch(2, 6.0 - quality)],
        test: Some(test(quality)),
        pairs: vec![pair(("Say hello.", "return 'hello' a", "return a a a"))],
        vocabulary: Some((1234, 5678)),
        ..RunData::default()
    }
}

/// The attention model with weights for its one pair, and one row more for `<EOS>`.
pub fn attention(quality: f64) -> RunData {
    let mut run = seq2seq("attention", quality);
    let pair = &mut run.pairs[0];
    pair.prediction = words("return 'hello' <UNK>");
    pair.attention = vec![
        vec![0.75, 0.25],
        vec![0.5, 0.5],
        vec![0.125, 0.875],
        vec![0.0, 1.0],
    ];
    run
}

pub fn epoch(epoch: u64, valid_loss: f64) -> EpochEvent {
    EpochEvent {
        epoch,
        step: Some(epoch * 40),
        train_loss: valid_loss - 0.5,
        train_accuracy: 0.2,
        valid_loss: Some(valid_loss),
        valid_accuracy: Some(0.1),
        seconds: 30.0,
    }
}

fn test(quality: f64) -> TestEvent {
    let bucket = |from, to, pairs| LengthScore {
        from,
        to,
        pairs,
        bleu: quality / 100.0,
        bleu_smoothed: quality / 50.0,
    };
    TestEvent {
        step: Some(80),
        epoch: Some(2),
        epochs: Some(2),
        model: None,
        seed: Some(7),
        beam: Some(1),
        length_penalty: None,
        parameters: Some(4_712_354 + (quality * 100.0) as u64),
        train_loss: Some(5.5 - quality),
        valid_loss: Some(6.0 - quality),
        best_valid_loss: None,
        loss: Some(6.25 - quality),
        accuracy: None,
        scores: TextFigures {
            pairs: Some(1000),
            bleu: quality / 100.0,
            bleu_smoothed: quality / 10.0,
            bleu_python: quality / 20.0,
            bleu_sentence: quality / 5.0,
            ngram_counts: Some(NgramCounts {
                matches: [6123, 812, 140, 9],
                totals: [21_890, 20_890, 19_893, 18_899],
                hyp_len: 21_890,
                ref_len: 31_877,
            }),
            exact_match: 0.0,
            token_accuracy: 0.08 + quality / 100.0,
            chrf: 14.0 + quality,
            parse_rate: 0.31,
            reference_parse_rate: 0.5,
            identifier_f1: quality / 9.0,
            tree_match: quality / 8.0,
            unk_rate: 0.2 - quality / 10.0,
            by_length: vec![bucket(1, 5, 112), bucket(6, 10, 1341)],
        },
        copied_rate: None,
        decode_seconds: Some(12.5),
        train_seconds: Some(60.0 + quality * 100.0),
    }
}

/// A run's folder with what [`seq2seq`] says, as training leaves it.
pub fn write_run(folder: &Path, model: &str) {
    fs::create_dir_all(folder.join("samples")).unwrap();
    let config = format!("kind = \"seq2seq\"\nmodel = \"{model}\"\nseed = 7\n");
    fs::write(folder.join("config.toml"), config).unwrap();
    let vocabulary = r#"{"kind":"words","source":["<PAD>","a"],"target":["<PAD>","b","c"]}"#;
    fs::write(folder.join("vocab.json"), vocabulary).unwrap();
    fs::write(folder.join("metrics.jsonl"), METRICS).unwrap();
    fs::write(folder.join("samples/test.jsonl"), PAIRS).unwrap();
}

pub const METRICS: &str = r#"{"event":"step","step":1,"epoch":1,"loss":8.5,"ce":8.5}
{"event":"epoch","epoch":1,"step":1,"train_loss":8.0,"valid_loss":7.25,"seconds":3.0}
{"event":"test","step":1,"epoch":1,"loss":7.5,"bleu":0.0038,"bleu_smoothed":0.0125,"ngram_counts":{"matches":[9,4,2,1],"totals":[20,18,16,14],"hypothesis_length":20,"reference_length":20},"exact_match":0.125,"token_accuracy":0.25,"chrf":17.5,"parse_rate":0.5,"unk_rate":0.0625,"parameters":1234567,"train_loss":8.0,"valid_loss":7.25,"train_seconds":3.5,"pairs":8,"decode_seconds":0.25,"by_length":[{"from":1,"to":5,"pairs":8,"bleu":0.0038,"bleu_smoothed":0.0125}]}
"#;

pub const PAIRS: &str = r#"{"docstring":"Say <b> & go.","source":["Say","<UNK>","&","go."],"reference":["return","1"],"prediction":["return"],"attention":[[0.25,0.25,0.25,0.25],[0.5,0.5,0,0]]}
"#;

// ---- XML ---------------------------------------------------------------------------------------

/// Every outermost `<svg>` of a page.
pub fn pictures(page: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = page;
    while let Some(start) = rest.find("<svg") {
        let (mut depth, mut at) = (0, start);
        loop {
            let open = rest[at..].find("<svg").unwrap_or(usize::MAX);
            let close = rest[at..].find("</svg>").expect("an <svg> ends");
            if open < close {
                (depth, at) = (depth + 1, at + open + 4);
            } else {
                (depth, at) = (depth - 1, at + close + 6);
            }
            if depth == 0 {
                break;
            }
        }
        found.push(&rest[start..at]);
        rest = &rest[at..];
    }
    found
}

/// Panics unless `text` is one well-formed element: tags match, attributes are quoted and named
/// once, text and values hold no bare `<` or `&`, and no character is one that XML forbids.
#[track_caller]
pub fn assert_xml(text: &str) {
    let text = match text.strip_prefix("<?xml version=\"1.0\" encoding=\"UTF-8\"?>") {
        Some(rest) => rest.trim(),
        None => text.trim(),
    };
    let forbidden = |c: char| c < ' ' && !"\t\n\r".contains(c) || "\u{fffe}\u{ffff}".contains(c);
    assert!(!text.contains(forbidden), "a forbidden character");
    let mut open: Vec<&str> = Vec::new();
    let mut rest = text.strip_prefix('<').expect("begins with a tag");
    loop {
        let end = tag_end(rest);
        let tag = &rest[..end];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "ends what it did not begin");
        } else {
            let body = tag.strip_suffix('/').unwrap_or(tag);
            let name = body.split_whitespace().next().unwrap_or_default();
            assert_attributes(&body[name.len()..]);
            if body.len() == tag.len() {
                open.push(name);
            }
        }
        rest = &rest[end + 1..];
        if open.is_empty() {
            assert_eq!(rest, "", "text after the root");
            return;
        }
        let (text, next) = rest.split_once('<').expect("every element ends");
        assert_text(text);
        rest = next;
    }
}

/// Where the tag's `>` stands; one in a quoted value does not end it.
fn tag_end(tag: &str) -> usize {
    let mut quoted = false;
    let end = tag.char_indices().find(|(_, c)| {
        quoted ^= *c == '"';
        *c == '>' && !quoted
    });
    end.expect("every tag ends").0
}

fn assert_attributes(mut rest: &str) {
    let mut names = Vec::new();
    while !rest.trim().is_empty() {
        assert!(rest.starts_with(' '), "attributes stand apart: {rest}");
        let (name, value) = rest.trim_start().split_once("=\"").expect("a quoted value");
        let letters = |c: char| c.is_ascii_alphanumeric() || "-:".contains(c);
        assert!(!name.is_empty() && name.chars().all(letters), "{name}");
        assert!(!names.contains(&name), "{name} twice");
        names.push(name);
        let (value, after) = value.split_once('"').expect("a value ends");
        assert!(!value.contains('<'), "{value}");
        assert_text(value);
        rest = after;
    }
}

fn assert_text(text: &str) {
    for entity in text.split('&').skip(1) {
        let name = entity.split(';').next().unwrap_or_default();
        assert!(
            entity.contains(';') && ["amp", "lt", "gt", "quot", "#39"].contains(&name),
            "&{entity}"
        );
    }
}
