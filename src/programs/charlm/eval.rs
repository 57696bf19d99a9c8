//! `rnnx eval` of a character LM.

use super::config::CharLmConfig;
use super::data::CharSource;
use super::score::{Score, Scorer};
use super::train::{CharLmJob, load, tell, validate};
use crate::data::chars::CharVocab;
use crate::data::encoding::Encoded;
use crate::data::input::read_all;
use crate::data::split::Split;
use crate::data::vocab::Vocab;
use crate::error::{Error, Result};
use crate::files::state::TrainState;
use crate::programs::orders::{EvalOrder, Evaluated, figures};
use crate::ranks::Ranks;
use crate::train::config_file::trained;
use crate::train::job::Job;
use crate::train::places::find;
use crate::train::progress::thousands;
use crate::train::scores::Means;
use serde_json::json;
use std::path::Path;

/// Loss, accuracy, bits per character and perplexity over every window of the validation part,
/// divided and batched as in training, or over a text file.
///
/// # Errors
/// [`Error::Usage`] for what is not for a character LM, [`Error::Data`] for a text that is not the
/// run's, [`Error::Checkpoint`] for weights that cannot be used.
pub fn run(order: &EvalOrder) -> Result<Evaluated> {
    refuse_flags_of_seq2seq(order)?;
    let vocab = Vocab::read_chars(&order.folder)?;
    match &order.text {
        Some(path) => text(order, path, &vocab),
        None => validation(order, vocab),
    }
}

fn validation(order: &EvalOrder, vocab: CharVocab) -> Result<Evaluated> {
    if order.state.is_imported() {
        return Err(Error::Usage(format!(
            "{} was imported and has no text of its own: give one with --text FILE",
            order.folder.path().display()
        )));
    }
    let config = config(order)?;
    let source = source(order, &config)?;
    tell(&source, &order.progress);
    check_text(&source, &order.state)?;
    let data = CharLmJob::data(&config, &source, Some(vocab))?;
    let model = order.model::<CharLmJob>(&config, &data)?;
    let Some(means) = validate(&model, &data, config.batch_size, &Ranks::alone())? else {
        return Err(Error::Data(format!(
            "{}: the run has no validation part (valid-fraction = 0): there is no text to score \
             that it was not trained on. Train with a valid-fraction above 0, or give a text with \
             --text",
            order.folder.config_path().display()
        )));
    };
    let characters = data.split.valid_windows * config.seq_length;
    evaluated(order, ("valid", "the validation part"), characters, means)
}

/// A text file, the state carried along all of it.
fn text(order: &EvalOrder, path: &Path, vocab: &CharVocab) -> Result<Evaluated> {
    let name = path.display().to_string();
    let bytes = read_all(path)?;
    let read = Encoded::of_bytes(&bytes, &format!("--text {name}"), vocab, order.oov)?;
    for note in read.notes(&name) {
        order.progress.line(&note);
    }
    let mut scorer = Scorer::open((&order.folder, &order.checkpoint), vocab, &order.chosen)?;
    let score = Score::of(&mut scorer, &read.ids, |_, _| Ok(true))?;
    let means = Means {
        loss: score.loss(),
        accuracy: score.correct as f64 / score.characters as f64,
    };
    evaluated(order, (&name, &name), score.characters, means)
}

/// The figures of a part of the text, which programs call `split` and people `part`.
fn evaluated(
    order: &EvalOrder,
    (split, part): (&str, &str),
    characters: usize,
    means: Means,
) -> Result<Evaluated> {
    let Means { loss, accuracy } = means;
    order.check_finite(loss)?;
    order.progress.line(&format!(
        "{}, step {}: {} characters of {part}",
        order.checkpoint.display(),
        order.state.step,
        thousands(characters as f64)
    ));
    let (bits, perplexity) = (loss / std::f64::consts::LN_2, loss.exp());
    Ok(Evaluated {
        figures: figures([
            ("checkpoint", json!(order.checkpoint.display().to_string())),
            ("step", json!(order.state.step)),
            ("split", json!(split)),
            ("characters", json!(characters)),
            ("loss", json!(loss)),
            ("accuracy", json!(accuracy)),
            ("bits_per_char", json!(bits)),
            ("perplexity", json!(perplexity)),
        ]),
        table: format!(
            "loss           {loss:.4} nats a character\n\
             bits_per_char  {bits:.4}\n\
             perplexity     {perplexity:.4}\n\
             accuracy       {accuracy:.4}\n"
        ),
    })
}

fn refuse_flags_of_seq2seq(order: &EvalOrder) -> Result<()> {
    if order.split == Some(Split::Test) {
        return Err(Error::Usage(
            "--split test: a character LM has no test split, its text is divided into training \
             and validation alone: use --split valid, or leave the flag out"
                .into(),
        ));
    }
    let flags = [
        ("--predictions", order.predictions.is_some()),
        ("--pairs", order.pairs.is_some()),
        ("--beam", order.beam.is_some()),
        ("--length-penalty", order.length_penalty.is_some()),
        ("--grammar", order.grammar.is_some()),
        ("--no-unk", order.no_unk),
        ("--strict", order.strict),
    ];
    match flags.iter().find(|(_, given)| *given) {
        Some((flag, _)) => Err(Error::Usage(format!(
            "{flag}: a character LM predicts no pairs, this flag is for a seq2seq run; `rnnx \
             generate` writes text"
        ))),
        None => Ok(()),
    }
}

/// The run's configuration, with what the flags replace.
fn config(order: &EvalOrder) -> Result<CharLmConfig> {
    let mut config: CharLmConfig = trained(&order.folder, &order.checkpoint)?;
    if !order.corpus.is_empty() {
        config.corpus = order.corpus.clone();
    }
    if let Some(n) = order.batch_size {
        config.batch_size = n;
    }
    Ok(config)
}

/// The run's text, wherever it is now, or the one that the flags name.
fn source(order: &EvalOrder, config: &CharLmConfig) -> Result<CharSource> {
    if !order.corpus.is_empty() {
        return load(config);
    }
    let run = (&order.folder, &*order.state.data_sha256);
    let help = "restore it, or give its new place as corpus";
    find(run, config, help, load, |source| &source.sha256)
}

/// Another text would be divided elsewhere, and so be scored on what the model was trained on.
fn check_text(source: &CharSource, state: &TrainState) -> Result<()> {
    if source.sha256 == state.data_sha256 {
        return Ok(());
    }
    let foreign = source.foreign();
    Err(Error::Data(format!(
        "{foreign}, or give the right one as corpus"
    )))
}
