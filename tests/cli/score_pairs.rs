//! `rnnx score` of seq2seq runs through the binary.

use serde_json::{Value, json};

use super::copying;
use super::seq2seq::{self, KINDS, train};
use super::support::{Place, json, number};
use super::translate::{begun, learned, retensor, translate};

/// The same f32 sums in other batches, a token.
const ORDER: f64 = 1e-5;
/// Sums of some dozen f64 numbers that were printed in full and read, to the last bit but one.
const ROUNDING: f64 = 1e-10;

/// The object that `rnnx score --json` prints for a pair.
#[track_caller]
fn score(place: &Place, source: &str, target: &str, flags: &[&str]) -> Value {
    let args = [
        "score", "a", "--source", source, "--target", target, "--json", "-q",
    ];
    let done = place.run_args(&[&args, flags].concat()).ok();
    assert_eq!(done.stderr, "");
    json(&done.stdout)
}

/// The same for a file of pairs.
#[track_caller]
fn score_file(place: &Place, flags: &str) -> Value {
    json(&place.run(&format!("score a --json -q {flags}")).ok().stdout)
}

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap()
}

// ---- against what else is known ------------------------------------------------------------

/// What is written greedily, in a beam and by draws has the log-probability that it was written with.
#[track_caller]
fn outputs_have_their_scores(place: &Place, texts: &[&str]) {
    let mut compared = 0;
    for text in texts {
        for flags in ["", "--beam 3 --n-best 3", "--sampling --n-best 5"] {
            let done = translate(place, text, &format!("--json {flags}")).ok();
            let answer = json(&done.stdout);
            let all = answer["n_best"].as_array().cloned();
            for output in all.unwrap_or_else(|| vec![answer]) {
                let tokens = list(&output["prediction"]).len();
                if output["ended"] != true || tokens == 0 {
                    continue;
                }
                let code = output["code"].as_str().unwrap();
                let found = score(place, text, code, &[]);
                assert_eq!(found["target"], output["prediction"]);
                assert_eq!(found["tokens"], tokens + 1);
                let off = number(&found["nats"]) + number(&output["log_probability"]);
                let n = (tokens + 1) as f64;
                assert!(off.abs() < ORDER * n, "{text} {flags}: off by {off}");
                compared += 1;
            }
        }
    }
    assert!(compared > 3 * texts.len(), "{compared} outputs compared");
}

#[test]
fn outputs_have_the_scores_that_they_were_written_with() {
    for kind in KINDS {
        outputs_have_their_scores(&learned(kind), &["load", "find the name again"]);
    }
}

#[test]
fn copied_outputs_have_the_scores_that_they_were_written_with() {
    let place = copying::learned();
    outputs_have_their_scores(&place, &["call ziel with x", "call weit with quer"]);
}

#[test]
fn a_file_has_the_loss_that_eval_finds() {
    for place in [learned("lstm"), copying::learned()] {
        let found = score_file(&place, "--file test.jsonl");
        let eval = place.run("eval a --json -q --pairs test.jsonl").ok().stdout;
        let off = number(&found["nats"]) / number(&found["tokens"]) - number(&json(&eval)["loss"]);
        // f64 beside f32 softmax, too.
        assert!(off.abs() < ORDER, "off by {off}");
        let (pairs, lines) = (
            list(&found["pairs"]),
            seq2seq::json_lines(&place, "test.jsonl"),
        );
        assert_eq!(pairs.len(), lines.len());
        for (pair, line) in pairs.iter().zip(&lines) {
            let [source, target] = ["docstring", "code"].map(|f| line[f].as_str().unwrap());
            let alone = score(&place, source, target, &[]);
            for key in ["source", "target", "unknown", "tokens"] {
                assert_eq!(alone[key], pair[key], "{key}");
            }
            let off = number(&alone["nats"]) - number(&pair["nats"]);
            assert!(off.abs() < ORDER * number(&pair["tokens"]), "off by {off}");
        }
        let sum = |key: &str| pairs.iter().map(|pair| number(&pair[key])).sum::<f64>();
        assert_eq!(sum("tokens"), number(&found["tokens"]));
        assert!((sum("nats") - number(&found["nats"])).abs() < ROUNDING);
        let mean = number(&found["nats"]) / number(&found["tokens"]);
        assert!((number(&found["bits_per_token"]) * 2f64.ln() - mean).abs() < ROUNDING);
        assert!((number(&found["perplexity"]).ln() - mean).abs() < ROUNDING);
    }
}

#[test]
fn the_distributions_of_all_positions_give_the_figures() {
    let place = copying::learned();
    let found = score(
        &place,
        "call ziel with x",
        "ziel ( ziel )",
        &["--top", "1000"],
    );
    let positions = list(&found["positions"]);
    let tokens = ["ziel", "(", "ziel", ")", "<EOS>"];
    assert_eq!(found["source"], json!(["call", "ziel", "with", "x"]));
    assert_eq!(
        (&found["unknown"], &found["tokens"]),
        (&json!(0), &json!(5))
    );
    let mut nats = 0.0;
    for (position, token) in positions.iter().zip(tokens) {
        assert_eq!(position["token"], token);
        let top = list(&position["top"]);
        let p: Vec<f64> = top.iter().map(|pair| number(&pair[1])).collect();
        assert!(p.is_sorted_by(|a, b| a >= b), "{position}");
        // Logarithms of the mixture are f32.
        assert!((p.iter().sum::<f64>() - 1.0).abs() < ORDER, "{position}");
        let entropy: f64 = p.iter().filter(|&&p| p > 0.0).map(|p| -p * p.ln()).sum();
        assert!((number(&position["entropy"]) - entropy).abs() < ROUNDING);
        let own = top.iter().find(|pair| pair[0] == position["token"]);
        assert_eq!(own.unwrap()[1], position["p"]);
        // The source's unknown token is one of those that may be written, and no other is.
        let held = top.iter().filter(|pair| pair[0] == "ziel").count();
        assert_eq!(held, 1);
        nats -= number(&position["p"]).ln();
    }
    assert!((number(&found["nats"]) - nats).abs() < ROUNDING);
    let five = score(&place, "call ziel with x", "ziel ( ziel )", &[]);
    for (few, all) in list(&five["positions"]).iter().zip(positions) {
        assert_eq!(list(&few["top"])[..], list(&all["top"])[..5]);
    }
}

#[test]
fn what_the_model_cannot_write_is_scored_as_unknown() {
    let place = begun("attention", "");
    let [a, b] = ["frob ( x )", "<UNK> ( x )"].map(|target| score(&place, "load", target, &[]));
    assert_eq!(a["nats"], b["nats"]);
    assert_eq!(
        (&a["unknown"], &a["target"][0]),
        (&json!(1), &json!("frob"))
    );
    assert_eq!(a["positions"][0]["token"], "<UNK>");
    let done = place.run_args(&["score", "a", "--source", "load", "--target", "frob ( x )"]);
    let note = "note: 1 of 4 target tokens cannot be written by the model";
    assert!(done.ok().stderr.contains(note));
}

#[test]
fn long_sources_are_cut_and_long_targets_are_not() {
    let place = begun("lstm", "--max-source 3 --max-target 4");
    let target = "def load ( x ) : return x";
    let source = "scan the list again";
    let args = ["score", "a", "--source", source, "--target", target];
    let done = place.run_args(&args).ok();
    for note in [
        "note: 1 source(s) are cut to their first 3 tokens",
        "note: 1 target(s) have more than 4 tokens, as many as training read of one; all are scored",
    ] {
        assert!(done.stderr.contains(note), "{}", done.stderr);
    }
    let [long, short] = [source, "scan the list"].map(|text| score(&place, text, target, &[]));
    assert_eq!(long["nats"], short["nats"]);
    assert_eq!(long["tokens"], 9);
    // The first tokens have the scores that they have alone.
    let first = score(&place, source, "def load", &[]);
    for (a, b) in list(&first["positions"])[..2]
        .iter()
        .zip(list(&long["positions"]))
    {
        assert!((number(&a["p"]) - number(&b["p"])).abs() < ORDER);
    }
    let endless = "x ".repeat(10_001);
    let args = ["score", "a", "--source", source, "--target", &endless];
    place.run_args(&args).fails(3, &["more than 10,000 tokens"]);
}

// ---- how pairs are given -------------------------------------------------------------------

#[test]
fn a_pair_on_the_command_line_or_pairs_in_a_file() {
    let place = begun("attention", "");
    let line = json!({"docstring": "find the name", "code": "def find ( x )"});
    place.write("one.jsonl", format!("{line}\n"));
    place.write("one.csv", "from,to\nfind the name,def find ( x )\n");
    let args = [
        "score",
        "a",
        "--source",
        "find the name",
        "--target",
        "def find ( x )",
    ];
    let done = place.run_args(&args).ok();
    assert_eq!(done.stderr, "");
    let found = score(&place, "find the name", "def find ( x )", &[]);
    let rows = [
        "tokens           6".to_owned(),
        format!("log_probability  {:.4} nats", -number(&found["nats"])),
        format!("bits_per_token   {:.4}", number(&found["bits_per_token"])),
        format!("perplexity       {:.4}", number(&found["perplexity"])),
    ];
    assert_eq!(done.stdout.lines().collect::<Vec<_>>(), rows);
    let in_file = format!("pairs            1\n{}", done.stdout);
    for line in [
        "score a --file one.jsonl",
        "score a/last --file one.csv --source-field from --target-field to",
        "score a --file one.jsonl --threads 1 -q",
    ] {
        assert_eq!(place.run(line).ok().stdout, in_file, "{line}");
    }
    // In f32 on another device, in another order.
    let done = place
        .run("score a --file one.jsonl --json --device emulated")
        .ok();
    assert!(done.stderr.contains("emulated") && done.stderr.contains("fp32"));
    let off = number(&json(&done.stdout)["nats"]) - number(&found["nats"]);
    assert!(off.abs() < 6.0 * ORDER, "off by {off}");
    // One of two sources is empty.
    let empty = json!({"docstring": "", "code": "x"});
    place.write("two.jsonl", format!("{line}\n{empty}\n"));
    let done = place.run("score a --file two.jsonl").ok();
    assert_eq!(done.stdout, in_file);
    assert!(done.stderr.contains("skipped pairs"), "{}", done.stderr);
    place
        .run("score a --file two.jsonl --strict")
        .fails(3, &["two.jsonl:2", "is empty"]);
}

#[test]
fn a_signature_is_read_where_the_run_reads_one() {
    let place = seq2seq::place();
    let pair = |i: usize| {
        let name = ["load", "scan"][i % 2];
        let pair = json!({"docstring": "do it", "signature": format!("({name})"), "code": name});
        format!("{pair}\n")
    };
    for split in ["train", "valid", "test"] {
        place.write(
            &format!("{split}.jsonl"),
            (0..8).map(pair).collect::<String>(),
        );
    }
    for source in ["both", "signature"] {
        let flags = format!("--model lstm --source {source} --max-steps 2 --force -q");
        train(&place, "a", &flags).ok();
        let file = score_file(&place, "--file test.jsonl");
        let found = match source {
            "both" => score(&place, "do it", "load", &["--signature", "(load)"]),
            _ => score(&place, "(load)", "load", &[]),
        };
        let first = &file["pairs"][0];
        assert_eq!(found["source"], first["source"]);
        let off = number(&found["nats"]) - number(&first["nats"]);
        assert!(off.abs() < 2.0 * ORDER, "off by {off}");
    }
    let args = [
        "score",
        "a",
        "--source",
        "x",
        "--target",
        "x",
        "--signature",
        "()",
    ];
    let words = ["--signature", "of --source signature", "leave it out"];
    place.run_args(&args).fails(2, &words);
}

#[test]
fn a_reader_that_goes_away_ends_it_well() {
    let place = begun("rnn", "");
    place.write("many.jsonl", seq2seq::pairs(400, 1));
    let script = "(\"$0\" score a --file many.jsonl --json; echo \"code $?\" >&2) | head -c 20";
    let done = place.sh(script, &[]).ok();
    assert_eq!(done.stdout, "{\"checkpoint\":\"a/che");
    assert_eq!(done.stderr, "code 0\n");
}

// ---- what cannot be used -------------------------------------------------------------------

#[test]
fn pairs_and_flags_that_cannot_be_scored() {
    let place = begun("attention", "");
    place.train("chars", "--max-steps 1 --quiet").ok();
    place.write("empty.jsonl", "");
    place.write("line.py", "x = 1\n");
    for (line, code, words) in [
        (
            "score a",
            2,
            &["no pair", "--source TEXT --target TEXT", "--file"][..],
        ),
        (
            "score a x",
            2,
            &["TEXT is for a character LM", "a is a seq2seq run"],
        ),
        ("score a -", 2, &["TEXT is for a character LM"]),
        ("score a --source x", 2, &["--target"]),
        ("score a --target x", 2, &["--source"]),
        (
            "score a --file test.jsonl --source x --target x",
            2,
            &["--source"],
        ),
        (
            "score a --source x --target x --oov skip",
            2,
            &["--oov", "leave it out"],
        ),
        ("score a --source x --target x --strict", 2, &["--strict"]),
        ("score a --file test.jsonl --target x", 2, &["--target"]),
        ("score a --file test.jsonl --signature x", 2, &["--file"]),
        ("score a --source-field x", 2, &["--file"]),
        ("score a --source x --target x --top 3", 2, &["--json"]),
        ("score a --file none.jsonl", 3, &["none.jsonl"]),
        (
            "score a --file empty.jsonl",
            3,
            &["empty.jsonl", "no pairs"],
        ),
        ("score a --file line.py", 3, &["line.py:1", "broken JSON"]),
        (
            "score a --file test.jsonl --target-field to",
            3,
            &["\"to\""],
        ),
        (
            "score a --file test.jsonl --device cuda",
            4,
            &["device cuda"],
        ),
        (
            "score chars --source x --target x",
            2,
            &["--source and --target", "character LM"],
        ),
        (
            "score chars --file line.py --strict",
            2,
            &["--strict", "character LM"],
        ),
        (
            "score chars --file line.py --source-field x",
            2,
            &["--source-field"],
        ),
    ] {
        place.run(line).fails(code, words);
    }
    for (source, target, flag) in [("", "x", "--source"), ("x", " \n", "--target")] {
        let args = ["score", "a", "--source", source, "--target", target];
        place.run_args(&args).fails(2, &[flag, "is empty"]);
    }
    retensor(&place, "out.weight", |w| w.fill(3e38));
    for flags in ["", "--json"] {
        let line = format!("score a --source load --target x {flags}");
        let done = place.run(line.trim()).fails(3, &["not a finite number"]);
        assert_eq!(done.stdout, "");
    }
}
