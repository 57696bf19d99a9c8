//! The models that a study compares: rows of its tables.

use std::path::Path;
use std::sync::Arc;

use super::predictor::{Predictor, Recurrent};
use super::recipe::Recipe;
use super::source::SourceFile;
use crate::data::chars::CharVocab;
use crate::files::run::MODEL;
use crate::files::state::TrainState;
use crate::files::tensors::TensorFile;
use crate::files::text::sha256;
use crate::programs::charlm::config::CharLmConfig;
use crate::programs::charlm::generate::generator::Generator;
use crate::programs::charlm::generate::sample;
use crate::programs::charlm::generate::weights::CharLmWeights;
use crate::{Error, Result};

/// Makes a model that is to read a file. Several are made at a time.
pub type Factory =
    Box<dyn for<'a> Fn(&'a SourceFile) -> Result<Box<dyn Predictor + 'a>> + Send + Sync>;

/// A model with its name.
pub struct StudyModel {
    /// Its name in tables.
    pub name: String,
    /// What it is, as `study.json` has it: `run` or `baseline`.
    pub kind: &'static str,
    /// Its checkpoint's folder; empty for a baseline.
    pub checkpoint: String,
    /// The optimizer steps that it was trained for; none where that is not known.
    pub step: Option<u64>,
    /// How it was trained; none for a baseline, or a model that was imported.
    pub recipe: Option<Recipe>,
    /// SHA-256 of all that decides what it predicts.
    pub sha256: String,
    /// Makes it.
    pub make: Factory,
    /// The weights, where it is a network whose inside can be looked at.
    pub weights: Option<Arc<CharLmWeights>>,
}

impl StudyModel {
    /// The character LM of a checkpoint. `trained` is a hash of the files that it was trained on.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] or [`Error::Data`] for weights that are damaged, of another model or
    /// vocabulary, or that generation cannot take.
    pub fn of_run(
        name: String,
        checkpoint: &Path,
        config: &CharLmConfig,
        state: &TrainState,
        vocab: &CharVocab,
        trained: &str,
    ) -> Result<Self> {
        let path = checkpoint.join(MODEL);
        let weights = Arc::new(sample::weights(
            &TensorFile::load(&path)?,
            config.tie_embeddings,
        )?);
        if weights.vocab() != vocab.len() {
            let message = format!(
                "tensor embedding.weight has {} rows, but vocab.json {} tokens: they belong to \
                 different models",
                weights.vocab(),
                vocab.len()
            );
            return Err(Error::checkpoint(path, message));
        }
        // What cannot be packed is told here, not file by file.
        Generator::new(&weights, 1)?;
        let bytes = std::fs::read(&path).map_err(Error::io("read", &path))?;
        let recipe = match state.is_imported() {
            true => None,
            false => Some(Recipe::of(config, state, weights.sizes(), trained)?),
        };
        let start = vocab.start();
        Ok(StudyModel {
            name,
            kind: "run",
            checkpoint: checkpoint.display().to_string(),
            step: (!state.is_imported()).then_some(state.step),
            recipe,
            sha256: sha256(&bytes),
            weights: Some(weights.clone()),
            make: Box::new(move |_| {
                let generator = Generator::new(&weights, 1)?;
                Ok(Box::new(Recurrent::new(generator, start)))
            }),
        })
    }
}
