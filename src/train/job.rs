//! What a training session asks of the model that it trains.

use super::checkpoint::import_adam;
use super::device::Chosen;
use super::progress::Progress;
use super::scores::Scores;
use super::settings::Config;
use crate::error::Result;
use crate::files::run::RunFolder;
use crate::files::state::{LossScaler, TrainState};
use crate::files::tensors::TensorFile;
use crate::nn::Layout;
use crate::optim::Adam;
use std::path::PathBuf;

/// Where a run's weights come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Begin {
    /// A new run; with `force` in place of an old one.
    New {
        /// Replace an existing run.
        force: bool,
        /// Take the weights of this safetensors file, run or checkpoint.
        init_from: Option<PathBuf>,
    },
    /// Go on from the last checkpoint.
    Resume,
}

/// What a training command was asked for.
#[derive(Clone, Debug)]
pub struct Request<C> {
    /// The resolved configuration.
    pub config: C,
    /// The same as the text of `config.toml`.
    pub config_text: String,
    /// The run's folder.
    pub out: PathBuf,
    /// What `--out` has to name for `--resume` to go on: the run's folder, or one of several runs.
    pub resume_out: PathBuf,
    /// Where the weights come from.
    pub begin: Begin,
    /// No progress on stderr.
    pub quiet: bool,
}

/// The schedule of a run, and the figures that messages name.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Passes over the training data.
    pub epochs: u64,
    /// Steps of an epoch; every epoch has as many.
    pub steps_per_epoch: u64,
    /// Steps after which training ends, whatever the epoch.
    pub max_steps: Option<u64>,
    /// Steps between two step records.
    pub log_every: u64,
    /// Steps between two checkpoints within an epoch.
    pub checkpoint_every: Option<u64>,
    /// Adam's step size.
    pub learning_rate: f64,
    /// Largest gradient norm that is not scaled down.
    pub clip_norm: f64,
    /// Seed of every random stream.
    pub seed: u64,
    /// Random streams that are numbered by step, as dropout masks are; the order of the data is
    /// numbered by epoch.
    pub step_streams: &'static [&'static str],
    /// Tokens that weigh one in an epoch's sums. Where all steps have as many tokens, this is their
    /// number, and the sums are those of the steps.
    pub unit: f64,
}

/// The weights and moments that a run starts from.
#[derive(Clone, Debug)]
pub enum Weights {
    /// Initial values.
    Fresh,
    /// The weights of a file, with a fresh optimizer.
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

    /// Puts saved moments into an optimizer.
    ///
    /// # Errors
    /// If a moment is missing or has another shape.
    pub fn restore(&self, adam: &mut Adam, layout: &Layout) -> Result<()> {
        match self {
            Weights::Saved {
                moments, adam_step, ..
            } => import_adam(adam, layout, moments, *adam_step),
            _ => Ok(()),
        }
    }
}

/// What a job is made of.
#[derive(Debug)]
pub struct Parts<'a, J: Job> {
    /// The resolved configuration.
    pub config: &'a J::Config,
    /// The data as it was read.
    pub source: J::Source,
    /// The vocabulary of the run that goes on or that lends its weights.
    pub vocab: Option<J::Vocab>,
    /// What the run starts from.
    pub weights: Weights,
    /// The device.
    pub chosen: &'a Chosen,
    /// The loss scale, in mixed precision.
    pub scaler: Option<LossScaler>,
    /// Where to tell of the model's size.
    pub progress: &'a Progress,
}

/// Mean figures over the validation data.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Valid {
    /// Loss in nats a token.
    pub loss: f64,
    /// Share of tokens predicted right.
    pub accuracy: f64,
}

/// A text that an epoch leaves beside the curves.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Name of its file in `samples/`.
    pub file: String,
    /// What the file holds.
    pub text: String,
}

/// A model in training: its data, its step and its words. A session does the rest.
pub trait Job: Sized {
    /// What `state.json` calls it, and the second half of the command's name.
    const PROGRAM: &'static str;

    /// The configuration.
    type Config: Config;
    /// The data as it was read.
    type Source;
    /// The vocabulary.
    type Vocab;

    // ---- starting ----------------------------------------------------------------------------

    /// SHA-256 of the data.
    fn sha256(source: &Self::Source) -> &str;

    /// Says that the data is not the run's, and what to do but start a new run.
    fn foreign(source: &Self::Source) -> String;

    /// The vocabulary in a run's folder.
    ///
    /// # Errors
    /// If it is missing, damaged, or of another kind of model.
    fn read_vocab(folder: &RunFolder) -> Result<Self::Vocab>;

    /// Makes data, model and optimizer, on their device, and tells of their sizes.
    ///
    /// # Errors
    /// If the data does not suffice, the weights are another model's, or the device fails.
    fn make(parts: Parts<Self>) -> Result<Self>;

    /// The text of `vocab.json`.
    fn vocab_text(&self) -> String;

    /// The schedule.
    fn plan(&self) -> Plan;

    // ---- training ----------------------------------------------------------------------------

    /// Prepares the epoch that `state` stands in, or the rest of it.
    ///
    /// # Errors
    /// If the device fails.
    fn begin_epoch(&mut self, state: &TrainState) -> Result<()>;

    /// Trains the next steps of the epoch, at least one and at most `n`.
    ///
    /// # Errors
    /// If the device fails.
    fn train(&mut self, state: &TrainState, n: u64) -> Result<Vec<Scores>>;

    /// A line for the log, told once.
    fn news(&mut self) -> Option<String> {
        None
    }

    /// Scores the validation data; none if there is none.
    ///
    /// # Errors
    /// If the device fails.
    fn validate(&self) -> Result<Option<Valid>>;

    /// The weights under torch's names.
    ///
    /// # Errors
    /// If the device fails.
    fn weights(&self) -> Result<TensorFile>;

    /// The optimizer's moments under the parameters' names.
    ///
    /// # Errors
    /// If the device fails.
    fn moments(&self) -> Result<TensorFile>;

    /// Something to look at of the model after `epoch` epochs. Weights that it cannot be made of
    /// are no reason to stop training: the inner error becomes a note.
    ///
    /// # Errors
    /// If the device fails.
    fn sample(&self, epoch: u64) -> Result<Result<Sample>>;
}
