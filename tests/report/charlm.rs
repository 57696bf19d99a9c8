//! The page of character LMs.

use std::fs;
use std::process::Command;

use rnnx::files::{EpochEvent, StepEvent};
use rnnx::programs::render;
use rnnx::report::{RunData, read_metrics};

use super::support::{assert_xml, count, message, pictures, report};

fn step(step: u64, ce: f64) -> StepEvent {
    StepEvent {
        step,
        epoch: 1 + (step - 1) / 100,
        loss: ce + 0.01,
        ce,
        accuracy: 0.5,
        grad_norm: 0.7,
        lr: 2e-3,
        loss_scale: Some(1.0),
        tokens_per_s: 45_000.0,
    }
}

fn epoch(epoch: u64, valid_loss: f64) -> EpochEvent {
    EpochEvent {
        epoch,
        step: Some(epoch * 100),
        train_loss: 1.5,
        train_accuracy: 0.55,
        valid_loss: Some(valid_loss),
        valid_accuracy: Some(0.5421),
        seconds: 61.0,
    }
}

fn run_of(steps: Vec<StepEvent>, epochs: Vec<EpochEvent>) -> RunData {
    RunData {
        name: "charlm".into(),
        config: vec![("hidden-size".into(), "256".into())],
        steps,
        epochs,
        samples: vec![("epoch-1".into(), "def f(x):\n    return x\n".into())],
        ..RunData::default()
    }
}

/// Every picture is well-formed and every number in it is one.
#[track_caller]
fn assert_numbers(page: &str) {
    for svg in pictures(page) {
        assert_xml(svg);
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}

#[test]
fn has_no_network_reference() {
    let run = run_of(
        (1..=300).map(|i| step(i, 2.0)).collect(),
        vec![epoch(1, 1.6)],
    );
    let page = render(&[run]);
    for forbidden in [
        "http:", "https:", "@import", "url(", "src=", "<iframe", "<base", "xmlns",
    ] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    for attribute in page.split("href=\"").skip(1) {
        assert!(attribute.starts_with("data:,\""), "{attribute:.40}");
    }
    assert!(!page.contains("=\"//") && !page.contains("='//"));
    assert!(page.contains("default-src 'none'"));
}

#[test]
fn text_stays_text() {
    let evil = "</script><script>alert('1')</script>&\"";
    let run = RunData {
        name: evil.into(),
        config: vec![(evil.into(), evil.into()), ("corpus".into(), evil.into())],
        samples: vec![(evil.into(), evil.into())],
        ..run_of(vec![step(1, 4.0), step(2, 3.0)], vec![epoch(1, 1.5)])
    };
    for runs in [vec![run.clone()], vec![run.clone(), run]] {
        let page = render(&runs);
        assert!(!page.contains("<script>alert"));
        // Outside the charts' inert JSON, no character of it is left as it was.
        let outside = page.split("<script type=\"application/json\">");
        let outside = outside.map(|p| p.split_once("</script>").map_or(p, |(_, rest)| rest));
        assert!(!outside.collect::<String>().contains("alert('1')"));
        let shown = "&lt;/script&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;&quot;";
        assert!(page.contains(&format!("{shown}</pre>")));
        // As many script elements end as begin.
        assert_eq!(count(&page, "<script"), count(&page, "</script>"));
    }
}

#[test]
fn summary_gives_the_best_epoch() {
    let run = run_of(
        vec![step(1, 4.0), step(12_345, 3.0)],
        vec![epoch(1, 1.7), epoch(2, 1.5), epoch(3, 1.6)],
    );
    let page = render(&[run]);
    for tile in [
        "<dt>Best validation loss</dt><dd>1.5000 <small>nats per character</small>",
        "<dt>Bits per character</dt><dd>2.1640 ",
        "<dt>Perplexity</dt><dd>4.4817 ",
        "<dt>Accuracy</dt><dd>54.21 % <small>epoch 2</small>",
        "<dt>Steps</dt><dd>12,345 <small>3 epochs</small>",
        "<dt>Characters a second</dt><dd>45.0k ",
        "<dt>Time</dt><dd>3 min 03 s ",
    ] {
        assert!(page.contains(tile), "{tile}");
    }
}

#[test]
fn no_points_and_one_point() {
    let empty = render(&[run_of(Vec::new(), Vec::new())]);
    // Loss, accuracy, learning rate, gradient norm, throughput.
    assert_eq!(count(&empty, "no values yet"), 5);
    assert_eq!(count(&empty, "<circle"), 0);
    assert_numbers(&empty);

    let one = render(&[run_of(vec![step(1, 4.5)], Vec::new())]);
    assert_eq!(count(&one, "no values yet"), 0);
    assert_eq!(count(&one, "<title>training step: 4.5000</title>"), 1);
    assert_numbers(&one);
    assert!(render(&[]).ends_with("</html>\n"));
}

#[test]
fn nan_is_a_gap() {
    let mut steps: Vec<_> = (1..=9).map(|i| step(i, 3.0 - i as f64 * 0.1)).collect();
    steps[4].ce = f64::NAN;
    steps[4].loss = f64::NAN;
    let page = render(&[run_of(steps, vec![epoch(1, f64::NAN)])]);
    let line = page.split("class=\"line c0 thin\" d=\"").nth(2);
    let line = line.and_then(|l| l.split('"').next()).unwrap_or_default();
    assert_eq!((count(line, "M"), count(line, "L")), (2, 6), "{line}");
    assert!(page.contains("<dt>Best training loss</dt><dd>1.5000 "));
    assert_numbers(&page);
}

#[test]
fn a_million_points_make_a_small_page() {
    let mut steps: Vec<_> = (1..=1_000_000).map(|i| step(i, 2.0)).collect();
    steps[123_456].ce = 1.0;
    let page = render(&[run_of(steps, vec![epoch(1, 1.9)])]);
    assert!(page.len() < 700_000, "{} bytes", page.len());
    // The single low value survives the thinning.
    let charts = page.split("<script type=\"application/json\">").skip(1);
    let mut charts = charts.map(|chart| chart.split_once("</script>").unwrap().0);
    let loss: serde_json::Value = serde_json::from_str(charts.next().unwrap()).unwrap();
    let line = &loss["lines"][0];
    let [lows, means] = ["points", "means"].map(|key| {
        let ys = line[key][1].as_array().unwrap().iter();
        ys.map(|y| y.as_f64().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(lows.iter().filter(|y| **y == 1.0).count(), 1);
    assert!(lows.len() < 2000 && means.len() < 1000);
    // A smoothed line is one of means: about a thousandth of it is the low value's.
    let low = means.iter().copied().fold(f64::INFINITY, f64::min);
    assert!((1.998..2.0).contains(&low), "{low}");
    assert_numbers(&page);
}

#[test]
fn far_values_leave_the_scale_and_are_counted() {
    let mut steps: Vec<_> = (1..=500).map(|i| step(i, 2.0 - i as f64 * 1e-3)).collect();
    steps[250].ce = 1e6;
    let page = render(&[run_of(steps.clone(), Vec::new())]);
    assert!(page.contains("1 step value outside this scale"));
    // An epoch's value never leaves it.
    let page = render(&[run_of(steps, vec![epoch(1, 1e6)])]);
    assert!(!page.contains("outside this scale"));
}

#[test]
fn several_runs_are_compared() {
    let one = run_of(vec![step(1, 4.0), step(2, 3.0)], vec![epoch(1, 1.5)]);
    let mut two = one.clone();
    two.name = "wide".into();
    two.config[0].1 = "512".into();
    let page = render(&[one, two]);
    assert!(page.contains("<tr><th>hidden-size</th><td>256</td><td>512</td></tr>"));
    assert_eq!(count(&page, "<dl class=\"tiles\">"), 0);
    assert_eq!(count(&page, ">wide 1.5000</text>"), 1);
}

#[test]
fn later_records_replace_those_of_an_interrupted_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.jsonl");
    let lines = r#"{"event":"step","step":1,"epoch":1,"ce":4.0}
{"event":"step","step":2,"epoch":1,"ce":3.0}
{"event":"step","step":3,"epoch":1,"ce":null,"new":[1]}

{"event":"epoch","epoch":1,"valid_loss":2.0}
{"event":"test","bleu":0.5}
{"event":"step","step":2,"epoch":1,"ce":2.5}
{"event":"step","st"#;
    fs::write(&path, lines).unwrap();
    let metrics = read_metrics(&path).unwrap();
    let (steps, epochs) = (metrics.steps, metrics.epochs);
    let read: Vec<_> = steps.iter().map(|s| (s.step, s.ce)).collect();
    assert_eq!(read, [(1, 4.0), (2, 2.5)]);
    assert!(steps[0].accuracy.is_nan());
    assert_eq!((epochs.len(), epochs[0].valid_loss), (1, Some(2.0)));
    assert_eq!(metrics.test.map(|t| t.scores.bleu), Some(0.5));
}

#[test]
fn the_command_writes_the_page_into_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("myrun");
    fs::create_dir_all(run.join("samples")).unwrap();
    fs::write(
        run.join("metrics.jsonl"),
        "{\"event\":\"step\",\"step\":1,\"epoch\":1}\n",
    )
    .unwrap();
    fs::write(
        run.join("config.toml"),
        "kind = \"charlm\"\nseed = 7\ncorpus = [\"a<b\"]\n",
    )
    .unwrap();
    fs::write(run.join("samples/step-200.txt"), "old text").unwrap();
    fs::write(run.join("samples/step-1000.txt"), "new text").unwrap();
    let output = report(&[&run]);
    assert_eq!(output.status.code(), Some(0), "{}", message(&output));
    let page = run.join("report.html");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        format!("{}\n", page.display())
    );
    let html = fs::read_to_string(page).unwrap();
    assert!(html.contains("<h1>myrun</h1>"));
    assert!(html.contains("<dt>seed</dt><dd>7</dd>"));
    assert!(html.contains("<dt>corpus</dt><dd>a&lt;b</dd>"));
    assert!(html.find("new text").unwrap() < html.find("old text").unwrap());
    // Nothing temporary stays.
    assert_eq!(fs::read_dir(&run).unwrap().count(), 4);
}

#[test]
fn the_command_says_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let output = report(&[&run]);
    assert_eq!(output.status.code(), Some(3));
    assert!(
        message(&output).contains("no such run"),
        "{}",
        message(&output)
    );

    fs::create_dir(&run).unwrap();
    let output = report(&[&run]);
    assert_eq!(output.status.code(), Some(3));
    assert!(
        message(&output).contains("no metrics.jsonl"),
        "{}",
        message(&output)
    );

    fs::write(run.join("metrics.jsonl"), "").unwrap();
    let output = report(&[&run]);
    assert_eq!(output.status.code(), Some(3));
    assert!(
        message(&output).contains("no step is recorded yet"),
        "{}",
        message(&output)
    );

    fs::write(
        run.join("metrics.jsonl"),
        "{\"event\":\"epoch\",\"epoch\":1}\n{oops}\n",
    )
    .unwrap();
    let output = report(&[&run]);
    assert_eq!(output.status.code(), Some(3));
    assert!(
        message(&output).contains("metrics.jsonl:2: not a JSON object"),
        "{}",
        message(&output)
    );

    fs::write(
        run.join("metrics.jsonl"),
        "{\"event\":\"step\",\"epoch\":1}\n",
    )
    .unwrap();
    let output = report(&[&run]);
    assert_eq!(output.status.code(), Some(3));
    assert!(
        message(&output).contains("metrics.jsonl:1: not a step event (missing field `step`)"),
        "{}",
        message(&output)
    );

    let output = Command::new(env!("CARGO_BIN_EXE_rnnx"))
        .arg("report")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
}
