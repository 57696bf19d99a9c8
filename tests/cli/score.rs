//! `rnnx score` and `rnnx eval --text` through the binary.

use std::fs;

use rnnx::data::vocab::Vocab;
use rnnx::files::run::RunFolder;
use rnnx::files::tensors::TensorFile;
use rnnx::programs::charlm::score::Scorer;
use rnnx::train::device::Chosen;
use serde_json::Value;

use super::seq2seq;
use super::support::{Place, json, number, python};

/// The same f32 sums in another order, and f64 beside f32 softmax, a character.
const ORDER: f64 = 1e-6;
/// Sums of some hundred f64 numbers that were printed in full and read, to the last bit but one.
const ROUNDING: f64 = 1e-10;

/// The object that `rnnx score --json` prints for a text.
#[track_caller]
fn score(place: &Place, text: &str) -> Value {
    let done = place.run_args(&["score", "a", text, "--json", "-q"]).ok();
    assert_eq!(done.stderr, "");
    json(&done.stdout)
}

fn place() -> Place {
    Place::with_run("a", "--epochs 2 --learning-rate 0.02 --quiet")
}

// ---- against what else is known ------------------------------------------------------------

/// A newline and 16 characters: a window of 16 predictions after a newline, as a score of them has it.
fn window(i: usize) -> String {
    format!("\ntotals_{:02} = {:02}*x", i, i * i % 97)
}

#[test]
fn windows_that_begin_with_a_newline_are_scored_as_eval_does() {
    let place = Place::new();
    let windows: Vec<String> = (0..40).map(window).collect();
    assert!(windows.iter().all(|w| w.len() == 17));
    place.write("text.py", windows.concat());
    // The last 68 characters validate: four windows.
    place.train("a", "--epochs 2 --learning-rate 0.02").ok();
    let eval = json(&place.run("eval a --json").ok().stdout);
    assert_eq!(eval["characters"], 64);
    let scores = windows[36..].iter().map(|w| score(&place, &w[1..]));
    let nats: f64 = scores.map(|found| number(&found["nats"])).sum();
    let off = (nats / 64.0 - number(&eval["loss"])).abs();
    assert!(off < ORDER, "off by {off}");
}

#[test]
fn the_distributions_of_all_positions_give_the_figures() {
    let place = place();
    let text = "def load_4(x):\n    return 5 * x\n";
    let vocab = json(&fs::read_to_string(place.path("a/vocab.json")).unwrap());
    let tokens = vocab["tokens"].as_array().unwrap();
    let args = ["score", "a", text, "--json", "--top", "1000", "-q"];
    let found = json(&place.run_args(&args).ok().stdout);
    let positions = found["positions"].as_array().unwrap();
    assert_eq!(found["characters"], text.len());
    assert_eq!(positions.len(), text.len());
    let mut nats = 0.0;
    for (position, c) in positions.iter().zip(text.chars()) {
        assert_eq!(position["token"], c.to_string());
        let top = position["top"].as_array().unwrap();
        assert_eq!(top.len(), tokens.len());
        let p: Vec<f64> = top.iter().map(|pair| number(&pair[1])).collect();
        assert!(p.is_sorted_by(|a, b| a >= b), "{position}");
        assert!((p.iter().sum::<f64>() - 1.0).abs() < ROUNDING);
        let entropy: f64 = p.iter().map(|p| -p * p.ln()).sum();
        assert!((number(&position["entropy"]) - entropy).abs() < ROUNDING);
        let own = top.iter().find(|pair| pair[0] == position["token"]);
        assert_eq!(own.unwrap()[1], position["p"]);
        nats -= number(&position["p"]).ln();
    }
    assert!((number(&found["nats"]) - nats).abs() < ROUNDING);
    let mean = nats / text.len() as f64;
    assert!((number(&found["bits_per_char"]) * 2f64.ln() - mean).abs() < ROUNDING);
    assert!((number(&found["perplexity"]).ln() - mean).abs() < ROUNDING);
    // A trained model holds some of it likely, and what is printed is cut to five unless asked.
    assert!(mean < (tokens.len() as f64).ln(), "{mean}");
    let five = score(&place, text);
    for (few, all) in five["positions"].as_array().unwrap().iter().zip(positions) {
        assert_eq!(
            few["top"].as_array().unwrap(),
            &all["top"].as_array().unwrap()[..5]
        );
    }
}

/// -log p of each character, by forward passes of so many characters.
fn in_pieces(place: &Place, text: &str, piece: usize) -> Vec<f64> {
    let (folder, checkpoint) = RunFolder::find(&place.path("a")).unwrap();
    let vocab = Vocab::read_chars(&folder).unwrap();
    let cpu = Chosen {
        name: "cpu".into(),
        why: String::new(),
        gpu: None,
        mixed: false,
    };
    let mut scorer = Scorer::open((&folder, &checkpoint), &vocab, &cpu).unwrap();
    let mut nats = Vec::new();
    for ids in vocab.encode(text).unwrap().chunks(piece) {
        let each = |id: u16, logits: &[f32]| {
            let sum: f64 = logits.iter().map(|&l| f64::from(l).exp()).sum();
            nats.push(sum.ln() - f64::from(logits[usize::from(id)]));
        };
        scorer.read(ids, each).unwrap();
    }
    nats
}

#[test]
fn the_state_is_carried_along_the_whole_text() {
    let place = place();
    let text = python(40);
    let whole = in_pieces(&place, &text, text.len());
    // More than one of the command's own pieces.
    assert!(text.len() > 1200 && whole.len() == text.len());
    for piece in [1, 7, 512] {
        for (at, (a, b)) in in_pieces(&place, &text, piece)
            .iter()
            .zip(&whole)
            .enumerate()
        {
            assert!(
                (a - b).abs() < ORDER,
                "piece {piece}, character {at}: {a}, {b}"
            );
        }
    }
    let nats = number(&score(&place, &text)["nats"]);
    assert!((nats - whole.iter().sum::<f64>()).abs() < ORDER * text.len() as f64);
    // What was read before counts: the same line alone is another.
    let (line, later) = (
        score(&place, "def load_4(x):\n"),
        score(&place, "x):\ndef load_4(x):\n"),
    );
    assert_ne!(line["positions"][1]["p"], later["positions"][5]["p"]);
}

#[test]
fn eval_of_a_text_is_its_score() {
    let place = place();
    place.write("other.py", python(30));
    let eval = json(&place.run("eval a --text other.py --json -q").ok().stdout);
    let found = json(&place.run("score a --file other.py --json -q").ok().stdout);
    for key in ["characters", "bits_per_char", "perplexity", "checkpoint"] {
        assert_eq!(eval[key], found[key], "{key}");
    }
    let positions = found["positions"].as_array().unwrap();
    let right = positions.iter().filter(|p| p["top"][0][0] == p["token"]);
    let n = positions.len() as f64;
    let share = right.count() as f64 / n;
    assert!((number(&eval["accuracy"]) - share).abs() < ROUNDING);
    assert!((number(&eval["loss"]) - number(&found["nats"]) / n).abs() < ROUNDING);
    assert_eq!(eval["split"], "other.py");
    let usual = json(&place.run("eval a --json -q").ok().stdout);
    let keys = |value: &Value| {
        value
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(keys(&eval), keys(&usual));
    let done = place.run("eval a --text other.py").ok();
    assert!(done.stdout.starts_with("loss "), "{}", done.stdout);
    assert!(
        done.stderr.contains("characters of other.py"),
        "{}",
        done.stderr
    );
}

#[test]
fn weights_that_give_no_number_print_none() {
    let place = place();
    let path = place.path("a/best/model.safetensors");
    let mut file = TensorFile::load(&path).unwrap();
    let tensors = &mut file.tensors;
    tensors.get_mut("lstm.bias_ih_l1").unwrap().data.fill(20.0);
    tensors.get_mut("out.weight").unwrap().data.fill(3e38);
    file.save(&path).unwrap();
    for flags in ["", "--json"] {
        let line = format!("score a x {flags}");
        let done = place.run(line.trim()).fails(3, &["not a finite number"]);
        assert_eq!(done.stdout, "");
    }
}

#[test]
fn a_reader_that_goes_away_ends_it_well() {
    let place = place();
    place.write("long.py", python(200));
    let script = "(\"$0\" score a --file long.py --json; echo \"code $?\" >&2) | head -c 20";
    let done = place.sh(script, &[]).ok();
    assert_eq!(done.stdout, "{\"checkpoint\":\"a/che");
    assert_eq!(done.stderr, "code 0\n");
}

// ---- how a text is given -------------------------------------------------------------------

#[test]
fn a_text_on_the_command_line_in_a_file_or_on_standard_input() {
    let place = place();
    let text = "def scan_1(x):\n";
    place.write("line.py", text);
    place.write("windows.py", text.replace('\n', "\r\n"));
    let table = place.run_args(&["score", "a", text]).ok();
    assert_eq!(table.stderr, "");
    let found = score(&place, text);
    let lines = [
        "characters       15".to_owned(),
        format!("log_probability  {:.4} nats", -number(&found["nats"])),
        format!("bits_per_char    {:.4}", number(&found["bits_per_char"])),
        format!("perplexity       {:.4}", number(&found["perplexity"])),
    ];
    assert_eq!(table.stdout.lines().collect::<Vec<_>>(), lines);
    for script in [
        "\"$0\" score a --file line.py",
        "\"$0\" score a --file windows.py --threads 1",
        "\"$0\" score a < line.py",
        "\"$0\" score a/best - < line.py",
        "cat line.py | \"$0\" score a --device cpu -q",
    ] {
        assert_eq!(place.sh(script, &[]).ok().stdout, table.stdout, "{script}");
    }
    // In f32 on another device, in another order.
    let line = "score a --file line.py --json --device emulated";
    let done = place.run(line).ok();
    assert!(done.stderr.contains("emulated") && done.stderr.contains("fp32"));
    let off = number(&json(&done.stdout)["nats"]) - number(&found["nats"]);
    assert!(off.abs() < 1e-4, "off by {off}");
}

#[test]
fn unknown_characters() {
    let place = place();
    let unknown = "def \u{e9}load(\u{e9}x):";
    place.run_args(&["score", "a", unknown]).fails(
        3,
        &["the text: character", "U+00E9", "position 5", "--oov skip"],
    );
    let args = ["score", "a", unknown, "--oov", "skip", "--json"];
    let done = place.run_args(&args).ok();
    assert!(
        done.stderr.contains("skipped 2 character(s) of the text"),
        "{}",
        done.stderr
    );
    let (skipped, known) = (json(&done.stdout), score(&place, "def load(x):"));
    assert_eq!(skipped["positions"], known["positions"]);
    assert_eq!(
        (&skipped["skipped"], &known["skipped"]),
        (&2.into(), &0.into())
    );
    place
        .run_args(&["score", "a", unknown, "--oov", "unk"])
        .fails(2, &["--oov unk", "no <UNK>"]);
    place
        .run_args(&["score", "a", "\u{e9}", "--oov", "skip"])
        .fails(3, &["none of its 1 characters"]);
    place.write("other.py", unknown);
    place.run("eval a --text other.py").fails(
        3,
        &["--text other.py: character", "position 5", "--oov skip"],
    );
    place.run("eval a --text other.py --oov skip").ok();

    place.write("text.py", python(19) + "# \u{3b1}\n");
    place.train("b", "--min-char-count 2 --epochs 1").ok();
    let args = ["score", "b", "x\u{3b2}", "--json", "--oov"];
    place
        .run_args(&args[..4])
        .fails(3, &["U+03B2", "--oov unk"]);
    let found = json(&place.run_args(&[&args[..], &["unk"]].concat()).ok().stdout);
    assert_eq!(found["positions"][1]["token"], "<UNK>");
    assert_eq!(found["unknown"], 1);
}

#[test]
fn a_model_of_bytes_scores_bytes() {
    let place = Place::new();
    let bytes: Vec<u8> = (0..2000u32)
        .map(|i| [0xff, 0x00, b'\r', b'\n', 0xc3][(i * i % 7 % 5) as usize])
        .collect();
    place.write("bytes.bin", &bytes);
    place
        .train("a", "--corpus bytes.bin --charset bytes --epochs 1")
        .ok();
    place.write("some.bin", &bytes[..20]);
    let found = json(&place.run("score a --file some.bin --json").ok().stdout);
    let tokens = found["positions"].as_array().unwrap().iter();
    let tokens: Vec<u32> = tokens
        .map(|p| p["token"].as_str().unwrap().chars().next().unwrap().into())
        .collect();
    assert_eq!(
        tokens,
        bytes[..20]
            .iter()
            .map(|&b| u32::from(b))
            .collect::<Vec<_>>()
    );
    place.write("other.bin", [0xff, 0xc4]);
    place
        .run("score a --file other.bin")
        .fails(3, &["byte 0xC4 at position 2"]);
}

// ---- what cannot be used -------------------------------------------------------------------

#[test]
fn texts_and_flags_that_cannot_be_scored() {
    let place = place();
    place.write("line.py", "x = 1\n");
    place.write("empty.py", "");
    place.write("latin.py", [b'x', 0xe9]);
    for (line, code, words) in [
        ("score a x --file line.py", 2, &["--file"][..]),
        ("score", 2, &["<RUN>"]),
        ("score a", 3, &["standard input is empty"]),
        ("score a -", 3, &["standard input is empty"]),
        ("score a --file empty.py", 3, &["--file empty.py is empty"]),
        ("score a --file none.py", 3, &["none.py: no such file"]),
        ("score a --file .", 3, &[".: is a folder"]),
        ("score a --file latin.py", 3, &["byte 2 is not UTF-8"]),
        ("score a x --top 3", 2, &["--json"]),
        ("score a x --json --top 0", 2, &["--top", "'0'"]),
        ("score a x --oov drop", 2, &["--oov", "'drop'"]),
        ("score a x --threads 0", 2, &["--threads", "'0'"]),
        ("score a x --device cuda", 4, &["device cuda"]),
        ("score a x --precision fp16", 2, &["precision fp16"]),
        ("score none x", 3, &["none: no such run"]),
        ("eval a --text none.py", 3, &["none.py: no such file"]),
        ("eval a --text empty.py", 3, &["--text empty.py is empty"]),
        ("eval a --text line.py --split valid", 2, &["--split"]),
        ("eval a --oov skip", 2, &["--text"]),
    ] {
        place.run(line).fails(code, words);
    }
    place
        .run_args(&["score", "a", ""])
        .fails(3, &["the text is empty"]);
}

#[test]
fn a_seq2seq_run() {
    let place = seq2seq::place();
    seq2seq::train(&place, "a", "--model rnn --max-steps 0").ok();
    place.write("line.py", "x = 1\n");
    place
        .run("score a x")
        .fails(2, &["a is a seq2seq run", "--source TEXT --target TEXT"]);
    place
        .run("eval a --text line.py")
        .fails(2, &["--text", "seq2seq", "--pairs"]);
}
