//! How likely a seq2seq model holds targets, given their sources.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{Json, ScoreArgs, TOP, choose, figures, row};
use crate::cli::process::{emit, tell_news};
use crate::data::pairs::{Pair, Splits, first_paragraph};
use crate::data::split::Split;
use crate::data::words::WordVocab;
use crate::programs::orders::{self, check_finite};
use crate::programs::seq2seq::data::SeqData;
use crate::programs::seq2seq::likelihood::{Likelihood, MAX_TARGET, Scored};
use crate::programs::seq2seq::tokens::{Limits, SourceText};
use crate::programs::seq2seq::trained::Trained;
use crate::train::progress::{Progress, thousands};
use crate::{Error, Result};

/// A pair takes the CPU some milliseconds.
const ON_THE_CPU: &str = "a pair takes a CPU some milliseconds; on a GPU not measured";

pub(super) fn run(args: &ScoreArgs, checkpoint: &Path) -> Result<()> {
    refuse_text(args)?;
    let chosen = choose(args, ON_THE_CPU)?;
    let mut trained = Trained::open(checkpoint)?;
    let progress = Progress::new(args.quiet);
    let splits = match &args.file {
        Some(path) => {
            let fields = [args.source_field.as_deref(), args.target_field.as_deref()];
            trained.pairs(path, fields, args.strict)?
        }
        None => {
            let name = "the command line".to_owned();
            Splits::new(Vec::new(), Vec::new(), vec![pair(args, &trained)?], name)
        }
    };
    if let Some(note) = &splits.skipped {
        progress.line(&format!("note: {note}"));
    }
    let limits = Limits {
        max_target: MAX_TARGET,
        ..trained.config.limits()
    };
    let data = SeqData::with_vocab(&splits, trained.vocab.clone(), limits)?;
    if data.cut.targets > 0 {
        return Err(Error::Data(format!(
            "{}: {} target(s) have more than {} tokens, which are not scored at once: take them apart",
            splits.source,
            data.cut.targets,
            thousands(MAX_TARGET as f64)
        )));
    }
    if args.device.device.is_some() {
        progress.line(&chosen.line());
    }
    for note in notes(&trained, &data) {
        progress.line(&note);
    }
    if let Some(gpu) = &chosen.gpu {
        trained.move_to_gpu(gpu, chosen.mixed)?;
    }
    match args.json {
        true => print(args, checkpoint, (&trained, &data)),
        false => print_sums(args, checkpoint, (&trained, &data), &progress),
    }?;
    tell_news(chosen.gpu.as_ref(), &progress);
    Ok(())
}

/// Refuses what only a character LM has.
fn refuse_text(args: &ScoreArgs) -> Result<()> {
    let run = args.run.display();
    let message = match (&args.text, args.oov, &args.file, &args.source) {
        (Some(_), ..) => format!(
            "TEXT is for a character LM, and {run} is a seq2seq run: give --source TEXT --target TEXT, or \
             a file of pairs with --file FILE"
        ),
        (_, Some(_), ..) => format!(
            "--oov is for a character LM, and {run} is a seq2seq run, which reads what it does not know as \
             <UNK>: leave it out"
        ),
        (_, _, None, None) => format!(
            "no pair: {run} is a seq2seq run; give --source TEXT --target TEXT, or a file of pairs with \
             --file FILE"
        ),
        _ => return Ok(()),
    };
    Err(Error::Usage(message))
}

/// The pair of the command line.
fn pair(args: &ScoreArgs, trained: &Trained) -> Result<Pair> {
    let kind = trained.config.source;
    let [source, target] =
        [&args.source, &args.target].map(|text| text.clone().unwrap_or_default());
    for (flag, text) in [("--source", &source), ("--target", &target)] {
        if first_paragraph(text).is_empty() {
            return Err(Error::Usage(format!("{flag} is empty: nothing to score")));
        }
    }
    if args.signature.is_some() && kind != SourceText::Both {
        return Err(Error::Usage(format!(
            "--signature: the run's sources are of --source {kind}; leave it out, and give a signature \
             that is the whole source as --source"
        )));
    }
    let (docstring, signature) = match kind {
        SourceText::Signature => (String::new(), Some(source)),
        SourceText::Docstring | SourceText::Both => (source, args.signature.clone()),
    };
    Ok(Pair {
        docstring,
        code: target,
        signature,
    })
}

/// What to say of the pairs.
fn notes(trained: &Trained, data: &SeqData) -> Vec<String> {
    let (config, mut notes) = (&trained.config, Vec::new());
    if data.cut.sources > 0 {
        notes.push(format!(
            "note: {} source(s) are cut to their first {} tokens",
            thousands(data.cut.sources as f64),
            config.max_source
        ));
    }
    let examples = data.examples(Split::Test);
    let is_long = |ids: usize| ids > config.max_target;
    let long = examples.iter().filter(|e| is_long(e.target_ids.len()));
    match long.count() {
        0 => {}
        n => notes.push(format!(
            "note: {} target(s) have more than {} tokens, as many as training read of one; all are scored",
            thousands(n as f64),
            config.max_target
        )),
    }
    notes
}

/// The sums for people.
fn print_sums(
    args: &ScoreArgs,
    checkpoint: &Path,
    (trained, data): (&Trained, &SeqData),
    progress: &Progress,
) -> Result<()> {
    let mut unknown = 0;
    let sums = Likelihood::of(&trained.model, data, Split::Test, |_, scored| {
        unknown += scored.unknown();
        Ok(true)
    })?;
    check_finite(checkpoint, sums.loss())?;
    if unknown > 0 {
        progress.line(&format!(
            "note: {} of {} target tokens cannot be written by the model, and are scored as <UNK>",
            thousands(unknown as f64),
            thousands((sums.tokens - sums.pairs) as f64)
        ));
    }
    let pairs = match args.file {
        Some(_) => format!("pairs            {}\n", sums.pairs),
        None => String::new(),
    };
    let (bits, perplexity) = figures(sums.loss());
    emit(&format!(
        "{pairs}\
         tokens           {}\n\
         log_probability  {:.4} nats\n\
         bits_per_token   {bits:.4}\n\
         perplexity       {perplexity:.4}\n",
        sums.tokens, -sums.nats
    ))
}

/// The object of one pair, or of all pairs of a file, written while they are scored.
fn print(args: &ScoreArgs, checkpoint: &Path, (trained, data): (&Trained, &SeqData)) -> Result<()> {
    let top = args.top.map_or(TOP, |n| n as usize);
    let (is_file, mut is_read) = (args.file.is_some(), true);
    let mut json = Json::new(checkpoint);
    if is_file {
        json.begin_list("pairs");
    }
    let sums = Likelihood::of(&trained.model, data, Split::Test, |sums, scored| {
        check_finite(checkpoint, sums.loss())?;
        let pair = of_pair(&data.target, scored, top);
        is_read = match is_file {
            true => json.element(sums.pairs == 1, &Value::Object(pair))?,
            false => {
                json.fields(&pair);
                true
            }
        };
        Ok(is_read)
    })?;
    if !is_read {
        return Ok(());
    }
    if is_file {
        json.end_list();
        json.fields(&sums_of(sums.tokens, sums.nats));
    }
    json.end()
}

/// What JSON says of a pair.
fn of_pair(words: &WordVocab, scored: &Scored, top: usize) -> Map<String, Value> {
    let example = scored.example;
    let positions = scored.positions.iter();
    let rows = positions.map(|position| row(position, top, |id| example.token(words, id)));
    let mut object = orders::figures([
        ("source", json!(example.source)),
        ("target", json!(example.target)),
        ("unknown", json!(scored.unknown())),
        ("positions", rows.collect()),
    ]);
    object.extend(sums_of(scored.positions.len(), scored.nats()));
    object
}

/// The sums of a pair, or of all.
fn sums_of(tokens: usize, nats: f64) -> Map<String, Value> {
    let (bits, perplexity) = figures(nats / tokens as f64);
    orders::figures([
        ("tokens", json!(tokens)),
        ("nats", json!(nats)),
        ("bits_per_token", json!(bits)),
        ("perplexity", json!(perplexity)),
    ])
}
