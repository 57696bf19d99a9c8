//! `rnnx eval` of a seq2seq model: loss, and the scores of what it writes.

use super::emit;
use super::eval::{self, EvalArgs, choose};
use super::trained::Trained;
use crate::data::jsonl::read_jsonl;
use crate::data::pairs::Splits;
use crate::files::atomic::write_atomic;
use crate::files::run::{MODEL, STATE};
use crate::files::state::TrainState;
use crate::programs::seq2seq::data::{SeqData, Split};
use crate::programs::seq2seq::decode::{DecodeOptions, Search};
use crate::programs::seq2seq::score::{Written, figures, forced, prediction, write};
use crate::train::progress::{Progress, thousands};
use crate::{Error, Result};
use serde_json::{Map, Value, json};
use std::path::Path;

/// Scores a checkpoint on the test pairs of its run, on its validation pairs, or on other pairs.
///
/// # Errors
/// As [`eval::run`].
pub(super) fn run(args: &EvalArgs, checkpoint: &Path) -> Result<()> {
    if !args.corpus.is_empty() {
        return Err(Error::Usage(
            "--corpus names the text of a character LM, and this is a seq2seq run: give other \
             pairs with --pairs FILE.jsonl"
                .into(),
        ));
    }
    let progress = Progress::new(args.quiet);
    let path = checkpoint.join(STATE);
    let state = TrainState::load(&path)?;
    state.require_program(&path, "seq2seq")?;
    let chosen = choose(args, &state)?;
    progress.line(&chosen.line());
    let mut trained = Trained::open(checkpoint)?;
    if let Some(gpu) = &chosen.gpu {
        trained.move_to_gpu(gpu, chosen.mixed)?;
    }
    let split = match args.split {
        Some(eval::Split::Valid) => Split::Valid,
        _ => Split::Test,
    };
    let data = data(args, &trained, &state)?;
    let pairs = data.examples(split).len();
    progress.line(&format!(
        "{}, step {}: {} pairs",
        checkpoint.display(),
        state.step,
        thousands(pairs as f64)
    ));
    if let (Some(path), true) = (&args.pairs, data.cut.sources + data.cut.targets > 0) {
        progress.line(&format!(
            "{}: the limits cut {} docstrings to {} tokens and {} functions to {}",
            path.display(),
            thousands(data.cut.sources as f64),
            trained.config.max_source,
            thousands(data.cut.targets as f64),
            trained.config.max_target
        ));
    }
    let batch = args.batch_size.unwrap_or(trained.config.batch_size);
    let beam = args.beam.map_or(trained.config.beam, |n| n as usize);
    let options = DecodeOptions {
        search: match beam {
            1 => Search::Greedy,
            n => Search::Beam(n),
        },
        max_length: trained.config.max_target,
        no_unk: args.no_unk,
    };
    let forced = forced(&trained.model, &data, split, batch)?;
    if let Some(loss) = forced.map(|f| f.loss).filter(|loss| !loss.is_finite()) {
        let message = format!(
            "the loss of these weights is {loss}, not a finite number: their training had \
             diverged. Give an earlier checkpoint's folder"
        );
        return Err(Error::checkpoint(checkpoint.join(MODEL), message));
    }
    let written = write(&trained.model, &data, split, batch, options)?;
    if let Some(path) = &args.predictions {
        write_predictions(path, &data, split, &written)?;
        progress.line(&format!("predictions: {}", path.display()));
    }
    let mut result = Map::new();
    for (key, value) in [
        ("checkpoint", json!(checkpoint.display().to_string())),
        ("step", json!(state.step)),
        ("model", json!(trained.config.model.to_string())),
        ("split", json!(name(args, split))),
        ("beam", json!(beam)),
    ] {
        result.insert(key.into(), value);
    }
    result.extend(figures(forced, &written));
    emit(&match args.json {
        true => format!("{:#}\n", Value::Object(result)),
        false => table(&result),
    })
}

fn name(args: &EvalArgs, split: Split) -> String {
    match (&args.pairs, split) {
        (Some(path), _) => path.display().to_string(),
        (None, Split::Valid) => "valid".into(),
        (None, _) => "test".into(),
    }
}

/// The run's own pairs, which must be those it began with, or other pairs as test split.
fn data(args: &EvalArgs, trained: &Trained, state: &TrainState) -> Result<SeqData> {
    let splits = match &args.pairs {
        Some(path) => {
            let source = path.display().to_string();
            Splits::new(Vec::new(), Vec::new(), read_jsonl(path)?, source)
        }
        None => {
            let config = &trained.config;
            let files = [&config.train, &config.valid, &config.test];
            if let Some(gone) = files.into_iter().flatten().find(|p| !p.exists()) {
                return Err(Error::Data(format!(
                    "{}: no such file, and the run's pairs are needed to see that they are the \
                     same: restore it, run from the folder that the training ran in, or name the \
                     pairs to score with --pairs FILE.jsonl",
                    gone.display()
                )));
            }
            let splits = config.splits()?;
            if splits.sha256 != state.data_sha256 {
                return Err(Error::Data(format!(
                    "the pairs of {} are not those that the run was trained on (their SHA-256 is \
                     another): restore them, or name the ones to score with --pairs FILE.jsonl",
                    splits.source
                )));
            }
            splits
        }
    };
    let (source, target) = (trained.source.clone(), trained.target.clone());
    SeqData::with_vocab(&splits, source, target, trained.config.limits())
}

fn write_predictions(path: &Path, data: &SeqData, split: Split, written: &Written) -> Result<()> {
    write_atomic(path, |w| {
        for (example, output) in data.examples(split).iter().zip(&written.outputs) {
            writeln!(w, "{}", prediction(example, output))?;
        }
        Ok(())
    })
}

/// The figures for people.
fn table(result: &Map<String, Value>) -> String {
    let names = [
        "loss",
        "accuracy",
        "bleu",
        "bleu_smoothed",
        "exact_match",
        "token_accuracy",
        "chrf",
        "parse_rate",
        "reference_parse_rate",
        "unk_rate",
    ];
    let mut text = String::new();
    for name in names {
        let value = match result.get(name).and_then(Value::as_f64) {
            Some(x) => format!("{x:.4}"),
            None => "none".into(),
        };
        text += &format!("{name:<20} {value}\n");
    }
    let counts = result
        .get("ngram_counts")
        .map_or(String::new(), Value::to_string);
    text + &format!("{:<20} {counts}\n", "ngram_counts")
}
