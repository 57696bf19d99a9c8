//! The page of character LMs: summary, curves, samples and tables.

use std::fmt::Write;

use crate::log::thousands;
use crate::report::charts::{accuracy_chart, loss_chart, small_charts};
use crate::report::marks::{COLOURS, Mark, Stroke, legend_entry};
use crate::report::shell::{Shell, run_key, wrap};
use crate::report::svg::{Chart, draw};
use crate::report::text::{Unit, duration, escape, value};
use crate::report::{EpochPoint, RunData};

/// Draws runs of the character LM on one page.
pub fn render(runs: &[RunData]) -> String {
    let names = runs.iter().map(|r| escape(&r.name)).collect::<Vec<_>>();
    let title = names.join(", ");
    let mut out = summary(runs);
    out += "<section><h2>Curves</h2>";
    out += &figure(runs, &loss_chart(runs));
    out += &figure(runs, &accuracy_chart(runs));
    out += "</section>\n<section><h2>Optimiser and speed</h2>";
    out += &small(&small_charts(runs, "characters a second", false));
    out += "</section>\n";
    out += &samples(runs);
    out += &epochs(runs);
    out += &configuration(runs);
    let shell = Shell {
        heading: title.clone(),
        title,
        subtitle: escape(&subtitle(runs)),
        style: "",
    };
    wrap(&shell, &out, runs)
}

/// Small charts beside one another.
pub fn small(charts: &[Chart]) -> String {
    let mut out = "<div class=\"small\">".to_owned();
    for chart in charts {
        out += &format!(
            "<figure class=\"card\"><figcaption><h3>{}</h3></figcaption>{}</figure>",
            chart.title,
            draw(chart)
        );
    }
    out + "</div>"
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
        parts.push(format!("LSTM, {layers} × {hidden} units"));
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
    let validated = run.epochs.iter().any(|e| e.valid_loss.is_finite());
    let loss = |e: &EpochPoint| {
        if validated {
            e.valid_loss
        } else {
            e.train_loss
        }
    };
    let finite = run.epochs.iter().filter(|e| loss(e).is_finite());
    let best = finite.min_by(|a, b| loss(a).total_cmp(&loss(b)));
    let nats = best.map_or(f64::NAN, loss);
    let accuracy = best.map_or(f64::NAN, |e| {
        if validated {
            e.valid_accuracy
        } else {
            e.train_accuracy
        }
    });
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
    let seconds: f64 = run.epochs.iter().map(|e| e.seconds).sum();
    let time = if run.epochs.is_empty() {
        f64::NAN
    } else {
        seconds
    };
    let name = if validated {
        "Best validation loss"
    } else {
        "Best training loss"
    };
    let at = best.map_or(String::new(), |e| format!("epoch {}", e.epoch));
    vec![
        (name, value(nats, Unit::Plain), "nats per character".into()),
        (
            "Bits per character",
            value(nats / std::f64::consts::LN_2, Unit::Plain),
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
        ("Time", duration(time), epochs_done),
    ]
}

fn summary(runs: &[RunData]) -> String {
    let mut out = String::new();
    if let [run] = runs {
        out += "<dl class=\"tiles\">";
        for (label, value, note) in figures(run) {
            let _ = write!(
                out,
                "<div class=\"tile\"><dt>{label}</dt><dd>{value} <small>{note}</small></dd></div>"
            );
        }
        return out + "</dl>\n";
    }
    out += "<h2>Summary</h2><div class=\"card scroll\"><table class=\"numbers\"><thead><tr><th>Run</th>";
    for (label, ..) in runs.first().map(figures).unwrap_or_default() {
        let _ = write!(out, "<th>{label}</th>");
    }
    out += "</tr></thead><tbody>";
    for (i, run) in runs.iter().enumerate() {
        let _ = write!(out, "<tr><th>{}</th>", run_key(i, &run.name));
        for (_, value, note) in figures(run) {
            let _ = write!(out, "<td title=\"{note}\">{value}</td>");
        }
        out += "</tr>";
    }
    out + "</tbody></table></div>\n"
}

/// A chart with its legend: kinds of line by their strokes, and runs by their colours.
fn figure(runs: &[RunData], chart: &Chart) -> String {
    let mut legend = String::new();
    let mut add = |colour: &str, stroke: Stroke, text: &str| {
        legend += &legend_entry(colour, stroke, Some(Mark::Circle), text);
    };
    if runs.len() == 1 {
        for s in chart.series.iter().filter(|s| !s.points.is_empty()) {
            add(&format!("c{}", s.colour), s.stroke, &s.name);
        }
    } else {
        for (i, run) in runs.iter().enumerate() {
            add(&format!("c{}", i % COLOURS), Stroke::Bold, &run.name);
        }
        for (stroke, text) in [
            (Stroke::Thin, "training step"),
            (Stroke::Dashed, "training, epoch mean"),
            (Stroke::Bold, "validation"),
        ] {
            add("ink", stroke, text);
        }
    }
    format!(
        "<figure class=\"card\"><figcaption><h3>{}</h3><div class=\"legend\">{legend}</div></figcaption>{}</figure>\n",
        chart.title,
        draw(chart)
    )
}

/// The newest sample of each run open, the earlier ones folded away.
fn samples(runs: &[RunData]) -> String {
    if runs.iter().all(|r| r.samples.is_empty()) {
        return String::new();
    }
    let mut out = "<section><h2>Samples</h2>".to_owned();
    for run in runs {
        let of = match runs {
            [_] => String::new(),
            _ => format!("{} · ", escape(&run.name)),
        };
        let sample = |(name, text): &(String, String), open: &str| {
            let (name, count) = (escape(name), thousands(text.chars().count() as u64));
            format!(
                "<details class=\"card\"{open}><summary>{of}{name} <span>· {count} characters\
                 </span></summary><pre>{}</pre></details>",
                escape(text)
            )
        };
        let Some((newest, earlier)) = run.samples.split_last() else {
            continue;
        };
        out += &sample(newest, " open");
        if !earlier.is_empty() {
            let count = earlier.len();
            let _ = write!(
                out,
                "<details class=\"card\"><summary>{of}earlier samples <span>· {count}</span>\
                 </summary>"
            );
            out.extend(earlier.iter().rev().map(|s| sample(s, "")));
            out += "</details>";
        }
    }
    out + "</section>\n"
}

fn epochs(runs: &[RunData]) -> String {
    let mut out = String::new();
    for run in runs.iter().filter(|r| !r.epochs.is_empty()) {
        let of = if runs.len() == 1 {
            String::new()
        } else {
            format!(" of {}", escape(&run.name))
        };
        let _ = write!(
            out,
            "<details class=\"card\"><summary>Table of the epochs{of} <span>· {}</span></summary><div class=\"scroll\"><table class=\"numbers\"><thead><tr><th>Epoch</th><th>Training loss</th><th>Validation loss</th><th>Bits per character</th><th>Training accuracy</th><th>Validation accuracy</th><th>Time</th></tr></thead><tbody>",
            run.epochs.len()
        );
        for e in &run.epochs {
            let bits = e.valid_loss / std::f64::consts::LN_2;
            let cells = [
                value(e.train_loss, Unit::Plain),
                value(e.valid_loss, Unit::Plain),
                value(bits, Unit::Plain),
                value(e.train_accuracy, Unit::Percent),
                value(e.valid_accuracy, Unit::Percent),
                duration(e.seconds),
            ];
            let _ = write!(
                out,
                "<tr><th>{}</th><td>{}</td></tr>",
                e.epoch,
                cells.join("</td><td>")
            );
        }
        out += "</tbody></table></div></details>\n";
    }
    out
}

fn configuration(runs: &[RunData]) -> String {
    let mut keys: Vec<&str> = Vec::new();
    for (key, _) in runs.iter().flat_map(|r| &r.config) {
        if !keys.contains(&key.as_str()) {
            keys.push(key);
        }
    }
    if keys.is_empty() {
        return String::new();
    }
    let get = |run: &RunData, key: &str| run.setting(key).map_or("–".to_owned(), escape);
    let mut out = "<section><h2>Configuration</h2>".to_owned();
    if let [run] = runs {
        out += "<dl class=\"card pairs\">";
        for key in keys {
            let _ = write!(
                out,
                "<div><dt>{}</dt><dd>{}</dd></div>",
                escape(key),
                get(run, key)
            );
        }
        return out + "</dl></section>\n";
    }
    out += "<div class=\"card scroll\"><table class=\"config\"><thead><tr><th>Key</th>";
    for (i, run) in runs.iter().enumerate() {
        let _ = write!(out, "<th>{}</th>", run_key(i, &run.name));
    }
    out += "</tr></thead><tbody>";
    for key in keys {
        let values: Vec<_> = runs.iter().map(|r| get(r, key)).collect();
        let same = values.iter().all(|v| *v == values[0]);
        let class = if same { "" } else { " class=\"differs\"" };
        let _ = write!(
            out,
            "<tr{class}><th>{}</th><td>{}</td></tr>",
            escape(key),
            values.join("</td><td>")
        );
    }
    out + "</tbody></table></div></section>\n"
}
