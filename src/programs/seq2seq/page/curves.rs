//! Loss curves of all runs in one picture, and the tables behind them.

use std::fmt::Write;

use crate::files::EpochEvent;
use crate::report::RunData;
use crate::report::charts::{Curve, cross_entropy};
use crate::report::parts::{curve_figure, epochs, optimiser, table};
use crate::report::shell::run_key;
use crate::report::text::{Unit, value};

const LOSS: Curve = Curve {
    title: "Training and validation loss",
    y_label: "cross-entropy, nats per token",
    unit: Unit::Plain,
    right: None,
    steps: false,
    step: cross_entropy,
    train: |e| e.train_loss,
    valid: |e| e.valid_loss,
    between: |v| v.valid_loss,
};

/// The losses of all runs and the table of the validation losses.
pub fn section(runs: &[RunData]) -> String {
    format!(
        "<section><h2>Loss</h2>{}{}</section>\n",
        curve_figure(runs, &LOSS),
        validation(runs)
    )
}

/// The last and the lowest validation loss of each run.
fn validation(runs: &[RunData]) -> String {
    if runs.iter().all(|r| r.epochs.is_empty()) {
        return String::new();
    }
    let head = [
        "Loss, nats per token",
        "Validation, last epoch",
        "Validation, lowest",
        "in epoch",
        "Perplexity at the lowest",
        "Training, last epoch",
    ];
    let valid = |e: &EpochEvent| e.valid_loss.unwrap_or(f64::NAN);
    let rows = runs.iter().enumerate().map(|(i, run)| {
        let epochs = run.epochs.iter().map(|e| (valid(e), e.epoch.to_string()));
        let between = run.valids.iter();
        let between = between.map(|v| (v.valid_loss, format!("{} (step {})", v.epoch, v.step)));
        let average = run.averaged().map(|([loss, _], name)| (loss, name));
        let all = epochs.chain(between).chain(average);
        let finite = all.filter(|(loss, _)| loss.is_finite());
        let lowest = finite.min_by(|a, b| a.0.total_cmp(&b.0));
        let (least, lowest_in) = lowest.unwrap_or((f64::NAN, "–".to_owned()));
        let last = run.epochs.last();
        let cells = vec![
            value(last.map_or(f64::NAN, valid), Unit::Plain),
            value(least, Unit::Plain),
            lowest_in,
            perplexity(least),
            value(last.map_or(f64::NAN, |e| e.train_loss), Unit::Plain),
        ];
        (run_key(i, &run.label()), cells)
    });
    let table = table("numbers", &head.map(str::to_owned), rows);
    format!("<div class=\"card scroll below\">{table}</div>")
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
        let _ = write!(
            out,
            "<details class=\"card\"><summary>Optimiser and speed <span>· step by step</span>\
             </summary><div class=\"inside\">{}</div></details>",
            optimiser(runs, "target tokens a second")
        );
    }
    out += &epochs(runs, ("Perplexity", perplexity));
    out + "</section>\n"
}
