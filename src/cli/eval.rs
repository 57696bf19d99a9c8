//! `rnnx eval RUN`: a trained model's figures on one part of its data.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde_json::Value;

use super::args::{DeviceArgs, Oov};
use super::flags::{between, real, size, words};
use super::process::{emit, tell_news};
use super::translate_args::MAX_BEAM;
use crate::Result;
use crate::data::split::Split;
use crate::data::syntax::GrammarChoice;
use crate::files::run::{RunFolder, STATE};
use crate::files::state::TrainState;
use crate::programs;
use crate::programs::orders::EvalOrder;
use crate::train::device::Chosen;
use crate::train::device::DeviceChoice;
use crate::train::progress::Progress;

/// Arguments of `rnnx eval`.
#[derive(Args, Clone, Debug)]
pub struct EvalArgs {
    /// The run's folder (its best checkpoint), or one checkpoint's folder
    pub run: PathBuf,
    /// The part of the data [default: valid for a character LM, test for a seq2seq model]
    #[arg(long, value_name = "SPLIT", value_parser = PossibleValuesParser::new(["valid", "test"]).try_map(|name| name.parse::<Split>()))]
    pub split: Option<Split>,
    /// Write the predictions of a seq2seq model to this file, one JSON object a pair
    #[arg(long, value_name = "FILE.jsonl")]
    pub predictions: Option<PathBuf>,
    /// Score these pairs (JSON lines, .csv or .tsv) in place of the seq2seq run's own
    #[arg(long, value_name = "FILE", conflicts_with = "split")]
    pub pairs: Option<PathBuf>,
    /// The field of --pairs that holds the source, or the column's number [default: the run's own]
    #[arg(long, value_name = "FIELD", requires = "pairs")]
    pub source_field: Option<String>,
    /// The field of --pairs that holds the target, or the column's number [default: the run's own]
    #[arg(long, value_name = "FIELD", requires = "pairs")]
    pub target_field: Option<String>,
    /// Score a character LM on this text file (.gz and .zst are unpacked, - is standard input) in
    /// place of its validation part, the state carried along all of it from zero as if it followed a
    /// newline
    #[arg(long, value_name = "FILE", conflicts_with_all = ["split", "pairs", "corpus", "batch_size"])]
    pub text: Option<PathBuf>,
    /// What to do with characters of --text that the model does not know
    #[arg(long, value_enum, value_name = "RULE", default_value_t = Oov::Error, requires = "text")]
    pub oov: Oov,
    /// Stop at a pair whose source is empty instead of skipping it
    #[arg(long)]
    pub strict: bool,
    /// Hypotheses kept at each step when a seq2seq model writes [default: the run's own]
    #[arg(long, value_name = "N", value_parser = between(1, MAX_BEAM), allow_hyphen_values = true)]
    pub beam: Option<u64>,
    /// The power of an output's length that a beam divides its log-probability by [default: the
    /// run's own]
    #[arg(long, value_name = "X", value_parser = real("length-penalty"), allow_hyphen_values = true)]
    pub length_penalty: Option<f64>,
    /// Hold what a seq2seq model writes to Python's grammar [default: the run's own]
    #[arg(long, value_name = "START", value_parser = words("grammar").try_map(|name| name.parse::<GrammarChoice>()))]
    pub grammar: Option<GrammarChoice>,
    /// Never write <UNK>
    #[arg(long)]
    pub no_unk: bool,
    /// Where a character LM's corpus is now, if it has moved; takes several paths
    #[arg(long, value_name = "PATH", num_args = 1..)]
    pub corpus: Vec<PathBuf>,
    /// Windows or pairs scored at a time [default: the run's own]
    #[arg(long, value_name = "N", value_parser = size("batch-size"), allow_hyphen_values = true)]
    pub batch_size: Option<usize>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// No notes on standard error
    #[arg(long, short)]
    pub quiet: bool,
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// Scores the model of a run's best checkpoint, or of the checkpoint that is named.
///
/// # Errors
/// [`Error::Checkpoint`](crate::Error::Checkpoint) for a run or checkpoint that cannot be read,
/// [`Error::Usage`](crate::Error::Usage) for flags that do not go with its kind of model,
/// [`Error::Data`](crate::Error::Data) for data that is not the run's;
/// [`Error::Device`](crate::Error::Device).
pub fn run(args: &EvalArgs) -> Result<()> {
    let (folder, checkpoint) = RunFolder::find(&args.run)?;
    let program = programs::trained(&folder)?;
    let path = checkpoint.join(STATE);
    let state = TrainState::load(&path)?;
    state.require_program(&path, program.kind())?;
    let chosen = choose(args, &state)?;
    let progress = Progress::new(args.quiet);
    progress.line(&chosen.line());
    let gpu = chosen.gpu.clone();
    let evaluated = program.eval(&EvalOrder {
        folder,
        checkpoint,
        state,
        chosen,
        split: args.split,
        batch_size: args.batch_size,
        corpus: args.corpus.clone(),
        text: args.text.clone(),
        oov: args.oov,
        pairs: args.pairs.clone(),
        source_field: args.source_field.clone(),
        target_field: args.target_field.clone(),
        strict: args.strict,
        beam: args.beam.map(|n| n as usize),
        length_penalty: args.length_penalty,
        grammar: args.grammar,
        no_unk: args.no_unk,
        predictions: args.predictions.clone(),
        progress: progress.clone(),
    })?;
    tell_news(gpu.as_ref(), &progress);
    emit(&match args.json {
        true => format!("{:#}\n", Value::Object(evaluated.figures)),
        false => evaluated.table,
    })
}

/// The device, and the precision that the model was trained in unless another is asked for: only
/// then is the loss the one that training recorded.
fn choose(args: &EvalArgs, state: &TrainState) -> Result<Chosen> {
    let mut chosen = args.device.settle(DeviceChoice::Auto)?;
    let asked = args.device.precision.as_deref().filter(|p| *p != "auto");
    if chosen.gpu.is_some() && asked.is_none() {
        chosen.mixed = state.loss_scaler.is_some();
    }
    Ok(chosen)
}
