//! BLEU by the source's length: a group of bars for each range of lengths.

use std::fmt::Write;

use crate::eval::scores::LengthScore;
use crate::log::thousands;
use crate::report::RunData;
use crate::report::marks::{COLOURS, Mark, Stroke};
use crate::report::parts::{figure, run_legend};
use crate::report::scale::ticks;
use crate::report::text::{Unit, escape, score, tick};

const SIZE: (f64, f64) = (1050.0, 320.0);
const LEFT: f64 = 66.0;
const TOP: f64 = 22.0;
/// Room for the ranges, the numbers of pairs and the axis's name.
const BOTTOM: f64 = 62.0;
const RIGHT: f64 = 14.0;
/// Greatest width of a bar.
const BAR: f64 = 62.0;
/// A bar narrower than this has no room for its value.
const LABELLED: f64 = 40.0;
/// Share of a group's room between two groups.
const BETWEEN: f64 = 0.12;

/// The fewest and the most tokens of a source.
type Range = (usize, usize);

/// The chart; nothing where no run recorded its test by length.
pub fn section(runs: &[RunData]) -> String {
    let ranges = ranges(runs);
    if ranges.is_empty() {
        return String::new();
    }
    let figure = figure(
        "Smoothed corpus BLEU-4 of the test pairs of each length",
        &run_legend(runs, Stroke::Bold),
        &draw(runs, &ranges),
    );
    format!("<section><h2>BLEU by source length</h2>{figure}</section>\n")
}

/// The ranges of all runs, short ones first.
fn ranges(runs: &[RunData]) -> Vec<Range> {
    let tests = runs.iter().filter_map(|r| r.test.as_ref());
    let mut ranges: Vec<_> = tests
        .flat_map(|t| t.scores.by_length.iter().map(|p| (p.from, p.to)))
        .collect();
    ranges.sort_unstable();
    ranges.dedup();
    ranges
}

fn point(run: &RunData, range: Range) -> Option<&LengthScore> {
    let points = &run.test.as_ref()?.scores.by_length;
    points.iter().find(|p| (p.from, p.to) == range)
}

/// BLEU that the bar shows; NaN where there is none.
fn height_of(point: Option<&LengthScore>) -> f64 {
    point.map_or(f64::NAN, |p| p.bleu_smoothed)
}

fn draw(runs: &[RunData], ranges: &[Range]) -> String {
    let (w, h) = SIZE;
    let (width, height) = (w - LEFT - RIGHT, h - TOP - BOTTOM);
    let values = ranges
        .iter()
        .flat_map(|range| runs.iter().map(|r| height_of(point(r, *range))));
    let most = values.filter(|v| v.is_finite()).fold(0.0, f64::max);
    let marks = ticks(0.0, if most > 0.0 { most } else { 0.01 }, 5.0);
    let top = marks.last().copied().unwrap_or(1.0);
    let py = |y: f64| TOP + (1.0 - y / top) * height;
    let mut out =
        format!("<svg viewBox=\"0 0 {w} {h}\" role=\"img\" aria-label=\"BLEU by source length\">");
    for y in &marks {
        let _ = write!(
            out,
            "<path class=\"grid\" d=\"M{LEFT} {:.1}H{}\"/><text class=\"ty\" x=\"{}\" y=\"{:.1}\">\
             {}</text>",
            py(*y),
            w - RIGHT,
            LEFT - 8.0,
            py(*y) + 4.0,
            tick(*y, marks[1] - marks[0], Unit::Plain)
        );
    }
    let room = width / ranges.len() as f64;
    for (g, range) in ranges.iter().enumerate() {
        let left = LEFT + g as f64 * room;
        group(&mut out, runs, *range, (left, room), &py);
    }
    let _ = write!(
        out,
        "<path class=\"axis\" d=\"M{LEFT} {:.1}H{}\"/><text class=\"name\" x=\"{:.1}\" y=\"{}\">\
         source length, tokens</text><text class=\"name\" transform=\"translate(13 {:.1}) \
         rotate(-90)\">BLEU-4, smoothed</text></svg>",
        py(0.0),
        w - RIGHT,
        LEFT + width / 2.0,
        h - 6.0,
        TOP + height / 2.0
    );
    out
}

/// The bars of one range with their values, and the range and its number of pairs below.
fn group(
    out: &mut String,
    runs: &[RunData],
    range: Range,
    (left, room): (f64, f64),
    py: &dyn Fn(f64) -> f64,
) {
    let bar = (room * (1.0 - BETWEEN) / runs.len() as f64).min(BAR);
    let middle = left + room / 2.0;
    let start = middle - bar * runs.len() as f64 / 2.0;
    let lengths = match range {
        (from, to) if from == to => from.to_string(),
        (from, to) => format!("{from}–{to}"),
    };
    for (i, run) in runs.iter().enumerate() {
        let found = point(run, range);
        let (y, plain) = (height_of(found), found.map_or(f64::NAN, |p| p.bleu));
        if !y.is_finite() {
            continue;
        }
        let title = format!(
            "{}, {lengths} tokens, {} pairs: smoothed {}, plain {}",
            run.label(),
            found.map_or(0, |p| p.pairs),
            score(y),
            score(plain)
        );
        let (x, colour) = (start + i as f64 * bar, i % COLOURS);
        let _ = write!(
            out,
            "<rect class=\"bar c{colour}\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" \
             height=\"{:.1}\"><title>{}</title></rect>",
            x + 1.0,
            py(y),
            bar - 2.0,
            py(0.0) - py(y),
            escape(&title)
        );
        let centre = x + bar / 2.0;
        *out += &Mark::of(i).draw(centre, py(y), &format!("c{colour} bold"), &title);
        if bar >= LABELLED {
            let _ = write!(
                out,
                "<text class=\"tx sub\" x=\"{centre:.1}\" y=\"{:.1}\">{}</text>",
                py(y) - 8.0,
                score(y)
            );
        }
    }
    let _ = write!(
        out,
        "<text class=\"tx\" x=\"{middle:.1}\" y=\"{:.1}\">{lengths}</text><text class=\"tx sub\" \
         x=\"{middle:.1}\" y=\"{:.1}\">{}</text>",
        py(0.0) + 17.0,
        py(0.0) + 33.0,
        pairs(runs, range)
    );
}

/// The number of pairs in the range; all numbers where the runs had different test splits.
fn pairs(runs: &[RunData], range: Range) -> String {
    let counts = runs.iter().filter_map(|r| Some(point(r, range)?.pairs));
    let mut counts: Vec<u64> = counts.collect();
    counts.dedup();
    let texts: Vec<_> = counts.iter().map(|n| thousands(*n)).collect();
    let noun = if counts == [1] { "pair" } else { "pairs" };
    format!("{} {noun}", texts.join(" / "))
}
