//! What single units do: they are fixed, or given what they would hold in another text.
//!
//! - *Ablation*: from the opener on, the unit is held at its mean over the text.
//! - *Patching*: it is given, character by character, the value that it has where the opener is of
//!   another type (`swapped`) or a blank (`removed`), while the text itself stays as it is. What the
//!   closer's probability then loses is what flows through this unit alone.
//!
//! Random units of the same layer and part, treated the same, say how much any unit does.

use std::collections::HashMap;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::brackets::{BracketIds, Pair, draw, pairs, walk};
use super::draws::Draw;
use super::follow::Label;
use super::network::{Lane, Network, State, Unit};
use crate::programs::charlm::study::estimate::{Bootstrap, Estimate};
use crate::programs::charlm::study::source::SourceFile;

/// The number of the draw of pairs, behind those of the bins of distances.
const DRAW: u32 = 64;

/// Which pairs are tried, and beside how many random units.
#[derive(Clone, Copy, Debug)]
pub struct UnitSpec {
    /// At most so many pairs, drawn at random.
    pub pairs: usize,
    /// The least characters between opener and closer.
    pub from: usize,
    /// The most.
    pub to: usize,
    /// Characters of a file that are looked at.
    pub chars: usize,
    /// Random units beside each one that was found.
    pub random: usize,
}

/// A unit that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    /// What it follows.
    pub label: Label,
    /// Which it is.
    pub unit: Unit,
}

/// What is done to a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// Held at its mean.
    Ablated,
    /// Given its value of the text with an opener of another type.
    PatchedFromSwapped,
    /// Given its value of the text with a blank for the opener.
    PatchedFromRemoved,
}

impl Act {
    const ALL: [Act; 3] = [
        Act::Ablated,
        Act::PatchedFromSwapped,
        Act::PatchedFromRemoved,
    ];
}

/// What follows from it for the closer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Effect {
    /// What the unit follows.
    pub label: Label,
    /// The unit.
    pub unit: Unit,
    /// What is done to it.
    pub act: Act,
    /// Pairs.
    pub n: u64,
    /// Change of log p(true closer), nats.
    pub true_closer: Option<Estimate>,
    /// The same of random units of its layer and part, each in turn.
    pub true_closer_random: Option<Estimate>,
    /// Change of log p(closer of the type that the opener is swapped for), nats.
    pub other_closer: Option<Estimate>,
    /// The same of random units.
    pub other_closer_random: Option<Estimate>,
    /// Change of log p(true closer) where the whole text has the other opener, or the blank.
    pub true_closer_text: Option<Estimate>,
}

/// Acts on each unit that was found, and on random ones. `means` are those of all units.
pub fn effects<N: Network>(
    network: &N,
    files: &[&SourceFile],
    ids: &BracketIds,
    found: &[Found],
    means: &HashMap<Unit, f32>,
    spec: &UnitSpec,
) -> Vec<Effect> {
    let mut all = pairs(files, spec.chars);
    all.retain(|pair| (spec.from..=spec.to).contains(&pair.distance()));
    let drawn = draw(all, spec.pairs, DRAW);
    let by_file: Vec<&[Pair]> = drawn.chunk_by(|a, b| a.file == b.file).collect();
    let treatments = treatments(network, found, spec);
    let outcomes: Vec<Outcome> = by_file
        .par_iter()
        .flat_map_iter(|pairs| {
            let file = files[pairs[0].file];
            let mut outcomes = Vec::new();
            walk(network, file, pairs, |pair, state| {
                outcomes.push(treat(network, file, ids, *pair, state, &treatments, means));
            });
            outcomes
        })
        .collect();
    let groups = treatments.chunk_by(|a, b| (a.found, a.act) == (b.found, b.act));
    let bootstrap = Bootstrap::new(files.len());
    let mut first = 0;
    let effects = groups.map(|group| {
        let places = first..first + group.len();
        first = places.end;
        effect(&group[0], found, places, &outcomes, &bootstrap)
    });
    effects.collect()
}

/// One unit under one act. Those of one act for one found unit stand together, the found unit first.
#[derive(Clone, Copy, Debug)]
struct Treatment {
    found: usize,
    act: Act,
    unit: Unit,
}

fn treatments<N: Network>(network: &N, found: &[Found], spec: &UnitSpec) -> Vec<Treatment> {
    let mut treatments = Vec::new();
    for (n, one) in found.iter().enumerate() {
        let mut others: Vec<Unit> = network.shape().units().collect();
        others.retain(|unit| {
            (unit.layer, unit.part) == (one.unit.layer, one.unit.part) && *unit != one.unit
        });
        Draw::Units.stream(n as u32).reader().shuffle(&mut others);
        others.truncate(spec.random);
        for act in Act::ALL {
            let units = [one.unit].into_iter().chain(others.iter().copied());
            treatments.extend(units.map(|unit| Treatment {
                found: n,
                act,
                unit,
            }));
        }
    }
    treatments
}

/// log p of the true closer and of the other one, less those of the text as it is.
struct Outcome {
    file: usize,
    /// Of each treatment.
    treated: Vec<[f64; 2]>,
    /// Of the text with the other opener, and with a blank.
    texts: [[f64; 2]; 2],
}

fn treat<N: Network>(
    network: &N,
    file: &SourceFile,
    ids: &BracketIds,
    pair: Pair,
    state: &State,
    treatments: &[Treatment],
    means: &HashMap<Unit, f32>,
) -> Outcome {
    let (opener, closer) = ids.pair(pair.kind());
    let (other_opener, other_closer) = ids.swapped(pair.kind());
    // The texts: as it is, with the other opener, with a blank.
    let mut texts = [(); 3].map(|()| Lane::new(state.clone()));
    let mut treated: Vec<Lane> = treatments
        .iter()
        .map(|_| Lane::new(state.clone()))
        .collect();
    for (n, &id) in file.ids[pair.open..pair.close].iter().enumerate() {
        let read = if n == 0 {
            [opener, other_opener, ids.blank]
        } else {
            [id; 3]
        };
        network.read(&mut texts, &read);
        for (lane, Treatment { act, unit, .. }) in treated.iter_mut().zip(treatments) {
            let value = match act {
                Act::Ablated => means[unit],
                Act::PatchedFromSwapped => texts[1].state.get(*unit),
                Act::PatchedFromRemoved => texts[2].state.get(*unit),
            };
            lane.held = vec![(*unit, value)];
        }
        network.read(&mut treated, &vec![id; treatments.len()]);
    }
    let mut log_p = vec![0.0; network.shape().vocab];
    let mut closers = |lane: &Lane| {
        network.log_p(&lane.state, &mut log_p);
        [closer, other_closer].map(|id| log_p[id as usize])
    };
    let as_it_is = closers(&texts[0]);
    let mut change = |lane: &Lane| {
        let [closer, other] = closers(lane);
        [closer - as_it_is[0], other - as_it_is[1]]
    };
    Outcome {
        file: pair.file,
        treated: treated.iter().map(&mut change).collect(),
        texts: [change(&texts[1]), change(&texts[2])],
    }
}

/// Sums up the treatments at `places`, the first of the found unit, the others of random ones.
fn effect(
    treatment: &Treatment,
    found: &[Found],
    places: std::ops::Range<usize>,
    outcomes: &[Outcome],
    bootstrap: &Bootstrap,
) -> Effect {
    let figure = |value: &dyn Fn(&Outcome) -> Option<f64>| {
        let values = outcomes.iter();
        bootstrap.mean(values.filter_map(|o| Some((o.file, value(o)?))))
    };
    let of_found = |closer: usize| figure(&|o| Some(o.treated[places.start][closer]));
    let of_random = |closer: usize| {
        figure(&|o| {
            let random = &o.treated[places.start + 1..places.end];
            let sum: f64 = random.iter().map(|change| change[closer]).sum();
            (!random.is_empty()).then(|| sum / random.len() as f64)
        })
    };
    let text = match treatment.act {
        Act::Ablated => None,
        Act::PatchedFromSwapped => Some(0),
        Act::PatchedFromRemoved => Some(1),
    };
    let Found { label, unit } = found[treatment.found];
    Effect {
        label,
        unit,
        act: treatment.act,
        n: outcomes.len() as u64,
        true_closer: of_found(0),
        true_closer_random: of_random(0),
        other_closer: of_found(1),
        other_closer_random: of_random(1),
        true_closer_text: text.and_then(|n| figure(&|o| Some(o.texts[n][0]))),
    }
}
