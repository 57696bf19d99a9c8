//! What the files of a run's folder say, as the pages draw it.

use serde::{Deserialize, Deserializer};

use super::text::Unit;
use crate::files::{ChangeEvent, EpochEvent, StepEvent, TestEvent, ValidEvent};

/// What the page shows of one run.
#[derive(Clone, Debug, Default)]
pub struct RunData {
    /// The run's name, as legends show it.
    pub name: String,
    /// Configuration keys and their values, in the file's order.
    pub config: Vec<(String, String)>,
    /// Step records, by rising step.
    pub steps: Vec<StepEvent>,
    /// Epoch records, by rising epoch.
    pub epochs: Vec<EpochEvent>,
    /// Validations inside of epochs, by rising step.
    pub valids: Vec<ValidEvent>,
    /// The validation of the average of checkpoints.
    pub average: Option<ValidEvent>,
    /// Where it went on with other settings.
    pub changes: Vec<ChangeEvent>,
    /// Whether a process is training it.
    pub live: bool,
    /// The last test record, once there is one.
    pub test: Option<TestEvent>,
    /// Whether records of training follow the test.
    pub overtaken: bool,
    /// File names and texts of the samples, oldest first.
    pub samples: Vec<(String, String)>,
    /// Test pairs and what the model made of them.
    pub pairs: Vec<PairSample>,
    /// What was measured of the trained model.
    pub measured: Measured,
    /// Tokens in the source and in the target vocabulary, where there are two.
    pub vocabulary: Option<(usize, usize)>,
}

/// What was measured of trained models, as lines of figures and columns of tables. Those of several
/// runs that have the same title share a figure or a table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured {
    /// Lines.
    pub lines: Vec<MeasuredLine>,
    /// Columns.
    pub columns: Vec<MeasuredColumn>,
}

/// A line of a figure.
#[derive(Clone, Debug, PartialEq)]
pub struct MeasuredLine {
    /// The figure's title.
    pub title: &'static str,
    /// Below the x axis.
    pub x_label: &'static str,
    /// Beside the y axis.
    pub y_label: &'static str,
    /// How values of y are written.
    pub unit: Unit,
    /// What was measured.
    pub name: String,
    /// (x, y) by rising x.
    pub points: Vec<(f64, f64)>,
    /// The lower and the upper ends of the intervals of y, likewise.
    pub bounds: [Vec<(f64, f64)>; 2],
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct MeasuredColumn {
    /// The table's title.
    pub title: &'static str,
    /// What was measured.
    pub name: String,
    /// The head of each row, and what stands there.
    pub cells: Vec<(String, String)>,
}

impl RunData {
    /// The value of a key of the configuration.
    pub fn setting(&self, key: &str) -> Option<&str> {
        let pair = self.config.iter().find(|(k, _)| k == key);
        pair.map(|(_, value)| value.as_str())
    }

    /// The run's name, with its model where the name does not say it.
    pub fn label(&self) -> String {
        match self.setting("model") {
            Some(model) if !self.name.contains(model) => format!("{} ({model})", self.name),
            _ => self.name.clone(),
        }
    }

    /// The loss and the accuracy of the average of checkpoints, and what it is called.
    pub fn averaged(&self) -> Option<([f64; 2], String)> {
        let average = self.average?;
        let name = format!("average of {} checkpoints", average.averaged?);
        Some(([average.valid_loss, average.valid_accuracy], name))
    }

    /// Steps of an epoch, if its epochs say at which step they ended.
    pub fn steps_per_epoch(&self) -> Option<f64> {
        let last = self.epochs.last()?;
        let steps = last.step? as f64 / last.epoch as f64;
        (steps.is_finite() && steps > 0.0).then_some(steps)
    }

    /// Seconds that the recorded epochs took together; NaN where there is none.
    pub fn seconds(&self) -> f64 {
        match self.epochs.as_slice() {
            [] => f64::NAN,
            epochs => epochs.iter().map(|e| e.seconds).sum(),
        }
    }
}

/// A test pair and what a model made of it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct PairSample {
    /// The docstring as it was written.
    pub docstring: String,
    /// The tokens fed to the model.
    pub source: Vec<String>,
    /// The code's tokens.
    pub reference: Vec<String>,
    /// The tokens that the model put out, without the `<EOS>` that ended them.
    pub prediction: Vec<String>,
    /// `[prediction or prediction + 1, source]` attention weights; none for other models.
    #[serde(default, deserialize_with = "weights")]
    pub attention: Vec<Vec<f32>>,
    /// Of a model that copies, for each token of the prediction the token of the source that it was copied
    /// from, if it was; none for other models.
    #[serde(default)]
    pub copied: Vec<Option<usize>>,
}

/// JSON has no NaN: writers put null in its place, and for a model without attention.
fn weights<'de, D: Deserializer<'de>>(source: D) -> Result<Vec<Vec<f32>>, D::Error> {
    let rows = Option::<Vec<Vec<Option<f32>>>>::deserialize(source)?.unwrap_or_default();
    let full = |row: Vec<Option<f32>>| row.into_iter().map(|w| w.unwrap_or(f32::NAN)).collect();
    Ok(rows.into_iter().map(full).collect())
}
