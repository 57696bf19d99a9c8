//! The page of seq2seq models: results, curves, BLEU by length, predictions, alignments.

mod curves;
mod lengths;
mod maps;
mod pairs;
mod results;

use crate::log::thousands;
use crate::report::RunData;
use crate::report::parts::configuration;
use crate::report::shell::{Shell, wrap};
use crate::report::text::escape;

/// As many runs are named in the heading; the table names all.
const NAMED: usize = 4;
const STYLE: &str = include_str!("page.css");

/// Draws seq2seq runs on one page.
pub fn render(runs: &[RunData]) -> String {
    let names = runs
        .iter()
        .map(RunData::label)
        .collect::<Vec<_>>()
        .join(", ");
    let body = [
        results::section(runs),
        curves::section(runs),
        lengths::section(runs),
        pairs::section(runs),
        maps::section(runs),
        configuration(runs),
        curves::details(runs),
    ];
    let task = match runs.iter().all(is_python) {
        true => "Docstring to code",
        false => "Source to target",
    };
    let shell = Shell {
        title: escape(&names),
        heading: match runs.len() {
            ..=NAMED => format!("{task}: {}", escape(&names)),
            n => format!("{task}: {n} runs"),
        },
        subtitle: escape(&subtitle(runs)),
        style: STYLE,
    };
    wrap(&shell, &body.concat(), runs)
}

/// Whether the run's targets are Python, as they are where its configuration does not say.
fn is_python(run: &RunData) -> bool {
    run.setting("target-language") != Some("text")
}

/// What all runs share: sizes of the model, the vocabularies and the test split.
fn subtitle(runs: &[RunData]) -> String {
    let mut parts = vec![match runs.len() {
        1 => "one seq2seq model".to_owned(),
        n => format!("{n} seq2seq models compared"),
    }];
    let shared = |key: &str| shared(runs, |r| r.setting(key));
    if runs.iter().all(|run| run.setting("pretrain").is_some()) {
        parts.push("pre-training: targets without their sources".into());
    }
    if let (Some(embedding), Some(hidden)) = (shared("embedding-dim"), shared("hidden-size")) {
        parts.push(format!("embedding {embedding}, hidden size {hidden}"));
    }
    if let Some((source, target)) = self::shared(runs, |r| r.vocabulary) {
        let (source, target) = (thousands(source as u64), thousands(target as u64));
        parts.push(format!(
            "vocabularies of {source} source and {target} target tokens"
        ));
    }
    if let Some(pairs) = self::shared(runs, |r| r.test.as_ref()?.scores.pairs) {
        parts.push(format!("{} test pairs", thousands(pairs)));
    }
    parts.join(" · ")
}

/// What `read` gives of every run, if all agree.
fn shared<'a, T: PartialEq>(
    runs: &'a [RunData],
    read: impl Fn(&'a RunData) -> Option<T>,
) -> Option<T> {
    let first = read(runs.first()?)?;
    let agree = runs.iter().all(|r| read(r).as_ref() == Some(&first));
    agree.then_some(first)
}
