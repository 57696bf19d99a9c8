//! The tables of the measures of causes.

use super::context::{Changed, Contexts};
use super::dyck::{DyckCell, DyckFigures};
use super::follow::Followed;
use super::measures::Units;
use super::swaps::Swapped;
use super::units::{Act, Effect};
use super::writing::Written;
use crate::log::thousands;
use crate::programs::charlm::study::estimate::Estimate;
use crate::programs::charlm::study::grid::{BLANK, Models, each, grid, table};
use crate::programs::charlm::study::rows::Row;

// ---- units -----------------------------------------------------------------------------------

/// Units that follow, hold and do.
pub fn units(models: &Models<Units>) -> String {
    let mut out = table(
        "chosen on other files",
        &each(models, |u| u.followed.clone()),
    );
    for (name, found) in models {
        if let Some(depth) = &found.depth {
            let rows = depth.at.iter().map(|at| {
                let number = |x: Option<f64>| x.map_or(BLANK.into(), |x| format!("{x:.3}"));
                let count = thousands(at.places as u64);
                vec![
                    at.depth.to_string(),
                    count,
                    number(at.mean),
                    number(at.spread),
                ]
            });
            let head = ["depth", "n", "mean", "deviation"].map(str::to_owned);
            let title = format!("{name}: {} by depth", depth.unit);
            out += &grid(&title, head.to_vec(), rows.collect());
        }
        if let Some(gates) = &found.gates {
            let rows = gates.layers.iter().map(|layer| {
                let life = layer.median_half_life;
                let life = life.map_or("never".into(), |life| format!("{life:.1}"));
                let bins = layer.half_lives.iter().map(usize::to_string);
                let layer_number = (layer.layer + 1).to_string();
                let shares = [layer.closed, layer.open].map(|share| format!("{share:.3}"));
                [layer_number]
                    .into_iter()
                    .chain(shares)
                    .chain([life])
                    .chain(bins)
                    .collect()
            });
            let bins =
                (0..gates.layers.first().map_or(0, |l| l.half_lives.len())).map(|n| match n {
                    0 => "<1".to_owned(),
                    n => format!("{}-", 1_u64 << (n - 1)),
                });
            let head = ["layer", "< 0.1", "> 0.9", "median"].map(str::to_owned);
            let title = format!("{name}: gates that keep the state, and units by half-life");
            out += &grid(
                &title,
                head.into_iter().chain(bins).collect(),
                rows.collect(),
            );
        }
    }
    out + &table(
        "closers where a unit is changed",
        &each(models, |u| u.effects.clone()),
    )
}

impl Row for Followed {
    const FIGURES: &'static [&'static str] = &["score", "control"];

    fn label(&self) -> String {
        format!("{} ({})", self.label.name(), self.score.name())
    }

    fn detail(&self) -> Option<String> {
        Some(self.best.first()?.unit.to_string())
    }

    fn n(&self) -> u64 {
        self.places as u64
    }

    fn figures(&self) -> Vec<Option<Estimate>> {
        vec![self.reported, self.control]
    }
}

impl Row for Effect {
    const FIGURES: &'static [&'static str] = &[
        "log p(closer)",
        "random units",
        "whole text",
        "log p(other closer)",
        "random units, other closer",
    ];

    fn label(&self) -> String {
        let act = match self.act {
            Act::Ablated => "held at its mean",
            Act::PatchedFromSwapped => "from the text with another opener",
            Act::PatchedFromRemoved => "from the text with a blank",
        };
        format!("{}, {act}", self.label.name())
    }

    fn detail(&self) -> Option<String> {
        Some(self.unit.to_string())
    }

    fn n(&self) -> u64 {
        self.n
    }

    fn figures(&self) -> Vec<Option<Estimate>> {
        vec![
            self.true_closer,
            self.true_closer_random,
            self.true_closer_text,
            self.other_closer,
            self.other_closer_random,
        ]
    }
}

// ---- texts -----------------------------------------------------------------------------------

/// Openers swapped.
pub fn swaps(models: &Models<Vec<Swapped>>) -> String {
    table("by distance in characters", &each(models, Vec::clone))
}

impl Row for Swapped {
    const FIGURES: &'static [&'static str] = &[
        "log p(closer)",
        "p before",
        "p after",
        "p(other) before",
        "p(other) after",
    ];

    fn label(&self) -> String {
        self.distance.name()
    }

    fn n(&self) -> u64 {
        self.n
    }

    fn figures(&self) -> Vec<Option<Estimate>> {
        vec![
            self.true_log_p,
            self.true_before,
            self.true_after,
            self.other_before,
            self.other_after,
        ]
    }
}

/// Far context changed.
pub fn contexts(models: &Models<Contexts>) -> String {
    let rows = |contexts: &Contexts| {
        let near = contexts.near.iter().map(|near| NearRow {
            label: near.chars.to_string(),
            n: contexts.n,
            figures: [near.truncated, near.shuffled, near.names]
                .map(|Changed { more, .. }| more)
                .to_vec(),
        });
        near.collect::<Vec<_>>()
    };
    let whole = |contexts: &Contexts| contexts.whole;
    let mut out = table(
        "above the whole context, by characters that stay",
        &each(models, rows),
    );
    for (name, found) in models {
        let whole = whole(found).map_or(BLANK.into(), |e| format!("{:.3}", e.mean));
        out += &format!("{name}: {whole} nats with the whole context\n");
    }
    out
}

struct NearRow {
    label: String,
    n: u64,
    figures: Vec<Option<Estimate>>,
}

impl Row for NearRow {
    const FIGURES: &'static [&'static str] = &["left out", "lines shuffled", "names alone"];

    fn label(&self) -> String {
        self.label.clone()
    }

    fn n(&self) -> u64 {
        self.n
    }

    fn figures(&self) -> Vec<Option<Estimate>> {
        self.figures.clone()
    }
}

/// Functions written.
pub fn writing(models: &Models<Vec<Written>>) -> String {
    table("by temperature", &each(models, Vec::clone))
}

impl Row for Written {
    const FIGURES: &'static [&'static str] = &[
        "end",
        "parse",
        "brackets match",
        "open quotes",
        "first error",
        "remembered",
        "characters",
    ];

    fn label(&self) -> String {
        self.temperature
            .map_or("held-out functions".into(), |t| t.to_string())
    }

    fn n(&self) -> u64 {
        self.n
    }

    fn figures(&self) -> Vec<Option<Estimate>> {
        vec![
            self.complete,
            self.parses,
            self.balanced,
            self.open_triple_quotes,
            self.first_error,
            self.remembered,
            self.chars,
        ]
    }
}

/// The language of brackets.
pub fn language(models: &Models<DyckFigures>) -> String {
    let mut out = String::new();
    for (name, DyckFigures { spec, loss, .. }) in models {
        out += &format!(
            "{name}: {} of {} units, {} steps on {} types of brackets, at most {} open, words of at \
             most {}; {loss:.3} nats a character\n",
            spec.cell,
            spec.hidden,
            thousands(spec.steps),
            spec.trained.types,
            spec.trained.depth,
            spec.trained_length
        );
    }
    out + &table("", &each(models, |found| found.cells.clone()))
}

impl Row for DyckCell {
    const FIGURES: &'static [&'static str] = &["right type", "p of the type", "whole words"];

    fn label(&self) -> String {
        let than = |inside, word: &str| {
            if inside {
                format!("no {word}")
            } else {
                word.to_owned()
            }
        };
        let (length, depth) = (
            than(self.length_inside, "longer"),
            than(self.depth_inside, "deeper"),
        );
        format!("{length}, {depth}")
    }

    fn n(&self) -> u64 {
        self.closers as u64
    }

    fn figures(&self) -> Vec<Option<Estimate>> {
        vec![self.right, self.probability, self.whole]
    }
}
