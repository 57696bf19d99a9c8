//! A study as tables of text, the models side by side.

use std::fmt::Write;

use serde::Deserialize;

use super::causes;
use super::estimate::Estimate;
use super::format::{Found, ModelFound, Study};
use super::grid::{BLANK, Models, Name, cell, each, grid, seeds, table};
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
    out += &runs(study);
    let names: Vec<Name> = study.models.iter().map(name_of).collect();
    if !seeds(&names).is_empty() {
        out += "\nseeds: the mean over runs that differ in nothing but their seed [the lowest, the highest]\n";
    }
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
    out += &windows(study)?;
    let of_causes = causes::tables::swaps;
    out += &section(study, "swaps", "Openers swapped, nats", of_causes)?;
    let of_causes = causes::tables::contexts;
    out += &section(
        study,
        "far-context",
        "Far context changed, nats a character",
        of_causes,
    )?;
    out += &section(study, "units", "Single units", causes::tables::units)?;
    out += &section(
        study,
        "writing",
        "Functions written (intervals: over texts)",
        causes::tables::writing,
    )?;
    let of_causes = causes::tables::language;
    out += &section(
        study,
        "dyck",
        "A language of brackets, learnt from scratch (intervals: over words)",
        of_causes,
    )?;
    Ok(out)
}

/// The runs of a study, one a row; nothing where none says how it was trained.
fn runs(study: &Study) -> String {
    let head = [
        "",
        "cell",
        "layers",
        "units",
        "parameters",
        "window",
        "batch",
        "epochs",
        "steps",
        "seed",
    ];
    let rows = study.models.iter().filter_map(|model| {
        let recipe = model.recipe.as_ref()?;
        let whole = |n: usize| thousands(n as u64);
        Some(vec![
            model.name.clone(),
            recipe.cell.to_string(),
            whole(recipe.num_layers),
            whole(recipe.hidden_size),
            whole(recipe.parameters),
            whole(recipe.seq_length),
            whole(recipe.batch_size),
            recipe.epochs.to_string(),
            model.step.map_or(String::new(), thousands),
            recipe.seed.to_string(),
        ])
    });
    let rows: Vec<_> = rows.collect();
    match rows.is_empty() {
        true => String::new(),
        false => grid("the runs", head.map(str::to_owned).to_vec(), rows),
    }
}

/// The row of everything, and those of the bins behind it.
fn after<R: Clone>(all: &R, bins: &[R]) -> Vec<R> {
    [all].into_iter().chain(bins).cloned().collect()
}

fn name_of(model: &ModelFound) -> Name<'_> {
    Name {
        text: &model.name,
        recipe: model.recipe.as_ref(),
    }
}

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
            Some(Found::Figures(figures)) => models.push((name_of(model), figures)),
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

fn closure(models: &Models<Closure>) -> String {
    let mut out = table(
        "by distance in characters",
        &each(models, |c| [&c.all[..], &c.by_distance].concat()),
    );
    out += &table("by depth", &each(models, |c| c.by_depth.clone()));
    let head = ["falls below", "figure"].map(str::to_owned);
    let names = models.iter().map(|(name, _)| name.to_string());
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
    let [at, high] = [fall.distance, fall.high].map(place);
    // Of one file there is no interval; and where its lower end is never, so are all.
    match fall.low {
        None => at,
        Some(low) => format!("{at} [{low}, {high}]"),
    }
}

/// I. Does memory exceed the window that gradients went back through in training? The effective context
/// beside it, and the bits that are still gained by what lies farther back.
fn windows(study: &Study) -> Result<String> {
    let head = [
        "",
        "window",
        "effective context",
        "bits after k",
        "k",
        "bits after 1,024",
        "saved by what is beyond k",
    ];
    let mut rows = Vec::new();
    for model in &study.models {
        let found = model.measure::<Context>("context")?;
        let (Some(recipe), Some(Found::Figures(found))) = (&model.recipe, found) else {
            continue;
        };
        let beyond = found
            .all
            .losses
            .iter()
            .find(|loss| loss.k >= recipe.seq_length);
        let losses = [beyond, found.all.losses.last()];
        let [after, longest] = losses.map(|loss| cell(loss.and_then(|loss| loss.bits)));
        rows.push(vec![
            model.name.clone(),
            thousands(recipe.seq_length as u64),
            reach(found.all.effective),
            after,
            beyond.map_or(BLANK.into(), |loss| thousands(loss.k as u64)),
            longest,
            cell(beyond.and_then(|loss| loss.beyond)),
        ]);
    }
    Ok(match rows.is_empty() {
        true => String::new(),
        false => grid(
            "memory and the window of training, in characters; k: the first context that is no shorter",
            head.map(str::to_owned).to_vec(),
            rows,
        ),
    })
}

/// An effective context.
fn reach(effective: Option<Estimate>) -> String {
    effective.map_or(BLANK.into(), |e| {
        let end = |x: Option<f64>| x.map_or(BLANK.into(), |x| format!("{x:.0}"));
        format!("{:.0} [{}, {}]", e.mean, end(e.low), end(e.high))
    })
}

/// One table for each model: its columns are contexts.
fn context(models: &Models<Context>) -> String {
    let mut out = String::new();
    for (name, found) in models {
        let mut head = vec![name.to_string(), "n".into()];
        head.extend(ContextRow::FIGURES.iter().map(|f| (*f).to_owned()));
        let rows = [&found.all].into_iter().chain(&found.by_class);
        let rows = rows.map(|row| {
            let means = row.figures().into_iter().skip(1);
            let means = means.map(|e| e.map_or(BLANK.into(), |e| format!("{:.3}", e.mean)));
            let left = [row.label(), thousands(row.n), reach(row.effective)];
            left.into_iter().chain(means).collect()
        });
        out += &grid("", head, rows.collect());
    }
    out
}
