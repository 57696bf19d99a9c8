//! Text tables, and the rows of several models side by side.

use std::collections::HashSet;
use std::fmt::{self, Write};

use super::estimate::Estimate;
use super::recipe::Recipe;
use super::rows::Row;
use crate::log::thousands;

/// A figure that is not there.
pub const BLANK: &str = "-";

/// Models with what a measure found of each.
pub type Models<'a, T> = [(Name<'a>, T)];

/// What stands above a model's column.
#[derive(Clone, Copy, Debug)]
pub struct Name<'a> {
    /// Its name.
    pub text: &'a str,
    /// How it was trained, where that is known.
    pub recipe: Option<&'a Recipe>,
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.text)
    }
}

/// The rows of each model.
pub fn each<'a, T, R>(
    models: &Models<'a, T>,
    rows: impl Fn(&T) -> Vec<R>,
) -> Vec<(Name<'a>, Vec<R>)> {
    let each = models.iter().map(|(name, found)| (*name, rows(found)));
    each.collect()
}

/// Of one model a column for each figure; of several a table for each figure, with a column for each
/// model, and behind them one for those that differ in their seed alone.
pub fn table<R: Row>(title: &str, models: &[(Name, Vec<R>)]) -> String {
    match models {
        [] => String::new(),
        [(_, rows)] => of_one(title, rows),
        _ => of_several(title, models),
    }
}

fn head<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    ["", "n"]
        .into_iter()
        .chain(names)
        .map(str::to_owned)
        .collect()
}

fn of_one<R: Row>(title: &str, rows: &[R]) -> String {
    let rows = rows.iter().map(|row| {
        let label = match row.detail() {
            Some(detail) => format!("{}: {detail}", row.label()),
            None => row.label(),
        };
        let figures = row.figures().into_iter().map(cell);
        [label, thousands(row.n())]
            .into_iter()
            .chain(figures)
            .collect()
    });
    grid(title, head(R::FIGURES.iter().copied()), rows.collect())
}

fn of_several<R: Row>(title: &str, models: &[(Name, Vec<R>)]) -> String {
    let mut bins: Vec<(String, u64)> = Vec::new();
    for row in models.iter().flat_map(|(_, rows)| rows) {
        if bins.iter().all(|(label, _)| *label != row.label()) {
            bins.push((row.label(), row.n()));
        }
    }
    let names: Vec<Name> = models.iter().map(|(name, _)| *name).collect();
    let seeds = seeds(&names);
    let counted: Vec<String> = seeds
        .iter()
        .map(|(name, of)| format!("{name}, {} seeds", of.len()))
        .collect();
    let names = names.iter().map(|name| name.text);
    let head = head(names.chain(counted.iter().map(String::as_str)));
    let mut out = String::new();
    for (figure, name) in R::FIGURES.iter().enumerate() {
        let rows = bins.iter().map(|(label, n)| {
            let of = |rows: &Vec<R>| {
                let own = rows.iter().find(|own| own.label() == *label)?;
                own.figures()[figure]
            };
            let own = models.iter().map(|(_, rows)| cell(of(rows)));
            let over_seeds = seeds.iter().map(|(_, group)| {
                let figures = group.iter().map(|&i| Some(of(&models[i].1)?.mean));
                cell(
                    figures
                        .collect::<Option<Vec<f64>>>()
                        .map(|means| spread(&means)),
                )
            });
            let left = [label.clone(), thousands(*n)];
            left.into_iter().chain(own).chain(over_seeds).collect()
        });
        let title = match title {
            "" => (*name).to_owned(),
            _ => format!("{title}: {name}"),
        };
        out += &grid(&title, head.clone(), rows.collect());
    }
    out
}

/// The models that differ in their seed alone: the first one's name, and the indices of all. Models of
/// which two have the same seed, as two checkpoints of a run, are no such group.
pub fn seeds<'a>(models: &[Name<'a>]) -> Vec<(&'a str, Vec<usize>)> {
    let alike = |i: usize| models[i].recipe.map(|recipe| &recipe.alike);
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for i in (0..models.len()).filter(|&i| alike(i).is_some()) {
        match groups.iter_mut().find(|of| alike(of[0]) == alike(i)) {
            Some(of) => of.push(i),
            None => groups.push(vec![i]),
        }
    }
    groups.retain(|of| {
        let seeds = of.iter().filter_map(|&i| Some(models[i].recipe?.seed));
        of.len() > 1 && seeds.collect::<HashSet<_>>().len() == of.len()
    });
    let named = groups.into_iter().map(|of| (models[of[0]].text, of));
    named.collect()
}

/// The mean of some figures, with the lowest and the highest.
fn spread(means: &[f64]) -> Estimate {
    Estimate {
        mean: means.iter().sum::<f64>() / means.len() as f64,
        low: means.iter().copied().reduce(f64::min),
        high: means.iter().copied().reduce(f64::max),
    }
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
