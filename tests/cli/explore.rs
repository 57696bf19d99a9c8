//! `rnnx explore` through the binary; `tests/explore` has the page in a browser.

use std::fs;

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
    let epoch: serde_json::Value = serde_json::from_str(epoch).unwrap();
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
    assert!(page.contains("not validated") && page.contains("step 0"));
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
        .fails(1, &["cannot read none"]);
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

#[test]
fn what_a_study_found_is_shown() {
    let place = Place::with_run("a", "--epochs 1 --quiet");
    let study = |unit: usize, step: u64| {
        format!(
            "{{\"kind\":\"rnnx-study\",\"models\":[{{\"name\":\"baseline\",\"step\":null,\"measures\":{{}}}},\
             {{\"name\":\"a\",\"step\":{step},\"measures\":{{\"classes\":{{\"blank\":\"none\"}},\"causes\":{{\
             \"followed\":[{{\"label\":\"depth\",\"score\":\"correlation\",\"best\":[{{\"unit\":{{\"layer\":1,\
             \"part\":\"c\",\"unit\":{unit}}},\"falls\":true,\"chosen\":0.9,\"reported\":0.81}}]}},\
             {{\"label\":\"in-string\",\"score\":\"auc\",\"best\":[{{\"unit\":{{\"layer\":0,\"part\":\"h\",\
             \"unit\":3}},\"falls\":true,\"chosen\":0.9,\"reported\":0.75}}]}},\
             {{\"label\":\"square\",\"score\":\"auc\",\"best\":[]}}]}}}}}}]}}"
        )
    };
    let page = |place: &Place| {
        let done = place.run("explore a").ok();
        (
            fs::read_to_string(place.path("a/explore.html")).unwrap(),
            done.stderr,
        )
    };
    assert!(page(&place).0.contains("\"found\":null"));
    place.write("a/study.json", study(7, 8));
    let depth = "\"found\":{\"depth\":{\"layer\":1,\"name\":\"c\",\"unit\":7,\"score\":-0.81},\
                 \"string\":{\"layer\":0,\"name\":\"h\",\"unit\":3,\"score\":0.25}}";
    let (shown, notes) = page(&place);
    assert!(shown.contains(depth) && !notes.contains("note:"), "{notes}");
    // Of other weights; of a model of other sizes; no study.
    place.write("a/study.json", study(7, 4));
    assert!(page(&place).0.contains("\"found\":null"));
    for (text, words) in [
        (study(16, 8), "unit 16 of c in layer 1 is not in this model"),
        ("{}".into(), "missing field `models`"),
    ] {
        place.write("a/study.json", text);
        let (shown, notes) = page(&place);
        assert!(shown.contains("\"found\":null"));
        assert!(
            notes.contains("a/study.json") && notes.contains(words),
            "{notes}"
        );
    }
}
