//! Which curves the page shows.

use super::marks::{Mark, Series, Stroke};
use super::svg::Chart;
use super::text::Unit;
use super::{EpochPoint, RunData, StepPoint};

/// Cross-entropy of steps and epochs, in nats and bits.
pub fn loss_chart(runs: &[RunData]) -> Chart {
    let step = |s: &StepPoint| if s.ce.is_finite() { s.ce } else { s.loss };
    Chart {
        title: "Loss: cross-entropy of the next character".into(),
        y_label: "nats per character",
        unit: Unit::Plain,
        right: Some(("bits per character", std::f64::consts::LN_2)),
        ..curves(runs, step, |e| e.train_loss, |e| e.valid_loss)
    }
}

/// Accuracy of steps and epochs.
pub fn accuracy_chart(runs: &[RunData]) -> Chart {
    Chart {
        title: "Accuracy: share of characters predicted right".into(),
        y_label: "accuracy",
        unit: Unit::Percent,
        right: None,
        ..curves(
            runs,
            |s| s.accuracy,
            |e| e.train_accuracy,
            |e| e.valid_accuracy,
        )
    }
}

/// Step, training and validation lines of every run. One run takes a colour for each split,
/// several take one each.
fn curves(
    runs: &[RunData],
    step: impl Fn(&StepPoint) -> f64,
    train: impl Fn(&EpochPoint) -> f64,
    valid: impl Fn(&EpochPoint) -> f64,
) -> Chart {
    let by_epoch = counts_epochs(runs);
    let mut series = Vec::new();
    for (i, run) in runs.iter().enumerate() {
        let alone = runs.len() == 1;
        let name = |text: &str| {
            if alone {
                text.to_owned()
            } else {
                format!("{}, {text}", run.name)
            }
        };
        let place = |y: &dyn Fn(&EpochPoint) -> f64| {
            let points = run.epochs.iter().map(|e| (epoch_x(run, e, by_epoch), y(e)));
            points.collect::<Vec<_>>()
        };
        let line = |text, colour, stroke, points, label| Series {
            name: name(text),
            colour,
            mark: Mark::Circle,
            stroke,
            points,
            label,
        };
        let steps = run.steps.iter().filter(|_| !by_epoch);
        let steps = steps.map(|s| (s.step as f64, step(s))).collect();
        let (train, valid) = (place(&train), place(&valid));
        let other = if alone { 1 } else { i };
        let end = if alone {
            "validation".to_owned()
        } else {
            run.name.clone()
        };
        series.push(line("training step", i, Stroke::Thin, steps, None));
        series.push(line(
            "training, epoch mean",
            i,
            Stroke::Dashed,
            train,
            alone.then(|| "training".into()),
        ));
        series.push(line("validation", other, Stroke::Bold, valid, Some(end)));
    }
    // Thin lines first: the others lie over them.
    series.sort_by_key(|s| s.stroke != Stroke::Thin);
    Chart {
        title: String::new(),
        x_label: if by_epoch { "epoch" } else { "step" },
        y_label: "",
        unit: Unit::Plain,
        right: None,
        series,
        size: (1050.0, 370.0),
    }
}

/// Whether the horizontal axis must count epochs: a run that recorded no step cannot be placed
/// among steps.
fn counts_epochs(runs: &[RunData]) -> bool {
    let unplaced = |r: &RunData| r.steps.is_empty() && r.epochs.iter().any(|e| e.step.is_none());
    runs.iter().any(unplaced)
}

/// Where the end of an epoch lies: at the step that its record names, else at the last step
/// recorded by then.
pub fn epoch_x(run: &RunData, e: &EpochPoint, by_epoch: bool) -> f64 {
    if by_epoch {
        return e.epoch as f64;
    }
    let recorded = run.steps.partition_point(|s| s.epoch <= e.epoch);
    let last = run.steps[..recorded].last().map_or(0, |s| s.step);
    e.step.unwrap_or(last) as f64
}

/// What the optimizer did and how fast it went in `speed`, a chart each. With `dashed` each run has
/// dashes of its own.
pub fn small_charts(runs: &[RunData], speed: &'static str, dashed: bool) -> Vec<Chart> {
    type Read = fn(&StepPoint) -> f64;
    let all: [(&str, &'static str, Unit, Read); 4] = [
        ("Learning rate", "", Unit::Plain, |s| s.lr),
        ("Gradient norm before clipping", "", Unit::Plain, |s| {
            s.grad_norm
        }),
        ("Throughput", speed, Unit::Short, |s| s.tokens_per_s),
        ("Loss scale", "", Unit::Short, |s| s.loss_scale),
    ];
    let charts = all
        .into_iter()
        .map(move |(title, y_label, unit, read)| Chart {
            title: title.into(),
            x_label: "step",
            y_label,
            unit,
            right: None,
            series: runs
                .iter()
                .enumerate()
                .map(|(colour, run)| Series {
                    name: if runs.len() == 1 {
                        title.to_lowercase()
                    } else {
                        run.name.clone()
                    },
                    colour,
                    mark: if dashed {
                        Mark::of(colour)
                    } else {
                        Mark::Circle
                    },
                    stroke: Stroke::Fine,
                    points: run.steps.iter().map(|s| (s.step as f64, read(s))).collect(),
                    label: None,
                })
                .collect(),
            size: (350.0, 210.0),
        });
    // In fp32 the loss scale is 1 throughout: nothing to see.
    let moves = |c: &Chart| {
        let scales = c.series.iter().flat_map(|s| &s.points);
        c.title != "Loss scale" || scales.clone().any(|p| p.1.is_finite() && p.1 != 1.0)
    };
    charts.filter(moves).collect()
}
