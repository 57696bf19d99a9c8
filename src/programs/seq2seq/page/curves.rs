//! Loss curves of all runs in one picture, and the tables behind them.

use std::fmt::Write;

use super::label;
use crate::programs::charlm::page::small;
use crate::report::charts::{epoch_x, small_charts};
use crate::report::marks::{COLOURS, Mark, Series, Stroke, legend_entry};
use crate::report::shell::run_key;
use crate::report::svg::{Chart, draw};
use crate::report::text::{Unit, duration, escape, value};
use crate::report::{EpochPoint, RunData};

/// The losses of all runs and the table of the validation losses.
pub fn section(runs: &[RunData]) -> String {
    let chart = chart(runs);
    let mut legend = String::new();
    for (i, run) in runs.iter().enumerate() {
        let colour = format!("c{}", i % COLOURS);
        legend += &legend_entry(&colour, Stroke::Bold, Some(Mark::of(i)), &label(run));
    }
    legend += &legend_entry("ink", Stroke::Bold, None, "validation");
    legend += &legend_entry("ink", Stroke::Dashed, None, "training, epoch mean");
    if chart.series.iter().any(|s| s.stroke == Stroke::Thin) {
        legend += &legend_entry("ink", Stroke::Thin, None, "training step");
    }
    format!(
        "<section><h2>Loss</h2><figure class=\"card\"><figcaption><h3>{}</h3><div \
         class=\"legend\">{legend}</div></figcaption>{}</figure>{}</section>\n",
        chart.title,
        draw(&chart),
        validation(runs)
    )
}

/// Training and validation loss over epochs; over steps where a run has no epoch yet, whose steps
/// are drawn instead.
fn chart(runs: &[RunData]) -> Chart {
    let by_epoch = runs
        .iter()
        .all(|r| !r.epochs.is_empty() || r.steps.is_empty());
    let mut series = Vec::new();
    for (i, run) in runs.iter().enumerate() {
        let name = label(run);
        let line = |text: &str, stroke, points, label| Series {
            name: format!("{name}, {text}"),
            colour: i,
            mark: Mark::of(i),
            stroke,
            points,
            label,
        };
        let points = |read: fn(&EpochPoint) -> f64| {
            let points = run.epochs.iter();
            points
                .map(|e| (epoch_x(run, e, by_epoch), read(e)))
                .collect::<Vec<_>>()
        };
        if run.epochs.is_empty() {
            let read = |ce: f64, loss| if ce.is_finite() { ce } else { loss };
            let steps = run.steps.iter();
            let steps = steps.map(|s| (s.step as f64, read(s.ce, s.loss))).collect();
            series.push(line("training step", Stroke::Thin, steps, None));
        }
        series.push(line(
            "training",
            Stroke::Dashed,
            points(|e| e.train_loss),
            None,
        ));
        let end = Some(name.clone());
        series.push(line(
            "validation",
            Stroke::Bold,
            points(|e| e.valid_loss),
            end,
        ));
    }
    // What matters most lies over the rest.
    series.sort_by_key(|s| s.stroke == Stroke::Bold);
    Chart {
        title: "Training and validation loss".into(),
        x_label: if by_epoch { "epoch" } else { "step" },
        y_label: "cross-entropy, nats per token",
        unit: Unit::Plain,
        right: None,
        series,
        size: (1050.0, 400.0),
    }
}

/// The last and the lowest validation loss of each run.
fn validation(runs: &[RunData]) -> String {
    if runs.iter().all(|r| r.epochs.is_empty()) {
        return String::new();
    }
    let mut out =
        "<div class=\"card scroll below\"><table class=\"numbers\"><thead><tr><th>Loss, nats \
                   per token</th><th>Validation, last epoch</th><th>Validation, lowest</th><th>in \
                   epoch</th><th>Perplexity at the lowest</th><th>Training, last epoch</th></tr>\
                   </thead><tbody>"
            .to_owned();
    for (i, run) in runs.iter().enumerate() {
        let finite = run.epochs.iter().filter(|e| e.valid_loss.is_finite());
        let lowest = finite.min_by(|a, b| a.valid_loss.total_cmp(&b.valid_loss));
        let last = |read: fn(&EpochPoint) -> f64| run.epochs.last().map_or(f64::NAN, read);
        let least = lowest.map_or(f64::NAN, |e| e.valid_loss);
        let _ = write!(
            out,
            "<tr><th>{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            run_key(i, &label(run)),
            value(last(|e| e.valid_loss), Unit::Plain),
            value(least, Unit::Plain),
            lowest.map_or("–".to_owned(), |e| e.epoch.to_string()),
            perplexity(least),
            value(last(|e| e.train_loss), Unit::Plain)
        );
    }
    out + "</tbody></table></div>"
}

/// e to the loss, with one decimal: it counts tokens.
fn perplexity(loss: f64) -> String {
    match loss.exp() {
        x if !x.is_finite() => "–".into(),
        x if x < 1e6 => format!("{x:.1}"),
        x => format!("{x:.1e}"),
    }
}

/// How training went, folded away: the optimizer's charts and a table of each run's epochs.
pub fn details(runs: &[RunData]) -> String {
    let mut out = "<section><h2>How training went</h2>".to_owned();
    if runs.iter().any(|r| !r.steps.is_empty()) {
        let mut legend = String::new();
        for (i, run) in runs.iter().enumerate() {
            let colour = format!("c{}", i % COLOURS);
            legend += &legend_entry(&colour, Stroke::Fine, Some(Mark::of(i)), &label(run));
        }
        let _ = write!(
            out,
            "<details class=\"card\"><summary>Optimiser and speed <span>· step by step</span>\
             </summary><div class=\"inside\"><div class=\"legend\">{legend}</div>{}</div></details>",
            small(&small_charts(runs, "tokens a second", true))
        );
    }
    for run in runs.iter().filter(|r| !r.epochs.is_empty()) {
        let _ = write!(
            out,
            "<details class=\"card\"><summary>Epochs of {} <span>· {}</span></summary><div \
             class=\"scroll\"><table class=\"numbers\"><thead><tr><th>Epoch</th><th>Training \
             loss</th><th>Validation loss</th><th>Perplexity</th><th>Training accuracy</th>\
             <th>Validation accuracy</th><th>Time</th></tr></thead><tbody>",
            escape(&label(run)),
            run.epochs.len()
        );
        for e in &run.epochs {
            let cells = [
                value(e.train_loss, Unit::Plain),
                value(e.valid_loss, Unit::Plain),
                perplexity(e.valid_loss),
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
        out += "</tbody></table></div></details>";
    }
    out + "</section>\n"
}
