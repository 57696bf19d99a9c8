//! The page of character LMs: summary, curves, samples and tables.

use std::f64::consts::LN_2;
use std::fmt::Write;

use super::study;
use crate::files::EpochEvent;
use crate::log::thousands;
use crate::report::RunData;
use crate::report::charts::{Curve, cross_entropy};
use crate::report::parts::{configuration, curve_figure, epochs, optimiser, samples, table};
use crate::report::shell::{Shell, run_key, wrap};
use crate::report::text::{Unit, duration, escape, value};

const LOSS: Curve = Curve {
    title: "Loss: cross-entropy of the next character",
    y_label: "nats per character",
    unit: Unit::Plain,
    right: Some(("bits per character", LN_2)),
    steps: true,
    step: cross_entropy,
    train: |e| e.train_loss,
    valid: |e| e.valid_loss,
    between: |v| v.valid_loss,
};

const ACCURACY: Curve = Curve {
    title: "Accuracy: share of characters predicted right",
    y_label: "accuracy",
    unit: Unit::Percent,
    right: None,
    steps: true,
    step: |s| s.accuracy,
    train: |e| e.train_accuracy,
    valid: |e| e.valid_accuracy,
    between: |v| v.valid_accuracy,
};

/// Draws runs of the character LM on one page.
pub fn render(runs: &[RunData]) -> String {
    let names = runs.iter().map(|r| escape(&r.name)).collect::<Vec<_>>();
    let title = names.join(", ");
    let body = [
        summary(runs),
        "<section><h2>Curves</h2>".into(),
        curve_figure(runs, &LOSS),
        curve_figure(runs, &ACCURACY),
        "</section>\n<section><h2>Optimiser and speed</h2>".into(),
        optimiser(runs, "characters a second"),
        "</section>\n".into(),
        study::page::section(runs),
        samples(runs),
        epochs(
            runs,
            ("Bits per character", |loss| value(loss / LN_2, Unit::Plain)),
        ),
        configuration(runs),
    ];
    let shell = Shell {
        heading: title.clone(),
        title,
        subtitle: escape(&subtitle(runs)),
        style: "",
    };
    wrap(&shell, &body.concat(), runs)
}

fn subtitle(runs: &[RunData]) -> String {
    let [run] = runs else {
        return format!("{} runs compared", runs.len());
    };
    let get = |key: &str| run.setting(key);
    let mut parts = Vec::new();
    if get("kind") == Some("charlm") {
        parts.push("character language model".to_owned());
    }
    if let (Some(layers), Some(hidden)) = (get("num-layers"), get("hidden-size")) {
        let cell = get("cell").unwrap_or("lstm").to_uppercase();
        parts.push(format!("{cell}, {layers} × {hidden} units"));
    }
    if let (Some(batch), Some(length)) = (get("batch-size"), get("seq-length")) {
        parts.push(format!("batches of {batch} × {length} characters"));
    }
    if let Some(corpus) = get("corpus") {
        parts.push(format!("corpus: {corpus}"));
    }
    parts.join(" · ")
}

/// Label, value and a small note of each figure of a run.
fn figures(run: &RunData) -> Vec<(&'static str, String, String)> {
    let validated = run
        .epochs
        .iter()
        .any(|e| e.valid_loss.is_some_and(f64::is_finite))
        || !run.valids.is_empty()
        || run.average.is_some();
    // What the run is judged by: loss and accuracy of an epoch.
    let scores = |e: &EpochEvent| match validated {
        true => [e.valid_loss, e.valid_accuracy].map(|x| x.unwrap_or(f64::NAN)),
        false => [e.train_loss, e.train_accuracy],
    };
    let epochs = run.epochs.iter();
    let epochs = epochs.map(|e| (scores(e), format!("epoch {}", e.epoch)));
    let between = run.valids.iter();
    let between = between.map(|v| {
        let scores = [v.valid_loss, v.valid_accuracy];
        (scores, format!("step {}", thousands(v.step)))
    });
    let all = epochs.chain(between).chain(run.averaged());
    let finite = all.filter(|(s, _)| s[0].is_finite());
    let best = finite.min_by(|a, b| a.0[0].total_cmp(&b.0[0]));
    let ([nats, accuracy], at) = best.unwrap_or(([f64::NAN; 2], String::new()));
    let mut speeds: Vec<f64> = run
        .steps
        .iter()
        .map(|s| s.tokens_per_s)
        .filter(|s| s.is_finite())
        .collect();
    speeds.sort_by(f64::total_cmp);
    let speed = speeds.get(speeds.len() / 2).copied().unwrap_or(f64::NAN);
    let last = run
        .epochs
        .iter()
        .filter_map(|e| e.step)
        .chain(run.steps.iter().map(|s| s.step))
        .max();
    let done = run.epochs.last().map_or(0, |e| e.epoch);
    let epochs_done = format!("{done} epoch{}", if done == 1 { "" } else { "s" });
    let name = match validated {
        true => "Best validation loss",
        false => "Best training loss",
    };
    vec![
        (name, value(nats, Unit::Plain), "nats per character".into()),
        (
            "Bits per character",
            value(nats / LN_2, Unit::Plain),
            "loss / ln 2".into(),
        ),
        (
            "Perplexity",
            value(nats.exp(), Unit::Plain),
            "per character".into(),
        ),
        ("Accuracy", value(accuracy, Unit::Percent), at),
        (
            "Steps",
            last.map_or("–".into(), thousands),
            epochs_done.clone(),
        ),
        (
            "Characters a second",
            value(speed, Unit::Short),
            "median".into(),
        ),
        ("Time", duration(run.seconds()), epochs_done),
    ]
}

fn summary(runs: &[RunData]) -> String {
    if let [run] = runs {
        let mut out = "<dl class=\"tiles\">".to_owned();
        for (label, value, note) in figures(run) {
            let _ = write!(
                out,
                "<div class=\"tile\"><dt>{label}</dt><dd>{value} <small>{note}</small></dd></div>"
            );
        }
        return out + "</dl>\n";
    }
    let names = runs.first().map(figures).unwrap_or_default();
    let names = names.iter().map(|(label, ..)| (*label).to_owned());
    let head: Vec<_> = ["Run".into()].into_iter().chain(names).collect();
    let rows = runs.iter().enumerate().map(|(i, run)| {
        let cells = figures(run).into_iter();
        let cells = cells.map(|(_, value, note)| format!("<span title=\"{note}\">{value}</span>"));
        (run_key(i, &run.label()), cells.collect())
    });
    let table = table("numbers", &head, rows);
    format!("<h2>Summary</h2><div class=\"card scroll\">{table}</div>\n")
}
