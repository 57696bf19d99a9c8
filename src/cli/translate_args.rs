//! Arguments of `rnnx translate`.

use std::path::PathBuf;

use clap::Args;
use clap::builder::TypedValueParser;

use super::args::{DeviceArgs, SamplingArgs};
use super::flags::{between, real, words};
use crate::data::syntax::GrammarChoice;
use crate::programs::seq2seq::likelihood::MAX_TARGET;

/// The widest beam.
pub const MAX_BEAM: i64 = 1000;

/// Arguments of `rnnx translate`.
#[derive(Args, Clone, Debug)]
#[command(
    mut_arg("device", |device| device.help(DEVICE_HELP)),
    mut_arg("temperature", |arg| arg.requires("sampling")),
    mut_arg("top_k", |arg| arg.requires("sampling")),
    mut_arg("top_p", |arg| arg.requires("sampling")),
    mut_arg("seed", |arg| arg.requires("sampling"))
)]
pub struct TranslateArgs {
    /// The run's folder (its best checkpoint), or one checkpoint's folder
    pub run: PathBuf,
    /// The source, such as a docstring. Without it each line of standard input is one, and where an answer
    /// may take several lines (--n-best, targets with line ends) a blank line follows it
    pub text: Option<String>,
    /// The function's parameters and return type, for a run trained with --source both
    #[arg(long, value_name = "TEXT")]
    pub signature: Option<String>,
    /// Keep the N likeliest hypotheses at each step [default: greedy]
    #[arg(long, value_name = "N", value_parser = between(1, MAX_BEAM), allow_hyphen_values = true)]
    pub beam: Option<u64>,
    /// Write N outputs: the best hypotheses of a beam, the best first, or N samples [default: 1]
    #[arg(long, value_name = "N", value_parser = between(1, MAX_BEAM), allow_hyphen_values = true)]
    pub n_best: Option<u64>,
    /// A beam compares log-probability / length^X: with 1 the mean of the tokens, with 0 the sum, which
    /// favours short outputs [default: the run's own]
    #[arg(long, value_name = "X", value_parser = real("length-penalty"), allow_hyphen_values = true)]
    pub length_penalty: Option<f64>,
    /// Draw each token by its probability instead of searching for the likeliest
    #[arg(long)]
    pub sampling: bool,
    #[command(flatten)]
    pub draws: SamplingArgs,
    /// Write nothing but Python: a module, a statement or a line of one [default: the run's own]
    #[arg(long, value_name = "START", value_parser = words("grammar").try_map(|name| name.parse::<GrammarChoice>()))]
    pub grammar: Option<GrammarChoice>,
    /// Tokens written at most [default: the run's --max-target]
    #[arg(long, value_name = "N", value_parser = between(1, MAX_TARGET as i64), allow_hyphen_values = true)]
    pub max_length: Option<u64>,
    /// Never write <UNK>
    #[arg(long)]
    pub no_unk: bool,
    /// Draw how far each token attends to each of the source (one source, a model with attention)
    #[arg(long, value_name = "FILE.svg")]
    pub attention: Option<PathBuf>,
    /// Print a JSON object for each source
    #[arg(long)]
    pub json: bool,
    /// No notes on standard error
    #[arg(long, short)]
    pub quiet: bool,
    #[command(flatten)]
    pub device: DeviceArgs,
}

const DEVICE_HELP: &str = "auto, cpu, cuda, cuda:N or emulated; auto is the CPU, as sources come one \
                           at a time [default: auto]";
