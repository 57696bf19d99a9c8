//! Parts that the pages of several programs have: legends, tables, samples, the configuration.

use std::fmt::Write;

use super::charts::{Curve, curves, small_charts};
use super::marks::{COLOURS, Mark, Stroke, legend_entry};
use super::run::RunData;
use super::shell::run_key;
use super::svg::draw;
use super::text::{Unit, duration, escape, value};
use crate::log::thousands;

/// A picture with its title and the entries of its legend.
pub fn figure(title: &str, legend: &str, picture: &str) -> String {
    format!(
        "<figure class=\"card\"><figcaption><h3>{title}</h3><div class=\"legend\">{legend}</div>\
         </figcaption>{picture}</figure>\n"
    )
}

/// An entry of a legend for each run, in its colour and with its marker.
pub fn run_legend(runs: &[RunData], stroke: Stroke) -> String {
    let entry = |(i, run): (usize, &RunData)| {
        let colour = format!("c{}", i % COLOURS);
        legend_entry(&colour, stroke, Some(Mark::of(i)), &run.label())
    };
    runs.iter().enumerate().map(entry).collect()
}

/// A figure over the course of training: kinds of line by their strokes, runs by their colours.
pub fn curve_figure(runs: &[RunData], curve: &Curve) -> String {
    let chart = curves(runs, curve);
    let mut legend = String::new();
    if runs.len() == 1 {
        for s in chart.series.iter().filter(|s| !s.points.is_empty()) {
            legend += &legend_entry(&format!("c{}", s.colour), s.stroke, Some(s.mark), &s.name);
        }
    } else {
        legend += &run_legend(runs, Stroke::Bold);
        legend += &legend_entry("ink", Stroke::Bold, None, "validation");
        legend += &legend_entry("ink", Stroke::Dashed, None, "training, epoch mean");
        if chart.series.iter().any(|s| s.stroke == Stroke::Thin) {
            legend += &legend_entry("ink", Stroke::Thin, None, "training step");
        }
    }
    figure(&chart.title, &legend, &draw(&chart))
}

/// What the optimizer did and how fast it went in `speed`: small charts beside one another.
pub fn optimiser(runs: &[RunData], speed: &'static str) -> String {
    let mut out = String::new();
    if runs.len() > 1 {
        let legend = run_legend(runs, Stroke::Fine);
        let _ = write!(out, "<div class=\"legend\">{legend}</div>");
    }
    out += "<div class=\"small\">";
    for chart in small_charts(runs, speed) {
        let _ = write!(
            out,
            "<figure class=\"card\"><figcaption><h3>{}</h3></figcaption>{}</figure>",
            chart.title,
            draw(&chart)
        );
    }
    out + "</div>"
}

/// A table of HTML cells; each row is the cell at its left and the others.
pub fn table(
    class: &str,
    head: &[String],
    rows: impl IntoIterator<Item = (String, Vec<String>)>,
) -> String {
    let head = head.join("</th><th>");
    let mut out =
        format!("<table class=\"{class}\"><thead><tr><th>{head}</th></tr></thead><tbody>");
    for (first, cells) in rows {
        let cells = cells.join("</td><td>");
        let _ = write!(out, "<tr><th>{first}</th><td>{cells}</td></tr>");
    }
    out + "</tbody></table>"
}

/// A table of each run's epochs, folded away; `extra` names a column and makes its value of the
/// validation loss.
pub fn epochs(runs: &[RunData], extra: (&str, fn(f64) -> String)) -> String {
    let head = [
        "Epoch",
        "Training loss",
        "Validation loss",
        extra.0,
        "Training accuracy",
        "Validation accuracy",
        "Time",
    ];
    let mut out = String::new();
    for run in runs.iter().filter(|r| !r.epochs.is_empty()) {
        let of = match runs {
            [_] => String::new(),
            _ => format!(" of {}", escape(&run.label())),
        };
        let rows = run.epochs.iter().map(|e| {
            let [valid_loss, valid_accuracy] =
                [e.valid_loss, e.valid_accuracy].map(|x| x.unwrap_or(f64::NAN));
            let cells = vec![
                value(e.train_loss, Unit::Plain),
                value(valid_loss, Unit::Plain),
                extra.1(valid_loss),
                value(e.train_accuracy, Unit::Percent),
                value(valid_accuracy, Unit::Percent),
                duration(e.seconds),
            ];
            (e.epoch.to_string(), cells)
        });
        let _ = writeln!(
            out,
            "<details class=\"card\"><summary>Table of the epochs{of} <span>· {}</span></summary>\
             <div class=\"scroll\">{}</div></details>",
            run.epochs.len(),
            table("numbers", &head.map(str::to_owned), rows)
        );
    }
    out
}

/// The newest sample of each run open, the earlier ones folded away; nothing where no run has any.
pub fn samples(runs: &[RunData]) -> String {
    if runs.iter().all(|r| r.samples.is_empty()) {
        return String::new();
    }
    let mut out = "<section><h2>Samples</h2>".to_owned();
    for run in runs {
        let of = match runs {
            [_] => String::new(),
            _ => format!("{} · ", escape(&run.label())),
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

/// The configuration: a table of what differs between the runs, and a list of what they share;
/// nothing where no run has a configuration.
pub fn configuration(runs: &[RunData]) -> String {
    let mut keys: Vec<&str> = Vec::new();
    for (key, _) in runs.iter().flat_map(|r| &r.config) {
        if !keys.contains(&key.as_str()) {
            keys.push(key);
        }
    }
    if keys.is_empty() {
        return String::new();
    }
    let get = |run: &RunData, key: &str| run.setting(key).map_or("–".into(), escape);
    let agree = |key: &&str| runs.iter().all(|r| r.setting(key) == runs[0].setting(key));
    let (shared, differing): (Vec<_>, Vec<_>) = keys.into_iter().partition(agree);
    let mut out = "<section><h2>Configuration</h2>".to_owned();
    if !differing.is_empty() {
        let names = runs.iter().enumerate();
        let names = names.map(|(i, run)| run_key(i, &run.label()));
        let head: Vec<_> = ["Differs".into()].into_iter().chain(names).collect();
        let rows = differing.into_iter().map(|key| {
            let values = runs.iter().map(|run| get(run, key));
            (escape(key), values.collect())
        });
        let table = table("config", &head, rows);
        let _ = write!(out, "<div class=\"card scroll\">{table}</div>");
    }
    if runs.len() > 1 && !shared.is_empty() {
        out += "<p class=\"note\">The same in all runs:</p>";
    }
    if !shared.is_empty() {
        out += "<dl class=\"card pairs\">";
        for key in shared {
            let (name, value) = (escape(key), get(&runs[0], key));
            let _ = write!(out, "<div><dt>{name}</dt><dd>{value}</dd></div>");
        }
        out += "</dl>";
    }
    for run in runs {
        for change in &run.changes {
            let of = match runs {
                [_] => String::new(),
                _ => format!("{}: ", escape(&run.label())),
            };
            let _ = write!(
                out,
                "<p class=\"note\">{of}changed after step {}: {}</p>",
                thousands(change.step),
                escape(&change.to_string())
            );
        }
    }
    out + "</section>\n"
}
