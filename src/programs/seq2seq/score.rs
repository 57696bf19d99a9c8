//! The figures of a seq2seq model on a split: loss, and the scores of what it writes.

use crate::data::python;
use crate::data::split::Split;
use crate::data::tokens::{self, TokenizerKind, key};
use crate::data::words::{SPECIALS, UNK};
use crate::error::Result;
use crate::eval::scores::{Compared, TextScores};
use crate::programs::seq2seq::data::{Example, SeqData};
use crate::programs::seq2seq::decode::{DecodeOptions, Hypothesis, SourceIds, decode};
use crate::programs::seq2seq::language::TargetLanguage;
use crate::programs::seq2seq::model::Seq2Seq;
use crate::ranks::Ranks;
use crate::train::scores::Means;
use crate::train::step::score;
use serde_json::{Map, Value, json};
use std::time::Instant;

/// Loss and accuracy over every pair of a split, teacher forced and without dropout, so many pairs at a
/// time, which `ranks` share; none if it is empty.
///
/// # Errors
/// If the device fails, or a rank is lost.
pub fn forced(
    model: &Seq2Seq,
    data: &SeqData,
    (split, batch): (Split, usize),
    ranks: &Ranks,
) -> Result<Option<Means>> {
    Means::over(ranks, data.batches(split, batch), |pairs| {
        score(model, &model.inputs(&data.batch(split, &pairs)?)?)
    })
}

/// Hypotheses written at a time, unless asked otherwise: those that have ended leave the batch, and
/// enough go on that the weights are not read for a few.
pub const ROWS: usize = 512;

/// What a model writes for a split.
#[derive(Clone, Debug)]
pub struct Written {
    /// An output for each pair.
    pub outputs: Vec<Output>,
    /// Their scores.
    pub scores: TextScores,
    /// Share of their tokens that were copied, of a model that copies.
    pub copied_rate: Option<f64>,
    /// Time it took to write them.
    pub seconds: f64,
}

/// What a model writes for one pair.
#[derive(Clone, Debug)]
pub struct Output {
    /// The tokens.
    pub tokens: Vec<String>,
    /// Their text.
    pub text: String,
    /// As decoded.
    pub hypothesis: Hypothesis,
}

/// Writes the outputs of a split, `rows` hypotheses at a time, but a pair at least. They are asked
/// to parse if they are Python.
///
/// # Errors
/// If the device fails.
pub fn write(
    model: &Seq2Seq,
    data: &SeqData,
    split: Split,
    rows: usize,
    (options, language): (DecodeOptions, TargetLanguage),
) -> Result<Written> {
    let began = Instant::now();
    let examples = data.examples(split);
    let mut outputs = Vec::with_capacity(examples.len());
    // The published setup asks for whole statements.
    let published = data.tokenizers.target.kind() == TokenizerKind::Whitespace;
    let parses: fn(&str) -> bool = match published && options.syntax.is_none() {
        true => python::parses,
        false => python::parses_as_line,
    };
    let parses = language.is_python().then_some(parses);
    let mut scores = TextScores::new(parses, SPECIALS[UNK as usize]);
    let hypotheses = decode_by_length(model, examples, rows, options)?;
    for (hypothesis, example) in hypotheses.into_iter().zip(examples) {
        let tokens = example.tokens(&data.target, &hypothesis.tokens);
        let text = data.tokenizers.target.join(&tokens);
        scores.add(
            example.source.len(),
            &compare(data, example, (&tokens, &text), language.is_python()),
        );
        outputs.push(Output {
            tokens,
            text,
            hypothesis,
        });
    }
    Ok(Written {
        copied_rate: copied_rate(&outputs),
        outputs,
        scores,
        seconds: began.elapsed().as_secs_f64(),
    })
}

/// Decodes pairs, `rows` hypotheses at a time, but a pair at least. Sources of like length are decoded
/// together, as their outputs mostly are, too: few rows wait for the longest. The outputs stand in the order of
/// the pairs.
///
/// # Errors
/// As [`decode`].
pub fn decode_by_length(
    model: &Seq2Seq,
    examples: &[Example],
    rows: usize,
    options: DecodeOptions,
) -> Result<Vec<Hypothesis>> {
    let mut order: Vec<usize> = (0..examples.len()).collect();
    order.sort_by_key(|&i| examples[i].source_ids.len());
    // Each hypothesis of a beam takes the memory of a pair.
    let width = options.search.width().max(1);
    let mut found: Vec<(usize, Hypothesis)> = Vec::with_capacity(examples.len());
    for numbers in order.chunks((rows / width).max(1)) {
        let sources: Vec<SourceIds> = numbers.iter().map(|&i| (&examples[i]).into()).collect();
        let outputs = decode(model, &sources, options)?;
        found.extend(numbers.iter().copied().zip(outputs));
    }
    found.sort_by_key(|(number, _)| *number);
    Ok(found.into_iter().map(|(_, output)| output).collect())
}

/// A prediction, as tokens and text, beside its reference.
///
/// Tokens that white space separates are compared as published: the prediction is right if it is the
/// reference's first `max-target` tokens. With all other tokenizers it is right if it is the whole code:
/// has Python's tokens of it, or, of targets that are text, its tokens. Of Python's tokens strings are
/// compared without the white space in them (see [`key`]): a description has that spaced out.
fn compare<'a>(
    data: &SeqData,
    example: &'a Example,
    (tokens, text): (&'a [String], &'a str),
    is_python: bool,
) -> Compared<'a> {
    let tokenizer = &data.tokenizers.target;
    let python = is_python.then(|| {
        let keys = |code: &str| {
            tokens::python::split(code)
                .iter()
                .map(|t| key(t).into())
                .collect()
        };
        [keys(&example.code), keys(text)]
    });
    let exact = match (tokenizer.kind(), &python) {
        (TokenizerKind::Whitespace, _) => example.target == tokens,
        (_, Some([code, text])) => code == text,
        (_, None) => tokenizer.whole(&tokenizer.split(&example.code)) == tokenizer.whole(tokens),
    };
    Compared {
        reference: &example.target,
        prediction: tokens,
        reference_text: tokenizer.join(&example.target),
        whole: &example.code,
        text,
        exact,
        same_tree: python.is_some() && python::same_tree(&example.code, text),
        python,
    }
}

/// Copied tokens of all tokens; none of a model that does not copy, or writes nothing.
fn copied_rate(outputs: &[Output]) -> Option<f64> {
    let copied = outputs.iter().filter_map(|o| o.hypothesis.copied.as_ref());
    let (mut from_source, mut all) = (0usize, 0usize);
    for tokens in copied {
        from_source += tokens.iter().flatten().count();
        all += tokens.len();
    }
    (all > 0).then(|| from_source as f64 / all as f64)
}

/// Digits of an attention weight behind the point, in files. A row of 30 then sums to 1 within
/// 1.5e-5.
const DIGITS: i32 = 6;

/// One prediction as a line of JSON; its attention weights for a model that attends, and the source
/// position of each token that was copied for one that copies.
pub fn prediction(example: &Example, output: &Output) -> Value {
    let mut object = json!({
        "docstring": example.docstring,
        "source": example.source,
        "reference": example.target,
        "prediction": output.tokens,
        "code": output.text,
    });
    if let Some(map) = object.as_object_mut() {
        seen(map, &output.hypothesis);
    }
    object
}

/// Adds what the tokens of an output were read from, as far as the model says it: `copied`, a source
/// position or null for each token, and `attention`.
pub fn seen(object: &mut Map<String, Value>, output: &Hypothesis) {
    if let Some(copied) = &output.copied {
        object.insert("copied".into(), json!(copied));
    }
    if let Some(attention) = &output.attention {
        object.insert("attention".into(), rounded(attention));
    }
}

/// Attention weights as they stand in files.
fn rounded(weights: &[Vec<f32>]) -> Value {
    let unit = 10f64.powi(DIGITS);
    let round = |&x: &f32| (f64::from(x) * unit).round() / unit;
    let rows = weights
        .iter()
        .map(|row| row.iter().map(round).collect::<Vec<_>>());
    json!(rows.collect::<Vec<_>>())
}

/// All figures under the names that `rnnx eval --json` prints.
pub fn figures(forced: Option<Means>, written: &Written) -> Map<String, Value> {
    let mut figures = Map::new();
    figures.insert("loss".into(), json!(forced.map(|f| f.loss)));
    figures.insert("accuracy".into(), json!(forced.map(|f| f.accuracy)));
    if let Value::Object(scores) = json!(written.scores.figures()) {
        figures.extend(scores);
    }
    if let Some(rate) = written.copied_rate {
        figures.insert("copied_rate".into(), json!(rate));
    }
    figures.insert("decode_seconds".into(), json!(written.seconds));
    figures
}
