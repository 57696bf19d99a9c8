//! `--grammar` through the binary: what barely trained models write is Python.

use rnnx::data::python::{parses, parses_as_line};
use serde_json::{Value, json};

use super::copying;
use super::seq2seq::{json_lines, train};
use super::support::Place;
use super::translate::{piped, translate};

/// A place with functions of several lines.
fn place() -> Place {
    let place = super::seq2seq::place();
    let line = |i: usize| {
        let name = ["total", "count", "mean"][i % 3];
        let docstring = format!("Return the {name} of 'x {}' , self .", i % 2);
        let code = format!(
            "def {name}(self, x):\n    y = 'x {}'\n    return y, x",
            i % 2
        );
        format!("{}\n", json!({"docstring": docstring, "code": code}))
    };
    for (split, n) in [("train", 12), ("valid", 4), ("test", 9)] {
        place.write(
            &format!("{split}.jsonl"),
            (0..n).map(line).collect::<String>(),
        );
    }
    place
}

/// A place with the run `a` after one step.
fn begun(tokens: &str, flags: &str) -> Place {
    let place = place();
    let flags = format!(
        "--target-tokens {tokens} --bpe-merges 8 --max-target 25 --max-steps 1 --quiet {flags}"
    );
    train(&place, "a", &flags).ok();
    place
}

#[track_caller]
fn eval(place: &Place, flags: &str) -> Value {
    let done = place.run(&format!("eval a --json --quiet {flags}")).ok();
    serde_json::from_str(&done.stdout).unwrap()
}

#[test]
fn all_that_is_written_parses() {
    let mut rates = Vec::new();
    for (tokens, flags) in [
        ("python", "--model attention"),
        ("python", "--model attention --copy --source-tokens words"),
        ("bpe", "--model gru"),
        ("whitespace", "--model rnn"),
        ("words", "--model lstm"),
    ] {
        let place = begun(tokens, flags);
        for (start, beam) in [("line", ""), ("statement", "--beam 3"), ("module", "")] {
            let flags = format!("--grammar {start} {beam} --predictions {start}.jsonl");
            let figures = eval(&place, &flags);
            assert_eq!(figures["parse_rate"], 1.0, "{tokens} {flags}: {figures}");
            assert_eq!(
                (&figures["unk_rate"], &figures["grammar"]),
                (&json!(0.0), &json!(start))
            );
            let lines = json_lines(&place, &format!("{start}.jsonl"));
            assert_eq!(lines.len(), 9);
            for line in lines {
                let code = line["code"].as_str().unwrap();
                let is_python = match start {
                    "line" => parses_as_line(code),
                    _ => parses(code),
                };
                assert!(is_python, "{tokens} {flags}: {code}");
            }
        }
        let free = eval(&place, "--grammar none");
        assert_eq!(free["grammar"], "none");
        rates.push(free["parse_rate"].as_f64().unwrap());
    }
    // It is the grammar: without it such models write no Python, but where a name is all they write.
    assert!(
        rates.iter().filter(|rate| **rate == 0.0).count() >= 2,
        "{rates:?}"
    );
}

#[test]
fn translate_holds_each_way_to_write_to_it() {
    let place = begun("python", "--model attention");
    let input = "Return the total\nReturn 'x 1' , self .\nmean";
    for flags in [
        "",
        "--beam 3 --n-best 3",
        "--sampling --temperature 2 --n-best 5",
    ] {
        let done = piped(
            &place,
            input,
            &format!("--grammar line --json --quiet {flags}"),
        )
        .ok();
        let mut outputs = 0;
        for line in done.stdout.lines() {
            let answer: Value = serde_json::from_str(line).unwrap();
            let all = answer["n_best"].as_array().cloned();
            for output in all.unwrap_or_else(|| vec![answer]) {
                let code = output["code"].as_str().unwrap();
                assert!(parses_as_line(code), "{flags}: {code}");
                outputs += 1;
            }
        }
        assert!(outputs >= 3, "{flags}: {outputs}");
    }
}

/// A run that was trained with a grammar is held to it unless it is told otherwise.
#[test]
fn a_run_keeps_its_grammar() {
    let place = copying::place();
    let flags = format!(
        "{} --target-tokens python --grammar line --max-steps 1",
        copying::FLAGS
    );
    train(&place, "a", &flags).ok();
    let events = json_lines(&place, "a/metrics.jsonl");
    let test = events
        .iter()
        .find(|event| event["event"] == "test")
        .unwrap();
    assert_eq!(test["parse_rate"], 1.0);
    for line in json_lines(&place, "a/samples/test.jsonl") {
        assert!(parses_as_line(line["code"].as_str().unwrap()), "{line}");
    }
    assert_eq!(eval(&place, "")["grammar"], "line");
    let code = translate(&place, "call wien with x", "--quiet").ok().stdout;
    assert!(parses_as_line(code.trim_end()), "{code}");
    assert_eq!(eval(&place, "--grammar none")["grammar"], "none");
}

#[test]
fn refused() {
    let place = begun("python", "--model rnn");
    let words = ["--grammar", "'file'", "none", "module", "statement", "line"];
    translate(&place, "mean", "--grammar file").fails(2, &words);
    place.run("eval a --grammar file").fails(2, &words);
    translate(&place, "mean", "--grammar module --max-length 1").ok();
    let place = begun("chars", "--model rnn");
    let words = [
        "tokens of the kind chars",
        "target-tokens python",
        "grammar none",
    ];
    for start in ["line", "statement", "module"] {
        let flags = format!("--grammar {start}");
        let done = translate(&place, "mean", &flags);
        assert_eq!(done.stdout, "");
        done.fails(2, &words);
        place.run(&format!("eval a {flags}")).fails(2, &words);
        let flags = format!("--model rnn --target-tokens chars --max-steps 1 {flags}");
        train(&place, "b", &flags).fails(2, &words);
        assert!(!place.path("b").exists());
    }
    translate(&place, "mean", "--grammar none").ok();
    let place = begun("python", "--model rnn --target-language text");
    let words = [
        "the targets are not Python",
        "grammar none",
        "target-language python",
    ];
    translate(&place, "mean", "--grammar line").fails(2, &words);
}
