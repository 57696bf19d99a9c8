//! How the runs of a study were trained: what tells them apart, and which differ in nothing but their
//! seed.

use serde::{Deserialize, Serialize};

use super::parts::Parts;
use crate::Result;
use crate::files::state::TrainState;
use crate::nn::CellKind;
use crate::programs::charlm::config::CharLmConfig;
use crate::programs::charlm::model::{CharLm, CharLmSizes};
use crate::train::keys::Resume;
use crate::train::settings::Config;

/// How a run was trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// The recurrent cell.
    pub cell: CellKind,
    /// Recurrent layers.
    pub num_layers: usize,
    /// Units of each.
    pub hidden_size: usize,
    /// Numbers that were learnt.
    pub parameters: usize,
    /// Characters of a training window: how far gradients went back.
    pub seq_length: usize,
    /// Windows a step.
    pub batch_size: usize,
    /// Passes over the training text until the checkpoint, the begun one not counted.
    pub epochs: u64,
    /// The seed of every random stream.
    pub seed: u64,
    /// A hash of the files that were trained on, of the weights that training began with where they were
    /// given, and of every setting that decides what is computed or which checkpoint is the best, but the
    /// seed: runs that have the same one tell by how much chance moves a figure.
    pub alike: String,
}

/// Settings with which a run may go on as it likes, but which decide which of its checkpoints is the best.
const ENDS: [&str; 3] = ["average", "patience", "max-time"];

impl Recipe {
    /// That of a run's checkpoint. `trained` is a hash of the files that it was trained on, whatever their
    /// order: the embedded corpus has another one for each seed.
    ///
    /// # Errors
    /// [`Error::Usage`](crate::Error::Usage) for a setting that TOML cannot hold.
    pub fn of(
        config: &CharLmConfig,
        state: &TrainState,
        sizes: CharLmSizes,
        trained: &str,
    ) -> Result<Self> {
        let table = config.table()?;
        let keys = CharLmConfig::settings().keys.iter();
        let deciding = keys.filter(|key| {
            (key.resume != Resume::Free || ENDS.contains(&key.name)) && key.name != "seed"
        });
        let deciding =
            deciding.filter_map(|key| Some(format!("{} = {}", key.name, table.get(key.name)?)));
        let begun = state.init_sha256.clone().unwrap_or_default();
        let deciding: Vec<String> = deciding.chain([begun, trained.to_owned()]).collect();
        let deciding: Vec<&str> = deciding.iter().map(String::as_str).collect();
        Ok(Recipe {
            cell: sizes.cell,
            num_layers: sizes.layers,
            hidden_size: sizes.hidden,
            parameters: CharLm::layout(sizes).parameters(),
            seq_length: config.seq_length,
            batch_size: config.batch_size * config.accumulate,
            epochs: state.epoch,
            seed: state.seed,
            alike: Parts::key(&deciding),
        })
    }
}
