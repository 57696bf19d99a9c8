//! Writing, and decoding as a test does it.

use super::{kinds, sizes};
use crate::data::split::Split;
use crate::data::syntax::{GrammarChoice, Syntax};
use crate::error::Result;
use crate::programs::orders::{BenchOrder, BenchResult, figures};
use crate::programs::seq2seq::config::Seq2SeqConfig;
use crate::programs::seq2seq::data::Example;
use crate::programs::seq2seq::decode::{DecodeOptions, SourceIds, decode};
use crate::programs::seq2seq::score::{ROWS, decode_by_length};
use crate::programs::seq2seq::train::Seq2SeqJob;
use crate::train::job::Job;
use crate::train::model::Model;
use crate::train::timing::Times;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Pairs whose decoding is timed, where there are as many.
const PAIRS: usize = 1000;

/// Times greedy writing of one model, or of all: a batch of test sources, with initial weights, which
/// write up to max-target tokens each.
///
/// # Errors
/// As [`steps`](super::steps).
pub fn writing(order: &BenchOrder) -> Result<BenchResult> {
    let mut config: Seq2SeqConfig = order.config()?;
    let splits = Arc::new(config.splits()?);
    let data = Seq2SeqJob::data(&config, &splits, None)?;
    let pairs = data.examples(Split::Test);
    config.batch_size = config.batch_size.min(pairs.len()).max(1);
    let pairs = pairs.iter().take(config.batch_size);
    let sources: Vec<SourceIds> = pairs.map(SourceIds::from).collect();
    let options = DecodeOptions::greedy(config.max_target);
    let (mut lines, mut models) = (Vec::new(), Map::new());
    for kind in kinds(order, &config) {
        config.model = kind;
        let mut model = Seq2SeqJob::model(&config, &data);
        if let Some(gpu) = &order.chosen.gpu {
            model.params_mut().to_gpu(gpu, order.chosen.mixed)?;
        }
        let mut tokens = 0;
        let times = Times::measure(order.seconds, || {
            let outputs = decode(&model, &sources, options)?;
            tokens = outputs.iter().map(|output| output.tokens.len()).sum();
            Ok(())
        })?;
        let rate = tokens as f64 / times.median;
        lines.push(format!("{kind} {rate:.0}"));
        let found = figures([
            ("tokens_per_s", json!(rate)),
            ("tokens", json!(tokens)),
            ("ms_per_batch", json!(times.median * 1e3)),
        ]);
        models.insert(kind.to_string(), Value::Object(found));
    }
    let line = format!(
        "target tokens/s, {} sources at a time, {}, greedily: {}",
        sources.len(),
        sizes(&config),
        lines.join(", ")
    );
    let figures = figures([
        ("batch_size", json!(sources.len())),
        ("num_layers", json!(config.layers())),
        ("copy", json!(config.copy)),
        ("max_target", json!(config.max_target)),
        ("device", json!(order.chosen.name)),
        ("models", Value::Object(models)),
    ]);
    Ok(BenchResult::Rate { line, figures })
}

/// Times greedy decoding of 1,000 pairs as a test does it, by one model with initial weights, whose
/// outputs are as long as max-target lets them; and the same under a grammar, where there is one of such
/// tokens: what that takes is what the tokens a second lose.
///
/// # Errors
/// As [`steps`](super::steps).
pub fn decoding(order: &BenchOrder) -> Result<BenchResult> {
    let config: Seq2SeqConfig = order.config()?;
    let data = Seq2SeqJob::data(&config, &Arc::new(config.splits()?), None)?;
    let splits = [Split::Test, Split::Valid, Split::Train];
    let pairs = splits.iter().flat_map(|split| data.examples(*split));
    let pairs: Vec<Example> = pairs.take(PAIRS).cloned().collect();
    let mut model = Seq2SeqJob::model(&config, &data);
    if let Some(gpu) = &order.chosen.gpu {
        model.params_mut().to_gpu(gpu, order.chosen.mixed)?;
    }
    let grammar = match config.grammar {
        GrammarChoice::None if Syntax::check_tokens(config.target_tokens).is_ok() => {
            GrammarChoice::Module
        }
        grammar => grammar,
    };
    let room = ("max-target", config.max_target);
    let syntax = config.syntax(grammar, &data.target, room)?;
    let timed = |syntax: Option<&Syntax>| -> Result<(f64, f64)> {
        let options = DecodeOptions {
            syntax,
            ..DecodeOptions::greedy(config.max_target)
        };
        let mut tokens = 0;
        let times = Times::measure(order.seconds, || {
            let outputs = decode_by_length(&model, &pairs, ROWS, options)?;
            tokens = outputs.iter().map(|output| output.tokens.len()).sum();
            Ok(())
        })?;
        Ok((times.median, tokens as f64 / times.median))
    };
    let (seconds, rate) = timed(None)?;
    let mut line = format!(
        "{} pairs, {}, {}, greedily: {seconds:.2} s, {:.0} pairs/s, {rate:.0} target tokens/s",
        pairs.len(),
        config.model,
        sizes(&config),
        pairs.len() as f64 / seconds
    );
    let mut found = figures([
        ("pairs", json!(pairs.len())),
        ("model", json!(config.model.to_string())),
        ("num_layers", json!(config.layers())),
        ("copy", json!(config.copy)),
        ("max_target", json!(config.max_target)),
        ("seconds", json!(seconds)),
        ("pairs_per_s", json!(pairs.len() as f64 / seconds)),
        ("tokens_per_s", json!(rate)),
    ]);
    if let Some(syntax) = &syntax {
        let (seconds, grammar_rate) = timed(Some(syntax))?;
        let share = 1.0 - grammar_rate / rate;
        line += &format!(
            "; grammar {grammar}: {seconds:.2} s, {grammar_rate:.0} target tokens/s, {:.1} % of its time",
            100.0 * share
        );
        found.extend(figures([
            ("grammar", json!(grammar.to_string())),
            ("grammar_tokens_per_s", json!(grammar_rate)),
            ("grammar_share", json!(share)),
        ]));
    }
    Ok(BenchResult::Rate {
        line,
        figures: found,
    })
}
