//! `rnnx explore` through the binary; `tests/explore` has the page in a browser.

use std::fs;

use rnnx::files::text::sha256;
use rnnx::programs::charlm::study::format::FORMAT;
use serde_json::{Value, json};

use super::support::{Place, age};

#[test]
fn the_page_is_whole() {
    let place = Place::with_run("a", "--epochs 1 --quiet");
    let done = place.run("explore a").ok();
    assert_eq!(done.stdout, "a/explore.html\n");
    assert!(
        done.stderr.contains("MB; open it in a browser"),
        "{}",
        done.stderr
    );
    let page = fs::read_to_string(place.path("a/explore.html")).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"));
    assert!(!page.contains("<!--"), "a mark is left in the page");
    for network in [
        "http:",
        "https:",
        "src=",
        "url(",
        "@import",
        "fetch(",
        "XMLHttpRequest",
    ] {
        assert!(!page.contains(network), "{network}");
    }
    // Of which run it is, its sizes, its loss, and how it was made.
    let metrics = fs::read_to_string(place.path("a/metrics.jsonl")).unwrap();
    let epoch = metrics
        .lines()
        .find(|line| line.contains("\"epoch\","))
        .unwrap();
    let epoch: Value = serde_json::from_str(epoch).unwrap();
    let loss = format!(
        "validation loss {:.4} nats",
        epoch["valid_loss"].as_f64().unwrap()
    );
    let version = format!("rnnx explore {}", env!("CARGO_PKG_VERSION"));
    for words in [
        "<h1>a</h1>",
        "LSTM, 2 × 16 units, embedding 8",
        &loss,
        "step 8",
        &version,
    ] {
        assert!(page.contains(words), "{words}");
    }
    // Made again it is the same; a page at another place is not in the way, either.
    place.run("explore a --quiet -o b.html").ok();
    assert_eq!(fs::read_to_string(place.path("b.html")).unwrap(), page);
    let quiet = place.run("explore a/last --quiet").ok();
    // A checkpoint's run is found from its folder, which is told whole.
    let place_of_page = fs::canonicalize(place.path("a/explore.html")).unwrap();
    assert_eq!(quiet.stdout, format!("{}\n", place_of_page.display()));
    assert_eq!(quiet.stderr, "");
    assert_eq!(
        fs::read_to_string(place.path("a/explore.html")).unwrap(),
        page
    );
    // It goes with the run that it is of.
    place.train("a", "--max-steps 0 --quiet --force").ok();
    assert!(!place.path("a/explore.html").exists());
    place.run("explore a --quiet").ok();
    let page = fs::read_to_string(place.path("a/explore.html")).unwrap();
    assert!(page.contains("no validation loss recorded") && page.contains("step 0"));
}

#[test]
fn a_validation_inside_of_an_epoch_is_one() {
    let flags = "--epochs 1 --eval-every 3 --checkpoint-every 3 --keep 9 --quiet";
    let place = Place::with_run("a", flags);
    let metrics = fs::read_to_string(place.path("a/metrics.jsonl")).unwrap();
    let mut events = metrics
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let valid = events.find(|e| e["event"] == "valid" && e["step"] == 3);
    let loss = valid.unwrap()["valid_loss"].as_f64().unwrap();
    place.run("explore a/checkpoints/step-3 -q -o p.html").ok();
    let page = fs::read_to_string(place.path("p.html")).unwrap();
    assert!(page.contains(&format!("validation loss {loss:.4} nats")));
}

#[test]
fn names_and_texts_end_no_element() {
    let place = Place::new();
    let name = "<!--facts--> & \"x\"";
    place
        .run_args(&[&super::support::train_args(name, "--max-steps 0 --quiet")[..]].concat())
        .ok();
    place.write("text", "x = '</script><!--weights-->'\r\n");
    place
        .run_args(&["explore", name, "--text", "text", "-o", "p.html", "-q"])
        .ok();
    let page = fs::read_to_string(place.path("p.html")).unwrap();
    assert!(page.contains("<h1>&lt;!--facts--&gt; &amp; &quot;x&quot;</h1>"));
    assert!(page.contains("\\u003c/script>\\u003c!--weights-->"));
    assert_eq!(page.matches("</script>").count(), 3);
}

#[test]
fn what_cannot_be_explored() {
    let place = Place::with_run("a", "--max-steps 0 --quiet");
    place.run("explore").fails(2, &["<RUN>"]);
    place
        .run("explore none")
        .fails(3, &["none: no such run", "train one"]);
    place
        .run("explore .")
        .fails(3, &["not the folder of a run"]);
    place
        .run("explore a --text none")
        .fails(3, &["none: no such file"]);
    place.write("latin", b"caf\xe9");
    place
        .run("explore a --text latin")
        .fails(3, &["--text latin", "byte 4 is not UTF-8"]);
    place
        .run("explore a -o none/p.html")
        .fails(1, &["cannot write none/p.html"]);
    fs::create_dir(place.path("folder")).unwrap();
    place
        .run("explore a -o folder")
        .fails(1, &["cannot write folder"]);

    age(&place.path("a"));
    place.write(
        "a/vocab.json",
        "{\"kind\":\"words\",\"source\":[\"<PAD>\"],\"target\":[\"<PAD>\"]}",
    );
    place.run("explore a").fails(3, &["seq2seq", "another run"]);
    place.write("a/vocab.json", "{\"kind\":\"char\",\"tokens\":[\"a\"]}");
    place
        .run("explore a")
        .fails(3, &["vocab.json has 1 tokens", "different models"]);
}

#[test]
fn a_damaged_checkpoint_makes_no_page() {
    let place = Place::with_run("a", "--max-steps 0 --quiet");
    let path = place.path("a/last/model.safetensors");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    place.run("explore a").fails(3, &["model.safetensors"]);
    assert!(!place.path("a/explore.html").exists());
}

#[test]
fn a_long_text_is_cut_and_said_so() {
    let place = Place::with_run("a", "--max-steps 0 --quiet");
    place.write("long", "a".repeat(100_001));
    let done = place.run("explore a --text long").ok();
    assert!(
        done.stderr
            .contains("long: the page holds its first 100,000 characters"),
        "{}",
        done.stderr
    );
    let page = fs::read_to_string(place.path("a/explore.html")).unwrap();
    assert!(page.contains(&format!("\"{}\"", "a".repeat(100_000))));
}

/// What `rnnx study` writes of a model with these weights, as far as the page reads it.
fn study(sha256: &str, unit: usize) -> Value {
    let followed = |label: &str, score: &str, unit: Value, reported: f64| {
        let best = json!([{"unit": unit, "falls": true, "chosen": 0.9, "reported": reported}]);
        json!({"label": label, "score": score, "places": 9, "best": best, "by_layer": [],
            "reported": null, "balanced_accuracy": null, "control": null, "median": 0.1})
    };
    let followed = [
        followed(
            "depth",
            "correlation",
            json!({"layer": 1, "part": "c", "unit": unit}),
            0.81,
        ),
        followed(
            "in-string",
            "auc",
            json!({"layer": 0, "part": "h", "unit": 3}),
            0.75,
        ),
        followed(
            "square",
            "auc",
            json!({"layer": 0, "part": "h", "unit": 4}),
            0.75,
        ),
    ];
    let units = json!({"followed": followed, "depth": null, "gates": null, "effects": []});
    let model = |name: &str, sha256: &str, measures: Value| {
        json!({"name": name, "kind": "run", "checkpoint": "", "step": 8, "sha256": sha256,
            "measures": measures})
    };
    let blank = json!({"units": {"blank": "it is no recurrent network"}});
    json!({"kind": "rnnx-study", "format": FORMAT, "notes": [],
        "text": {"source": "", "sha256": "", "characters": 0, "left_out": 0, "files": []},
        "settings": {"quick": true, "max_chars": 1, "context_places": 1},
        "models": [model("other", "00", blank), model("a", sha256, json!({"units": units}))]})
}

#[test]
fn what_a_study_found_is_shown() {
    let place = Place::with_run("a", "--epochs 1 --quiet");
    let page = || {
        let done = place.run("explore a").ok();
        let page = fs::read_to_string(place.path("a/explore.html")).unwrap();
        (page, done.stderr)
    };
    assert!(page().0.contains("\"found\":null"));
    let weights = fs::read(place.path("a/best/model.safetensors")).unwrap();
    let sha256 = sha256(&weights);
    place.write("a/study.json", study(&sha256, 7).to_string());
    let depth = "\"found\":{\"depth\":{\"layer\":1,\"name\":\"c\",\"unit\":7,\"score\":-0.81},\
                 \"string\":{\"layer\":0,\"name\":\"h\",\"unit\":3,\"score\":0.25}}";
    let (shown, notes) = page();
    assert!(shown.contains(depth) && !notes.contains("note:"), "{notes}");
    // Of other weights, or of none.
    for sha256 in ["11", "00"] {
        place.write("a/study.json", study(sha256, 7).to_string());
        let (shown, notes) = page();
        assert!(
            shown.contains("\"found\":null") && !notes.contains("note:"),
            "{notes}"
        );
    }
    // Of a model of other sizes; no study.
    for (text, words) in [
        (
            study(&sha256, 16).to_string(),
            "c 16 of layer 2 is not in this model",
        ),
        ("{}".into(), "is no study that this rnnx can read"),
    ] {
        place.write("a/study.json", text);
        let (shown, notes) = page();
        assert!(shown.contains("\"found\":null"));
        assert!(
            notes.contains("a/study.json") && notes.contains(words),
            "{notes}"
        );
        assert_eq!(place.run("explore a --quiet").ok().stderr, "");
    }
}
