//! `rnnx report` through the binary.

use std::fs;

use super::support::Place;

#[test]
fn one_page_of_one_run_and_of_several() {
    let place = Place::with_run("a", "--epochs 2 --quiet");
    fs::remove_file(place.path("a/report.html")).unwrap();
    let done = place.run("report a").ok();
    assert_eq!(
        (done.stdout.as_str(), done.stderr.as_str()),
        ("a/report.html\n", "")
    );
    let page = fs::read_to_string(place.path("a/report.html")).unwrap();
    for words in ["<svg", "hidden-size", "epoch-2", "text.py"] {
        assert!(page.contains(words), "{words}");
    }
    for network in ["http:", "https:", "src="] {
        assert!(!page.contains(network), "{network}");
    }
    place.train("b", "--epochs 1 --seed 2 --quiet").ok();
    place.run("report a b --out both.html").ok();
    let both = fs::read_to_string(place.path("both.html")).unwrap();
    assert!(both.starts_with("<!") && both.len() > page.len());
    place.write("s2s/config.toml", "kind = \"seq2seq\"\n");
    let step = "{\"event\":\"step\",\"step\":1,\"epoch\":1}\n";
    place.write("s2s/metrics.jsonl", step);
    place.run("report a s2s").fails(
        2,
        &["a is a run of a character LM", "s2s one of a seq2seq model"],
    );
    // Drawing a page changes no run.
    assert_eq!(
        fs::read_to_string(place.path("a/report.html")).unwrap(),
        page
    );
}

#[test]
fn what_cannot_be_drawn() {
    let place = Place::with_run("a", "--max-steps 0 --quiet");
    place.run("report").fails(2, &["<RUN>"]);
    place.run("report none").fails(3, &["none: no such run"]);
    place.write("empty/readme", "");
    place.run("report empty").fails(3, &["no metrics.jsonl"]);
    place.run("report a").fails(3, &["no step is recorded yet"]);
    place.write("a/metrics.jsonl", "{\"event\":\"step\",\"step\":1}\n");
    place
        .run("report a")
        .fails(3, &["a/metrics.jsonl:1", "epoch"]);
}

#[test]
fn a_run_with_odd_names_is_drawn() {
    let place = Place::new();
    place.write("a b/<&>.py", super::support::python(19));
    place
        .run_args(&[
            "train-charlm",
            "--corpus",
            "a b/<&>.py",
            "--out",
            "runs/\u{e9} \"x\"",
            "--hidden-size",
            "16",
            "--seq-length",
            "16",
            "--batch-size",
            "4",
            "--epochs",
            "1",
            "--valid-fraction",
            "0.1",
            "--quiet",
        ])
        .ok();
    let page = fs::read_to_string(place.path("runs/\u{e9} \"x\"/report.html")).unwrap();
    assert!(page.contains("&lt;&amp;&gt;.py") && !page.contains("<&>"));
    place
        .run_args(&[
            "train-charlm",
            "--out",
            "runs/\u{e9} \"x\"",
            "--resume",
            "--epochs",
            "2",
        ])
        .ok();
}
