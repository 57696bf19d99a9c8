//! All measures of causes, for one model.

use serde::Serialize;

use super::brackets::BracketIds;
use super::context::{ContextSpec, Contexts, contexts};
use super::dyck::{self, DyckFigures, DyckSpec};
use super::follow::{Followed, Label, follow};
use super::memory::{AtDepth, LayerGates, UnitGate, by_depth, layer_gates, unit_gates};
use super::network::Unit;
use super::record::{Record, RecordSpec};
use super::repeats::Trained;
use super::stepper::Stepper;
use super::swaps::{SwapSpec, Swapped, swaps};
use super::units::{Effect, Found, UnitSpec, effects};
use super::writing::{WritingSpec, Written, writing};
use crate::Result;
use crate::nn::CellKind;
use crate::programs::charlm::generate::weights::CharLmWeights;
use crate::programs::charlm::study::held_out::StudyText;
use crate::programs::charlm::study::source::{Half, SourceFile};

/// How much of each measure is done.
#[derive(Clone, Debug)]
pub struct CausesSpec {
    /// Places that the search for units looks at.
    pub record: RecordSpec,
    /// Openers that are swapped.
    pub swaps: SwapSpec,
    /// Pairs that single units are changed in.
    pub units: UnitSpec,
    /// Places whose far context is changed.
    pub contexts: ContextSpec,
    /// Texts that are written.
    pub writing: WritingSpec,
    /// The language of brackets.
    pub dyck: DyckSpec,
}

impl CausesSpec {
    /// Some minutes for the published model on two cores.
    pub fn full(cell: CellKind, seed: u64) -> Self {
        CausesSpec {
            record: RecordSpec {
                files: 60,
                chars: 3000,
                every: 9,
                seed,
            },
            swaps: SwapSpec {
                pairs_per_bin: 250,
                bins: 9,
                chars: 6000,
                seed,
            },
            units: UnitSpec {
                pairs: 200,
                from: 8,
                to: 127,
                chars: 6000,
                random: 10,
                seed,
            },
            contexts: ContextSpec { places: 150, seed },
            writing: WritingSpec {
                samples: 1000,
                temperatures: vec![0.5, 0.8, 1.0],
                seed,
            },
            dyck: DyckSpec::full(cell, seed),
        }
    }

    /// Some seconds: enough to see that all works, and most figures with wide intervals.
    pub fn quick(cell: CellKind, seed: u64) -> Self {
        let full = CausesSpec::full(cell, seed);
        CausesSpec {
            record: RecordSpec {
                files: 8,
                chars: 1000,
                every: 4,
                ..full.record
            },
            swaps: SwapSpec {
                pairs_per_bin: 50,
                bins: 7,
                chars: 2000,
                ..full.swaps
            },
            units: UnitSpec {
                pairs: 50,
                to: 63,
                chars: 2000,
                random: 3,
                ..full.units
            },
            contexts: ContextSpec {
                places: 4,
                ..full.contexts
            },
            writing: WritingSpec {
                samples: 50,
                ..full.writing
            },
            dyck: DyckSpec::quick(cell, seed),
        }
    }
}

/// What the measures of causes find. A figure from fewer than 50 events is blank (`null`).
#[derive(Clone, Debug, Serialize)]
pub struct Causes {
    /// What a reader should know of blanks.
    pub notes: Vec<String>,
    /// Units that follow the structure of the text.
    pub followed: Vec<Followed>,
    /// The unit that carries depth best, and its values by depth.
    pub depth: Option<DepthUnit>,
    /// The gates that keep the state, of cells that have one.
    pub gates: Option<GateFigures>,
    /// Openers swapped, by distance.
    pub swaps: Vec<Swapped>,
    /// Single units ablated and patched.
    pub units: Vec<Effect>,
    /// Far context changed.
    pub contexts: Option<Contexts>,
    /// What the model writes by itself; the last row is functions of the held-out files.
    pub writing: Vec<Written>,
    /// A language whose rule is known.
    pub dyck: DyckFigures,
}

/// A unit's values by depth.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DepthUnit {
    /// The unit.
    pub unit: Unit,
    /// Its values.
    pub at: Vec<AtDepth>,
}

/// The gates that keep the state: f of an LSTM, z of a GRU.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GateFigures {
    /// By layer.
    pub layers: Vec<LayerGates>,
    /// By unit.
    pub units: Vec<UnitGate>,
}

/// Does all measures. `tell` hears what is being done.
///
/// # Errors
/// As [`writing`] and [`dyck::figures`].
pub fn causes(
    weights: &CharLmWeights,
    text: &StudyText,
    spec: &CausesSpec,
    tell: impl Fn(&str),
) -> Result<Causes> {
    let network = Stepper::new(weights);
    let of_half = |half| text.files.iter().filter(move |file| file.half() == half);
    let choose: Vec<&SourceFile> = of_half(Half::Choose).collect();
    let report: Vec<&SourceFile> = of_half(Half::Report).collect();
    let mut notes = Vec::new();

    tell("units that follow the text");
    let records = [&choose, &report].map(|files| Record::of(&network, files, &spec.record));
    let [chosen, reported] = &records;
    let followed = follow(chosen, reported, spec.record.seed);
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
    let depth = depth.and_then(|found| {
        let unit = found.unit;
        let at = by_depth(reported, number(unit)?);
        Some(DepthUnit { unit, at })
    });
    let gates = reported.gates.as_ref().map(|gates| {
        let units = unit_gates(gates, weights.hidden());
        let layers = layer_gates(&units);
        GateFigures { layers, units }
    });
    if gates.is_none() {
        notes.push(format!(
            "a cell of kind {} has no gate that keeps its state",
            weights.cell()
        ));
    }

    let (mut swapped, mut effects_of_units, mut changed) = (Vec::new(), Vec::new(), None);
    match BracketIds::of(&text.vocab) {
        Some(ids) => {
            tell("openers swapped");
            swapped = swaps(&network, &report, &ids, &spec.swaps);
            tell("units ablated and patched");
            let means = chosen.means();
            let mean_of = |unit| number(unit).map_or(0.0, |n| means[n]);
            effects_of_units = effects(&network, &report, &ids, &found, mean_of, &spec.units);
            tell("far context changed");
            changed = Some(contexts(&network, &report, ids.blank, &spec.contexts));
        }
        None => notes.push("the vocabulary lacks a bracket or the blank".into()),
    }
    tell("functions written");
    let trained = text.training.as_deref().map(Trained::new);
    let written = writing(
        weights,
        &text.vocab,
        &report,
        trained.as_ref(),
        &spec.writing,
    )?;
    tell("a language of brackets");
    Ok(Causes {
        notes,
        followed,
        depth,
        gates,
        swaps: swapped,
        units: effects_of_units,
        contexts: changed,
        writing: written,
        dyck: dyck::figures(&spec.dyck)?,
    })
}
