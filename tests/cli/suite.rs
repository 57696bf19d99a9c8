//! `--suite code`: a run for each row, and the table of all.

use std::fs;

use serde_json::{Value, json};

use super::seq2seq::{self, events, train, train_args};
use super::support::{Done, Place, Running, assert_same_run, json_of, snapshot};

const ROWS: [&str; 10] = [
    "rnn",
    "lstm",
    "attention",
    "copy",
    "python",
    "bpe",
    "grammar",
    "pretraining",
    "pretrained",
    "transformer",
];

/// Flags of a small suite.
const SMALL: &str = "--suite code --num-heads 2 --bpe-merges 20 --max-target 12";

fn place() -> Place {
    let place = seq2seq::place();
    let code = |i: usize| {
        format!(
            "{}\n",
            json!({ "code": format!("def g{i} ( y ) : return y") })
        )
    };
    place.write("code.jsonl", (0..9).map(code).collect::<String>());
    place
}

fn suite(place: &Place, out: &str, flags: &str) -> Done {
    train(place, out, &format!("{SMALL} {flags}"))
}

/// The rows that a file lists.
fn rows_of(place: &Place, file: &str) -> Vec<Value> {
    json_of(place, file).as_array().unwrap().clone()
}

fn names(rows: &[Value]) -> Vec<&str> {
    rows.iter()
        .map(|row| row["row"].as_str().unwrap())
        .collect()
}

/// A setting of a row's run.
fn setting(place: &Place, run: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(place.path(run).join("config.toml")).unwrap();
    let start = format!("{key} = ");
    let line = text.lines().find(|line| line.starts_with(&start))?;
    Some(line[start.len()..].trim_matches('"').to_owned())
}

fn test_of(place: &Place, run: &str) -> Value {
    events(place, run, "test").pop().unwrap_or(Value::Null)
}

#[test]
fn each_row_is_a_run_with_settings_on_top_of_another() {
    let place = place();
    let flags = "--epochs 1 --pretrain code.jsonl --pretrain-epochs 2 --grammar line --dropout 0.1";
    let done = suite(&place, "s", flags).ok();
    let set = |row: &str, key: &str| setting(&place, &format!("s/{row}"), key).unwrap_or_default();
    for (row, model, copy, source, target, grammar) in [
        ("rnn", "rnn", "false", "whitespace", "whitespace", "none"),
        ("lstm", "lstm", "false", "whitespace", "whitespace", "none"),
        (
            "attention",
            "attention",
            "false",
            "whitespace",
            "whitespace",
            "none",
        ),
        (
            "copy",
            "attention",
            "true",
            "whitespace",
            "whitespace",
            "none",
        ),
        ("python", "attention", "true", "words", "python", "none"),
        ("bpe", "attention", "true", "bpe", "bpe", "none"),
        ("grammar", "attention", "true", "bpe", "bpe", "line"),
        ("pretraining", "attention", "true", "bpe", "bpe", "line"),
        ("pretrained", "attention", "true", "bpe", "bpe", "line"),
        ("transformer", "transformer", "true", "bpe", "bpe", "line"),
    ] {
        let keys = ["model", "copy", "source-tokens", "target-tokens", "grammar"];
        let found = keys.map(|key| set(row, key));
        assert_eq!(found, [model, copy, source, target, grammar], "{row}");
        let pretrain = if row == "pretraining" {
            "code.jsonl"
        } else {
            ""
        };
        assert_eq!(set(row, "pretrain"), pretrain, "{row}");
        // Whole functions have room in more tokens; what is given of a row's settings holds where they do.
        let (max_source, max_target) = match source {
            "whitespace" => ("30", "50"),
            _ => ("60", "12"),
        };
        assert_eq!(set(row, "max-source"), max_source, "{row}");
        assert_eq!(set(row, "max-target"), max_target, "{row}");
        // What is given beside holds in every row.
        assert_eq!(
            (set(row, "dropout"), set(row, "epochs")),
            ("0.1".into(), "1".into())
        );
    }
    let vocab = |row: &str| fs::read(place.path("s").join(row).join("vocab.json")).unwrap();
    assert!(vocab("pretraining") == vocab("pretrained") && vocab("grammar") != vocab("pretrained"));

    // The same figures in three forms.
    let rows = rows_of(&place, "s/suite.json");
    assert_eq!(names(&rows), ROWS);
    for row in &rows {
        let name = row["row"].as_str().unwrap();
        let test = test_of(&place, &format!("s/{name}"));
        if name == "pretraining" {
            assert!(test.is_null() && row["exact_match"].is_null());
            assert!(row["best_valid_loss"].is_number() && row["seconds"].is_number());
            continue;
        }
        for key in [
            "exact_match",
            "bleu",
            "bleu_python",
            "chrf",
            "parse_rate",
            "unk_rate",
            "tree_match",
            "identifier_f1",
            "copied_rate",
            "parameters",
            "seed",
        ] {
            assert_eq!(row[key], test[key], "{name}: {key}");
        }
        assert_eq!(
            (&row["seconds"], &row["test_loss"]),
            (&test["train_seconds"], &test["loss"])
        );
        assert_eq!(
            row["copied_rate"].is_null(),
            ["rnn", "lstm", "attention"].contains(&name)
        );
    }
    assert_eq!(rows[6]["parse_rate"], 1.0);
    let lines: Vec<&str> = done.stdout.lines().collect();
    assert_eq!(lines.len(), 1 + ROWS.len());
    for (line, row) in lines[1..].iter().zip(&rows) {
        assert!(line.starts_with(row["row"].as_str().unwrap()), "{line}");
        if let Some(x) = row["chrf"].as_f64() {
            assert!(line.contains(&format!(" {x:.4} ")), "{line}");
        }
    }
    let width = |line: &&str| line.chars().count();
    assert!(
        lines.iter().all(|line| width(line) == width(&lines[0])),
        "{}",
        done.stdout
    );
    let mut table = csv::Reader::from_path(place.path("s/suite.csv")).unwrap();
    let head: Vec<String> = table.headers().unwrap().iter().map(str::to_owned).collect();
    assert_eq!(head[..3], ["row", "exact_match", "bleu"]);
    for (record, row) in table.records().zip(&rows) {
        for (key, cell) in head.iter().zip(record.unwrap().iter()) {
            match &row[key] {
                Value::Null => assert_eq!(cell, "", "{key}"),
                Value::String(text) => assert_eq!(cell, text, "{key}"),
                // Read as the file was.
                value => assert_eq!(
                    serde_json::from_str::<Value>(cell).unwrap(),
                    *value,
                    "{key}"
                ),
            }
        }
    }
    let page = fs::read_to_string(place.path("s/report.html")).unwrap();
    let name = |row: &&str| match ["rnn", "lstm", "attention", "transformer"].contains(row) {
        true => (*row).to_owned(),
        false => format!("{row} (attention)"),
    };
    let names: Vec<String> = ROWS.iter().map(name).collect();
    assert!(page.contains(&names.join(", ")), "{names:?}");
    assert!(page.contains("names, F1") && page.contains("10 runs"));
}

#[test]
fn rows_can_be_chosen_and_added_later() {
    let place = place();
    let flags = "--epochs 1 --quiet --json";
    let done = suite(&place, "s", &format!("{flags} --rows grammar,rnn")).ok();
    let rows: Vec<Value> = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(names(&rows), ["rnn", "grammar"]);
    assert!(rows == rows_of(&place, "s/suite.json") && !place.path("s/copy").exists());
    assert_eq!(setting(&place, "s/grammar", "grammar").unwrap(), "module");
    // The settings of before hold for what comes later.
    let done = place
        .run("train-seq2seq --suite code --out s --resume --rows copy --json")
        .ok();
    assert!(
        done.stderr.contains("nothing is left to do"),
        "{}",
        done.stderr
    );
    let more: Vec<Value> = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(names(&more), ["rnn", "copy", "grammar"]);
    assert_eq!([&more[0], &more[2]], [&rows[0], &rows[1]]);
    assert_eq!(setting(&place, "s/copy", "epochs").unwrap(), "1");
    // Those that lack what they need are left out, and what starts from them.
    let done = suite(&place, "t", "--max-steps 1").ok();
    let note = "note: left out without --pretrain: pretraining, pretrained\n";
    assert!(done.stderr.contains(note), "{}", done.stderr);
    assert_eq!(rows_of(&place, "t/suite.json").len(), 8);
    // What is of all rows has none to choose.
    place
        .run("train-seq2seq --suite code --out t --resume --rows rnn,lstm")
        .fails(2, &["--rows rnn,lstm", "t is of all rows"]);
    suite(&place, "u", "--rows pretrained --max-steps 1")
        .fails(2, &["--rows pretraining, pretrained", "--pretrain"]);
    let flags = "--rows pretrained --pretrain code.jsonl --max-steps 1 --quiet";
    suite(&place, "u", flags).ok();
    assert_eq!(
        names(&rows_of(&place, "u/suite.json")),
        ["pretraining", "pretrained"]
    );
}

/// But for the times.
fn without_times(place: &Place, file: &str) -> Vec<Value> {
    let mut rows = rows_of(place, file);
    for row in &mut rows {
        row["seconds"] = Value::Null;
        row["decode_seconds"] = Value::Null;
    }
    rows
}

#[test]
fn one_that_was_stopped_goes_on_from_where_each_row_stands() {
    let place = place();
    let flags = "--epochs 2 --rows lstm,copy,pretrained --pretrain code.jsonl --quiet";
    suite(&place, "whole", flags).ok();
    suite(&place, "parts", flags).ok();
    // As if it had been stopped in the pre-training, which has half its steps.
    for row in ["pretraining", "pretrained"] {
        fs::remove_dir_all(place.path("parts").join(row)).unwrap();
    }
    let half = "--model attention --copy --source-tokens bpe --target-tokens bpe --grammar module \
                --num-heads 2 --bpe-merges 20 --max-source 60 --max-target 12 --pretrain code.jsonl \
                --max-steps 9 --quiet";
    train(&place, "half", half).ok();
    fs::rename(place.path("half"), place.path("parts/pretraining")).unwrap();
    // The folder says that it is a suite, and which.
    let done = place
        .run("train-seq2seq --out parts --resume --quiet --max-steps 1000")
        .ok();
    assert!(done.stdout.contains("pretrained"), "{}", done.stdout);
    for row in ["lstm", "copy", "pretraining", "pretrained"] {
        assert_same_run(
            &place.path("whole").join(row),
            &place.path("parts").join(row),
        );
    }
    let of = |out: &str| without_times(&place, &format!("{out}/suite.json"));
    assert_eq!(of("whole"), of("parts"));
}

#[cfg(unix)]
#[test]
fn ctrl_c_says_how_to_go_on_with_all() {
    let place = place();
    let flags = format!("{SMALL} --epochs 40 --rows rnn,lstm,copy");
    let mut run = Running::of(&place, "log", &train_args("cut", &flags));
    run.wait_for("lstm: cut/lstm");
    run.wait_for("model: lstm, ");
    run.interrupt("cut");
    assert!(place.path("cut/suite.json").exists() && !place.path("cut/report.html").exists());
    place.run("train-seq2seq --out cut --resume --quiet").ok();
    suite(&place, "whole", "--epochs 40 --rows rnn,lstm,copy --quiet").ok();
    for row in ["rnn", "lstm", "copy"] {
        assert_same_run(&place.path("whole").join(row), &place.path("cut").join(row));
    }
}

#[test]
fn what_cannot_be_is_said_before_the_first_row_trains() {
    let place = place();
    let refuse = |flags: &str, code: i32, words: &[&str]| {
        suite(&place, "no", flags).fails(code, words);
        assert!(!place.path("no").exists(), "{flags}");
    };
    refuse(
        "--rows copy,nope",
        2,
        &["--rows nope", "pretrained, transformer"],
    );
    refuse("--model lstm", 2, &["model with --suite code", "--rows"]);
    refuse("--label-smoothing 0.1", 2, &["label-smoothing with copy"]);
    refuse("--preset pseudocode", 2, &["--preset", "--suite"]);
    refuse("--init-from x", 2, &["--init-from", "--suite"]);
    refuse("--resume", 3, &["no: no suite has begun there"]);
    train(&place, "no", "--suite words").fails(2, &["'words'", "code"]);
    train(&place, "no", "--rows copy").fails(2, &["--suite"]);
    // What is there already.
    let rows = "--rows rnn,lstm --max-steps 1 --quiet";
    suite(&place, "s", rows).ok();
    train(&place, "one", "--model rnn --max-steps 1 --quiet").ok();
    place.write("t/lstm/cat.jpg", "miaow");
    let before = snapshot(&place.path(""));
    suite(&place, "s", rows).fails(2, &["s already holds a suite", "--resume", "--force"]);
    suite(&place, "one", rows).fails(2, &["one is a run", "--out"]);
    suite(&place, "t", rows).fails(2, &["t/lstm holds files", "not a run"]);
    suite(&place, "s", "--resume --hidden-size 11").fails(2, &["hidden-size = 11 contradicts"]);
    assert!(snapshot(&place.path("")) == before);
    for damaged in [&b"suite = 1"[..], b"suite = \"\xff\""] {
        place.write("s/suite.toml", damaged);
        place
            .run("train-seq2seq --out s --resume")
            .fails(3, &["s/suite.toml", "is damaged"]);
    }
    place.write(
        "s/suite.toml",
        "suite = \"old\"\nrows = []\nstarted-in = \"x\"\n[settings]\n",
    );
    place
        .run("train-seq2seq --out s --resume")
        .fails(3, &["s/suite.toml", "suite old"]);
    suite(&place, "s", &format!("{rows} --force")).ok();
}
