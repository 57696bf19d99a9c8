//! Data, model and optimizer of a run, or a model to be scored, on their device.

use super::device::Chosen;
use super::job::Job;
use super::memory;
use super::model::Model;
use super::progress::Progress;
use super::settings::Config;
use super::shards::Shards;
use super::step::Step;
use crate::error::Result;
use crate::files::state::LossScaler;
use crate::files::tensors::TensorFile;
use crate::nn::torch_names;
use crate::optim::Adam;

/// The weights and moments that a run starts from.
#[derive(Clone, Debug)]
pub enum Weights {
    /// Initial values.
    Fresh,
    /// The weights of a file, with a fresh optimizer. Rows that a table of tokens has beyond the
    /// file's have initial values.
    Given(TensorFile),
    /// All of a checkpoint.
    Saved {
        /// The weights.
        model: TensorFile,
        /// The optimizer's moments.
        moments: TensorFile,
        /// Updates that the optimizer has made.
        adam_step: u64,
    },
}

impl Weights {
    /// The weights, unless they are initial values.
    pub fn model(&self) -> Option<&TensorFile> {
        match self {
            Weights::Fresh => None,
            Weights::Given(model) | Weights::Saved { model, .. } => Some(model),
        }
    }
}

/// Makes data, model and optimizer of a run, on their device, and tells of their sizes.
///
/// # Errors
/// If the data does not suffice, the weights are another model's, a step needs more memory than there
/// is, or the device fails.
pub fn make<J: Job>(
    config: &J::Config,
    source: &J::Source,
    vocab: Option<J::Vocab>,
    weights: &Weights,
    device: (&Chosen, Option<LossScaler>),
    shards: Shards,
    progress: &Progress,
) -> Result<J> {
    let data = J::data(config, source, vocab)?;
    let mut step = step::<J>(config, &data, weights, device)?.with_shards(shards);
    if let Weights::Saved { moments, .. } = weights {
        step.import_outer(moments)?;
    }
    let parameters = step.model().params().layout().parameters();
    progress.line(&J::describe(config, &data, parameters));
    J::new(config.clone(), data, step)
}

/// A model and its optimizer on their device.
///
/// # Errors
/// As [`make`].
pub fn step<J: Job>(
    config: &J::Config,
    data: &J::Data,
    weights: &Weights,
    (chosen, scaler): (&Chosen, Option<LossScaler>),
) -> Result<Step<J::Model>> {
    let mut model = initial::<J>(config, data, weights.model(), chosen)?;
    match weights {
        Weights::Fresh => {}
        Weights::Given(file) => {
            let mut file = file.clone();
            // One of two would stay behind where the other gets rows.
            torch_names::remove_shared(&mut file, model.params().layout());
            let names = J::TOKEN_ROWS.iter().copied().flatten().copied();
            torch_names::add_rows(&mut file, &model.export()?, names);
            model.import(&file)?;
        }
        Weights::Saved { model: file, .. } => model.import(file)?,
    }
    let layout = model.params().layout();
    let mut adam = Adam::new::<f32>(config.optimizer(), layout);
    if let Weights::Saved {
        moments, adam_step, ..
    } = weights
    {
        layout.import(moments, "m.", &mut adam.m)?;
        layout.import(moments, "v.", &mut adam.v)?;
        adam.step = *adam_step;
    }
    let step = Step::new(model, adam, J::clip(config), config.common().seed);
    match &chosen.gpu {
        Some(gpu) => step.to_gpu(gpu, scaler),
        None => Ok(step),
    }
}

/// A model with initial values, once it is known that its sizes are those of the weights that it will
/// take, and that a step has the memory it needs.
fn initial<J: Job>(
    config: &J::Config,
    data: &J::Data,
    weights: Option<&TensorFile>,
    chosen: &Chosen,
) -> Result<J::Model> {
    let layout = J::layout(config, data);
    if let Some(weights) = weights {
        // Tokens that the weights lack get theirs from the model.
        torch_names::check(&layout, weights, &J::TOKEN_ROWS.concat())?;
    }
    let needed = match chosen.gpu {
        // Values and moments are made here before they go there.
        Some(_) => 3 * 4 * layout.len() as u128,
        None => J::step_bytes(config, data),
    };
    memory::check(needed, J::MEMORY_SETTINGS)?;
    Ok(J::model(config, data))
}

/// A model with the weights of a checkpoint, on the device where it will be scored.
///
/// # Errors
/// As [`make`].
pub fn trained<J: Job>(
    config: &J::Config,
    data: &J::Data,
    weights: &TensorFile,
    chosen: &Chosen,
) -> Result<J::Model> {
    let mut model = initial::<J>(config, data, Some(weights), chosen)?;
    model.import(weights)?;
    if let Some(gpu) = &chosen.gpu {
        model.params_mut().to_gpu(gpu, chosen.mixed)?;
    }
    Ok(model)
}
