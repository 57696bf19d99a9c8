//! Runs of a model that copies, through the binary.

use serde_json::{Value, json};

use super::seq2seq::{self, json_lines, train};
use super::support::Place;
use super::translate::{piped, translate};

/// Names that stand once each in the training pairs, so that no vocabulary has them.
const NAMES: [&str; 10] = [
    "alba", "brno", "caen", "dijon", "elba", "fano", "genf", "husum", "ilm", "jena",
];

/// A pair whose target names a function that its source names: to be copied.
pub fn pair(name: &str, argument: &str) -> String {
    let docstring = format!("call {name} with {argument}");
    let code = format!("{name} ( {argument} )");
    format!("{}\n", json!({"docstring": docstring, "code": code}))
}

/// A place with pairs that want copying, and no run yet.
pub fn place() -> Place {
    let place = seq2seq::place();
    let pairs = NAMES
        .iter()
        .flat_map(|name| ["x", "y"].map(|argument| pair(name, argument)));
    // Each name twice, and words from three occurrences on.
    place.write("train.jsonl", pairs.collect::<String>());
    let other = |names: [&str; 3]| names.map(|name| pair(name, "x")).concat();
    place.write("valid.jsonl", other(["wien", "ziel", "weit"]));
    place.write("test.jsonl", other(["oslo", "ziel", "quer"]));
    place
}

/// The flags of a small model that copies.
pub const FLAGS: &str = "--model attention --copy --min-frequency 3 --hidden-size 24 --embedding-dim 16 \
                         --dropout 0 --quiet";

/// A place with the run `a`, which has learned to copy.
pub fn learned() -> Place {
    let place = place();
    train(
        &place,
        "a",
        &format!("{FLAGS} --epochs 40 --learning-rate 0.02"),
    )
    .ok();
    place
}

/// Names that are there once, on both sides.
fn rare(from: usize, n: usize) -> String {
    let line = |i| format!("{{\"docstring\": \"load it a{i}\", \"code\": \"go a{i}\"}}\n");
    (from..from + n).map(line).collect()
}

fn of_rare() -> Place {
    let place = seq2seq::place();
    place.write("train.jsonl", rare(0, 8));
    place.write("valid.jsonl", rare(8, 4));
    place.write("test.jsonl", rare(12, 4));
    place
}

#[test]
fn what_can_be_copied_is_not_unknown() {
    let place = of_rare();
    let shares = |percent: &str| {
        let of = ["train", "valid", "test"].map(|split| format!("{percent} % of {split}"));
        format!("; target {}\n", of.join(", "))
    };
    let advice = "copy where targets repeat words of their sources";
    let done = train(&place, "a", "--model attention --max-steps 1").ok();
    assert!(done.stderr.contains(&shares("50.0")), "{}", done.stderr);
    assert!(done.stderr.contains(advice), "{}", done.stderr);
    let done = train(&place, "b", "--model attention --max-steps 1 --copy").ok();
    assert!(done.stderr.contains(&shares("0.0")), "{}", done.stderr);
    // The source's own are read as unknown, which copying does not help.
    assert!(done.stderr.contains("warning") && !done.stderr.contains(advice));
}

#[test]
fn notes_and_blank_answers_are_those_of_a_model_that_copies() {
    let place = of_rare();
    train(
        &place,
        "a",
        "--model attention --copy --max-steps 1 --quiet",
    )
    .ok();
    let done = translate(&place, "zebra gnu", "").ok();
    let note = "note: the text: words the model does not know, but can copy: zebra gnu\n";
    assert!(done.stderr.starts_with(note), "{}", done.stderr);
    let done = piped(&place, "load it\n\n", "--json --quiet").ok();
    let answers: Vec<Value> = done
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let keys =
        |answer: &Value| -> Vec<String> { answer.as_object().unwrap().keys().cloned().collect() };
    assert_eq!(keys(&answers[0]), keys(&answers[1]));
    assert_eq!(answers[1]["copied"], json!([]));
}

#[test]
fn bench_times_the_model_that_copies() {
    let place = of_rare();
    let bench = "bench seq2seq --copy --train train.jsonl --valid valid.jsonl --test test.jsonl \
                 --batch-size 2 --embedding-dim 4 --hidden-size 5 --seconds 0.01 --json";
    let done = place.run(bench).ok();
    let found: Value = serde_json::from_str(&done.stdout).unwrap();
    let models = found["seq2seq"]["models"].as_object().unwrap();
    assert_eq!(models.keys().collect::<Vec<_>>(), ["attention"]);
}

/// A string of a target that is a word of the vocabulary but for its blanks is read as that word.
#[test]
fn the_decoder_reads_strings_as_it_writes_them() {
    let place = seq2seq::place();
    let line = |text: &str| json!({"docstring": "say", "code": format!("say({text})")}).to_string();
    let many = (line("'a b'") + "\n").repeat(8);
    place.write("train.jsonl", many.clone() + &line("'ab'"));
    place.write("valid.jsonl", &many);
    place.write("test.jsonl", many);
    let flags = "--model attention --copy --target-tokens python --max-steps 1";
    let done = train(&place, "a", flags).ok();
    assert!(
        done.stderr.contains("target 0.0 % of train"),
        "{}",
        done.stderr
    );
    assert_eq!(json_lines(&place, "a/samples/test.jsonl").len(), 8);
}
