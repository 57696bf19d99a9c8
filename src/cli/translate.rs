//! `rnnx translate`: sources in, targets out, as code for docstrings.

use std::io::{self, BufRead, IsTerminal};
use std::iter;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::args::DeviceArgs;
use super::flags::between;
use super::process::emit_part;
use crate::data::pairs::source_tokens;
use crate::data::words::UNK;
use crate::files::atomic::write_atomic;
use crate::log;
use crate::programs::seq2seq::decode::{DecodeOptions, Hypothesis, Search, decode};
use crate::programs::seq2seq::model::ModelKind;
use crate::programs::seq2seq::score::rounded;
use crate::programs::seq2seq::trained::Trained;
use crate::report::attention_svg;
use crate::{Error, Result};

/// The widest beam.
pub(super) const MAX_BEAM: i64 = 1000;

/// Arguments of `rnnx translate`.
#[derive(Args, Clone, Debug)]
#[command(mut_arg("device", |device| device.help(DEVICE_HELP)))]
pub struct TranslateArgs {
    /// The run's folder (its best checkpoint), or one checkpoint's folder
    pub run: PathBuf,
    /// The source, such as a docstring; without it, each line of standard input is one
    pub text: Option<String>,
    /// Keep the N likeliest hypotheses at each step [default: greedy]
    #[arg(long, value_name = "N", value_parser = between(1, MAX_BEAM), allow_hyphen_values = true)]
    pub beam: Option<u64>,
    /// Tokens written at most [default: the run's --max-target]
    #[arg(long, value_name = "N", value_parser = between(1, 10_000), allow_hyphen_values = true)]
    pub max_length: Option<u64>,
    /// Never write <UNK>
    #[arg(long)]
    pub no_unk: bool,
    /// Draw what each token was read from (of the attention model, for one source)
    #[arg(long, value_name = "FILE.svg")]
    pub attention: Option<PathBuf>,
    /// Print one JSON object a source
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

/// One source takes a CPU some milliseconds, a GPU a second to be set up.
const ON_THE_CPU: &str =
    "one source at a time takes a CPU some milliseconds; on a GPU not measured";

/// Translates.
///
/// # Errors
/// [`Error::Usage`] for an empty text or flags that do not fit the model; [`Error::Data`] for
/// input that is no text; [`Error::Checkpoint`] for a run that cannot be read or writes nothing but
/// NaN.
pub fn run(args: &TranslateArgs) -> Result<()> {
    let chosen = args.device.settle_on_cpu(ON_THE_CPU)?;
    let mut trained = Trained::open(&args.run)?;
    let kind = trained.model.kind();
    if args.attention.is_some() && kind != ModelKind::Attention {
        return Err(Error::Usage(format!(
            "--attention: the {kind} model has none; name a run of --model attention"
        )));
    }
    if args.device.device.is_some() && !args.quiet {
        log::line(&chosen.line());
    }
    if let Some(gpu) = &chosen.gpu {
        trained.move_to_gpu(gpu, chosen.mixed)?;
    }
    match &args.text {
        Some(text) => translate(args, &trained, text, "the text").map(|_| ()),
        None => translate_lines(args, &trained),
    }
}

/// Translates standard input, each line as it comes, as long as somebody reads the results.
fn translate_lines(args: &TranslateArgs, trained: &Trained) -> Result<()> {
    let stdin = io::stdin().lock();
    if stdin.is_terminal() && !args.quiet {
        log::line("one text a line; end with Ctrl-D");
    }
    let mut lines = stdin.split(b'\n').zip(1u64..);
    let Some(first) = lines.next() else {
        let message = "standard input is empty: give a source as TEXT, or one a line";
        return Err(Error::Usage(message.into()));
    };
    if args.attention.is_some() && lines.next().is_some() {
        return Err(Error::Usage(
            "--attention draws one source, and standard input has several lines: give it as \
             TEXT, or one line"
                .into(),
        ));
    }
    for (line, number) in iter::once(first).chain(lines) {
        let line = line.map_err(Error::io("read", "standard input"))?;
        let place = format!("line {number} of standard input");
        let text = std::str::from_utf8(&line).map_err(|e| {
            let byte = e.valid_up_to() + 1;
            Error::Data(format!(
                "{place}: byte {byte} is not UTF-8; convert the text, as with iconv -t UTF-8"
            ))
        })?;
        let text = text.strip_suffix('\r').unwrap_or(text);
        if !translate(args, trained, text, &place)? {
            break;
        }
    }
    Ok(())
}

/// Translates one source; `place` is what errors call it. A blank line has an empty answer, so that
/// answers stay in line with what was asked. False if nobody reads the results.
fn translate(args: &TranslateArgs, trained: &Trained, text: &str, place: &str) -> Result<bool> {
    let limit = trained.config.max_source;
    let mut words: Vec<&str> = source_tokens(text).collect();
    let note = |message: String| {
        if !args.quiet {
            log::line(&format!("note: {place}: {message}"));
        }
    };
    if words.is_empty() {
        if args.text.is_some() || args.attention.is_some() {
            let message = format!("{place} is empty: nothing to translate");
            return Err(Error::Usage(message));
        }
        note("it is blank, and so is its answer".into());
        return show(args, trained, (text, &words), &blank(trained.model.kind()));
    }
    if words.len() > limit {
        note(format!("cut to its first {limit} of {} words", words.len()));
        words.truncate(limit);
    }
    let ids: Vec<u32> = words.iter().map(|w| trained.source.id(w)).collect();
    if let Some(message) = unknown(&words, &ids) {
        note(message);
    }
    let mut hypotheses = decode(&trained.model, &[&ids], options(args, trained))?;
    let Some(hypothesis) = hypotheses.pop() else {
        return Ok(true);
    };
    if !hypothesis.score.is_finite() {
        let message = "the logits of these weights are not finite numbers: their training had \
                       diverged. Give an earlier checkpoint's folder";
        return Err(Error::checkpoint(&args.run, message));
    }
    if hypothesis.tokens.is_empty() {
        note("the model writes nothing for it".into());
    }
    show(args, trained, (text, &words), &hypothesis)
}

/// The answer to nothing.
fn blank(kind: ModelKind) -> Hypothesis {
    Hypothesis {
        tokens: Vec::new(),
        score: 0.0,
        ended: true,
        attention: (kind == ModelKind::Attention).then(Vec::new),
    }
}

/// What to say of words outside the vocabulary.
fn unknown(words: &[&str], ids: &[u32]) -> Option<String> {
    let mut unknown: Vec<&str> = Vec::new();
    for (word, id) in words.iter().zip(ids) {
        if *id == UNK && !unknown.contains(word) {
            unknown.push(word);
        }
    }
    if ids.iter().all(|id| *id == UNK) {
        return Some(
            "the model knows none of its words, so what it writes says nothing of them".into(),
        );
    }
    (!unknown.is_empty()).then(|| format!("words the model does not know: {}", unknown.join(" ")))
}

fn options(args: &TranslateArgs, trained: &Trained) -> DecodeOptions {
    let max_length = args.max_length.map(|n| n as usize);
    DecodeOptions {
        search: args
            .beam
            .map_or(Search::Greedy, |n| Search::Beam(n as usize)),
        max_length: max_length.unwrap_or(trained.config.max_target),
        no_unk: args.no_unk,
    }
}

/// Draws and prints a result. False if nobody reads it.
fn show(
    args: &TranslateArgs,
    trained: &Trained,
    (text, words): (&str, &[&str]),
    hypothesis: &Hypothesis,
) -> Result<bool> {
    let tokens = hypothesis.tokens.iter();
    let tokens: Vec<String> = tokens
        .map(|&id| trained.target.token(id).to_owned())
        .collect();
    if let (Some(path), Some(weights)) = (&args.attention, &hypothesis.attention) {
        let source: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
        let svg = attention_svg(&source, &tokens, weights);
        write_atomic(path, |w| w.write_all(svg.as_bytes()))?;
        if !args.quiet {
            log::line(&format!("attention: {}", path.display()));
        }
    }
    if !args.json {
        return emit_part(&(tokens.join(" ") + "\n"));
    }
    let mut object = json!({
        "docstring": text,
        "source": words,
        "prediction": tokens,
        "ended": hypothesis.ended,
        "score": hypothesis.score,
    });
    if let (Some(weights), Some(map)) = (&hypothesis.attention, object.as_object_mut()) {
        map.insert("attention".into(), rounded(weights));
    }
    emit_part(&format!("{object}\n"))
}
