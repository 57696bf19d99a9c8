//! `rnnx eval RUN`: a trained model's figures on one part of its data.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::json;

use super::args::DeviceArgs;
use super::translate::MAX_BEAM;
use super::values::{between, key_size};
use super::{config_file, emit, eval_seq2seq};
use crate::data::corpus::Corpus;
use crate::data::vocab::Vocab;
use crate::files::run::{MODEL, RunFolder, STATE};
use crate::files::state::{LossScaler, TrainState};
use crate::optim::{Adam, AdamConfig, Clip};
use crate::programs::charlm::config::{CharLmConfig, DeviceChoice};
use crate::programs::charlm::step::{CharLmStep, StepConfig};
use crate::programs::charlm::train as charlm;
use crate::train::device::Chosen;
use crate::train::job::Valid;
use crate::train::progress::{Progress, thousands};
use crate::train::start;
use crate::{Error, Result};

/// Arguments of `rnnx eval`.
#[derive(Args, Clone, Debug)]
pub struct EvalArgs {
    /// The run's folder (its best checkpoint), or one checkpoint's folder
    pub run: PathBuf,
    /// The part of the data [default: valid for a character LM, test for a seq2seq model]
    #[arg(long, value_enum, value_name = "SPLIT")]
    pub split: Option<Split>,
    /// Write the predictions of a seq2seq model to this file, one JSON object a pair
    #[arg(long, value_name = "FILE.jsonl")]
    pub predictions: Option<PathBuf>,
    /// Score these pairs (a JSONL file) in place of the seq2seq run's own
    #[arg(long, value_name = "FILE", conflicts_with = "split")]
    pub pairs: Option<PathBuf>,
    /// Hypotheses kept at each step when a seq2seq model writes [default: the run's own]
    #[arg(long, value_name = "N", value_parser = between(1, MAX_BEAM), allow_hyphen_values = true)]
    pub beam: Option<u64>,
    /// Never write <UNK>
    #[arg(long)]
    pub no_unk: bool,
    /// Where a character LM's corpus is now, if it has moved; may be given several times
    #[arg(long, value_name = "PATH")]
    pub corpus: Vec<PathBuf>,
    /// Windows or pairs scored at a time [default: the run's own]
    #[arg(long, value_name = "N", value_parser = key_size("batch-size"), allow_hyphen_values = true)]
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

/// A part of a run's data that training does not see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Split {
    /// What the best checkpoint was chosen by
    Valid,
    /// What nothing was chosen by
    Test,
}

/// Scores the model of a run's best checkpoint, or of the checkpoint that is named.
///
/// # Errors
/// [`Error::Checkpoint`] for a run or checkpoint that cannot be read, [`Error::Usage`] for flags
/// that do not go with its kind of model, [`Error::Data`] for data that is not the run's;
/// [`Error::Device`].
pub fn run(args: &EvalArgs) -> Result<()> {
    let (folder, checkpoint) = RunFolder::find(&args.run)?;
    match Vocab::read(&folder)? {
        Vocab::Words { .. } => eval_seq2seq::run(args, &checkpoint),
        Vocab::Char { .. } => char_lm(args, &folder, &checkpoint),
    }
}

// ---- character LM --------------------------------------------------------------------------

/// Loss, accuracy, bits per character and perplexity over every window of the validation part,
/// divided and batched as in training.
fn char_lm(args: &EvalArgs, folder: &RunFolder, checkpoint: &Path) -> Result<()> {
    let vocab = Vocab::read_chars(folder)?;
    refuse_flags_of_seq2seq(args)?;
    let progress = Progress::new(args.quiet);
    let path = checkpoint.join(STATE);
    let state = TrainState::load(&path)?;
    state.require_program(&path, "charlm")?;
    let chosen = choose(args, &state)?;
    progress.line(&chosen.line());
    let config = char_lm_config(args, folder)?;
    let corpus = charlm::load_corpus(&config, &progress)?;
    check_text(&corpus, &state)?;
    let data = charlm::make_data(&config, &corpus, Some(vocab), chosen.gpu.is_none())?;
    let step = char_lm_step(&config, data.vocab.len(), &checkpoint.join(MODEL), &chosen)?;
    let Some(Valid { loss, accuracy }) = charlm::validate(&step, &data, &config)? else {
        return Err(Error::Data(format!(
            "{}: the run has no validation part (valid-fraction = 0): there is no text to score \
             that it was not trained on. Train with a --valid-fraction above 0",
            folder.config_path().display()
        )));
    };
    if !loss.is_finite() {
        let message = format!(
            "the loss of these weights is {loss}, not a finite number: their training had \
             diverged. Give an earlier checkpoint's folder"
        );
        return Err(Error::checkpoint(checkpoint.join(MODEL), message));
    }
    let characters = data.split.valid_windows * config.seq_length;
    progress.line(&format!(
        "{}, step {}: {} characters of the validation part",
        checkpoint.display(),
        state.step,
        thousands(characters as f64)
    ));
    let (bits, perplexity) = (loss / std::f64::consts::LN_2, loss.exp());
    emit(&match args.json {
        true => format!(
            "{:#}\n",
            json!({
                "checkpoint": checkpoint.display().to_string(),
                "step": state.step,
                "split": "valid",
                "characters": characters,
                "loss": loss,
                "accuracy": accuracy,
                "bits_per_char": bits,
                "perplexity": perplexity,
            })
        ),
        false => format!(
            "loss           {loss:.4} nats a character\n\
             bits_per_char  {bits:.4}\n\
             perplexity     {perplexity:.4}\n\
             accuracy       {accuracy:.4}\n"
        ),
    })
}

fn refuse_flags_of_seq2seq(args: &EvalArgs) -> Result<()> {
    if args.split == Some(Split::Test) {
        return Err(Error::Usage(
            "--split test: a character LM has no test split, its text is divided into training \
             and validation alone: use --split valid, or leave the flag out"
                .into(),
        ));
    }
    let flags = [
        ("--predictions", args.predictions.is_some()),
        ("--pairs", args.pairs.is_some()),
        ("--beam", args.beam.is_some()),
        ("--no-unk", args.no_unk),
    ];
    match flags.iter().find(|(_, given)| *given) {
        Some((flag, _)) => Err(Error::Usage(format!(
            "{flag}: a character LM predicts no pairs, this flag is for a seq2seq run; `rnnx \
             generate` writes text"
        ))),
        None => Ok(()),
    }
}

/// The device, and the precision that the model was trained in unless another is asked for: only
/// then is the loss the one that training recorded.
pub(super) fn choose(args: &EvalArgs, state: &TrainState) -> Result<Chosen> {
    let mut chosen = args.device.settle(DeviceChoice::Auto)?;
    let asked = args.device.precision.as_deref().filter(|p| *p != "auto");
    if chosen.gpu.is_some() && asked.is_none() {
        chosen.mixed = state.loss_scaler.is_some();
    }
    Ok(chosen)
}

/// The run's configuration, with what the flags replace.
fn char_lm_config(args: &EvalArgs, folder: &RunFolder) -> Result<CharLmConfig> {
    let path = folder.config_path();
    let mut config: CharLmConfig = config_file::read(&path)?;
    if !args.corpus.is_empty() {
        config.corpus = args.corpus.clone();
    } else if let Some(gone) = config.corpus.iter().find(|p| !p.exists()) {
        return Err(Error::Data(format!(
            "{}: the run's corpus {} is not there: restore it, run from the folder that the \
             training ran in, or name its new place with --corpus",
            path.display(),
            gone.display()
        )));
    }
    if let Some(n) = args.batch_size {
        config.batch_size = n;
    }
    Ok(config)
}

/// Another text would be divided elsewhere, and so be scored on what the model was trained on.
fn check_text(corpus: &Corpus, state: &TrainState) -> Result<()> {
    if corpus.report.sha256 == state.data_sha256 {
        return Ok(());
    }
    Err(Error::Data(format!(
        "the text of {} is not the one that the run was trained on (its SHA-256 is another): \
         restore it, or name the right one with --corpus",
        corpus.report.source
    )))
}

/// The model with a checkpoint's weights, on the chosen device.
fn char_lm_step(
    config: &CharLmConfig,
    vocab: usize,
    weights: &Path,
    chosen: &Chosen,
) -> Result<CharLmStep> {
    let mut model = charlm::make_model(config, vocab)?;
    model.import(&start::load_weights(weights)?)?;
    let adam = AdamConfig::keras(config.learning_rate);
    let adam = Adam::new::<f32>(adam, model.params().layout());
    let settings = StepConfig {
        dropout: 0.0,
        l2: 0.0,
        clip: Clip::Off,
        seed: config.seed,
    };
    let step = CharLmStep::new(model, adam, settings);
    match &chosen.gpu {
        Some(gpu) => step.to_gpu(gpu, chosen.mixed.then_some(LossScaler::FIRST)),
        None => Ok(step),
    }
}
