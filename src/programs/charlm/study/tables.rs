//! A study as tables of text, the models side by side.

use std::fmt::Write;

use serde::Deserialize;

use super::estimate::Estimate;
use super::format::{Found, Study};
use super::measures::classes::Classes;
use super::measures::closure::{Closure, Fall};
use super::measures::context::{Context, ContextRow};
use super::measures::delimiters::Delimiters;
use super::measures::identifiers::Identifiers;
use super::measures::indentation::Indentation;
use super::measures::snippets::Snippets;
use super::rows::Row;
use crate::Result;
use crate::log::thousands;

/// A figure that is not there.
const BLANK: &str = "-";

/// The tables of a study.
///
/// # Errors
/// [`Error::Data`](crate::Error::Data) for a measure that is not what its name says.
pub fn render(study: &Study) -> Result<String> {
    let text = &study.text;
    let mut out = format!(
        "{} characters of {} files ({})\nintervals: the middle 95 % over resampled files; {BLANK}: \
         fewer than 50 events\n",
        thousands(text.characters as u64),
        text.files.len(),
        text.source
    );
    out += &section(study, "classes", "Bits a character", |models| {
        let rows = |c: &Classes| after(&c.all, &c.by_class);
        table("", &each(models, rows))
    })?;
    out += &section(study, "closure", "Closing brackets", closure)?;
    out += &section(
        study,
        "snippets",
        "Whole snippets: all closers right",
        |models| {
            let lines = |s: &Snippets| after(&s.lines, &s.lines_by_closers);
            let statements = |s: &Snippets| after(&s.statements, &s.statements_by_closers);
            table("logical lines", &each(models, lines))
                + &table("statements of modules", &each(models, statements))
        },
    )?;
    out += &section(
        study,
        "indentation",
        "Indentation at the start of lines",
        |models| {
            let steps = |i: &Indentation| [&i.all[..], &i.by_step].concat();
            table("by step", &each(models, steps))
                + &table("by level", &each(models, |i| i.by_level.clone()))
                + &table(
                    "by step and characters since the line that opened the level",
                    &each(models, |i| i.by_step_and_distance.clone()),
                )
        },
    )?;
    out += &section(study, "delimiters", "Closing strings", |models| {
        table("by kind", &each(models, |d: &Delimiters| d.by_kind.clone()))
            + &table(
                "by kind and length",
                &each(models, |d| d.by_kind_and_length.clone()),
            )
    })?;
    out += &section(
        study,
        "identifiers",
        "Names that are rare in the training text",
        |models| {
            let first = |i: &Identifiers| vec![i.first.clone()];
            let later = |i: &Identifiers| after(&i.later, &i.later_by_distance);
            table("first time in the file", &each(models, first))
                + &table(
                    "later, by characters since the last time",
                    &each(models, later),
                )
        },
    )?;
    out += &section(
        study,
        "context",
        "Bits a character after the last k characters only",
        context,
    )?;
    Ok(out)
}

/// The row of everything, and those of the bins behind it.
fn after<R: Clone>(all: &R, bins: &[R]) -> Vec<R> {
    [all].into_iter().chain(bins).cloned().collect()
}

type Models<'a, T> = [(&'a str, T)];

/// A measure's tables over the models that have figures, and why others have none.
fn section<T: for<'de> Deserialize<'de>>(
    study: &Study,
    name: &str,
    title: &str,
    tables: impl Fn(&Models<T>) -> String,
) -> Result<String> {
    let (mut models, mut out) = (Vec::new(), format!("\n== {title} ==\n"));
    for model in &study.models {
        match model.measure::<T>(name)? {
            Some(Found::Figures(figures)) => models.push((&*model.name, figures)),
            Some(Found::Blank(reason)) => {
                let _ = writeln!(out, "{}: blank: {reason}", model.name);
            }
            None => {}
        }
    }
    if !models.is_empty() {
        out += &tables(&models);
    }
    Ok(out)
}

fn each<'a, T, R>(models: &Models<'a, T>, rows: impl Fn(&T) -> Vec<R>) -> Vec<(&'a str, Vec<R>)> {
    let each = models.iter().map(|(name, found)| (*name, rows(found)));
    each.collect()
}

fn closure(models: &Models<Closure>) -> String {
    let mut out = table(
        "by distance in characters",
        &each(models, |c| [&c.all[..], &c.by_distance].concat()),
    );
    out += &table("by depth", &each(models, |c| c.by_depth.clone()));
    let head = ["falls below", "figure"].map(str::to_owned);
    let names = models.iter().map(|(name, _)| (*name).to_owned());
    let falls = models.first().map_or(0, |(_, c)| c.falls.len());
    let rows = (0..falls).map(|i| {
        let falls = models.iter().filter_map(|(_, c)| c.falls.get(i));
        let first = falls.clone().next();
        let left = first.map_or([String::new(), String::new()], |fall| {
            [format!("{:.0} %", 100.0 * fall.below), fall.figure.clone()]
        });
        left.into_iter().chain(falls.map(fallen)).collect()
    });
    out += &grid(
        "distance from which on a figure is lower",
        head.into_iter().chain(names).collect(),
        rows.collect(),
    );
    for (name, found) in models {
        let mass = cell(found.closers_at_depth_0);
        let _ = writeln!(
            out,
            "{name}: probability of closers where nothing is open: {mass}"
        );
    }
    out
}

fn fallen(fall: &Fall) -> String {
    let place = |at: Option<u64>| at.map_or("never".into(), |at| at.to_string());
    let [at, low, high] = [fall.distance, fall.low, fall.high].map(place);
    format!("{at} [{low}, {high}]")
}

/// One table for each model: its columns are contexts.
fn context(models: &Models<Context>) -> String {
    let mut out = String::new();
    for (name, found) in models {
        let mut head = vec![(*name).to_owned(), "n".into()];
        head.extend(ContextRow::FIGURES.iter().map(|f| (*f).to_owned()));
        let rows = [&found.all].into_iter().chain(&found.by_class);
        let rows = rows.map(|row| {
            let means = row.figures().into_iter().skip(1);
            let means = means.map(|e| e.map_or(BLANK.into(), |e| format!("{:.3}", e.mean)));
            let effective = row.effective.map_or(BLANK.into(), |e| {
                let end = |x: Option<f64>| x.map_or(BLANK.into(), |x| format!("{x:.0}"));
                format!("{:.0} [{}, {}]", e.mean, end(e.low), end(e.high))
            });
            let left = [row.label(), thousands(row.n), effective];
            left.into_iter().chain(means).collect()
        });
        out += &grid("", head, rows.collect());
    }
    out
}

/// Of one model a column for each figure; of several a table for each figure, with a column for each
/// model.
fn table<R: Row>(title: &str, models: &[(&str, Vec<R>)]) -> String {
    let Some((_, first)) = models.first() else {
        return String::new();
    };
    let left = |row: &R| vec![row.label(), thousands(row.n())];
    let head = |names: &[&str]| {
        let names = ["", "n"].iter().chain(names);
        names.map(|name| (*name).to_owned()).collect::<Vec<_>>()
    };
    if models.len() == 1 {
        let rows = first.iter().map(|row| {
            let figures = row.figures().into_iter().map(cell);
            left(row).into_iter().chain(figures).collect()
        });
        return grid(title, head(R::FIGURES), rows.collect());
    }
    let names: Vec<&str> = models.iter().map(|(name, _)| *name).collect();
    let mut out = String::new();
    for (figure, name) in R::FIGURES.iter().enumerate() {
        let rows = first.iter().map(|row| {
            let of_model = |(_, rows): &(&str, Vec<R>)| {
                let own = rows.iter().find(|own| own.label() == row.label());
                cell(own.and_then(|own| own.figures()[figure]))
            };
            left(row)
                .into_iter()
                .chain(models.iter().map(of_model))
                .collect()
        });
        let title = match title {
            "" => (*name).to_owned(),
            _ => format!("{title}: {name}"),
        };
        out += &grid(&title, head(&names), rows.collect());
    }
    out
}

fn cell(estimate: Option<Estimate>) -> String {
    let Some(Estimate { mean, low, high }) = estimate else {
        return BLANK.into();
    };
    match (low, high) {
        (Some(low), Some(high)) => format!("{mean:.3} [{low:.3}, {high:.3}]"),
        _ => format!("{mean:.3}"),
    }
}

/// Columns as wide as their longest cell, the first one to the left.
fn grid(title: &str, head: Vec<String>, rows: Vec<Vec<String>>) -> String {
    let lines: Vec<Vec<String>> = [head].into_iter().chain(rows).collect();
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..lines[0].len()).map(width).collect();
    let mut out = String::from("\n");
    if !title.is_empty() {
        let _ = writeln!(out, "{title}");
    }
    for line in &lines {
        let cells = line.iter().zip(&widths).enumerate();
        let cells = cells.map(|(column, (cell, width))| match column {
            0 => format!("{cell:<width$}"),
            _ => format!("  {cell:>width$}"),
        });
        let _ = writeln!(out, "{}", cells.collect::<String>().trim_end());
    }
    out
}
