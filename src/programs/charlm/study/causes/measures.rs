//! The measures of causes of one model, as a study takes them.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::brackets::BracketIds;
use super::context::{self, Contexts};
use super::dyck::{self, DyckFigures, DyckSpec};
use super::follow::{Followed, Label, follow};
use super::memory::{AtDepth, LayerGates, UnitGate, by_depth, layer_gates, unit_gates};
use super::network::Unit;
use super::record::{Record, RecordSpec};
use super::repeats::Trained;
use super::stepper::Stepper;
use super::swaps::{self, SwapSpec, Swapped};
use super::units::{Effect, Found, UnitSpec, effects};
use super::writing::{self, WritingSpec, Written};
use crate::Result;
use crate::nn::CellKind;
use crate::programs::charlm::generate::weights::CharLmWeights;
use crate::programs::charlm::study::estimate::SEED;
use crate::programs::charlm::study::held_out::StudyText;
use crate::programs::charlm::study::source::{Half, SourceFile};

/// How much of each measure is done.
#[derive(Clone, Debug)]
pub struct Amounts {
    /// Places that the search for units looks at.
    pub record: RecordSpec,
    /// Pairs that single units are changed in.
    pub units: UnitSpec,
    /// Openers that are swapped.
    pub swaps: SwapSpec,
    /// Places whose far context is changed.
    pub contexts: usize,
    /// Texts that are written.
    pub writing: WritingSpec,
    /// The language of brackets.
    pub dyck: DyckSpec,
}

impl Amounts {
    /// Those of the short study, seconds for a small model, or of the whole one, some minutes for the
    /// published model on two cores. The language of brackets is learnt with the run's `seed`, so that runs
    /// of several seeds learn it several times.
    pub fn new(quick: bool, cell: CellKind, seed: u64) -> Self {
        let either = |short: usize, whole: usize| if quick { short } else { whole };
        let chars = either(2000, 6000);
        Amounts {
            record: RecordSpec {
                files: either(8, 60),
                chars: either(1000, 3000),
                every: if quick { 4 } else { 9 },
            },
            units: UnitSpec {
                pairs: either(50, 200),
                from: 8,
                to: either(63, 127),
                chars,
                random: either(3, 10),
            },
            swaps: SwapSpec {
                pairs_per_bin: either(50, 250),
                bins: either(7, 9),
                chars,
            },
            contexts: either(50, 150),
            writing: WritingSpec {
                samples: either(50, 1000),
                temperatures: vec![0.5, 0.8, 1.0],
                seed: SEED,
            },
            dyck: match quick {
                true => DyckSpec::quick(cell, seed),
                false => DyckSpec::full(cell, seed),
            },
        }
    }
}

/// What single units hold and do. What is chosen on one half of the files is reported on the other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Units {
    /// Units that follow the structure of the text.
    pub followed: Vec<Followed>,
    /// The unit that best carries depth.
    pub depth: Option<DepthUnit>,
    /// The gates that keep the state, of cells that have one.
    pub gates: Option<GateFigures>,
    /// What becomes of closers where units are ablated or patched.
    pub effects: Vec<Effect>,
}

/// A unit's values by depth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DepthUnit {
    /// The unit.
    pub unit: Unit,
    /// Its values.
    pub at: Vec<AtDepth>,
}

/// The gates that keep the state: f of an LSTM, z of a GRU.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GateFigures {
    /// By layer.
    pub layers: Vec<LayerGates>,
    /// By unit.
    pub units: Vec<UnitGate>,
}

fn half(text: &StudyText, half: Half) -> Vec<&SourceFile> {
    text.files
        .iter()
        .filter(|file| file.half() == half)
        .collect()
}

/// Searches units, reads their gates, fixes and patches them. None where a half of the files has
/// nothing to record.
pub fn units(weights: &CharLmWeights, text: &StudyText, amounts: &Amounts) -> Option<Units> {
    let network = Stepper::new(weights);
    let report = half(text, Half::Report);
    let chosen = Record::of(&network, &half(text, Half::Choose), &amounts.record);
    let reported = Record::of(&network, &report, &amounts.record);
    if chosen.places() == 0 || reported.places() == 0 {
        return None;
    }
    let followed = follow(&chosen, &reported);
    let carrier = |label| {
        let followed = followed.iter().find(|followed| followed.label == label)?;
        Some(Found {
            label,
            unit: followed.carrier()?,
        })
    };
    let found: Vec<Found> = [Label::Depth, Label::Square]
        .into_iter()
        .filter_map(carrier)
        .collect();
    let number = |unit: Unit| chosen.units.iter().position(|other| *other == unit);
    let depth = found.iter().find(|found| found.label == Label::Depth);
    let gates = reported.gates.as_ref().map(|gates| {
        let units = unit_gates(gates, weights.hidden());
        let layers = layer_gates(&units);
        GateFigures { layers, units }
    });
    let means: HashMap<Unit, f32> = chosen.units.iter().copied().zip(chosen.means()).collect();
    let ids = BracketIds::of(&text.vocab);
    let effects = ids.map(|ids| effects(&network, &report, &ids, &found, &means, &amounts.units));
    Some(Units {
        depth: depth.and_then(|found| {
            let unit = found.unit;
            let at = by_depth(&reported, number(unit)?);
            Some(DepthUnit { unit, at })
        }),
        followed,
        gates,
        effects: effects.unwrap_or_default(),
    })
}

/// Swaps openers. None where the vocabulary lacks a bracket, or no file has a pair.
pub fn swaps(weights: &CharLmWeights, text: &StudyText, amounts: &Amounts) -> Option<Vec<Swapped>> {
    let ids = BracketIds::of(&text.vocab)?;
    let files: Vec<&SourceFile> = text.files.iter().collect();
    let found = swaps::swaps(&Stepper::new(weights), &files, &ids, &amounts.swaps);
    found.iter().any(|bin| bin.n > 0).then_some(found)
}

/// Changes what is far away. None where no file is long enough, or there is no blank.
pub fn contexts(weights: &CharLmWeights, text: &StudyText, amounts: &Amounts) -> Option<Contexts> {
    let blank = u32::from(text.vocab.id(' ')?);
    let files: Vec<&SourceFile> = text.files.iter().collect();
    let found = context::contexts(&Stepper::new(weights), &files, blank, amounts.contexts);
    (found.n > 0).then_some(found)
}

/// Judges what the model writes. The last row is functions of the files.
///
/// # Errors
/// As [`writing::writing`].
pub fn written(
    weights: &CharLmWeights,
    text: &StudyText,
    amounts: &Amounts,
) -> Result<Vec<Written>> {
    let files: Vec<&SourceFile> = text.files.iter().collect();
    let trained = text.training.as_deref().map(|parts| Trained::new(parts));
    writing::writing(
        weights,
        &text.vocab,
        &files,
        trained.as_ref(),
        &amounts.writing,
    )
}

/// Trains a network of the run's cell on the language of brackets and tries it.
///
/// # Errors
/// As [`dyck::figures`].
pub fn language(amounts: &Amounts) -> Result<DyckFigures> {
    dyck::figures(&amounts.dyck)
}
