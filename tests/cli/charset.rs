//! Texts in any script, and bytes: what is kept, learned, told and written.

use std::fs;

use serde_json::Value;

use super::support::{Place, age, assert_same_run, json, python};

/// Lines of a made-up song in Greek letters, some of the accents decomposed.
fn greek(lines: usize) -> String {
    let words = [
        "\u{3b1}\u{3c5}\u{3b3}\u{3ae}",
        "\u{3ba}\u{3b1}\u{3b9}",
        "\u{3bd}\u{3b5}\u{3c1}\u{3bf}\u{301}",
        "\u{3c6}\u{3c9}\u{3c2}",
    ];
    let line = |i: usize| {
        let words = (0..4).map(|k| words[(i * i + i / 3 + k) % 4]);
        words.collect::<Vec<_>>().join(" ") + "\r\n"
    };
    (0..lines).map(line).collect()
}

#[test]
fn a_greek_text_is_learned_and_written_in_greek() {
    let place = Place::new();
    place.write("greek.txt", greek(80));
    let flags = "--corpus greek.txt --epochs 6 --learning-rate 2e-2";
    let done = place.train("a", flags).ok();
    assert!(done.stderr.contains("charset unicode"), "{}", done.stderr);
    assert!(!done.stderr.contains("dropped"), "{}", done.stderr);
    let vocab = json(&fs::read_to_string(place.path("a/vocab.json")).unwrap());
    let tokens: String = vocab["tokens"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    // The accent is part of its letter, and \r\n is one newline.
    assert_eq!(
        tokens,
        "\n \u{3ae}\u{3b1}\u{3b3}\u{3b5}\u{3b9}\u{3ba}\u{3bd}\u{3c1}\u{3c2}\u{3c5}\u{3c6}\u{3c9}\u{3cc}"
    );
    let metrics = fs::read_to_string(place.path("a/metrics.jsonl")).unwrap();
    let first = json(metrics.lines().next().unwrap())["ce"]
        .as_f64()
        .unwrap();
    assert!((first - 15f64.ln()).abs() < 0.1, "{first}");
    let last = json(metrics.lines().last().unwrap());
    assert!(last["valid_loss"].as_f64().unwrap() < 1.5, "{last}");

    let figures = json(&place.run("eval a --json").ok().stdout);
    assert_eq!(figures["loss"], last["valid_loss"]);
    let text = place
        .run_args(&[
            "generate",
            "a",
            "--length",
            "60",
            "--prompt",
            "\u{3ba}\u{3b1}",
            "--quiet",
        ])
        .ok()
        .stdout;
    assert!(text.starts_with("\u{3ba}\u{3b1}"), "{text}");
    assert!(
        text.chars().count() == 62 && text.chars().all(|c| tokens.contains(c)),
        "{text}"
    );
    place.run("report a --out page.html").ok();
    let page = fs::read_to_string(place.path("page.html")).unwrap();
    let sample = fs::read_to_string(place.path("a/samples/epoch-6.txt")).unwrap();
    let word = sample
        .split_whitespace()
        .max_by_key(|word| word.len())
        .unwrap();
    assert!(!word.is_ascii() && page.contains(word), "{word}");
    // An unknown character is shown, and where it stands.
    place
        .run_args(&["generate", "a", "--prompt", "\u{3ba}\u{436}"])
        .fails(
            3,
            &["character '\u{436}' (U+0436) at position 2", "--oov skip"],
        );
    place
        .run_args(&["generate", "a", "--prompt", "\u{1b}"])
        .fails(3, &["character '\\u{1b}' (U+001B) at position 1"]);

    // A run goes on, whatever `auto` stands for.
    place.run("train-charlm --out a --resume --epochs 7").ok();
    place
        .train(
            "b",
            &format!("{flags} --epochs 7").replace("--epochs 6", ""),
        )
        .ok();
    assert_same_run(&place.path("a"), &place.path("b"));
    place
        .run("train-charlm --out a --resume --charset bytes")
        .fails(
            2,
            &["charset = \"bytes\" contradicts", "charset = \"auto\""],
        );
}

#[test]
fn what_a_rule_would_drop_is_an_error_that_names_it() {
    let place = Place::new();
    place.write("greek.txt", greek(80));
    place
        .train("a", "--corpus greek.txt --charset ascii")
        .fails(
            3,
            &[
                "corpus greek.txt: charset ascii drops 1,200 of its 1,520 characters (78.9 %",
                "'\u{3b1}' 160 times",
                "charset unicode keeps every character",
            ],
        );
    assert!(!place.path("a").exists());
    // A description of the text is no training.
    let table = place
        .run("data stats --corpus greek.txt --charset ascii")
        .ok();
    assert!(
        table
            .stdout
            .contains("training refuses this: corpus greek.txt"),
        "{}",
        table.stdout
    );
    // Bytes that are no UTF-8.
    let mut latin = python(19).into_bytes();
    latin.splice(40..40, [0xe9; 30]);
    place.write("latin.py", &latin);
    place.train("a", "--corpus latin.py").fails(
        3,
        &[
            "charset unicode drops 30 of its 647",
            "'\u{fffd}' 30 times",
            "charset bytes",
        ],
    );
    place
        .train("a", "--corpus latin.py --charset bytes --max-steps 1")
        .ok();
}

#[test]
fn the_embedded_corpus_keeps_the_published_rule() {
    let place = Place::new();
    let stats = |flags: &str| {
        json(
            &place
                .run(&format!("data stats --json --max-chars 100000 {flags}"))
                .ok()
                .stdout,
        )
    };
    let auto = stats("");
    assert_eq!(
        (&auto["charset"], &auto["dropped"]),
        (&"ascii".into(), &0.into())
    );
    assert_eq!(auto, stats("--charset ascii"));
    let whole = json(
        &place
            .run("data stats --json --max-chars 100000000")
            .ok()
            .stdout,
    );
    assert_eq!(
        (&whole["dropped"], &whole["chars"]),
        (&1277.into(), &12_207_848.into())
    );
    let done = place.run("data stats --max-chars 1000").ok();
    assert!(
        done.stdout.contains("1,000 (cut by --max-chars)"),
        "{}",
        done.stdout
    );
    let done = place.train("a", "--max-chars 500 --max-steps 0").ok();
    assert!(
        done.stderr
            .contains("cut there: there is more text than max-chars"),
        "{}",
        done.stderr
    );
}

#[test]
fn bytes_are_learned_and_written_as_they_are() {
    let place = Place::new();
    let bytes: Vec<u8> = (0..2000u32)
        .map(|i| [0xff, 0x00, b'\r', 0x80, 0xc3][(i * i % 7 % 5) as usize])
        .collect();
    place.write("bytes.bin", &bytes);
    let flags = "--corpus bytes.bin --charset bytes --epochs 3 --learning-rate 1e-2";
    let done = place.train("a", flags).ok();
    assert!(
        done.stderr.contains("corpus: 2,000 bytes"),
        "{}",
        done.stderr
    );
    let vocab = json(&fs::read_to_string(place.path("a/vocab.json")).unwrap());
    assert_eq!(
        (&vocab["kind"], &vocab["bytes"]),
        (&"char".into(), &true.into())
    );
    place
        .sh("exec \"$0\" generate a --length 50 --quiet > out.bin", &[])
        .ok();
    let out = fs::read(place.path("out.bin")).unwrap();
    assert!(
        out.len() == 50 && out.iter().all(|b| bytes.contains(b)),
        "{out:?}"
    );
    assert!(std::str::from_utf8(&out).is_err());
    let figures = json(&place.run("eval a --json").ok().stdout);
    assert!(figures["loss"].as_f64().unwrap() < 1.7, "{figures}");
    place.run("report a").ok();
    place
        .run_args(&["generate", "a", "--prompt", "\u{3b1}"])
        .fails(3, &["byte 0xCE at position 1"]);
    // The weights of a model of bytes are no model of characters.
    place
        .train("b", "--init-from a")
        .fails(3, &["one of bytes", "charset bytes"]);
}

#[test]
fn rare_characters_are_one_unknown_that_is_never_written() {
    let place = Place::new();
    place.write("text.py", python(19) + "# \u{3b1}\u{3b2}\u{3b3}\n");
    let flags = "--min-char-count 2 --epochs 2";
    let done = place.train("a", flags).ok();
    assert!(
        done.stderr.contains("characters of the text are <UNK>"),
        "{}",
        done.stderr
    );
    let vocab = json(&fs::read_to_string(place.path("a/vocab.json")).unwrap());
    assert_eq!(vocab["tokens"][0], "<UNK>");
    let text = place
        .run("generate a --length 3000 --temperature 5 --quiet")
        .ok()
        .stdout;
    assert!(
        !text.contains('\u{fffd}') && !text.contains("<UNK>"),
        "{text}"
    );
    let prompt = ["generate", "a", "--length", "5", "--prompt", "x\u{3b1}"];
    place
        .run_args(&prompt)
        .fails(3, &["'\u{3b1}'", "--oov unk"]);
    let done = place
        .run_args(&[&prompt[..], &["--oov", "unk"]].concat())
        .ok();
    assert!(done.stdout.starts_with("x\u{3b1}"), "{}", done.stdout);
    assert!(
        done.stderr.contains("read as <UNK> 1 character(s)"),
        "{}",
        done.stderr
    );
    place.run("eval a").ok();
    let stats = json(
        &place
            .run("data stats --corpus text.py --min-char-count 2 --json")
            .ok()
            .stdout,
    );
    assert_eq!(stats["vocabulary"], vocab["tokens"]);
    place
        .train("b", "--min-char-count 1000000")
        .fails(3, &["no character is 1000000 times", "min-char-count"]);
}

/// A run as rnnx wrote it before there were these settings.
fn make_older(place: &Place, run: &str) {
    let path = place.path(run).join("config.toml");
    let text = fs::read_to_string(&path).unwrap();
    let is_new = |line: &str| {
        let mut keys = ["charset", "min-char-count", "valid-split"].iter();
        keys.any(|key| line.starts_with(&format!("{key} = ")))
    };
    let older: Vec<&str> = text.lines().filter(|line| !is_new(line)).collect();
    assert_eq!(older.len() + 3, text.lines().count());
    fs::write(path, older.join("\n")).unwrap();
}

#[test]
fn runs_of_before_go_on_as_they_were() {
    let place = Place::new();
    let text = python(19).replace("x):\n", "x):  \n");
    place.write("one.py", &text);
    place.write(
        "two.py",
        text.replace("load", "lo\u{e9}ad").replacen("\u{e9}", "", 3),
    );
    let flags = "--corpus one.py --corpus two.py --charset ascii --valid-split end --epochs";
    place.train("a", &format!("{flags} 1")).ok();
    place.train("b", &format!("{flags} 2")).ok();
    age(&place.path("a"));
    make_older(&place, "a");
    // Such a run is no reason to refuse a text of which more is dropped than a new run may lose.
    let lossy = text.replace("return", "re\u{e9}\u{e9}turn");
    place.write("one.py", &lossy);
    place
        .train("c", &format!("{flags} 1"))
        .fails(3, &["charset ascii drops", "charset unicode"]);
    let figures = json(&place.run("eval a --json").ok().stdout);
    let metrics = fs::read_to_string(place.path("b/metrics.jsonl")).unwrap();
    let epoch = metrics
        .lines()
        .map(json)
        .find(|event| event["event"] == "epoch")
        .unwrap();
    assert_eq!(figures["loss"], epoch["valid_loss"]);
    place.run("generate a --length 9 --quiet").ok();
    place
        .run("train-charlm --out a --resume --charset unicode")
        .fails(
            2,
            &["charset = \"unicode\" contradicts", "charset = \"ascii\""],
        );
    place
        .run("train-charlm --out a --resume --valid-split tail")
        .fails(
            2,
            &[
                "valid-split = \"tail\" contradicts",
                "valid-split = \"end\"",
            ],
        );
    place.run("train-charlm --out a --resume --epochs 2").ok();
    assert_same_run(&place.path("a"), &place.path("b"));
    // What goes on is written as what it is.
    let config = fs::read_to_string(place.path("a/config.toml")).unwrap();
    assert!(config.contains("charset = \"ascii\"") && config.contains("valid-split = \"end\""));
}
