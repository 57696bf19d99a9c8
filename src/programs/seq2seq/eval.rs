//! `rnnx eval` of a seq2seq model: loss, and the scores of what it writes.

use super::config::Seq2SeqConfig;
use super::data::SeqData;
use super::decode::{DecodeOptions, Search};
use super::figures::OF_SOME;
use super::score::{ROWS, Written, figures, forced, prediction, write};
use super::trained::Trained;
use super::unknown;
use crate::data::pairs::Splits;
use crate::data::split::Split;
use crate::error::{Error, Result};
use crate::files::atomic::write_atomic;
use crate::programs::orders::{self, EvalOrder, Evaluated};
use crate::ranks::Ranks;
use crate::train::places::find;
use crate::train::progress::thousands;
use serde_json::{Map, Value, json};
use std::path::Path;

/// Scores a checkpoint on the test pairs of its run, on its validation pairs, or on other pairs.
///
/// # Errors
/// [`Error::Usage`] for what is not for a seq2seq model, [`Error::Data`] for pairs that are not the
/// run's, [`Error::Checkpoint`] for weights that cannot be used.
pub fn run(order: &EvalOrder) -> Result<Evaluated> {
    if !order.corpus.is_empty() {
        return Err(Error::Usage(
            "--corpus names the text of a character LM, and this is a seq2seq run: give other \
             pairs with --pairs FILE.jsonl"
                .into(),
        ));
    }
    if order.text.is_some() {
        return Err(Error::Usage(
            "--text is a text for a character LM, and this is a seq2seq run: give pairs with --pairs \
             FILE.jsonl"
                .into(),
        ));
    }
    let mut trained = Trained::open(&order.checkpoint)?;
    if let Some(gpu) = &order.chosen.gpu {
        trained.move_to_gpu(gpu, order.chosen.mixed)?;
    }
    let (config, model) = (&trained.config, &trained.model);
    let split = order.split.unwrap_or(Split::Test);
    let data = data(order, &trained)?;
    let pairs = data.examples(split).len();
    order.progress.line(&format!(
        "{}, step {}: {} pairs",
        order.checkpoint.display(),
        order.state.step,
        thousands(pairs as f64)
    ));
    if let (Some(path), true) = (&order.pairs, data.cut.sources + data.cut.targets > 0) {
        order.progress.line(&format!(
            "{}: the limits cut {} sources to {} tokens and {} targets to {}",
            path.display(),
            thousands(data.cut.sources as f64),
            config.max_source,
            thousands(data.cut.targets as f64),
            config.max_target
        ));
    }
    let [source, target] = unknown::shares(&data, split).map(|share| 100.0 * share);
    order.progress.line(&format!(
        "unknown tokens: source {source:.1} %, target {target:.1} %"
    ));
    let batch = order.batch_size.unwrap_or(config.batch_size);
    let beam = order.beam.unwrap_or(config.beam);
    let grammar = order.grammar.unwrap_or(config.grammar);
    let syntax = config.syntax(
        grammar,
        &trained.vocab.target,
        ("max-target", config.max_target),
    )?;
    let options = DecodeOptions {
        syntax: syntax.as_ref(),
        search: Search::of_width(beam),
        no_unk: order.no_unk,
        length_penalty: order.length_penalty.unwrap_or(config.length_penalty),
        ..config.decoding()
    };
    let forced = forced(model, &data, (split, batch), &Ranks::alone())?;
    forced.map_or(Ok(()), |f| order.check_finite(f.loss))?;
    let how = (options, config.target_language);
    let rows = order.batch_size.unwrap_or(ROWS);
    let written = write(model, &data, split, rows, how)?;
    if let Some(path) = &order.predictions {
        write_predictions(path, &data, split, &written)?;
        order
            .progress
            .line(&format!("predictions: {}", path.display()));
    }
    let mut result = orders::figures([
        ("checkpoint", json!(order.checkpoint.display().to_string())),
        ("step", json!(order.state.step)),
        ("model", json!(config.model.to_string())),
        ("split", json!(name(order, split))),
        ("beam", json!(beam)),
        ("grammar", json!(grammar.to_string())),
    ]);
    result.extend(figures(forced, &written));
    Ok(Evaluated {
        table: table(&result),
        figures: result,
    })
}

fn name(order: &EvalOrder, split: Split) -> String {
    match &order.pairs {
        Some(path) => path.display().to_string(),
        None => split.to_string(),
    }
}

/// The run's own pairs, which must be those it began with, or other pairs as test split.
fn data(order: &EvalOrder, trained: &Trained) -> Result<SeqData> {
    let config = &trained.config;
    let splits = match &order.pairs {
        Some(path) => {
            let fields = [&order.source_field, &order.target_field].map(Option::as_deref);
            trained.pairs(path, fields, order.strict)?
        }
        None => own(order, config)?,
    };
    if let Some(note) = &splits.skipped {
        order.progress.line(&format!("note: {note}"));
    }
    SeqData::with_vocab(&splits, trained.vocab.clone(), config.limits())
}

/// The run's own pairs, wherever they are now.
fn own(order: &EvalOrder, config: &Seq2SeqConfig) -> Result<Splits> {
    let run = (&order.folder, &*order.state.data_sha256);
    let help = "restore it, or name the pairs to score with --pairs FILE.jsonl";
    let config = Seq2SeqConfig {
        strict: order.strict,
        ..config.clone()
    };
    let splits = find(run, &config, help, Seq2SeqConfig::splits, |s| &s.sha256)?;
    if splits.sha256 == order.state.data_sha256 {
        return Ok(splits);
    }
    Err(Error::Data(format!(
        "the pairs of {} are not those that the run was trained on (their SHA-256 is another): \
         restore them, or name the ones to score with --pairs FILE.jsonl",
        splits.source
    )))
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
        "bleu_python",
        "bleu_sentence",
        "exact_match",
        "token_accuracy",
        "chrf",
        "parse_rate",
        "reference_parse_rate",
        "identifier_f1",
        "tree_match",
        "unk_rate",
        "copied_rate",
    ];
    let mut text = String::new();
    let is_missing = |name: &&str| result.get(*name).is_none_or(Value::is_null);
    let left_out = |name: &&str| OF_SOME.contains(name) && is_missing(name);
    for name in names.into_iter().filter(|name| !left_out(name)) {
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
