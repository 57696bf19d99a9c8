//! Line charts as SVG: axes with round ticks, labels with units, gaps at NaN, direct labels.
//!
//! Colours and strokes are classes (`c0` to `c5`; `thin`, `dashed`, `bold`) that the charts' style
//! sheet fills in for light and dark screens.

use std::fmt::Write;

use super::chart::Chart;
use super::marks::{COLOURS, Stroke};
use super::numbers::{Drawn, script};
use super::scale::{limits, ticks};
use super::shell::CHARTS;
use super::text::{Unit, escape, tick, value};

/// Up to this many points of an epoch line get a marker each; the last one always does.
const MARKERS: usize = 60;
/// Height of a direct label.
const LABEL_HEIGHT: f64 = 15.0;
/// Direct labels that begin this far apart do not touch.
const LABEL_WIDTH: f64 = 150.0;

/// The plot's place in the picture and the ranges that it shows.
struct Frame {
    left: f64,
    top: f64,
    width: f64,
    height: f64,
    /// Width that the greatest x reaches; direct labels stand right of it.
    reach: f64,
    x_max: f64,
    y: (f64, f64),
}

impl Frame {
    fn px(&self, x: f64) -> f64 {
        self.left + x / self.x_max * self.reach
    }
    fn py(&self, y: f64) -> f64 {
        self.top + (self.y.1 - y) / (self.y.1 - self.y.0) * self.height
    }
}

/// Draws the chart for a page, with the numbers that the page's script draws it anew from.
pub fn draw(chart: &Chart) -> String {
    let (w, h) = chart.size;
    let plot = plot(chart);
    let (title, body) = (escape(&chart.title), &plot.body);
    let mut out =
        format!("<svg viewBox=\"0 0 {w} {h}\" role=\"img\" aria-label=\"{title}\">{body}</svg>");
    out += &script(chart, plot.limits, plot.outside.as_deref(), &plot.drawn);
    out
}

/// Draws the chart as a file of its own: its own style for light and dark screens, no script, no
/// request.
pub fn picture(chart: &Chart) -> String {
    let ((w, h), title) = (chart.size, escape(&chart.title));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{w}\" height=\"{h}\" \
         viewBox=\"0 0 {w} {h}\" role=\"img\" aria-label=\"{title}\"><title>{title}</title>\
         <style>\n{CHARTS}text {{ font-family: system-ui, sans-serif; }}\n</style>\
         <rect width=\"100%\" height=\"100%\" fill=\"var(--card)\"/>{}</svg>\n",
        plot(chart).body
    )
}

/// A chart that is drawn.
struct Plot {
    /// What stands in the picture.
    body: String,
    /// The range of y.
    limits: Option<(f64, f64)>,
    /// What is said of values outside of it.
    outside: Option<String>,
    /// The lines.
    drawn: Vec<Drawn>,
}

fn plot(chart: &Chart) -> Plot {
    let (w, h) = chart.size;
    let (limits, outside) = limits(&chart.series);
    let ticks = limits.map(|(lo, hi)| ticks(lo, hi, (h / 55.0).max(3.0)));
    let y = match &ticks {
        Some(t) => (t[0].min(t[t.len() - 1]), t[t.len() - 1]),
        None => (0.0, 1.0),
    };
    let xs = chart.series.iter().flat_map(|s| s.points.last());
    let labels = chart.series.iter().filter_map(|s| s.label.as_ref());
    let label_room = labels.map(|l| l.chars().count() as f64 * 7.2 + 66.0);
    let left = 58.0;
    let width = w - left - if chart.right.is_some() { 56.0 } else { 14.0 };
    let frame = Frame {
        left,
        top: 10.0,
        width,
        height: h - 52.0,
        reach: width - label_room.fold(8.0, f64::max).min(width / 3.0),
        x_max: xs.map(|p| p.0).fold(1.0, f64::max),
        y,
    };
    let mut out = String::new();
    axes(&mut out, chart, &frame, ticks.as_deref());
    changes(&mut out, chart, &frame);
    let thinned = |s| Drawn::of(s, |x| frame.px(x), frame.reach);
    let drawn: Vec<_> = chart.series.iter().map(thinned).collect();
    lines(&mut out, chart, &frame, &drawn);
    markers(&mut out, chart, &frame);
    labels_at_ends(&mut out, chart, &frame);
    if limits.is_none() {
        let (x, y) = (left + width / 2.0, frame.top + frame.height / 2.0);
        let _ = write!(
            out,
            "<text class=\"none\" x=\"{x}\" y=\"{y}\">no values yet</text>"
        );
    }
    let outside = (outside > 0).then(|| {
        let values = if outside == 1 { "value" } else { "values" };
        format!("{outside} step {values} outside this scale")
    });
    if let Some(text) = &outside {
        let (x, y) = (left + width, h - 6.0);
        let _ = write!(
            out,
            "<text class=\"note\" x=\"{x}\" y=\"{y}\">{text}</text>"
        );
    }
    Plot {
        body: out,
        limits,
        outside,
        drawn,
    }
}

fn axes(out: &mut String, chart: &Chart, f: &Frame, ticks_y: Option<&[f64]>) {
    let (right, bottom) = (f.left + f.width, f.top + f.height);
    let step = |t: &[f64]| if t.len() > 1 { t[1] - t[0] } else { 1.0 };
    for y in ticks_y.unwrap_or_default() {
        let (py, text) = (
            f.py(*y),
            tick(*y, step(ticks_y.unwrap_or_default()), chart.unit),
        );
        let _ = write!(
            out,
            "<path class=\"grid\" d=\"M{} {py:.1}H{right}\"/><text class=\"ty\" x=\"{}\" \
             y=\"{:.1}\">{text}</text>",
            f.left,
            f.left - 8.0,
            py + 4.0
        );
    }
    let ticks_x = ticks(0.0, f.x_max, (f.reach / 110.0).max(2.0));
    for x in ticks_x
        .iter()
        .filter(|x| **x <= f.x_max && (step(&ticks_x) >= 1.0 || x.fract() == 0.0))
    {
        let (px, text) = (f.px(*x), tick(*x, step(&ticks_x), Unit::Short));
        let _ = write!(
            out,
            "<path class=\"axis\" d=\"M{px:.1} {bottom}v5\"/><text class=\"tx\" x=\"{px:.1}\" \
             y=\"{}\">{text}</text>",
            bottom + 18.0
        );
    }
    let (cx, cy) = (f.left + f.width / 2.0, f.top + f.height / 2.0);
    let _ = write!(
        out,
        "<path class=\"axis\" d=\"M{} {bottom}H{right}\"/><text class=\"name\" x=\"{cx:.1}\" \
         y=\"{}\">{}</text><text class=\"name\" transform=\"translate(13 {cy:.1}) rotate(-90)\">{}\
         </text>",
        f.left,
        bottom + 36.0,
        chart.x_label,
        chart.y_label
    );
    if let (Some((label, factor)), Some(_)) = (chart.right, ticks_y) {
        let (lo, hi) = (f.y.0 / factor, f.y.1 / factor);
        let marks = ticks(lo, hi, (f.height / 55.0).max(3.0));
        for y in marks.iter().filter(|y| (lo..=hi).contains(*y)) {
            let (py, text) = (f.py(*y * factor), tick(*y, step(&marks), chart.unit));
            let _ = write!(
                out,
                "<path class=\"axis\" d=\"M{right} {py:.1}h5\"/><text class=\"tr\" x=\"{}\" \
                 y=\"{:.1}\">{text}</text>",
                right + 9.0,
                py + 4.0
            );
        }
        let x = right + 49.0;
        let _ = write!(
            out,
            "<path class=\"axis\" d=\"M{right} {}V{bottom}\"/><text class=\"name\" \
             transform=\"translate({x:.1} {cy:.1}) rotate(90)\">{label}</text>",
            f.top
        );
    }
}

/// An upright line at each change that the x axis reaches.
fn changes(out: &mut String, chart: &Chart, f: &Frame) {
    for (x, text) in chart.changes.iter().filter(|(x, _)| *x <= f.x_max) {
        let _ = write!(
            out,
            "<path class=\"change\" d=\"M{:.1} {}V{}\"><title>{}</title></path>",
            f.px(*x),
            f.top,
            f.top + f.height,
            escape(text)
        );
    }
}

fn lines(out: &mut String, chart: &Chart, f: &Frame, drawn: &[Drawn]) {
    // An inner picture cuts off what leaves the scale.
    let _ = write!(
        out,
        "<svg x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" viewBox=\"{0} {1} {2} {3}\">",
        f.left,
        f.top - 2.0,
        f.width,
        f.height + 4.0
    );
    for (series, Drawn { points, .. }) in chart.series.iter().zip(drawn) {
        let mut path = String::new();
        for run in points.split(|p| !p.1.is_finite()).filter(|r| r.len() > 1) {
            for (i, (x, y)) in run.iter().enumerate() {
                let command = if i == 0 { 'M' } else { 'L' };
                let _ = write!(path, "{command}{:.1} {:.1}", f.px(*x), f.py(*y));
            }
        }
        if !path.is_empty() {
            let (colour, stroke) = (series.colour % COLOURS, series.stroke.class());
            let dash = match series.stroke {
                Stroke::Fine => series.mark.dash(),
                _ => String::new(),
            };
            let _ = write!(
                out,
                "<path class=\"line c{colour} {stroke}{dash}\" d=\"{path}\"/>"
            );
        }
    }
    out.push_str("</svg>");
}

/// Markers at epoch values, and at a lone value that no line would show.
fn markers(out: &mut String, chart: &Chart, f: &Frame) {
    for s in &chart.series {
        let finite: Vec<_> = s.points.iter().filter(|p| p.1.is_finite()).collect();
        let skip = match s.stroke {
            stroke if !stroke.is_epochs() && finite.len() > 1 => continue,
            _ if finite.len() > MARKERS => finite.len() - 1,
            _ => 0,
        };
        for (x, y) in &finite[skip..] {
            let class = format!("c{} {}", s.colour % COLOURS, s.stroke.class());
            let title = format!("{}: {}", s.name, value(*y, chart.unit));
            *out += &s.mark.draw(f.px(*x), f.py(*y), &class, &title);
        }
    }
}

/// Names and last values right of the lines' ends, pushed apart where they would overlap.
fn labels_at_ends(out: &mut String, chart: &Chart, f: &Frame) {
    let mut ends: Vec<_> = chart
        .series
        .iter()
        .filter_map(|s| {
            let last = s.points.iter().rev().find(|p| p.1.is_finite())?;
            let text = format!("{} {}", s.label.as_ref()?, value(last.1, chart.unit));
            Some((f.py(last.1), f.px(last.0), s.colour % COLOURS, text))
        })
        .collect();
    ends.sort_by(|a, b| a.0.total_cmp(&b.0));
    // Down the picture each keeps its distance from those above it, and back up from the axis.
    for i in 0..ends.len() {
        let near = ends[..i]
            .iter()
            .filter(|e| (e.1 - ends[i].1).abs() < LABEL_WIDTH);
        let floor = near.map(|e| e.0 + LABEL_HEIGHT).fold(f.top + 8.0, f64::max);
        ends[i].0 = ends[i].0.max(floor);
    }
    for i in (0..ends.len()).rev() {
        let near = ends[i + 1..]
            .iter()
            .filter(|e| (e.1 - ends[i].1).abs() < LABEL_WIDTH);
        let ceiling = near
            .map(|e| e.0 - LABEL_HEIGHT)
            .fold(f.top + f.height, f64::min);
        ends[i].0 = ends[i].0.min(ceiling);
    }
    for (y, x, colour, text) in ends {
        let _ = write!(
            out,
            "<text class=\"end c{colour}\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            x + 9.0,
            y + 4.0,
            escape(&text)
        );
    }
}
