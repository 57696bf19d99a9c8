//! Results, curves, BLEU by length and configuration on the page of seq2seq runs.

use rnnx::files::StepEvent;
use rnnx::programs::render;
use rnnx::report::RunData;

use super::support::{assert_xml, attention, between, count, epoch, pictures, seq2seq};

fn three() -> [RunData; 3] {
    [seq2seq("rnn", 0.1), seq2seq("lstm", 0.2), attention(0.3)]
}

/// The cells of each row of the comparison.
fn results(page: &str) -> Vec<Vec<&str>> {
    let table = between(page, "<table class=\"numbers results\">", "</table>");
    let rows = between(table, "<tbody>", "</tbody>").split("<tr>").skip(1);
    rows.map(|row| {
        let cells = row.split("<td class=\"").skip(1);
        let cell = |c| between(c, "\">", "</td>");
        cells.map(cell).collect()
    })
    .collect()
}

/// The mark of the best value.
fn best(text: &str) -> String {
    format!("<i title=\"best\">★</i><b>{text}</b>")
}

#[test]
fn the_table_has_every_number_and_marks_the_best() {
    let page = render(&three());
    let rows = results(&page);
    assert_eq!(
        rows[0],
        [
            "5.4000",
            "5.9000",
            "6.1500",
            "0.0010",
            "0.0100",
            "14.10",
            "0.00",
            "8.10",
            "31.00",
            "19.00",
            &best("4,712,364"),
            &best("1 min 10 s"),
            "2",
            "7",
        ]
    );
    // Exact match and parse rate are the same for all: nothing is best.
    assert_eq!(
        rows[2],
        [
            &best("5.2000"),
            &best("5.7000"),
            &best("5.9500"),
            &best("0.0030"),
            &best("0.0300"),
            &best("14.30"),
            "0.00",
            &best("8.30"),
            "31.00",
            &best("17.00"),
            "4,712,384",
            "1 min 30 s",
            "2",
            "7",
        ]
    );
    assert!(page.contains("<h1>Docstring to code: rnn, lstm, attention</h1><p>3 seq2seq models compared · embedding 128, hidden size 256 · vocabularies of 1,234 source and 5,678 target tokens · 1,000 test pairs</p>"));
    let header = between(&page, "<table class=\"numbers results\">", "</thead>");
    assert_eq!((count(header, "↓"), count(header, "↑")), (6, 6));
    // 6,123 of 21,890; exp(1 - 31877 / 21890) = 0.63365.
    for cell in ["6,123 / 21,890", "9 / 18,899", "31,877", "0.6337", "12.5 s"] {
        assert_eq!(count(&page, &format!("<td>{cell}</td>")), 3, "{cell}");
    }
}

/// What was copied is shown of runs that copy, on code or not; names and trees of code in tokens of its own.
#[test]
fn some_columns_are_of_some_runs() {
    let page = |settings: &[(&str, &str)]| {
        let mut run = seq2seq("attention", 0.1);
        let own = settings.iter().map(|(k, v)| (k.to_string(), v.to_string()));
        run.config.extend(own);
        render(&[run])
    };
    let (copy, text) = (("copy", "true"), ("target-language", "text"));
    for (settings, want) in [
        (&[][..], [false, false, false, true]),
        (&[copy], [true; 4]),
        (&[("target-tokens", "python")], [false, true, true, true]),
        (&[copy, text], [true, false, false, false]),
    ] {
        let page = page(settings);
        let head = between(&page, "<table class=\"numbers results\">", "</thead>");
        let columns = [">copied<", ">names, F1 ", ">trees ", ">parses "];
        assert_eq!(
            columns.map(|name| head.contains(name)),
            want,
            "{settings:?}"
        );
        let notes = ["; copied: ", "; names: ", "; trees: ", "; parses: "];
        assert_eq!(notes.map(|name| page.contains(name)), want, "{settings:?}");
    }
}

#[test]
fn pre_training_is_not_said_to_wait_for_a_test() {
    let mut run = seq2seq("attention", 0.1);
    run.test = None;
    run.config.push(("pretrain".into(), "code.jsonl".into()));
    let page = render(&[run]);
    assert!(page.contains("attention is pre-training, which is not tested: its losses"));
    assert!(!page.contains("not been tested yet"));
}

#[test]
fn values_that_read_the_same_are_marked_alike() {
    let mut runs = three();
    runs[1].test.as_mut().unwrap().scores.bleu = 0.003_000_01;
    let page = render(&runs);
    let rows = results(&page);
    assert_eq!(
        [rows[0][3], rows[1][3], rows[2][3]],
        ["0.0010", &best("0.0030"), &best("0.0030")]
    );
    // A model alone is the best of nothing.
    assert_eq!(count(&render(&runs[..1]), "★"), 0);
}

#[test]
fn small_scores_keep_their_digits() {
    let mut run = seq2seq("rnn", 0.1);
    let scores = &mut run.test.as_mut().unwrap().scores;
    (scores.bleu, scores.bleu_smoothed, scores.chrf) = (1.25e-7, 0.0, 0.1421);
    let page = render(&[run]);
    assert_eq!(results(&page)[0][3..6], ["1.2e-7", "0.0000", "0.1421"]);
}

#[test]
fn all_losses_stand_in_one_picture() {
    let page = render(&three());
    let figure = between(&page, "<h3>Training and validation loss</h3>", "</figure>");
    let (legend, picture) = figure.split_once("</figcaption>").unwrap();
    for name in [
        "rnn",
        "lstm",
        "attention",
        "validation",
        "training, epoch mean",
    ] {
        assert!(legend.contains(&format!("</svg>{name}</span>")), "{name}");
    }
    for (colour, mark) in [("c0", "circle"), ("c1", "mark"), ("c2", "mark")] {
        let mark = match mark {
            "circle" => format!("<circle class=\"{colour}"),
            _ => format!("<path class=\"mark {colour}"),
        };
        // Two epochs each.
        for stroke in ["bold", "dashed"] {
            let line = format!("class=\"line {colour} {stroke}\" d=\"M");
            assert_eq!(count(picture, &line), 1, "{line}");
            assert_eq!(count(picture, &format!("{mark} {stroke}\"")), 2, "{mark}");
        }
    }
    assert!(
        figure.contains(">cross-entropy, nats per token</text>")
            && figure.contains(">epoch</text>")
    );
    for label in ["rnn 5.9000", "lstm 5.8000", "attention 5.7000"] {
        assert_eq!(count(figure, &format!(">{label}</text>")), 1, "{label}");
    }
    // Last and lowest validation loss, its epoch and perplexity, last training loss.
    let mut runs = three();
    runs[0].epochs.push(epoch(3, 5.95));
    let page = render(&runs);
    assert!(page.contains(
        "</span>rnn</th><td>5.9500</td><td>5.9000</td><td>2</td><td>365.0</td><td>5.4500</td></tr>"
    ));
    assert!(page.contains(
        "</span>lstm</th><td>5.8000</td><td>5.8000</td><td>2</td><td>330.3</td><td>5.3000</td></tr>"
    ));
}

#[test]
fn bars_show_bleu_by_length() {
    let mut runs = three();
    let page = render(&runs);
    let figure = between(&page, "<h2>BLEU by source length</h2>", "</figure>");
    assert_eq!(count(figure, "<rect class=\"bar "), 6);
    for text in [
        ">1–5</text>",
        ">112 pairs</text>",
        ">6–10</text>",
        ">1,341 pairs</text>",
        ">0.0060</text>",
    ] {
        assert!(figure.contains(text), "{text}");
    }
    assert!(
        figure.contains(
            "<title>lstm, 6–10 tokens, 1341 pairs: smoothed 0.0040, plain 0.0020</title>"
        )
    );

    // Other splits and other ranges, and a range in which nothing could be computed.
    let lengths = &mut runs[1].test.as_mut().unwrap().scores.by_length;
    lengths[0].pairs = 1;
    lengths[0].bleu_smoothed = f64::NAN;
    lengths[1].to = 12;
    let page = render(&runs);
    let figure = between(&page, "<h2>BLEU by source length</h2>", "</figure>");
    assert_eq!(count(figure, "<rect class=\"bar "), 5);
    for text in [">112 / 1 / 112 pairs</text>", ">6–12</text>"] {
        assert!(figure.contains(text), "{text}");
    }
}

#[test]
fn no_match_at_all_is_drawn() {
    let mut run = seq2seq("rnn", 0.0);
    run.test.as_mut().unwrap().scores.by_length.truncate(1);
    let page = render(&[run]);
    let figure = between(&page, "<h2>BLEU by source length</h2>", "</figure>");
    assert!(figure.contains(">0.0000</text>"));
    assert!(figure.contains("height=\"0.0\""));
}

#[test]
fn the_configuration_shows_what_differs() {
    let page = render(&three());
    let section = between(&page, "<h2>Configuration</h2>", "</section>");
    let table = between(section, "<tbody>", "</tbody>");
    assert_eq!(
        table,
        "<tr><th>model</th><td>rnn</td><td>lstm</td><td>attention</td></tr>"
    );
    assert!(section.contains("<div><dt>hidden-size</dt><dd>256</dd></div>"));
    assert!(!section.contains("<dt>model</dt>"));
    let alone = render(&three()[..1]);
    let section = between(&alone, "<h2>Configuration</h2>", "</section>");
    assert!(!section.contains("<table") && section.contains("<dt>model</dt><dd>rnn</dd>"));
}

#[test]
fn a_name_that_hides_the_model_gets_it() {
    let mut run = seq2seq("lstm", 0.1);
    run.name = "seed-2".into();
    assert!(render(&[run]).contains("<h1>Docstring to code: seed-2 (lstm)</h1>"));
}

#[test]
fn many_runs_are_named_in_the_table_alone() {
    let runs: Vec<_> = ["a", "b", "c", "d", "e"]
        .map(|name| seq2seq(name, 0.1))
        .into();
    let page = render(&runs);
    assert!(page.contains("<h1>Docstring to code: 5 runs</h1>"));
    assert_eq!(results(&page).len(), 5);
}

#[test]
fn a_run_that_has_just_begun() {
    let mut run = RunData {
        config: seq2seq("rnn", 0.1).config,
        name: "rnn".into(),
        ..RunData::default()
    };
    let empty = render(std::slice::from_ref(&run));
    assert!(empty.contains("no values yet") && empty.contains("rnn has not been tested yet"));
    for missing in [
        "<article",
        "class=\"heat\"",
        "<rect class=\"bar",
        "What BLEU counts",
    ] {
        assert!(!empty.contains(missing), "{missing}");
    }
    for picture in pictures(&empty) {
        assert_xml(picture);
    }
    // Steps stand for the curve that no epoch gives yet, beside a run that has epochs.
    let step = |step, ce| StepEvent {
        step,
        epoch: 1,
        loss: ce,
        ce,
        accuracy: f64::NAN,
        grad_norm: 1.0,
        lr: 1e-3,
        loss_scale: Some(1.0),
        tokens_per_s: 9000.0,
    };
    run.steps = vec![step(1, 8.5), step(2, f64::NAN), step(3, 8.0), step(4, 7.5)];
    let page = render(&[run, seq2seq("lstm", 0.2)]);
    let figure = between(&page, "<h3>Training and validation loss</h3>", "</figure>");
    assert!(figure.contains(">step</text>") && figure.contains("training step"));
    // The step without a number is a gap; a point alone between gaps has no line.
    let line = figure.split("class=\"line c0 thin\" d=\"").nth(1).unwrap();
    let line = line.split_once('"').unwrap().0;
    assert_eq!((count(line, "M"), count(line, "L")), (1, 1), "{line}");
    assert_eq!(results(&page)[0][..3], ["–", "–", "–"]);
    assert!(page.contains("tokens a second") && page.contains("class=\"line c1 fine d1\""));
}

#[test]
fn losses_that_are_no_numbers() {
    let mut runs = three();
    runs[0].epochs[1].valid_loss = None;
    runs[1].epochs[0].train_loss = f64::INFINITY;
    let test = runs[2].test.as_mut().unwrap();
    (test.loss, test.scores.bleu, test.parameters) = (Some(f64::NAN), f64::NAN, None);
    let page = render(&runs);
    assert!(!page.contains("NaN") && !page.contains("inf<") && !page.contains("inf "));
    let rows = results(&page);
    assert_eq!((rows[2][2], rows[2][3], rows[2][10]), ("–", "–", "–"));
    // The best of those that are left.
    assert_eq!(
        (rows[1][2], rows[1][3]),
        (best("6.0500").as_str(), best("0.0020").as_str())
    );
    assert!(page.contains(">rnn 6.9000</text>"));
    for picture in pictures(&page) {
        assert_xml(picture);
    }
}

#[test]
fn a_test_that_training_left_behind_is_told() {
    let mut runs = three();
    assert!(!render(&runs).contains("has trained on"));
    runs[1].overtaken = true;
    assert!(render(&runs).contains("lstm has trained on since it was tested at step 80."));
}

#[test]
fn text_stays_text() {
    let evil = "</script><script>alert('1')</script>&\"<UNK>\u{0}";
    let mut run = attention(0.1);
    run.name = evil.into();
    run.config.push((evil.into(), evil.into()));
    let pair = &mut run.pairs[0];
    pair.docstring = evil.into();
    pair.source = vec![evil.into(), "\u{202e}\u{4f60}<&>".into()];
    pair.prediction = vec![evil.into(), "'\"".into(), "&amp;".into()];
    pair.reference = vec![evil.into()];
    let mut other = run.clone();
    other.config[4].1 = evil.into();
    other.pairs[0].prediction[0] = "x".into();
    for runs in [vec![run.clone()], vec![run, other]] {
        let page = render(&runs);
        let outside = page.split("<script type=\"application/json\">");
        let outside = outside.map(|p| p.split_once("</script>").map_or(p, |(_, rest)| rest));
        let outside: String = outside.collect();
        for raw in ["<script>alert", "alert('1')", "<UNK>", "\0"] {
            assert!(!outside.contains(raw), "{raw}");
        }
        assert!(page.contains("&amp;amp;"));
        assert_eq!(count(&page, "<script"), count(&page, "</script>"));
        for picture in pictures(&page) {
            assert_xml(picture);
        }
    }
}

#[test]
fn every_picture_is_well_formed_and_the_page_needs_no_network() {
    let page = render(&three());
    let pictures = pictures(&page);
    // Curves, lengths, one map, and a line of each legend entry.
    assert!(pictures.len() > 8, "{}", pictures.len());
    for picture in pictures {
        assert_xml(picture);
    }
    for forbidden in [
        "http:", "https:", "@import", "url(", "src=", "<iframe", "<base", "xmlns",
    ] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    assert!(page.contains("default-src 'none'"));
    // A page of character LMs has none of this style.
    let plain = render(&[RunData::default()]);
    assert!(page.contains(".at-w") && !plain.contains(".at-w"));
}
