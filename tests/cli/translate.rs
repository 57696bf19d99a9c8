//! `rnnx translate` through the binary.

use std::fs;

use rnnx::files::tensors::TensorFile;
use serde_json::{Value, json};

use super::seq2seq::{KINDS, json_lines, place, train};
use super::support::{Done, Place, snapshot};

/// Docstrings of one to four words, all of them known.
const DOCSTRINGS: [&str; 4] = [
    "load",
    "scan the list",
    "find the name again",
    "join the tree",
];

/// A place with the run `a` of this model, which has learned to write something.
pub fn learned(kind: &str) -> Place {
    let place = place();
    let flags = format!(
        "--valid train.jsonl --model {kind} --epochs 25 --learning-rate 0.02 --dropout 0 --quiet"
    );
    train(&place, "a", &flags).ok();
    place
}

/// A place with the run `a` of this model after one step.
pub fn begun(kind: &str, flags: &str) -> Place {
    let place = place();
    train(
        &place,
        "a",
        &format!("--model {kind} --max-steps 1 --quiet {flags}"),
    )
    .ok();
    place
}

/// `rnnx translate a FLAGS -- TEXT`.
pub fn translate(place: &Place, text: &str, flags: &str) -> Done {
    let mut args = vec!["translate", "a"];
    args.extend(flags.split_whitespace());
    place.run_args(&[&args[..], &["--", text]].concat())
}

/// The same with `input` on standard input, a format of printf.
pub fn piped(place: &Place, input: &str, flags: &str) -> Done {
    place.sh(
        &format!("printf \"$1\" | \"$0\" translate a {flags}"),
        &[input],
    )
}

fn object(done: Done) -> Value {
    serde_json::from_str(&done.ok().stdout).unwrap()
}

/// The line of a list of tokens.
fn line(tokens: &Value) -> String {
    let tokens = tokens.as_array().unwrap().iter();
    let tokens: Vec<&str> = tokens.map(|t| t.as_str().unwrap()).collect();
    format!("{}\n", tokens.join(" "))
}

// ---- what is written -----------------------------------------------------------------------

#[test]
fn text_and_lines_give_what_the_test_wrote() {
    for kind in KINDS {
        let place = learned(kind);
        let before = snapshot(&place.path("a"));
        let mut texts: Vec<String> = DOCSTRINGS.map(str::to_owned).into();
        let tests = json_lines(&place, "a/samples/test.jsonl");
        texts.extend(
            tests
                .iter()
                .map(|t| t["docstring"].as_str().unwrap().to_owned()),
        );
        let alone: Vec<String> = texts
            .iter()
            .map(|text| translate(&place, text, "").ok().stdout)
            .collect();
        for (test, written) in tests.iter().zip(&alone[DOCSTRINGS.len()..]) {
            assert_eq!(*written, line(&test["prediction"]), "{kind}");
        }
        assert!(
            alone.iter().any(|a| a.starts_with("def load (")),
            "{alone:?}"
        );
        let all = alone.concat();
        // The last line may end without a line end, and lines may end as on Windows.
        let lines = texts.join("\n");
        assert_eq!(piped(&place, &lines, "").ok().stdout, all);
        assert_eq!(piped(&place, &format!("{lines}\n"), "").ok().stdout, all);
        let windows = lines.replace('\n', "\r\n");
        assert_eq!(piped(&place, &windows, "--beam 1").ok().stdout, all);
        for text in DOCSTRINGS {
            let greedy = object(translate(&place, text, "--json"));
            assert_eq!(greedy, object(translate(&place, text, "--json --beam 1")));
            let beam = translate(&place, text, "--beam 4").ok().stdout;
            let tokens = object(translate(&place, text, "--json --beam 4"));
            assert_eq!(beam, line(&tokens["prediction"]));
        }
        // A checkpoint's folder speaks as its run does; the last one is another.
        let best = fs::read_link(place.path("a/best")).unwrap();
        for run in ["a/best", &format!("a/{}", best.display())] {
            let done = place.run_args(&["translate", run, DOCSTRINGS[0]]).ok();
            assert_eq!(done.stdout, alone[0], "{run}");
        }
        assert!(snapshot(&place.path("a")) == before);
    }
}

#[test]
fn the_n_best_come_in_order() {
    let place = learned("attention");
    for text in DOCSTRINGS {
        let got = object(translate(&place, text, "--json --beam 4 --n-best 3"));
        let all = got["n_best"].as_array().unwrap();
        assert_eq!(all.len(), 3);
        assert_eq!(all[0]["prediction"], got["prediction"]);
        let scores: Vec<f64> = all.iter().map(|h| h["score"].as_f64().unwrap()).collect();
        assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
        let lines = translate(&place, text, "--beam 4 --n-best 3").ok().stdout;
        assert_eq!(
            lines,
            all.iter()
                .map(|h| line(&h["prediction"]))
                .collect::<String>()
        );
        // Undivided, a longer output has no advantage.
        let sums = object(translate(
            &place,
            text,
            "--json --beam 4 --length-penalty 0",
        ));
        let best = object(translate(&place, text, "--json --beam 4"));
        let length = |h: &Value| h["prediction"].as_array().unwrap().len();
        assert!(length(&sums) <= length(&best), "{sums} {best}");
    }
}

#[test]
fn json_tells_all() {
    for kind in KINDS {
        let place = learned(kind);
        let got = object(translate(
            &place,
            "  find the\tname again ",
            "--json --quiet",
        ));
        let keys: Vec<_> = got.as_object().unwrap().keys().cloned().collect();
        let mut expected = vec![
            "docstring",
            "source",
            "prediction",
            "code",
            "ended",
            "log_probability",
            "score",
        ];
        if kind == "attention" {
            expected.push("attention");
        }
        assert_eq!(keys, expected);
        assert_eq!(got["docstring"], "  find the\tname again ");
        assert_eq!(got["source"], json!(["find", "the", "name", "again"]));
        let ended = got["ended"].as_bool().unwrap();
        assert!(got["score"].as_f64().unwrap() < 0.0);
        let tokens = got["prediction"].as_array().unwrap();
        assert!(ended != (tokens.len() == 50), "{got}");
        let short = object(translate(
            &place,
            "find the name again",
            "--json --max-length 2",
        ));
        assert_eq!(short["prediction"], json!(tokens[..2]));
        assert_eq!(short["ended"], false);
        if kind == "attention" {
            check_rows(&got["attention"], tokens.len() + usize::from(ended), 4);
            check_rows(&short["attention"], 2, 4);
        }
        // A line an object.
        let two = piped(&place, "load the file\nscan the file", "--json").ok();
        let docstrings = two.stdout.lines().map(|line| {
            let object: Value = serde_json::from_str(line).unwrap();
            object["docstring"].as_str().unwrap().to_owned()
        });
        assert_eq!(
            docstrings.collect::<Vec<_>>(),
            ["load the file", "scan the file"]
        );
    }
}

#[track_caller]
fn check_rows(weights: &Value, rows: usize, columns: usize) {
    let weights = weights.as_array().unwrap();
    assert_eq!(weights.len(), rows);
    for row in weights {
        let row: Vec<f64> = row
            .as_array()
            .unwrap()
            .iter()
            .map(|w| w.as_f64().unwrap())
            .collect();
        assert_eq!(row.len(), columns);
        // Six digits each.
        assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-5, "{row:?}");
    }
}

#[test]
fn no_unk() {
    let place = place();
    // One of four tokens of the code is too rare to be known.
    let line = |i: usize| {
        let code = format!("def rare{i} ( )");
        format!("{}\n", json!({"docstring": "load the file", "code": code}))
    };
    place.write("train.jsonl", (0..12).map(line).collect::<String>());
    let flags = "--valid train.jsonl --model attention --epochs 25 --learning-rate 0.02 --dropout 0 --quiet";
    train(&place, "a", flags).ok();
    assert_eq!(
        translate(&place, "load the file", "").ok().stdout,
        "def <UNK> ( )\n"
    );
    for beam in ["", "--beam 3"] {
        let done = translate(&place, "load the file", &format!("--no-unk {beam}")).ok();
        assert!(!done.stdout.contains("<UNK>"), "{}", done.stdout);
        assert!(done.stdout.starts_with("def "), "{}", done.stdout);
    }
}

#[test]
fn the_emulated_device_writes_the_same() {
    for kind in KINDS {
        let place = learned(kind);
        let input = DOCSTRINGS.join("\n");
        let cpu = piped(&place, &input, "--device cpu --beam 2").ok();
        assert!(cpu.stderr.contains("device: cpu"), "{}", cpu.stderr);
        let flags = "--device emulated --precision fp32 --beam 2";
        let gpu = piped(&place, &input, flags).ok();
        assert!(gpu.stderr.contains("emulated") && gpu.stderr.contains("fp32"));
        assert_eq!(cpu.stdout, gpu.stdout, "{kind}");
    }
}

// ---- notes ---------------------------------------------------------------------------------

#[test]
fn words_that_are_unknown_or_too_many() {
    let place = begun("lstm", "--max-source 3");
    retensor(&place, "out.bias", |bias| bias[2] = -1e3);
    let done = translate(&place, "load the tin-opener", "").ok();
    let note = "note: the text: words the model does not know: tin-opener\n";
    assert_eq!(done.stderr, note);
    let done = translate(&place, "Öffne die die Dose", "").ok();
    assert!(
        done.stderr.contains("cut to its first 3 of 4 words"),
        "{}",
        done.stderr
    );
    assert!(
        done.stderr.contains("the model knows none of its words"),
        "{}",
        done.stderr
    );
    // What is unknown is all the same to it.
    assert_eq!(done.stdout, translate(&place, "x y z", "").ok().stdout);
    let long = translate(&place, "scan the list again again", "").ok();
    let note = "note: the text: cut to its first 3 of 5 words\n";
    assert_eq!(long.stderr, note);
    let short = translate(&place, "scan the list", "").ok();
    assert_eq!((&*short.stderr, short.stdout), ("", long.stdout.clone()));
    // Only the first paragraph is read.
    let two = translate(&place, "scan the list\n\nagain again", "").ok();
    assert_eq!((&*two.stderr, two.stdout), ("", long.stdout.clone()));
    let lines = piped(&place, "scan the list\\nscan the list again", "").ok();
    let note = "note: line 2 of standard input: cut to its first 3 of 4 words\n";
    assert_eq!(
        (&*lines.stderr, lines.stdout),
        (note, long.stdout.repeat(2))
    );
    let quiet = translate(&place, "Öffne die die Dose", "--quiet --device cpu").ok();
    assert_eq!((&*quiet.stderr, quiet.stdout), ("", done.stdout));
}

#[test]
fn an_output_that_ends_at_once() {
    let place = begun("rnn", "");
    retensor(&place, "out.bias", |bias| bias[2] = 1e3);
    let done = translate(&place, "load the file", "").ok();
    let note = "note: the text: the model writes nothing for it\n";
    assert_eq!((&*done.stdout, &*done.stderr), ("\n", note));
    let got = object(translate(&place, "load the file", "--json"));
    assert_eq!(
        (&got["prediction"], &got["ended"]),
        (&json!([]), &json!(true))
    );
}

/// Changes a tensor of the best checkpoint, whose checksum is then right.
pub fn retensor(place: &Place, name: &str, change: impl Fn(&mut [f32])) {
    let path = place.path("a/last/model.safetensors");
    let mut file = TensorFile::load(&path).unwrap();
    change(&mut file.tensors.get_mut(name).unwrap().data);
    file.save(&path).unwrap();
}

// ---- the picture ---------------------------------------------------------------------------

#[test]
fn the_attention_is_drawn() {
    let place = learned("attention");
    let text = "find <the> \"name\" & again";
    let done = translate(&place, text, "--attention map.svg").ok();
    assert!(
        done.stderr.ends_with("attention: map.svg\n"),
        "{}",
        done.stderr
    );
    let svg = fs::read_to_string(place.path("map.svg")).unwrap();
    let shown = texts_of(&svg);
    let source = ["find", "&lt;the&gt;", "&quot;name&quot;", "&amp;", "again"];
    for token in source.into_iter().chain(done.stdout.split_whitespace()) {
        assert!(shown.iter().any(|s| s == token), "{token} in {shown:?}");
    }
    // The same picture from one line of input, also beside JSON.
    let script = "echo \"$1\" | \"$0\" translate a --attention line.svg --json --quiet";
    let beside = place.sh(script, &[text]).ok();
    assert_eq!(beside.stderr, "");
    // A cell for each source token in a row for each output token and the end.
    let rows = object(beside)["attention"].as_array().unwrap().len();
    let cells = svg.matches("→").count() - svg.matches("source →").count();
    assert_eq!(cells, 5 * rows);
    assert_eq!(fs::read_to_string(place.path("line.svg")).unwrap(), svg);
    translate(&place, text, "--attention none/map.svg").fails(1, &["none/map.svg"]);
}

/// The texts between the tags of a well-formed XML file.
fn texts_of(xml: &str) -> Vec<String> {
    let body = xml
        .strip_prefix("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n")
        .unwrap();
    let (mut open, mut texts) = (Vec::new(), Vec::new());
    for part in body.trim_end().split('<').skip(1) {
        let (tag, text) = part.split_once('>').unwrap();
        assert!(
            !text.contains('>') && tag.matches('"').count().is_multiple_of(2),
            "{part}"
        );
        for entity in text.split('&').skip(1) {
            let name = entity.split(';').next().unwrap();
            assert!(["lt", "gt", "amp", "quot", "#39"].contains(&name), "{text}");
        }
        match tag.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name), "{part}"),
            None if tag.ends_with('/') => {}
            None => open.push(tag.split(' ').next().unwrap()),
        }
        assert!(!open.is_empty() || text.is_empty(), "{part}");
        texts.push(text.to_owned());
    }
    assert!(open.is_empty(), "{open:?}");
    texts
}
