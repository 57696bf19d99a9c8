//! Units that a study found, with their scores on held-out text, for the page.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use crate::programs::charlm::model::CharLmSizes;
use crate::programs::charlm::study::causes::follow::Label;
use crate::programs::charlm::study::causes::measures::Units;
use crate::programs::charlm::study::causes::network::Part;
use crate::programs::charlm::study::format::{Found, Study};
use crate::{Error, Result};

/// The measure of a study that searches units.
const MEASURE: &str = "units";

/// The best unit for each property, by the page's name of it.
pub type HeldOut = BTreeMap<&'static str, FoundUnit>;

/// A unit, and how well it follows a property on files that it was not chosen on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FoundUnit {
    /// The layer, from 0.
    pub layer: usize,
    /// h or c.
    pub name: Part,
    /// Its number in the layer.
    pub unit: usize,
    /// Pearson's r, below zero where it falls as the property rises; of a string the area under the
    /// ROC curve, below one half where it is lower inside.
    pub score: f64,
}

/// What the study at `path` found in the weights with this SHA-256; none where it is of others.
///
/// # Errors
/// As [`Study::read`]; [`Error::Data`] where a unit is not in a model of these sizes.
pub fn read(path: &Path, weights: &str, sizes: CharLmSizes) -> Result<Option<HeldOut>> {
    let study = Study::read(path)?;
    let Some(model) = study.models.iter().find(|model| model.sha256 == weights) else {
        return Ok(None);
    };
    let Some(Found::Figures(units)) = model.measure::<Units>(MEASURE)? else {
        return Ok(None);
    };
    let mut found = HeldOut::new();
    for followed in &units.followed {
        let best = followed.best.first().and_then(|b| Some((b, b.reported?)));
        let (Some(name), Some((best, reported))) = (name(followed.label), best) else {
            continue;
        };
        let unit = best.unit;
        let has_part = unit.part == Part::H || sizes.cell.has_c();
        if unit.layer >= sizes.layers || unit.unit >= sizes.hidden || !has_part {
            return Err(Error::Data(format!(
                "{}: {unit} is not in this model: study the run again",
                path.display()
            )));
        }
        // That of the unit itself, not of its negative.
        let score = followed.score.turned(reported, best.falls);
        found.insert(
            name,
            FoundUnit {
                layer: unit.layer,
                name: unit.part,
                unit: unit.unit,
                score,
            },
        );
    }
    Ok((!found.is_empty()).then_some(found))
}

/// What the page calls a label; none for one that it has not.
fn name(label: Label) -> Option<&'static str> {
    match label {
        Label::Depth => Some("depth"),
        Label::InString => Some("string"),
        Label::Indent => Some("indent"),
        Label::Column => Some("column"),
        Label::Square => None,
    }
}
