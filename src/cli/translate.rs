//! `rnnx translate`: docstrings in, code out.

use std::io::{self, BufRead, IsTerminal};
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::args::DeviceArgs;
use super::emit;
use super::trained::Trained;
use super::values::between;
use crate::data::pairs::source_tokens;
use crate::data::words::UNK;
use crate::files::atomic::write_atomic;
use crate::log;
use crate::models::decode::{DecodeOptions, Hypothesis, Search, decode};
use crate::report::attention_svg;
use crate::train::config::DeviceChoice;
use crate::train::seq2seq_eval::rounded;
use crate::{Error, Result};

/// The widest beam.
pub(super) const MAX_BEAM: i64 = 1000;

/// Arguments of `rnnx translate`.
#[derive(Args, Clone, Debug)]
pub struct TranslateArgs {
    /// The run's folder (its best checkpoint), or one checkpoint's folder
    pub run: PathBuf,
    /// The docstring; without it, each line of standard input is one
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
    /// Draw what each token was read from (of the attention model, for one docstring)
    #[arg(long, value_name = "FILE.svg")]
    pub attention: Option<PathBuf>,
    /// Print one JSON object a docstring
    #[arg(long)]
    pub json: bool,
    /// No notes on standard error
    #[arg(long, short)]
    pub quiet: bool,
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// Translates.
///
/// # Errors
/// [`Error::Usage`] for an empty docstring or flags that do not fit the model;
/// [`Error::Checkpoint`] for a run that cannot be read.
pub fn run(args: &TranslateArgs) -> Result<()> {
    let chosen = args.device.settle(DeviceChoice::Cpu)?;
    let mut trained = Trained::open(&args.run)?;
    let kind = trained.model.kind();
    if args.attention.is_some() && kind != crate::models::seq2seq::ModelKind::Attention {
        return Err(Error::Usage(format!(
            "--attention: the {kind} model has none; name a run of --model attention"
        )));
    }
    if let Some(gpu) = &chosen.gpu {
        trained.move_to_gpu(gpu, chosen.mixed)?;
    }
    if let Some(text) = &args.text {
        return translate(args, &trained, text, "the docstring");
    }
    let stdin = io::stdin().lock();
    if stdin.is_terminal() && !args.quiet {
        log::line("one docstring a line; end with Ctrl-D");
    }
    let mut lines = 0;
    for line in stdin.lines() {
        let line = line.map_err(Error::io("read", "standard input"))?;
        lines += 1;
        if args.attention.is_some() && lines > 1 {
            return Err(Error::Usage(
                "--attention draws one docstring: give it as TEXT, or one line of input".into(),
            ));
        }
        translate(
            args,
            &trained,
            &line,
            &format!("line {lines} of standard input"),
        )?;
    }
    if lines == 0 {
        let message = "standard input is empty: give a docstring as TEXT, or one a line";
        return Err(Error::Usage(message.into()));
    }
    Ok(())
}

/// Translates one docstring; `place` is what errors call it.
fn translate(args: &TranslateArgs, trained: &Trained, text: &str, place: &str) -> Result<()> {
    let limit = trained.config.max_source;
    let mut words: Vec<&str> = source_tokens(text).collect();
    if words.is_empty() {
        return Err(Error::Usage(format!(
            "{place} is empty: nothing to translate"
        )));
    }
    let note = |message: String| {
        if !args.quiet {
            log::line(&format!("note: {place}: {message}"));
        }
    };
    if words.len() > limit {
        note(format!("cut to its first {limit} of {} words", words.len()));
        words.truncate(limit);
    }
    let ids: Vec<u32> = words.iter().map(|w| trained.source.id(w)).collect();
    let unknown: Vec<&str> = words
        .iter()
        .zip(&ids)
        .filter(|(_, id)| **id == UNK)
        .map(|(w, _)| *w)
        .collect();
    if unknown.len() == words.len() {
        note("the model knows none of its words, so what it writes says nothing of them".into());
    } else if !unknown.is_empty() {
        note(format!(
            "words the model does not know: {}",
            unknown.join(" ")
        ));
    }
    let options = DecodeOptions {
        search: args
            .beam
            .map_or(Search::Greedy, |n| Search::Beam(n as usize)),
        max_length: args
            .max_length
            .map_or(trained.config.max_target, |n| n as usize),
        no_unk: args.no_unk,
    };
    let hypotheses = decode(&trained.model, &[&ids], options)?;
    for hypothesis in &hypotheses {
        show(args, trained, (text, &words), hypothesis)?;
    }
    Ok(())
}

fn show(
    args: &TranslateArgs,
    trained: &Trained,
    (text, words): (&str, &[&str]),
    hypothesis: &Hypothesis,
) -> Result<()> {
    let tokens: Vec<String> = hypothesis
        .tokens
        .iter()
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
        return emit(&format!("{}\n", tokens.join(" ")));
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
    emit(&format!("{object}\n"))
}
