//! Text tables, and the rows of several models side by side.

use std::fmt::Write;

use super::estimate::Estimate;
use super::rows::Row;
use crate::log::thousands;

/// A figure that is not there.
pub const BLANK: &str = "-";

/// Models with what a measure found of each.
pub type Models<'a, T> = [(&'a str, T)];

/// The rows of each model.
pub fn each<'a, T, R>(
    models: &Models<'a, T>,
    rows: impl Fn(&T) -> Vec<R>,
) -> Vec<(&'a str, Vec<R>)> {
    let each = models.iter().map(|(name, found)| (*name, rows(found)));
    each.collect()
}

/// Of one model a column for each figure; of several a table for each figure, with a column for each
/// model.
pub fn table<R: Row>(title: &str, models: &[(&str, Vec<R>)]) -> String {
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

/// A figure with its interval.
pub fn cell(estimate: Option<Estimate>) -> String {
    let Some(Estimate { mean, low, high }) = estimate else {
        return BLANK.into();
    };
    match (low, high) {
        (Some(low), Some(high)) => format!("{mean:.3} [{low:.3}, {high:.3}]"),
        _ => format!("{mean:.3}"),
    }
}

/// Columns as wide as their longest cell, the first one to the left.
pub fn grid(title: &str, head: Vec<String>, rows: Vec<Vec<String>>) -> String {
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
