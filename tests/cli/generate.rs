//! `rnnx generate` through the binary.

use std::io::{Read, Write};
use std::process::Stdio;

use serde_json::Value;

use super::support::{Done, Place, age};

fn place() -> Place {
    Place::with_run("a", "--epochs 2 --learning-rate 0.02 --quiet")
}

#[test]
fn the_same_seed_gives_the_same_text_and_stdout_holds_only_text() {
    let place = place();
    let generate = |flags: &str| place.run(&format!("generate a --prompt def {flags}"));
    let done = generate("--length 60").ok();
    assert_eq!(done.stdout.len(), 63);
    assert!(done.stdout.starts_with("def"), "{}", done.stdout);
    assert!(done.stderr.contains("60 characters in"), "{}", done.stderr);
    assert_eq!(generate("--length 60 --seed 1").ok().stdout, done.stdout);
    assert_ne!(generate("--length 60 --seed 2").ok().stdout, done.stdout);
    let greedy = |seed| {
        generate(&format!("--length 60 --temperature 0 --seed {seed}"))
            .ok()
            .stdout
    };
    assert_eq!(greedy(1), greedy(2));
    assert_eq!(
        generate("--length 60 --top-k 1 --seed 7").ok().stdout,
        greedy(1)
    );
    assert_eq!(generate("--length 60 --top-p 1e-9").ok().stdout, greedy(1));

    let quiet = generate("--length 60 --quiet").ok();
    assert_eq!((quiet.stdout, quiet.stderr.as_str()), (done.stdout, ""));
    // Checkpoints speak as their run does.
    let best = place
        .run("generate a/best --prompt def --length 60 --quiet")
        .ok();
    assert_eq!(best.stdout, generate("--length 60").ok().stdout);
    // 1000 characters unless told otherwise.
    assert_eq!(generate("--quiet").ok().stdout.len(), 1003);
}

#[test]
fn json_and_streams() {
    let place = place();
    let one = place
        .run("generate a --prompt def --length 40 --quiet")
        .ok()
        .stdout;
    let streams = "generate a --prompt def --length 40 --streams 3";
    let done = place.run(streams).ok();
    let parts: Vec<&str> = done.stdout.split("=== stream ").collect();
    assert_eq!(parts.len(), 4, "{}", done.stdout);
    assert_eq!(parts[1], format!("1 ===\n{one}\n"));
    assert!(done.stderr.contains("120 characters in"), "{}", done.stderr);
    let json = place.run(&format!("{streams} --json --quiet")).ok();
    assert_eq!(json.stderr, "");
    let lines: Vec<Value> = json
        .stdout
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0]["text"].as_str().unwrap(), &one[3..]);
    for (n, line) in (1..).zip(&lines) {
        assert_eq!(
            (&line["stream"], &line["prompt"]),
            (&n.into(), &"def".into())
        );
        assert_eq!(line["text"].as_str().unwrap().len(), 40);
    }
    assert_ne!(lines[1]["text"], lines[2]["text"]);
}

#[test]
fn a_closed_pipe_ends_an_endless_text_well() {
    let place = place();
    let args: Vec<&str> = "generate a --prompt def --length 1000000000000"
        .split(' ')
        .collect();
    let mut command = place.command(&args);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut text = [0; 100];
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut text).unwrap();
    drop(stdout);
    let done = Done::of(child.wait_with_output().unwrap()).ok();
    assert!(
        text.starts_with(b"def") && done.stderr.is_empty(),
        "{}",
        done.stderr
    );
}

#[test]
fn without_a_prompt_and_a_terminal_nothing_is_asked() {
    let place = place();
    let args = ["generate", "a", "--length", "50", "--quiet"];
    let mut child = place
        .command(&args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // The reader may be gone before this is written: it does not read.
    let _ = stdin.write_all(b"12\n0.5\nimport\n");
    let done = Done::of(child.wait_with_output().unwrap()).ok();
    assert_eq!(done.stderr, "");
    let empty = place
        .run_args(&[&args[..], &["--prompt", ""]].concat())
        .ok();
    assert_eq!((done.stdout.len(), done.stdout), (50, empty.stdout));
}

#[test]
fn the_prompt_may_come_from_standard_input() {
    let place = place();
    let piped = |text: &str, flags: &str| {
        let script = format!("printf \"$1\" | \"$0\" generate a --prompt - --length 60 -q {flags}");
        place.sh(&script, &[text])
    };
    let args = ["generate", "a", "--length", "60", "-q", "--prompt"];
    let given = place.run_args(&[&args[..], &["def\n"]].concat()).ok();
    assert_eq!(piped("def\\n", "").ok().stdout, given.stdout);
    assert_eq!(piped("def\\\\n", "-e").ok().stdout, given.stdout);
    piped("de\\377f", "").fails(3, &["--prompt -", "byte 3", "not UTF-8", "--escapes"]);
    piped("def\\\\q", "--escapes").fails(2, &["--prompt", "\\q", "position 4"]);
    // A file of Windows has the same lines.
    let lines = place
        .run_args(&[&args[..], &["def\n    x\n"]].concat())
        .ok();
    assert_eq!(piped("def\\r\\n    x\\r\\n", "").ok().stdout, lines.stdout);
}

#[test]
fn a_model_of_bytes_reads_the_bytes_of_standard_input() {
    let place = Place::new();
    let bytes: Vec<u8> = (0..2000u32)
        .map(|i| [0xff, b'\\', b'\r', b'\n', 0xc3][((i + i / 7) % 5) as usize])
        .collect();
    place.write("bytes.bin", &bytes);
    place
        .train("a", "--corpus bytes.bin --charset bytes --epochs 1")
        .ok();
    place.write("prompt", [0xff, b'\r', b'\n', 0xc3]);
    let script = "\"$0\" generate a --prompt - --length 9 -q --json < prompt";
    let found = place.sh(script, &[]).ok().stdout;
    let escaped = [
        "generate", "a", "--length", "9", "-q", "--json", "-e", "--prompt",
    ];
    let given = place.run_args(&[&escaped[..], &["\\xff\\x0d\\n\\xc3"]].concat());
    assert_eq!(found, given.ok().stdout);
    // Escapes among bytes that are no text; what it never writes is named as a byte.
    place.write("prompt", [0xff, b'\\', b'n', 0xc3]);
    let script = "\"$0\" generate a -e --prompt - --length 9 -q < prompt | od -An -tx1 -N3";
    assert_eq!(place.sh(script, &[]).ok().stdout.trim(), "ff 0a c3");
    let script = "\"$0\" generate a -e --prompt - --length 9 --stop '\\xe9' < prompt > written";
    let done = place.sh(script, &[]).ok();
    assert!(
        done.stderr.contains("the model never writes byte 0xE9"),
        "{}",
        done.stderr
    );
}

#[test]
fn a_device_that_is_not_there_is_not_the_first_complaint() {
    let place = place();
    place
        .run("generate none --prompt x --device cuda")
        .fails(3, &["none: no such run"]);
    place
        .run("generate a --prompt x --device cuda")
        .fails(4, &["device cuda"]);
}

#[test]
fn a_stop_ends_the_text() {
    let place = place();
    let line = "generate a --prompt def --length 60 --top-k 3";
    let whole = place.run(line).ok().stdout;
    let stop = &whole[30..32];
    let end = 3 + whole[3..].find(stop).unwrap();
    let args: Vec<&str> = line
        .split(' ')
        .chain(["--stop", "~", "--stop", stop])
        .collect();
    let done = place.run_args(&args).ok();
    assert_eq!(done.stdout, whole[..end]);
    let note = "--stop \"~\" ends nothing: the model never writes character '~' (U+007E)";
    assert!(done.stderr.contains(note), "{}", done.stderr);
    let drawn = format!("{} characters in", end + 2 - 3);
    assert!(done.stderr.contains(&drawn), "{}", done.stderr);
}

#[test]
fn runs_that_are_none() {
    let place = place();
    place
        .run("generate none --prompt x")
        .fails(3, &["none: no such run", "train one"]);
    place
        .run("generate text.py --prompt x")
        .fails(3, &["text.py"]);
    place
        .run("generate . --prompt x")
        .fails(3, &["not the folder of a run", "config.toml"]);
    place.sh("mv a/vocab.json a/v.json", &[]).ok();
    place
        .run("generate a --prompt x")
        .fails(3, &["a/vocab.json", "missing"]);
    age(&place.path("a"));
    place.write(
        "a/vocab.json",
        "{\"kind\":\"words\",\"source\":[\"<PAD>\"],\"target\":[\"<PAD>\"]}",
    );
    place
        .run("generate a --prompt x")
        .fails(3, &["vocab.json", "seq2seq", "another run"]);
}
