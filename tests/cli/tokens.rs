//! `rnnx train-seq2seq` with each tokenizer, and what reads its runs.

use std::fs;

use serde_json::{Value, json};

use super::seq2seq::{json_lines, place, train};
use super::support::{Place, assert_same_run};

const KINDS: [&str; 5] = ["whitespace", "words", "python", "bpe", "chars"];

/// Functions of two lines.
fn functions(from: usize, n: usize) -> String {
    let names = ["total", "count", "mean"];
    let line = |i: usize| {
        let name = names[i % 3];
        let docstring = format!("Return the {name} of ' x {} ' , self 's own .", i % 2);
        let code = format!(
            "def {name}(self, x):\n    y = 'x {}'\n    return y, x",
            i % 2
        );
        format!("{}\n", json!({"docstring": docstring, "code": code}))
    };
    (from..from + n).map(line).collect()
}

fn functional() -> Place {
    let place = place();
    place.write("train.jsonl", functions(0, 12));
    place.write("valid.jsonl", functions(1, 4));
    place.write("test.jsonl", functions(2, 4));
    place
}

fn vocab(place: &Place, run: &str) -> Value {
    let text = fs::read_to_string(place.path(run).join("vocab.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn every_tokenizer_trains_scores_and_translates() {
    let place = functional();
    for kind in KINDS {
        let flags = format!(
            "--model attention --max-steps 2 --max-target 60 --source-tokens {kind} \
             --target-tokens {kind} --bpe-merges 8"
        );
        let done = train(&place, kind, &flags).ok();
        let told = format!("tokens: source {kind}, target {kind}\n");
        assert_eq!(
            done.stderr.contains(&told),
            kind != "whitespace",
            "{}",
            done.stderr
        );
        let file = vocab(&place, kind);
        match kind {
            // As it was before there was a choice.
            "whitespace" => assert_eq!(file.as_object().unwrap().len(), 3, "{file}"),
            _ => assert_eq!(file["tokenizers"]["source"]["kind"], kind),
        }
        let done = place
            .run(&format!("eval {kind} --json --predictions out.jsonl"))
            .ok();
        let figures: Value = serde_json::from_str(&done.stdout).unwrap();
        for figure in ["bleu", "bleu_python", "chrf", "exact_match", "parse_rate"] {
            assert!(figures[figure].is_number(), "{kind}: {figure}: {figures}");
        }
        // What cannot be written at white space, as lines end there, can be written in Python's tokens.
        let parse = if kind == "whitespace" || kind == "words" {
            0.0
        } else {
            1.0
        };
        assert_eq!(figures["reference_parse_rate"], parse, "{kind}: {figures}");
        for line in json_lines(&place, "out.jsonl") {
            assert!(
                line["code"].is_string() && line["prediction"].is_array(),
                "{line}"
            );
        }
        let done = place
            .run_args(&["translate", kind, "Return ' x 0 ' .", "--json"])
            .ok();
        let answer: Value = serde_json::from_str(&done.stdout).unwrap();
        let source = answer["source"].as_array().unwrap();
        let is_whole = source.contains(&json!("' x 0 '"));
        assert_eq!(is_whole, kind == "words" || kind == "python", "{answer}");
        assert!(answer["code"].is_string());
    }
}

#[test]
fn a_run_goes_on_and_starts_others_with_its_tokens() {
    let place = functional();
    let flags = "--model lstm --source-tokens words --target-tokens bpe --bpe-merges 8 --epochs 2";
    train(&place, "a", flags).ok();
    train(&place, "b", &format!("{flags} --max-steps 2")).ok();
    place
        .run("train-seq2seq --resume --out b --max-steps 99")
        .ok();
    assert_same_run(&place.path("a"), &place.path("b"));
    let kinds = |run| vocab(&place, run)["tokenizers"].clone();
    assert_eq!(kinds("a"), kinds("b"));
    // Another run begins with its merges, which are not learned anew.
    let from = "--model lstm --init-from a --max-steps 1 --source-tokens words --target-tokens bpe --bpe-merges 1";
    train(&place, "c", from).ok();
    assert_eq!(vocab(&place, "a"), vocab(&place, "c"));
    let done = train(
        &place,
        "d",
        "--model lstm --init-from a --max-steps 1 --source-tokens words",
    );
    done.fails(
        3,
        &[
            "target-tokens is whitespace",
            "is of bpe tokens",
            "--target-tokens bpe",
        ],
    );
    let done = train(&place, "e", "--source-tokens letters");
    done.fails(2, &["whitespace", "words", "python", "bpe", "chars"]);
}

#[test]
fn a_copied_string_counts_as_the_string_of_the_code() {
    // A model that learns the pair by heart writes the string with blanks.
    let place = place();
    let line = json!({"docstring": "say", "code": "say ( ' a b ' )"}).to_string() + "\n";
    place.write("train.jsonl", line.repeat(160));
    place.write("valid.jsonl", &line);
    place.write("test.jsonl", &line);
    let flags = "--model lstm --target-tokens python --learning-rate 0.05 --dropout 0 --epochs 1 --batch-size 4";
    train(&place, "a", flags).ok();
    // The references of other pairs have it without blanks.
    let other = json!({"docstring": "say", "code": "say( 'ab')"}).to_string() + "\n";
    place.write("other.jsonl", other);
    for pairs in ["test", "other"] {
        let done = place.run(&format!(
            "eval a --json --pairs {pairs}.jsonl --predictions p.jsonl"
        ));
        let figures: Value = serde_json::from_str(&done.ok().stdout).unwrap();
        assert_eq!(figures["exact_match"], 1.0, "{figures}");
        assert_eq!(json_lines(&place, "p.jsonl")[0]["code"], "say(' a b ')");
    }
}

// ---- signatures --------------------------------------------------------------------------------

#[test]
fn a_source_may_be_the_signature_and_the_docstring() {
    let place = place();
    let source = "def f(self, n: int) -> str:\n    'Say it.'\n    return 'a'\n\n\
                  def g(x=1):\n    'Say that.'\n    if x:\n        return 1\n    return x\n\n\
                  def h():\n    'Say this.'\n    return 2\n";
    place.write("code.py", source);
    place
        .run("data prepare code.py --out pairs --train-pairs 1 --valid-pairs 1 --test-pairs 1")
        .ok();
    let splits = ["train", "valid", "test"].map(|split| format!("pairs/{split}.jsonl.gz"));
    let [train_pairs, valid, test] = &splits;
    let data = format!("--train {train_pairs} --valid {valid} --test {test} --min-frequency 1");
    for (kind, tokens) in [
        ("both", "words"),
        ("signature", "bpe"),
        ("both", "chars"),
        ("both", "bpe"),
    ] {
        let out = format!("{kind}-{tokens}");
        let targets = if out == "both-bpe" { "bpe" } else { "python" };
        let flags = format!(
            "{data} --model rnn --source {kind} --source-tokens {tokens} --target-tokens {targets} --max-steps 2 --bpe-merges 3"
        );
        train(&place, &out, &flags).ok();
        let list = vocab(&place, &out)["source"].clone();
        let has = list.as_array().unwrap().contains(&json!("<SEP>"));
        assert_eq!(has, kind == "both", "{list}");
        let targets = vocab(&place, &out)["target"].clone();
        assert!(!targets.as_array().unwrap().contains(&json!("<SEP>")));
        place
            .run(&format!("eval {out} --predictions {out}.jsonl"))
            .ok();
        let line = json_lines(&place, &format!("{out}.jsonl")).remove(0);
        let read: String = line["source"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_str)
            .collect();
        assert_eq!(read.contains("<SEP>S"), kind == "both", "{read}");
        // Lines and levels of the code are in the reference.
        if line["docstring"] == "Say that." {
            assert!(
                line["reference"]
                    .as_array()
                    .unwrap()
                    .contains(&json!("<INDENT>"))
            );
        }
        let args = [
            "translate",
            &*out,
            "Say it.",
            "--signature",
            "(self)",
            "--json",
        ];
        let done = place.run_args(&args);
        match kind {
            "both" => {
                let answer: Value = serde_json::from_str(&done.ok().stdout).unwrap();
                assert!(
                    answer["source"]
                        .as_array()
                        .unwrap()
                        .contains(&json!("<SEP>"))
                );
            }
            _ => drop(done.fails(2, &["--signature", "of --source signature"])),
        }
    }
    let done = train(&place, "none", "--source both --max-steps 1");
    done.fails(
        3,
        &[
            "no pair of train.jsonl",
            "data prepare",
            "--source docstring",
        ],
    );
    place
        .run("eval both-words --pairs test.jsonl")
        .fails(3, &["no pair of test.jsonl", "\"signature\""]);
    // One pair without.
    let line = |more: &str| format!("{{\"docstring\": \"Say it.\", \"code\": \"say()\"{more}}}\n");
    place.write("one.jsonl", line(", \"signature\": \"(x)\"") + &line(""));
    place.run("eval both-words --pairs one.jsonl").ok();
    place
        .run("eval signature-bpe --pairs one.jsonl")
        .fails(3, &["has no signature", "Say it.", "--source both"]);
    // A table has them in the column of that name.
    place.write("all.csv", "signature,code,docstring\n(x),say(),Say it.\n");
    place.run("eval signature-bpe --pairs all.csv").ok();
}
