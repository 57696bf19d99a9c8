//! What a training session asks of the model that it trains.

use super::device::Check;
use super::model::Model;
use super::places::Origin;
use super::scores::{Means, Scores};
use super::settings::Config;
use super::span::Span;
use super::step::Step;
use crate::data::vocab::Vocab;
use crate::error::Result;
use crate::files::state::TrainState;
use crate::files::tensors::TensorFile;
use crate::nn::Layout;
use crate::optim::{Clip, Schedule};
use crate::ranks::Ranks;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a run's weights come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Begin {
    /// A new run; with `force` in place of an old one.
    New {
        /// Replace an existing run.
        force: bool,
        /// Take weights from elsewhere.
        init_from: Option<InitFrom>,
    },
    /// Go on from the last checkpoint.
    Resume,
}

/// Where a new run takes its weights from.
#[derive(Clone, Debug, PartialEq)]
pub struct InitFrom {
    /// A safetensors file, a checkpoint's folder or a run's folder.
    pub path: PathBuf,
    /// The file of its vocabulary; the one beside it unless given.
    pub vocab: Option<PathBuf>,
    /// Give tokens of the data that it lacks initial values.
    pub extend_vocab: bool,
}

/// Draws the page of the run in a folder, which trains on if the second says so.
pub type Draw = fn(&Path, bool) -> Result<()>;

/// What a training command was asked for.
#[derive(Clone, Debug)]
pub struct Request<C> {
    /// The resolved configuration.
    pub config: C,
    /// Where its relative paths begin.
    pub origin: Origin,
    /// The run's folder.
    pub out: PathBuf,
    /// What `--out` has to name for `--resume` to go on: the run's folder, or one of several runs.
    pub resume_out: PathBuf,
    /// Runs of `resume_out` that the same command has trained before.
    pub trained: usize,
    /// Where the weights come from.
    pub begin: Begin,
    /// A run that goes on may do so with other settings, where they can change on the way.
    pub change: bool,
    /// No progress on stderr.
    pub quiet: bool,
    /// What a GPU has to pass before it is used.
    pub check: Check,
    /// What draws its page while it trains.
    pub draw: Draw,
    /// The processes that train it.
    pub ranks: Arc<Ranks>,
}

impl<C> Request<C> {
    /// What is said where the user interrupts before anything is trained.
    pub fn nothing_lost(&self) -> String {
        let (out, all) = (self.out.display(), self.resume_out.display());
        match (&self.begin, self.trained) {
            (Begin::New { .. }, 0) => {
                format!("interrupted before {out} began to train: nothing was written")
            }
            _ => format!(
                "interrupted before {out} began to train; everything is saved: go on with --resume \
                 --out {all}"
            ),
        }
    }
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
    /// Most recent checkpoints that are kept.
    pub keep: usize,
    /// Checkpoints that are averaged when training ends.
    pub average: Option<usize>,
    /// Steps between two validations within an epoch.
    pub eval_every: Option<u64>,
    /// Validations that are no better than the best, one after the other, that end the run.
    pub patience: Option<u64>,
    /// Time after which this process ends the run.
    pub max_time: Option<Span>,
    /// The learning rate of each step.
    pub schedule: Schedule,
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

impl Plan {
    /// Steps of the whole run.
    pub fn steps(&self) -> u64 {
        let all = self.epochs.saturating_mul(self.steps_per_epoch);
        self.max_steps.map_or(all, |n| all.min(n))
    }

    /// The counter of every random stream of a run that stands at `state`. One that is numbered by step
    /// counts steps of the optimizer; where a step has several batches, `accumulate`, its next number is
    /// so many times as large.
    pub fn streams(&self, state: &TrainState) -> BTreeMap<String, u64> {
        let by_step = self.step_streams.iter().map(|&name| (name, state.step));
        by_step
            .chain([("shuffle", state.epoch)])
            .map(|(name, n)| (name.to_owned(), n))
            .collect()
    }
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
    /// The unit of its speed, everywhere that it is told: a plural and `/s`.
    const SPEED: &'static str;
    /// The settings that lower the memory of a step.
    const MEMORY_SETTINGS: &'static str;
    /// The tensors that have a row for each token, for each list of the vocabulary.
    const TOKEN_ROWS: &'static [&'static [&'static str]];
    /// How the data can do with fewer tokens.
    const FEWER_TOKENS: &'static str;

    /// The configuration.
    type Config: Config;
    /// The data as it was read.
    type Source;
    /// The vocabulary.
    type Vocab;
    /// The data as the model takes it.
    type Data;
    /// The model.
    type Model: Model;

    // ---- starting ----------------------------------------------------------------------------

    /// SHA-256 of the data.
    fn sha256(source: &Self::Source) -> &str;

    /// Says that the data is not the run's, and what to do but start a new run.
    fn foreign(source: &Self::Source) -> String;

    /// The vocabulary that the file `path` holds.
    ///
    /// # Errors
    /// If it is damaged, or of another kind of model.
    fn vocab(file: Vocab, path: &Path) -> Result<Self::Vocab>;

    /// The tokens that the data wants to have rows of their own, split as `vocab` says.
    ///
    /// # Errors
    /// If the data does not suffice, or is to be split in another way.
    fn tokens(config: &Self::Config, source: &Self::Source, vocab: &Vocab) -> Result<Vocab>;

    /// Makes the data, with the vocabulary of a saved model or of the data itself.
    ///
    /// # Errors
    /// If the data does not suffice.
    fn data(
        config: &Self::Config,
        source: &Self::Source,
        vocab: Option<Self::Vocab>,
    ) -> Result<Self::Data>;

    /// Bytes of a training step in f32.
    fn step_bytes(config: &Self::Config, data: &Self::Data) -> u128;

    /// The parameters of the model, without their values.
    fn layout(config: &Self::Config, data: &Self::Data) -> Layout;

    /// A model with initial values.
    fn model(config: &Self::Config, data: &Self::Data) -> Self::Model;

    /// Gradient clipping.
    fn clip(config: &Self::Config) -> Clip;

    /// What the log says of data, model and epochs.
    fn describe(config: &Self::Config, data: &Self::Data, parameters: usize) -> String;

    /// Joins the parts.
    ///
    /// # Errors
    /// If the device fails or has not enough memory.
    fn new(config: Self::Config, data: Self::Data, step: Step<Self::Model>) -> Result<Self>;

    /// The model and its optimizer.
    fn step(&self) -> &Step<Self::Model>;

    /// The text of `vocab.json`.
    fn vocab_text(&self) -> String;

    /// Data that came on standard input, so that they are in no file: the run's folder keeps them.
    fn only_copy(&self) -> Option<&[u8]> {
        None
    }

    /// The schedule.
    fn plan(&self) -> Plan;

    // ---- training ----------------------------------------------------------------------------

    /// Prepares the epoch that `state` stands in, or the rest of it.
    ///
    /// # Errors
    /// If the device fails.
    fn begin_epoch(&mut self, state: &TrainState) -> Result<()>;

    /// Trains the next steps of the epoch, at least one, with the learning rates of as many as there
    /// may be; where ranks train by themselves, of as many as there have to be.
    ///
    /// # Errors
    /// If the device fails.
    fn train(&mut self, state: &TrainState, rates: &[f64]) -> Result<Vec<Scores>>;

    /// A line for the log, told once.
    fn news(&mut self) -> Option<String> {
        None
    }

    /// Scores a model, this one or [another](Job::with_weights), on the validation data, which `ranks`
    /// share; none if there is none.
    ///
    /// # Errors
    /// If the device fails, or a rank is lost.
    fn validate(&self, model: &Self::Model, ranks: &Ranks) -> Result<Option<Means>>;

    /// The model with other weights, where this one is.
    ///
    /// # Errors
    /// If the weights do not fit, or the device fails.
    fn with_weights(&self, weights: &TensorFile) -> Result<Self::Model>;

    /// Something to look at of the model after `epoch` epochs. Weights that it cannot be made of
    /// are no reason to stop training: the inner error becomes a note.
    ///
    /// # Errors
    /// If the device fails.
    fn sample(&self, epoch: u64) -> Result<Result<Sample>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupted_start_says_what_there_is_to_go_on_with() {
        let message = |begin, trained| {
            let request = Request {
                config: (),
                origin: Origin::here("runs/lstm".as_ref()).unwrap(),
                out: "runs/lstm".into(),
                resume_out: "runs".into(),
                trained,
                begin,
                change: false,
                quiet: false,
                check: |_| Ok(()),
                draw: |_, _| Ok(()),
                ranks: Ranks::alone(),
            };
            request.nothing_lost()
        };
        let new = || Begin::New {
            force: false,
            init_from: None,
        };
        let first = message(new(), 0);
        assert!(first.ends_with("before runs/lstm began to train: nothing was written"));
        for later in [message(new(), 1), message(Begin::Resume, 0)] {
            assert!(later.ends_with("everything is saved: go on with --resume --out runs"));
        }
    }
}
