//! Units that `rnnx study` found, with their scores on held-out text, from the `study.json` of a run.
//!
//! Of that file only this is read: the model with the checkpoint's step, and in its measures the list
//! `followed`, each with a label and its best units.

use std::collections::BTreeMap;
use std::path::Path;
use std::{fs, io};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::programs::charlm::model::CharLmSizes;
use crate::{Error, Result};

/// What the page calls the labels of the study.
const LABELS: [(&str, &str); 4] = [
    ("depth", "depth"),
    ("in-string", "string"),
    ("indent", "indent"),
    ("column", "column"),
];

/// The best unit for each property, by the page's name of it.
pub type HeldOut = BTreeMap<&'static str, FoundUnit>;

/// A unit, and how well it follows a property on files that it was not chosen on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FoundUnit {
    /// The layer, from 0.
    pub layer: usize,
    /// `h` or `c`.
    pub name: String,
    /// Its number in the layer.
    pub unit: usize,
    /// Pearson's r, below zero where it falls as the property rises; of a string the area under the
    /// ROC curve, below one half where it is lower inside.
    pub score: f64,
}

#[derive(Deserialize)]
struct Study {
    models: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    step: Option<u64>,
    measures: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
struct Followed {
    label: String,
    score: String,
    best: Vec<Best>,
}

#[derive(Deserialize)]
struct Best {
    unit: Unit,
    falls: bool,
    /// Null where it could not be told.
    reported: Option<f64>,
}

#[derive(Deserialize)]
struct Unit {
    layer: usize,
    part: String,
    unit: usize,
}

/// What a study found in the weights of a step; none where there is no study of them.
///
/// # Errors
/// [`Error::Data`] for a file that is no study, or of a model of other sizes; [`Error::Io`].
pub fn read(path: &Path, step: u64, sizes: CharLmSizes) -> Result<Option<HeldOut>> {
    let text = match fs::read(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text.map_err(Error::io("read", path))?,
    };
    let fail = |what: String| Error::Data(format!("{}: {what}", path.display()));
    let study: Study = serde_json::from_slice(&text).map_err(|e| fail(e.to_string()))?;
    let mut models = study.models.iter();
    let Some(model) = models.find(|model| model.step == Some(step)) else {
        return Ok(None);
    };
    let Some(list) = model
        .measures
        .values()
        .find_map(|found| found.get("followed"))
    else {
        return Ok(None);
    };
    let list = Vec::<Followed>::deserialize(list).map_err(|e| fail(e.to_string()))?;
    let mut found = HeldOut::new();
    for one in list {
        let key = LABELS.iter().find(|(label, _)| *label == one.label);
        let best = one.best.into_iter().next();
        let (Some((_, key)), Some(best)) = (key, best) else {
            continue;
        };
        let (Unit { layer, part, unit }, Some(reported)) = (best.unit, best.reported) else {
            continue;
        };
        let has_part = part == "h" || (part == "c" && sizes.cell.has_c());
        if layer >= sizes.layers || unit >= sizes.hidden || !has_part {
            return Err(fail(format!(
                "unit {unit} of {part} in layer {layer} is not in this model"
            )));
        }
        let score = match (best.falls, one.score.as_str()) {
            (false, _) => reported,
            (true, "auc") => 1.0 - reported,
            (true, _) => -reported,
        };
        found.insert(
            key,
            FoundUnit {
                layer,
                name: part,
                unit,
                score,
            },
        );
    }
    Ok((!found.is_empty()).then_some(found))
}
