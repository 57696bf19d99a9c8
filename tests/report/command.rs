//! `rnnx report` on folders of seq2seq runs.

use std::fs;
use std::path::Path;

use rnnx::report::{read_metrics, read_pairs};

use super::support::{METRICS, PAIRS, count, message, report, write_run};

/// Writes the page of `run` and returns it.
#[track_caller]
fn page(run: &Path) -> String {
    let output = report(&[run]);
    assert_eq!(output.status.code(), Some(0), "{}", message(&output));
    let page = run.join("report.html");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        format!("{}\n", page.display())
    );
    fs::read_to_string(page).unwrap()
}

#[track_caller]
fn fails(runs: &[&Path], code: i32, words: &[&str]) {
    let output = report(runs);
    let message = message(&output);
    assert_eq!(output.status.code(), Some(code), "{message}");
    for word in words {
        assert!(message.contains(word), "`{word}` is not in: {message}");
    }
}

#[test]
fn one_run_and_all_runs_of_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    for model in ["attention", "lstm", "rnn", "zebra"] {
        write_run(&out.join(model), model);
    }
    fs::write(out.join("comparison.json"), "[]").unwrap();
    let one = page(&out.join("attention"));
    for text in [
        "<h1>Docstring to code: attention</h1>",
        "vocabularies of 2 source and 3 target tokens",
        "<p class=\"doc\">Say &lt;b&gt; &amp; go.</p>",
        ">7.5000</td>",
        ">1,234,567</td>",
        ">12.50</td>",
        "<title>Say → &lt;EOS&gt;: 0.5000</title>",
    ] {
        assert!(one.contains(text), "{text}");
    }
    // The models' own order, not the alphabet's.
    let all = page(&out);
    assert!(all.contains("<h1>Docstring to code: rnn, lstm, attention, zebra</h1>"));
    let named = ["attention", "rnn"].map(|m| out.join(m));
    let output = report(&[
        &named[0],
        &named[1],
        "--out".as_ref(),
        &out.join("two.html"),
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", message(&output));
    let two = fs::read_to_string(out.join("two.html")).unwrap();
    assert!(two.contains("<h1>Docstring to code: attention, rnn</h1>"));
}

#[test]
fn runs_of_one_name_are_told_apart_by_their_paths() {
    let folder = tempfile::tempdir().unwrap();
    let [a, b] = ["a", "b"].map(|seed| folder.path().join(seed));
    write_run(&a.join("rnn"), "rnn");
    write_run(&b.join("rnn"), "rnn");
    let output = report(&[&a, &b]);
    assert_eq!(output.status.code(), Some(0), "{}", message(&output));
    let page = fs::read_to_string(a.join("report.html")).unwrap();
    for run in [a.join("rnn"), b.join("rnn")] {
        assert!(page.contains(&format!("</span>{}</th>", run.display())));
    }
}

#[test]
fn a_run_without_tests_samples_or_epochs() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("rnn");
    write_run(&run, "rnn");
    fs::remove_dir_all(run.join("samples")).unwrap();
    fs::remove_file(run.join("vocab.json")).unwrap();
    let first = METRICS.split_inclusive('\n').next().unwrap();
    fs::write(run.join("metrics.jsonl"), first).unwrap();
    assert!(page(&run).contains("rnn has not been tested yet"));
    // Imported weights are tested without a step.
    let test = METRICS.split_inclusive('\n').nth(2).unwrap();
    fs::write(run.join("metrics.jsonl"), test).unwrap();
    let page = page(&run);
    assert!(page.contains(">0.0038</td>") && page.contains("no values yet"));
}

#[test]
fn a_run_that_has_not_begun_is_left_out_of_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path();
    write_run(&out.join("rnn"), "rnn");
    write_run(&out.join("lstm"), "lstm");
    fs::write(out.join("lstm/metrics.jsonl"), "").unwrap();
    let output = report(&[out]);
    assert_eq!(output.status.code(), Some(0));
    assert!(message(&output).contains("lstm: no step is recorded yet: left out"));
    let output = report(&[out, "-q".as_ref()]);
    assert_eq!(
        (output.status.code(), message(&output).as_str()),
        (Some(0), "")
    );
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.contains("<h1>Docstring to code: rnn</h1>"));
    // By name, or alone, it is an error.
    fails(&[&out.join("lstm")], 3, &["no step is recorded yet"]);
    fs::write(out.join("rnn/metrics.jsonl"), "").unwrap();
    fails(&[out], 3, &["rnn/metrics.jsonl: no step is recorded yet"]);
    fs::remove_file(out.join("rnn/metrics.jsonl")).unwrap();
    fails(&[&out.join("rnn")], 3, &["rnnx train-seq2seq --out"]);
}

#[test]
fn runs_of_two_kinds_do_not_mix() {
    let folder = tempfile::tempdir().unwrap();
    let [words, chars] = ["words", "chars"].map(|name| folder.path().join(name));
    write_run(&words, "rnn");
    fs::create_dir(&chars).unwrap();
    fs::write(chars.join("config.toml"), "kind = \"charlm\"\n").unwrap();
    fs::write(
        chars.join("metrics.jsonl"),
        "{\"event\":\"step\",\"step\":1,\"epoch\":1}\n",
    )
    .unwrap();
    fails(
        &[&chars, &words],
        2,
        &[
            "chars is a run of a character LM",
            "words one of a seq2seq model",
            "Draw each kind",
        ],
    );
    fails(&[folder.path()], 2, &["a page shows runs of one kind"]);
    assert!(!chars.join("report.html").exists());
}

#[test]
fn damaged_files_are_named_with_their_lines() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("rnn");
    write_run(&run, "rnn");
    let with = |line: &str| format!("{PAIRS}{line}\n{PAIRS}");
    for (line, why) in [
        ("{oops}", "not a test pair"),
        ("{\"docstring\":\"d\"}", "missing field `source`"),
        (
            r#"{"docstring":"d","source":["a"],"reference":[],"prediction":["x"],"attention":[[1],[1],[1]]}"#,
            "attention has 3 rows for a prediction of 1 tokens",
        ),
        (
            r#"{"docstring":"d","source":["a"],"reference":[],"prediction":["x"],"attention":[[0.5,0.5]]}"#,
            "a row of attention has 2 weights for a source of 1 tokens",
        ),
    ] {
        fs::write(run.join("samples/test.jsonl"), with(line)).unwrap();
        fails(&[&run], 3, &["test.jsonl:2: ", why, "Delete this line"]);
    }
    fs::write(run.join("samples/test.jsonl"), PAIRS).unwrap();
    fs::write(run.join("vocab.json"), "{").unwrap();
    fails(&[&run], 3, &["vocab.json: not a vocabulary"]);
    fs::remove_file(run.join("vocab.json")).unwrap();

    for (key, value, why) in [
        ("by_length", "[{\"from\":1}]", "missing field `to`"),
        ("ngram_counts", "{\"matches\":[1,2]}", "invalid length 2"),
    ] {
        let line = format!("{METRICS}{{\"event\":\"test\",\"{key}\":{value}}}\n");
        fs::write(run.join("metrics.jsonl"), line).unwrap();
        fails(&[&run], 3, &["metrics.jsonl:4: not a test event (", why]);
    }
}

#[test]
fn what_is_being_written_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.jsonl");
    // A whole line without its end counts, half of one does not.
    let whole = PAIRS.trim_end();
    fs::write(&path, format!("{PAIRS}\n{whole}")).unwrap();
    assert_eq!(read_pairs(&path).unwrap().len(), 2);
    fs::write(&path, format!("{PAIRS}{}", &whole[..whole.len() / 2])).unwrap();
    let pairs = read_pairs(&path).unwrap();
    assert_eq!((pairs.len(), pairs[0].attention[1][0]), (1, 0.5));
    let nulls = PAIRS.replace("0.5,0.5,0,0", "null,0.5,0.5,0");
    fs::write(&path, nulls.replace("\"go.\"],", "\"go.\"],\"new\":1,")).unwrap();
    assert!(read_pairs(&path).unwrap()[0].attention[1][0].is_nan());
}

#[test]
fn the_last_test_counts_and_training_after_it_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.jsonl");
    let later = "{\"event\":\"step\",\"step\":2,\"epoch\":2}\n";
    fs::write(&path, format!("{METRICS}{later}")).unwrap();
    let metrics = read_metrics(&path).unwrap();
    let test = metrics.test.unwrap();
    assert_eq!(
        (metrics.overtaken, test.scores.bleu, test.scores.pairs),
        (true, 0.0038, Some(8))
    );
    let again = "{\"event\":\"test\",\"bleu\":null}\n";
    fs::write(&path, format!("{METRICS}{later}{again}")).unwrap();
    let metrics = read_metrics(&path).unwrap();
    let scores = metrics.test.unwrap().scores;
    assert!(!metrics.overtaken && scores.bleu.is_nan() && scores.by_length.is_empty());
    assert_eq!(count(METRICS, "\n"), 3);
}
