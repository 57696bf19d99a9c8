//! A study's part of the page of character LMs.

use super::bins::Span;
use super::estimate::Estimate;
use super::format::{Found, ModelFound, Study};
use super::measures::classes::Classes;
use super::measures::closure::{Closure, ClosureRow};
use super::measures::context::Context;
use super::measures::indentation::Indentation;
use crate::Result;
use crate::report::chart::Chart;
use crate::report::marks::{COLOURS, Mark, Series, Stroke, legend_entry};
use crate::report::parts::{figure, table};
use crate::report::svg::{draw, picture};
use crate::report::text::{Unit, escape};
use crate::report::{Measured, MeasuredColumn, MeasuredLine, RunData};

const DISTANCE: &str = "log2 of the distance in characters";
const INTERVALS: &str = "the middle 95 % over resampled files";

/// What a page shows of a study.
///
/// # Errors
/// [`Error::Data`](crate::Error::Data) for a measure that is not what its name says.
pub fn measured(study: &Study) -> Result<Measured> {
    let mut measured = Measured::default();
    for model in &study.models {
        add(model, &mut measured)?;
    }
    Ok(measured)
}

fn add(model: &ModelFound, measured: &mut Measured) -> Result<()> {
    if let Some(Found::Figures(found)) = model.measure::<Closure>("closure")? {
        type Of = fn(&ClosureRow) -> Option<Estimate>;
        let figures: [(&str, &str, Of); 2] = [
            (
                "Closing brackets: the likeliest closer is the right one",
                "type accuracy",
                |row| row.type_accuracy,
            ),
            (
                "Closing brackets: the closer is the likeliest character",
                "top-1",
                |row| row.top1,
            ),
        ];
        for (title, y_label, of) in figures {
            let rows = found.by_distance.iter();
            let points = rows.map(|row| (log2(row.distance), of(row)));
            let line = (title, DISTANCE, y_label, Unit::Percent);
            measured.lines.extend(curve(line, model, points));
        }
    }
    if let Some(Found::Figures(found)) = model.measure::<Indentation>("indentation")? {
        let cell =
            |e: Option<Estimate>| e.map_or("–".into(), |e| format!("{:.1} %", 100.0 * e.mean));
        let rows = found.all.iter().chain(&found.by_step);
        let cells = rows.map(|row| {
            let name = row.step.map_or("every line", |step| step.name());
            let [exact, legal] = [row.exact, row.legal].map(cell);
            (name.to_owned(), format!("{exact} exact, {legal} legal"))
        });
        measured.columns.push(MeasuredColumn {
            title: "Indentation of the likeliest line",
            name: model.name.clone(),
            cells: cells.collect(),
        });
    }
    if let Some(Found::Figures(found)) = model.measure::<Context>("context")? {
        let line = (
            "Truncated context: bits a character after the last k characters only",
            "log2 of k",
            "bits per character",
            Unit::Plain,
        );
        let points = found.all.losses.iter();
        let points = points.map(|loss| ((loss.k as f64).log2(), loss.bits));
        measured.lines.extend(curve(line, model, points));
    }
    if let Some(Found::Figures(found)) = model.measure::<Classes>("classes")? {
        let rows = [&found.all].into_iter().chain(&found.by_class);
        let cells = rows.map(|row| {
            let name = row.class.map_or("all characters", |class| class.name());
            let bits = row.bits.map_or("–".into(), |e| match (e.low, e.high) {
                (Some(low), Some(high)) => format!("{:.3} ({low:.3} to {high:.3})", e.mean),
                _ => format!("{:.3}", e.mean),
            });
            (name.to_owned(), bits)
        });
        measured.columns.push(MeasuredColumn {
            title: "Bits a character by class",
            name: model.name.clone(),
            cells: cells.collect(),
        });
    }
    Ok(())
}

/// The start of a bin of distances, which are at least 1.
fn log2(distance: Option<Span>) -> f64 {
    distance.map_or(0.0, |span| span.from.max(1) as f64).log2()
}

/// A line through the estimates that there are; none where there is none.
fn curve(
    (title, x_label, y_label, unit): (&'static str, &'static str, &'static str, Unit),
    model: &ModelFound,
    points: impl Iterator<Item = (f64, Option<Estimate>)>,
) -> Option<MeasuredLine> {
    let points: Vec<(f64, Estimate)> = points.filter_map(|(x, e)| Some((x, e?))).collect();
    let bound = |of: fn(&Estimate) -> Option<f64>| {
        let ends = points.iter().filter_map(|(x, e)| Some((*x, of(e)?)));
        ends.collect()
    };
    (!points.is_empty()).then(|| MeasuredLine {
        title,
        x_label,
        y_label,
        unit,
        name: model.name.clone(),
        bounds: [bound(|e| e.low), bound(|e| e.high)],
        points: points.iter().map(|(x, e)| (*x, e.mean)).collect(),
    })
}

// ---- drawing -------------------------------------------------------------------------------

/// The section of what was studied of the runs; nothing where nothing was.
pub fn section(runs: &[RunData]) -> String {
    let lines = named(runs, |m| &m.lines, |line| &line.name);
    let columns = named(runs, |m| &m.columns, |column| &column.name);
    if lines.is_empty() && columns.is_empty() {
        return String::new();
    }
    let mut out = "<section><h2>Memory: a study on files that were not trained on</h2>".to_owned();
    for title in titles(lines.iter().map(|(_, line)| line.title)) {
        let own = lines.iter().filter(|(_, line)| line.title == title);
        out += &chart(title, &own.collect::<Vec<_>>());
    }
    for title in titles(columns.iter().map(|(_, column)| column.title)) {
        let own = columns.iter().filter(|(_, column)| column.title == title);
        out += &side_by_side(title, &own.collect::<Vec<_>>());
    }
    out + "</section>\n"
}

/// What was measured of every run with its name on the page, which is the run's where that was
/// studied by itself.
fn named<'a, T>(
    runs: &'a [RunData],
    of: impl Fn(&'a Measured) -> &'a [T],
    name: impl Fn(&T) -> &str,
) -> Vec<(String, &'a T)> {
    let each = runs.iter().flat_map(|run| {
        let name = &name;
        of(&run.measured).iter().map(move |item| {
            let own = name(item);
            let shown = match runs.len() == 1 || own == run.name {
                true => own.to_owned(),
                false => format!("{}: {own}", run.label()),
            };
            (shown, item)
        })
    });
    each.collect()
}

/// Each title once, in the order of the first.
fn titles(all: impl Iterator<Item = &'static str>) -> Vec<&'static str> {
    let mut titles = Vec::new();
    for title in all {
        if !titles.contains(&title) {
            titles.push(title);
        }
    }
    titles
}

/// The figure of lines of one title, each with its name.
fn chart(title: &str, lines: &[&(String, &MeasuredLine)]) -> String {
    let mut legend = String::new();
    for (i, (name, _)) in lines.iter().enumerate() {
        let colour = format!("c{}", i % COLOURS);
        legend += &legend_entry(&colour, Stroke::Bold, Some(Mark::of(i)), name);
    }
    legend += &legend_entry("ink", Stroke::Thin, None, INTERVALS);
    let lines = lines.iter().map(|(name, line)| (&**name, *line));
    let drawn = plotted(title, &lines.collect::<Vec<_>>(), false);
    figure(
        title,
        &legend,
        &drawn.map_or(String::new(), |chart| draw(&chart)),
    )
}

/// The chart of lines of one title; with `labels` their names stand at their ends. None where there is
/// no line.
fn plotted(title: &str, lines: &[(&str, &MeasuredLine)], labels: bool) -> Option<Chart> {
    let (_, first) = lines.first()?;
    let mut series = Vec::new();
    for (i, (name, line)) in lines.iter().enumerate() {
        let of = |name: String, stroke, points: &[(f64, f64)]| Series {
            name,
            colour: i % COLOURS,
            mark: Mark::of(i),
            stroke,
            points: points.to_vec(),
            label: None,
        };
        for (end, points) in ["lower", "upper"].into_iter().zip(&line.bounds) {
            series.push(of(format!("{name}, {end} end"), Stroke::Thin, points));
        }
        series.push(Series {
            label: labels.then(|| (*name).to_owned()),
            ..of((*name).to_owned(), Stroke::Bold, &line.points)
        });
    }
    Some(Chart {
        title: title.to_owned(),
        x_label: first.x_label,
        y_label: first.y_label,
        unit: first.unit,
        right: None,
        series,
        changes: Vec::new(),
        size: (1050.0, 320.0),
    })
}

/// The figures of a study as SVG files: names and contents.
///
/// # Errors
/// As [`measured`].
pub fn pictures(study: &Study) -> Result<Vec<(String, String)>> {
    let lines = measured(study)?.lines;
    let files = titles(lines.iter().map(|line| line.title))
        .into_iter()
        .filter_map(|title| {
            let own = lines.iter().filter(|line| line.title == title);
            let own: Vec<_> = own.map(|line| (&*line.name, line)).collect();
            let about = format!("{title}. Thin lines: {INTERVALS}");
            let chart = plotted(&about, &own, true)?;
            let subject = title.split(':').next().unwrap_or(title);
            let name = format!("{subject} {}", chart.y_label)
                .to_lowercase()
                .replace(' ', "-");
            Some((format!("{name}.svg"), picture(&chart)))
        });
    Ok(files.collect())
}

fn side_by_side(title: &str, columns: &[&(String, &MeasuredColumn)]) -> String {
    let names = columns.iter().map(|(name, _)| escape(name));
    let head: Vec<String> = [String::new()].into_iter().chain(names).collect();
    let mut heads: Vec<&str> = Vec::new();
    for (label, _) in columns.iter().flat_map(|(_, column)| &column.cells) {
        if !heads.contains(&&**label) {
            heads.push(label);
        }
    }
    let rows = heads.into_iter().map(|label| {
        let cell = |(_, column): &&(String, &MeasuredColumn)| {
            let mut cells = column.cells.iter();
            let found = cells.find(|(own, _)| own == label);
            found.map_or("–".to_owned(), |(_, text)| escape(text))
        };
        (escape(label), columns.iter().map(cell).collect())
    });
    let table = table("numbers", &head, rows);
    figure(title, "", &format!("<div class=\"scroll\">{table}</div>"))
}
