//! Which curves the pages show.

use super::chart::Chart;
use super::marks::{Mark, Series, Stroke};
use super::run::RunData;
use super::text::Unit;
use crate::files::{EpochEvent, StepEvent, ValidEvent};

/// A figure over the course of training, and where the records have it.
pub struct Curve {
    /// The chart's title.
    pub title: &'static str,
    /// Name of the left axis.
    pub y_label: &'static str,
    /// How its numbers are written.
    pub unit: Unit,
    /// Name of a second axis at the right, and what its numbers are multiplied by to give the
    /// left one's.
    pub right: Option<(&'static str, f64)>,
    /// Whether steps are drawn beside epochs; else only those of a run that has no epoch yet.
    pub steps: bool,
    /// Of a step.
    pub step: fn(&StepEvent) -> f64,
    /// Of the training in an epoch.
    pub train: fn(&EpochEvent) -> f64,
    /// Of the validation after an epoch.
    pub valid: fn(&EpochEvent) -> Option<f64>,
    /// Of a validation inside of an epoch.
    pub between: fn(&ValidEvent) -> f64,
}

/// Cross-entropy of a step; its loss where the record lacks that.
pub fn cross_entropy(s: &StepEvent) -> f64 {
    if s.ce.is_finite() { s.ce } else { s.loss }
}

/// Step, training and validation lines of every run, over steps where steps are drawn, else over
/// epochs. One run takes a colour for each split, several take one each.
pub fn curves(runs: &[RunData], curve: &Curve) -> Chart {
    let steps_of = |run: &RunData| curve.steps || run.epochs.is_empty();
    let by_epoch =
        runs.iter().any(is_unplaced) || !runs.iter().any(|r| steps_of(r) && !r.steps.is_empty());
    let alone = runs.len() == 1;
    let mut series = Vec::new();
    for (i, run) in runs.iter().enumerate() {
        let place = |y: &dyn Fn(&EpochEvent) -> f64| {
            let points = run.epochs.iter().map(|e| (epoch_x(run, e, by_epoch), y(e)));
            points.collect::<Vec<_>>()
        };
        let line = |text: &str, colour, stroke, points, label| Series {
            name: match alone {
                true => text.to_owned(),
                false => format!("{}, {text}", run.label()),
            },
            colour,
            mark: Mark::of(i),
            stroke,
            points,
            label,
        };
        if steps_of(run) && !by_epoch {
            let steps = run.steps.iter();
            let steps = steps.map(|s| (s.step as f64, (curve.step)(s))).collect();
            series.push(line("training step", i, Stroke::Thin, steps, None));
        }
        let train = place(&curve.train);
        let mut valid = place(&|e| (curve.valid)(e).unwrap_or(f64::NAN));
        let between = run.valids.iter();
        let between =
            between.filter_map(|v| Some((step_x(run, v.step, by_epoch)?, (curve.between)(v))));
        valid.extend(between);
        valid.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (other, end) = match alone {
            true => (1, "validation".to_owned()),
            false => (i, run.label()),
        };
        let label = alone.then(|| "training".into());
        series.push(line(
            "training, epoch mean",
            i,
            Stroke::Dashed,
            train,
            label,
        ));
        series.push(line("validation", other, Stroke::Bold, valid, Some(end)));
    }
    // What matters most lies over the rest.
    series.sort_by_key(|s| match s.stroke {
        Stroke::Thin | Stroke::Fine => 0,
        Stroke::Dashed => 1,
        Stroke::Bold => 2,
    });
    Chart {
        title: curve.title.into(),
        x_label: if by_epoch { "epoch" } else { "step" },
        y_label: curve.y_label,
        unit: curve.unit,
        right: curve.right,
        series,
        changes: changes(runs, by_epoch),
        size: (1050.0, 370.0),
    }
}

/// Where runs went on with other settings.
fn changes(runs: &[RunData], by_epoch: bool) -> Vec<(f64, String)> {
    let of_run = |run: &RunData| {
        let changes = run.changes.iter().filter_map(|change| {
            let of = match runs.len() {
                1 => String::new(),
                _ => format!("{}, ", run.label()),
            };
            let text = format!("{of}after step {}: {change}", change.step);
            Some((step_x(run, change.step, by_epoch)?, text))
        });
        changes.collect::<Vec<_>>()
    };
    runs.iter().flat_map(of_run).collect()
}

/// Where a step lies; none where a run does not say how many an epoch has.
fn step_x(run: &RunData, step: u64, by_epoch: bool) -> Option<f64> {
    match by_epoch {
        true => Some(step as f64 / run.steps_per_epoch()?),
        false => Some(step as f64),
    }
}

/// Whether a run recorded no step, and epochs that do not say theirs: it cannot be placed among
/// steps.
fn is_unplaced(run: &RunData) -> bool {
    run.steps.is_empty() && run.epochs.iter().any(|e| e.step.is_none())
}

/// Where the end of an epoch lies: at the step that its record names, else at the last step
/// recorded by then.
fn epoch_x(run: &RunData, e: &EpochEvent, by_epoch: bool) -> f64 {
    if by_epoch {
        return e.epoch as f64;
    }
    let recorded = run.steps.partition_point(|s| s.epoch <= e.epoch);
    let last = run.steps[..recorded].last().map_or(0, |s| s.step);
    e.step.unwrap_or(last) as f64
}

/// What the optimizer did and how fast it went in `speed`, a chart each. Several runs differ in
/// their dashes, too.
pub fn small_charts(runs: &[RunData], speed: &'static str) -> Vec<Chart> {
    type Read = fn(&StepEvent) -> f64;
    let all: [(&str, &'static str, Unit, Read); 4] = [
        ("Learning rate", "", Unit::Plain, |s| s.lr),
        ("Gradient norm before clipping", "", Unit::Plain, |s| {
            s.grad_norm
        }),
        ("Throughput", speed, Unit::Short, |s| s.tokens_per_s),
        ("Loss scale", "", Unit::Short, |s| {
            s.loss_scale.unwrap_or(f64::NAN)
        }),
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
                        run.label()
                    },
                    colour,
                    mark: Mark::of(colour),
                    stroke: Stroke::Fine,
                    points: run.steps.iter().map(|s| (s.step as f64, read(s))).collect(),
                    label: None,
                })
                .collect(),
            changes: changes(runs, false),
            size: (350.0, 210.0),
        });
    // In fp32 the loss scale is 1 throughout: nothing to see.
    let moves = |c: &Chart| {
        let scales = c.series.iter().flat_map(|s| &s.points);
        c.title != "Loss scale" || scales.clone().any(|p| p.1.is_finite() && p.1 != 1.0)
    };
    charts.filter(moves).collect()
}
