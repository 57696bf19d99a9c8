//! Texts in the forms that users have: several files, folders of any ending, compressed, piped in.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use flate2::{Compression, write::GzEncoder};
use serde_json::Value;

use super::support::{Done, Place, assert_same_run, python, snapshot, train_args};

/// Runs the program with this on its standard input.
fn piped(place: &Place, args: &[&str], input: &[u8]) -> Done {
    let mut command = place.command(args);
    command.stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A program that refuses its flags reads nothing.
    let _ = child.stdin.take().unwrap().write_all(input);
    Done::of(child.wait_with_output().unwrap())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::default());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

fn stats(place: &Place, flags: &str) -> Value {
    let done = place.run(&format!("data stats --json {flags}")).ok();
    serde_json::from_str(&done.stdout).unwrap()
}

#[test]
fn several_paths_follow_one_corpus_flag_and_glob_names_files_of_folders() {
    let place = Place::new();
    let text = python(19);
    // At the end of a line: nothing is put between the two.
    let middle = text[..text.len() / 2].rfind('\n').unwrap() + 1;
    let (a, b) = text.split_at(middle);
    place.write("docs/a.txt", a);
    place.write("docs/deep/b.txt", b);
    place.write("a.txt.gz", gzip(a.as_bytes()));
    for flags in [
        "--corpus docs/a.txt docs/deep/b.txt",
        "--corpus docs/a.txt --corpus docs/deep/b.txt",
        "--corpus docs --glob *.txt",
        "--corpus a.txt.gz docs/deep --glob *.md --glob *.txt",
    ] {
        let found = stats(&place, flags);
        assert_eq!(found["chars"], text.len(), "{flags}");
        assert_eq!(found["files"], 2, "{flags}");
    }
    place
        .train("run", "--corpus docs --glob *.txt --max-steps 3")
        .ok();
    place.run("eval run").ok();
    place.run("eval run --corpus docs --quiet").ok();
    place.train("run", "--resume --max-steps 4").ok();
    place
        .train("other", "--corpus docs")
        .fails(3, &["no .py files", "2 .txt files", "glob \"*.txt\""]);
    place
        .train("other", "--corpus docs --glob [a")
        .fails(2, &["glob", "a list of patterns"]);
    let text = "data prepare docs --glob *.txt --task text --out prepared";
    place.run(text).ok();
    assert_eq!(
        fs::read_to_string(place.path("prepared/text.txt"))
            .unwrap()
            .len(),
        a.len() + b.len()
    );
    place
        .run("data prepare docs --glob *.txt --out pairs")
        .fails(2, &["--glob is about text"]);
    let done = place.run("data prepare docs --out pairs");
    let done = done.fails(3, &["no .py files", "2 .txt files", "another folder"]);
    assert!(!done.stderr.contains("glob"), "{}", done.stderr);
    let text = "data prepare docs --task text --out again";
    place.run(text).fails(3, &["glob \"*.txt\""]);
    for command in [
        "train-charlm --out other",
        "data prepare --task text --out again",
    ] {
        let done = place.run(&format!("{command} --glob *.txt"));
        done.fails(2, &["glob is about folders", "leave glob out"]);
    }
    place
        .run("data prepare --task text - - --out again")
        .fails(2, &["- 2 times", "read once"]);
}

#[test]
fn a_run_on_standard_input_goes_on_whatever_its_form_and_division() {
    let place = Place::new();
    let text = python(19);
    place.write("a.py", python(7));
    place.write("b.py", python(9));
    let flags = "--corpus - --corpus a.py --corpus b.py --valid-split files --valid-fraction 0.4 \
                 --quiet --max-steps";
    for (out, input) in [
        ("plain", text.clone().into_bytes()),
        ("packed", gzip(text.as_bytes())),
    ] {
        let flags = format!("{flags} 3");
        piped(&place, &train_args(out, &flags), &input).ok();
        let done = place.run(&format!("train-charlm --resume --out {out} --max-steps 5"));
        done.ok();
        place.run(&format!("eval {out} --quiet")).ok();
    }
    let whole = format!("{flags} 5");
    piped(&place, &train_args("whole", &whole), text.as_bytes()).ok();
    for out in ["plain", "packed"] {
        assert_same_run(&place.path("whole"), &place.path(out));
    }
}

#[test]
fn a_run_on_standard_input_keeps_the_text_and_goes_on_to_the_bit() {
    let place = Place::new();
    let text = python(19);
    let whole = train_args("whole", "--corpus - --max-steps 12 --quiet");
    piped(&place, &whole, text.as_bytes()).ok();
    let parts = train_args("parts", "--corpus - --max-steps 5 --quiet");
    piped(&place, &parts, text.as_bytes()).ok();
    let kept = fs::read_to_string(place.path("parts/stdin.txt")).unwrap();
    assert_eq!(kept, text);
    // Nothing is on standard input now, and the folder may have moved.
    fs::rename(place.path("parts"), place.path("moved")).unwrap();
    place
        .run("train-charlm --resume --out moved --max-steps 12 --quiet")
        .ok();
    assert_same_run(&place.path("whole"), &place.path("moved"));
    let named = train_args("named", "--max-steps 12 --quiet");
    place.run_args(&named).ok();
    let loss = |run: &str| {
        let done = place.run(&format!("eval {run} --json --quiet")).ok();
        serde_json::from_str::<Value>(&done.stdout).unwrap()["loss"].clone()
    };
    assert_eq!(loss("moved"), loss("named"));
    fs::remove_file(place.path("moved/stdin.txt")).unwrap();
    place
        .run("eval moved")
        .fails(3, &["stdin.txt", "as corpus"]);
    place.run("eval moved --corpus text.py").ok();
    let again = train_args("moved", "--force --max-steps 1 --quiet");
    // The text that a run has kept is no data of one that replaces it.
    let kept = train_args("kept", "--corpus - --max-steps 1 --quiet");
    piped(&place, &kept, text.as_bytes()).ok();
    let before = snapshot(&place.path("kept"));
    let flags = "--corpus kept/../kept/stdin.txt --force --max-steps 1";
    place.run_args(&train_args("kept", flags)).fails(
        2,
        &["kept/stdin.txt", "--force replaces", "copy it elsewhere"],
    );
    assert!(snapshot(&place.path("kept")) == before);
    place
        .run_args(&train_args(
            "other",
            "--corpus kept/stdin.txt --max-steps 1",
        ))
        .ok();
    fs::copy(place.path("kept/stdin.txt"), place.path("kept/mine.txt")).unwrap();
    let flags = "--corpus kept/mine.txt --force --max-steps 1";
    place.run_args(&train_args("kept", flags)).ok();
    place.run_args(&again).ok();
    let twice = train_args("twice", "--corpus - --corpus -");
    piped(&place, &twice, b"a").fails(2, &["- 2 times", "read once"]);
}

#[test]
fn texts_to_score_come_compressed_and_from_standard_input() {
    let place = Place::with_run("run", "--max-steps 3 --quiet");
    let text = python(3);
    place.write("more.txt", &text);
    place.write("more.txt.gz", gzip(text.as_bytes()));
    let run = |args: &str| {
        let args: Vec<&str> = args.split(' ').collect();
        piped(&place, &args, text.as_bytes()).ok().stdout
    };
    let json = |text: String| serde_json::from_str::<Value>(&text).unwrap();
    let scored = run("score run --file more.txt -q");
    assert_eq!(run("score run --file more.txt.gz -q"), scored);
    assert_eq!(run("score run - -q"), scored);
    let loss = json(run("eval run --text more.txt --json -q"))["loss"].clone();
    assert!(loss.is_f64());
    for name in ["more.txt.gz", "-"] {
        let found = json(run(&format!("eval run --text {name} --json -q")));
        assert_eq!(found["loss"], loss, "{name}");
    }
}
