//! Runs of a model that copies, through the binary.

use std::fs;

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
    let of = |key: &str| &models["attention"][key];
    assert_eq!((of("copy"), of("num_layers")), (&json!(true), &json!(1)));
    // The line names what is not as in the published models.
    let line = bench.replace("--json", "--num-layers 2 --quiet");
    let done = place.run(&line).ok();
    let sizes = "attention, B 2 E 4 H 5, 2 layers, copying, target vocabulary ";
    assert!(done.stdout.contains(sizes), "{}", done.stdout);
}

#[test]
fn bench_times_copying_against_none_and_decoding_with_a_grammar() {
    let place = of_rare();
    let bench = |kind: &str, flags: &str| -> Value {
        let files = "--train train.jsonl --valid valid.jsonl --test test.jsonl";
        let sizes = "--batch-size 2 --embedding-dim 4 --hidden-size 5 --seconds 0.01 --json";
        let line = format!("bench {kind} {files} {sizes} {flags}");
        let json: Value = serde_json::from_str(&place.run(&line).ok().stdout).unwrap();
        json[kind].clone()
    };
    let found = bench("copy", "");
    let ms = |key: &str| found[key].as_f64().unwrap();
    assert_eq!(
        (&found["model"], &found["batch_size"]),
        (&json!("attention"), &json!(2))
    );
    let ratio = ms("ms_per_step") / ms("ms_without");
    // Roundings of the products.
    assert!((ms("ratio") - ratio).abs() < 1e-12 * ratio);
    assert_eq!(bench("copy", "--model lstm"), json!({"model": "lstm"}));
    // All of the 16 pairs, to the length that is asked for: a model with initial weights writes on.
    let found = bench("decode", "--max-target 9 --grammar line");
    let number = |key: &str| found[key].as_f64().unwrap();
    assert_eq!(
        (&found["pairs"], &found["max_target"]),
        (&json!(16), &json!(9))
    );
    assert_eq!(found["grammar"], "line");
    assert!((number("pairs_per_s") * number("seconds") - 16.0).abs() < 1e-9);
    let tokens = number("tokens_per_s") * number("seconds");
    assert!((16.0..=16.0 * 9.0 + 1e-6).contains(&tokens), "{tokens}");
    let share = 1.0 - number("grammar_tokens_per_s") / number("tokens_per_s");
    assert!((number("grammar_share") - share).abs() < 1e-12);
    // There is no grammar of characters.
    let found = bench(
        "decode",
        "--max-target 9 --target-tokens chars --num-layers 2",
    );
    assert!(found["tokens_per_s"].is_number() && found["grammar"].is_null());
    assert_eq!(found["num_layers"], 2);
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

/// Where each token of an output was copied from.
fn places(answer: &Value) -> Vec<Option<usize>> {
    let places = answer["copied"].as_array().unwrap().iter();
    places.map(|p| p.as_u64().map(|p| p as usize)).collect()
}

/// An output says of each of its tokens where it is from, and a token that was copied is the source's.
#[track_caller]
fn check(answer: &Value) {
    let (source, places) = (&answer["source"], places(answer));
    let tokens = answer["prediction"].as_array().unwrap();
    assert_eq!(places.len(), tokens.len(), "{answer}");
    for (token, place) in tokens.iter().zip(places) {
        if let Some(place) = place {
            assert_eq!(source[place], *token, "{answer}");
        }
    }
}

#[test]
fn translate_tells_what_was_copied_from_where() {
    let place = learned();
    // "wien" stands in no vocabulary.
    let text = "call wien with x";
    for flags in [
        "--json",
        "--json --beam 3 --n-best 3",
        "--json --sampling --n-best 4",
    ] {
        let done = translate(&place, text, flags).ok();
        let answer: Value = serde_json::from_str(&done.stdout).unwrap();
        check(&answer);
        for output in answer["n_best"].as_array().unwrap_or(&Vec::new()) {
            let mut output = output.clone();
            output["source"] = answer["source"].clone();
            check(&output);
        }
    }
    let greedy = translate(&place, text, "--json").ok().stdout;
    let answer: Value = serde_json::from_str(&greedy).unwrap();
    assert_eq!(answer["prediction"], json!(["wien", "(", "x", ")"]));
    assert_eq!(places(&answer)[0], Some(1));
    assert_eq!(places(&answer)[1], None);
    // To people it is a note, and the answer stays as it is.
    let done = translate(&place, text, "").ok();
    assert_eq!(done.stdout, "wien ( x )\n");
    assert!(
        done.stderr.contains("copied (source token): wien (2)"),
        "{}",
        done.stderr
    );
    let quiet = translate(&place, text, "--quiet").ok();
    assert_eq!((&*quiet.stdout, &*quiet.stderr), ("wien ( x )\n", ""));
}

#[test]
fn predictions_figures_and_report_have_what_was_copied() {
    let place = learned();
    let done = place
        .run("eval a --json --quiet --predictions p.jsonl")
        .ok();
    let figures: Value = serde_json::from_str(&done.stdout).unwrap();
    let lines = json_lines(&place, "p.jsonl");
    assert_eq!(lines.len(), 3);
    let (mut copied, mut all) = (0, 0);
    for line in &lines {
        check(line);
        copied += places(line).iter().flatten().count();
        all += places(line).len();
    }
    assert!(0 < copied && copied < all, "{copied} of {all}");
    assert_eq!(figures["copied_rate"], copied as f64 / all as f64);
    // Nothing else could be right: the names are unknown.
    assert!(figures["exact_match"].as_f64().unwrap() > 0.5, "{figures}");
    // The run's own files have the same.
    assert_eq!(json_lines(&place, "a/samples/test.jsonl"), lines);
    let events = json_lines(&place, "a/metrics.jsonl");
    let test = events
        .iter()
        .find(|event| event["event"] == "test")
        .unwrap();
    assert_eq!(test["copied_rate"], figures["copied_rate"]);
    let table = place.run("eval a").ok().stdout;
    assert!(table.contains("\ncopied_rate "), "{table}");

    let page = fs::read_to_string(place.path("a/report.html")).unwrap();
    assert!(page.contains("Tokens <span class=\"copied\">copied</span> from the source"));
    let marks: Vec<String> = lines
        .iter()
        .flat_map(|line| {
            let tokens = line["prediction"].as_array().unwrap().clone();
            let source = line["source"].clone();
            let marks = tokens
                .into_iter()
                .zip(places(line))
                .filter_map(move |(token, place)| {
                    let (token, place) = (token.as_str()?.to_owned(), place?);
                    let (from, number) = (source[place].as_str()?, place + 1);
                    Some(format!(
                        "title=\"copied from token {number}, {from}\">{token}</span>"
                    ))
                });
            marks.collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(marks.len(), copied);
    for mark in marks {
        assert!(page.contains(&mark), "{mark}");
    }
}

#[test]
fn a_model_that_does_not_copy_tells_nothing_of_it() {
    let place = place();
    train(&place, "a", "--model attention --max-steps 2 --quiet").ok();
    let done = translate(&place, "call wien with x", "--json").ok();
    assert!(!done.stdout.contains("copied"), "{}", done.stdout);
    place.run("eval a --predictions p.jsonl").ok();
    for file in ["p.jsonl", "a/metrics.jsonl", "a/samples/test.jsonl"] {
        let text = fs::read_to_string(place.path(file)).unwrap();
        assert!(!text.contains("copied"), "{file}: {text}");
    }
    let page = fs::read_to_string(place.path("a/report.html")).unwrap();
    assert!(!page.contains("class=\"copied\""));
}

/// The preset for pseudo-code is one command: it names its model.
#[test]
fn the_preset_names_its_model() {
    let place = seq2seq::place();
    for split in ["train", "valid", "test"] {
        place.write(
            &format!("{split}.jsonl"),
            rare(0, 8).replace("go a", "go = a"),
        );
    }
    let flags = "--preset pseudocode --train train.jsonl --valid valid.jsonl --test test.jsonl \
                 --embedding-dim 4 --hidden-size 5 --min-frequency 1 --max-steps 1 --quiet --out a";
    place.run(&format!("train-seq2seq {flags}")).ok();
    let test = &json_lines(&place, "a/metrics.jsonl")[..];
    let test = test.iter().find(|event| event["event"] == "test").unwrap();
    assert_eq!(
        (&test["model"], &test["beam"]),
        (&json!("attention"), &json!(5))
    );
}
