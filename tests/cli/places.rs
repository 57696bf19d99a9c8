//! A run finds its data from whichever folder a command is given, and after a move.

use std::fs;

use serde_json::Value;

use super::seq2seq;
use super::support::{Done, Place, assert_same_run, python, train_args};

/// The program with these arguments in a folder of the place.
fn run_in(place: &Place, folder: &str, line: &str) -> Done {
    let words: Vec<&str> = line.split_whitespace().collect();
    place.sh(&format!("cd {folder} && exec \"$0\" \"$@\""), &words)
}

fn loss(done: Done) -> Value {
    let json: Value = serde_json::from_str(&done.ok().stdout).unwrap();
    assert!(json["loss"].is_number());
    json["loss"].clone()
}

/// A place with the folders `project` and `elsewhere`; in `project` the texts and pairs, and `flags`
/// trained from there.
fn project(flags: &str) -> Place {
    let place = Place::new();
    place.write("project/data/text.py", python(19));
    place.write("elsewhere/notes.txt", "nothing here");
    for (name, n, seed) in [("train", 22, 1), ("valid", 7, 2), ("test", 5, 3)] {
        let file = format!("project/data/{name}.jsonl");
        place.write(&file, seq2seq::pairs(n, seed));
    }
    run_in(&place, "project", flags).ok();
    place
}

fn chars(out: &str, flags: &str) -> String {
    let flags = format!("--corpus data/text.py --quiet {flags}");
    train_args(out, &flags).join(" ")
}

fn words(out: &str, flags: &str) -> String {
    let files = "--train data/train.jsonl --valid data/valid.jsonl --test data/test.jsonl --quiet";
    let flags = format!("{files} {flags}");
    seq2seq::train_args(out, &flags).join(" ")
}

#[test]
fn from_any_folder() {
    for (flags, command, whole) in [
        (
            chars("runs/a", "--epochs 1"),
            "train-charlm",
            chars("runs/whole", "--epochs 2"),
        ),
        (
            words("runs/a", "--model rnn --epochs 1"),
            "train-seq2seq",
            words("runs/whole", "--model rnn --epochs 2"),
        ),
    ] {
        let place = project(&flags);
        let eval = |folder: &str, run: &str| {
            let line = format!("eval {run} --json --quiet");
            loss(run_in(&place, folder, &line))
        };
        let want = eval("project", "runs/a");
        let absolute = place.path("project/runs/a");
        let absolute = absolute.to_str().unwrap();
        for (folder, run) in [
            ("elsewhere", "../project/runs/a"),
            ("project/runs/a", "."),
            ("elsewhere", absolute),
        ] {
            assert_eq!(eval(folder, run), want, "{folder}: {run}");
        }
        // Another text of that name is not the run's, nor is one that cannot be read.
        place.write("elsewhere/data/text.py", python(40));
        for name in ["train", "valid", "test"] {
            place.write(&format!("elsewhere/data/{name}.jsonl"), "{");
        }
        assert_eq!(eval("elsewhere", "../project/runs/a"), want);
        for name in ["train", "valid", "test"] {
            let other = seq2seq::pairs(9, 4);
            place.write(&format!("elsewhere/data/{name}.jsonl"), other);
        }
        assert_eq!(eval("elsewhere", "../project/runs/a"), want);
        // Going on from there.
        let more = format!("{command} --out ../project/runs/a --resume --epochs 2 --quiet");
        run_in(&place, "elsewhere", &more).ok();
        run_in(&place, "project", &whole).ok();
        let [a, whole] = ["a", "whole"].map(|run| place.path("project/runs").join(run));
        assert_same_run(&whole, &a);
        let want = eval("project", "runs/a");
        // The whole project moves.
        place.sh("mv project moved", &[]).ok();
        for (folder, run) in [("moved", "runs/a"), ("elsewhere", "../moved/runs/a")] {
            assert_eq!(eval(folder, run), want, "{folder}: {run}");
        }
        let more = format!("{command} --out ../moved/runs/a --resume --quiet");
        run_in(&place, "elsewhere", &more).ok();
        assert_eq!(eval("elsewhere", "../moved/runs/a"), want);
        // Gone, with another in its place: every place is named.
        place.sh("rm -r moved/data", &[]).ok();
        let done = run_in(&place, "elsewhere", "eval ../moved/runs/a --quiet");
        done.fails(3, &["SHA-256", "restore"]);
        place.sh("rm -r elsewhere/data", &[]).ok();
        for line in ["eval ../moved/runs/a", &more] {
            let places = ["Tried: data/t", "/project/data/t", "/moved/data/t"];
            let done = run_in(&place, "elsewhere", line);
            done.fails(3, &[&places[..], &["no such file", "restore it"]].concat());
        }
    }
}

#[test]
fn several_of_that_name_and_none_the_right_one() {
    let place = project(&chars("runs/a", "--epochs 1"));
    place.write("elsewhere/data/text.py", python(40));
    place.write("project/data/text.py", python(41));
    let done = run_in(&place, "elsewhere", "eval ../project/runs/a");
    done.fails(
        3,
        &[
            "project/runs/a/config.toml: the run's data is not found",
            "/elsewhere/data/text.py: not what the run was trained on",
            "/project/data/text.py: not what the run was trained on",
            "as corpus",
        ],
    );
}

#[test]
fn data_that_is_named_anew_is_found_from_then_on() {
    let place = project(&chars("runs/a", "--max-steps 3"));
    place
        .sh("mv project/data/text.py elsewhere/mine.py", &[])
        .ok();
    let more = "train-charlm --out ../project/runs/a --resume --max-steps 5 --corpus mine.py";
    run_in(&place, "elsewhere", more).ok();
    for (folder, run) in [("elsewhere", "../project/runs/a"), ("project", "runs/a")] {
        let resume = format!("train-charlm --out {run} --resume --max-steps 6");
        run_in(&place, folder, &resume).ok();
        let line = format!("eval {run} --json --quiet");
        loss(run_in(&place, folder, &line));
    }
}

#[test]
fn three_models_go_on_from_another_folder() {
    let place = project(&words("runs", "--max-steps 2"));
    fs::remove_dir_all(place.path("project/runs/attention")).unwrap();
    let more = "train-seq2seq --out ../project/runs --resume --max-steps 4";
    run_in(&place, "elsewhere", more).ok();
    for kind in seq2seq::KINDS {
        // Also the one that began there, and is found from a third folder.
        let line = format!("eval ../project/runs/{kind} --json --quiet");
        loss(run_in(&place, "elsewhere", &line));
        loss(run_in(
            &place,
            "project/data",
            &line.replace("project/", ""),
        ));
    }
}

#[test]
fn runs_of_older_versions_and_shown_pages() {
    let place = project(&chars("runs/a", "--epochs 1"));
    let path = place.path("project/runs/a/config.toml");
    let text = fs::read_to_string(&path).unwrap();
    let names_folder = |text: &str| text.contains(place.path("project").to_str().unwrap());
    assert!(names_folder(&text), "{text}");
    let page = fs::read_to_string(place.path("project/runs/a/report.html")).unwrap();
    assert!(!names_folder(&page) && !page.contains("started-in"));
    // A configuration for another run, as every run's is.
    let line = "train-charlm --config runs/a/config.toml --out runs/b --quiet";
    run_in(&place, "project", line).ok();
    let old: Vec<&str> = text
        .lines()
        .filter(|l| !l.starts_with("started-in") && !l.starts_with("run-folder"))
        .filter(|l| !l.starts_with("# SHA-256"))
        .collect();
    fs::write(&path, old.join("\n")).unwrap();
    loss(run_in(&place, "project", "eval runs/a --json --quiet"));
    let done = run_in(&place, "elsewhere", "eval ../project/runs/a");
    done.fails(3, &["data/text.py: no such file", "as corpus"]);
}
