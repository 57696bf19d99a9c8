//! `rnnx translate`: sources in, targets out, as code for docstrings.

use std::io::{self, BufRead, IsTerminal};
use std::iter;

use serde_json::{Map, Value, json};

use super::process::{emit_part, tell_news};
use super::translate_args::TranslateArgs;
use crate::data::pairs::first_paragraph;
use crate::data::syntax::{GrammarChoice, Syntax};
use crate::data::tokens::TokenizerKind;
use crate::data::tokens::python::MARKERS;
use crate::data::words::UNK;
use crate::files::atomic::write_atomic;
use crate::log;
use crate::programs::seq2seq::copying::Extended;
use crate::programs::seq2seq::decode::{
    DecodeOptions, Hypothesis, Sampling, Search, SourceIds, decode_n_best,
};
use crate::programs::seq2seq::model::Seq2Seq;
use crate::programs::seq2seq::score::seen;
use crate::programs::seq2seq::tokens::SourceText;
use crate::programs::seq2seq::trained::Trained;
use crate::report::attention_svg;
use crate::train::progress::Progress;
use crate::{Error, Result};

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
    check_search(args)?;
    let chosen = args.device.settle_on_cpu(ON_THE_CPU)?;
    let mut trained = Trained::open(&args.run)?;
    let kind = trained.model.kind();
    if args.attention.is_some() && !kind.attends() {
        return Err(Error::Usage(format!(
            "--attention: the {kind} model has none; name a run of --model attention or transformer"
        )));
    }
    if args.signature.is_some() && trained.config.source != SourceText::Both {
        return Err(Error::Usage(format!(
            "--signature: the run's sources are of --source {}; leave it out, and give a signature that \
             is the whole source as TEXT",
            trained.config.source
        )));
    }
    if args.device.device.is_some() && !args.quiet {
        log::line(&chosen.line());
    }
    if let Some(gpu) = &chosen.gpu {
        trained.move_to_gpu(gpu, chosen.mixed)?;
    }
    let grammar = args.grammar.unwrap_or(trained.config.grammar);
    let length = args.max_length.map(|n| n as usize);
    let length = length.unwrap_or(trained.config.max_target);
    let room = ("--max-length", length);
    let syntax = trained
        .config
        .syntax(grammar, &trained.vocab.target, room)?;
    let options = options(args, &trained, length, syntax.as_ref());
    match &args.text {
        Some(text) => translate(args, (&trained, options), text, ("the text", 0)).map(|_| ()),
        None => translate_lines(args, (&trained, options)),
    }?;
    tell_news(chosen.gpu.as_ref(), &Progress::new(args.quiet));
    Ok(())
}

/// Refuses flags of more than one search.
fn check_search(args: &TranslateArgs) -> Result<()> {
    let message = match (args.sampling, args.beam, args.n_best, args.length_penalty) {
        (true, Some(beam), ..) => format!(
            "--sampling draws tokens, --beam {beam} searches for the likeliest: leave out one of them"
        ),
        (true, .., Some(_)) => {
            "--length-penalty: a beam alone chooses by it; leave it out with --sampling".into()
        }
        (false, None, _, Some(_)) => {
            "--length-penalty: a beam alone chooses by it; give --beam N, or leave it out".into()
        }
        (false, None, Some(n), _) => format!(
            "--n-best {n}: a greedy search finds one output; give --beam {n}, or --sampling to draw {n}"
        ),
        (false, Some(beam), Some(n), _) if n > beam => format!(
            "--n-best {n} of --beam {beam}: a beam finds as many hypotheses as it keeps; give \
             --beam {n}"
        ),
        _ => return Ok(()),
    };
    Err(Error::Usage(message))
}

/// Translates standard input, each line as it comes, as long as somebody reads the results.
fn translate_lines(args: &TranslateArgs, model: (&Trained, DecodeOptions)) -> Result<()> {
    let stdin = io::stdin().lock();
    if stdin.is_terminal() && !args.quiet {
        log::line("one text a line; end with Ctrl-D");
    }
    let apart = !args.json && may_have_lines(args, model.0);
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
        let source = (&*place, (number - 1) as u32);
        if !translate(args, model, text, source)? || (apart && !emit_part("\n")?) {
            break;
        }
    }
    Ok(())
}

/// Whether there may be several lines for one source. It depends on what is asked for and on the run alone,
/// so that a reader knows.
fn may_have_lines(args: &TranslateArgs, trained: &Trained) -> bool {
    // One logical line has no line end outside of its tokens.
    let is_line = args.grammar.unwrap_or(trained.config.grammar) == GrammarChoice::Line;
    let ends_line =
        |token: &String| token.contains('\n') || (!is_line && MARKERS.contains(&token.as_str()));
    args.n_best.is_some_and(|n| n > 1) || trained.vocab.target.tokens().iter().any(ends_line)
}

/// Translates one source; `place` is what errors call it, and its number from 0. A blank line has an empty
/// answer, so that answers stay in line with what was asked. False if nobody reads the results.
fn translate(
    args: &TranslateArgs,
    (trained, mut options): (&Trained, DecodeOptions),
    text: &str,
    (place, number): (&str, u32),
) -> Result<bool> {
    let limit = trained.config.max_source;
    let source = &trained.vocab.tokenizers.source;
    let mut words = match trained.config.source {
        _ if first_paragraph(text).is_empty() => Vec::new(),
        SourceText::Signature => source.split(text.trim()),
        both => both.split(source, text, args.signature.as_deref()),
    };
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
        return show(
            args,
            trained,
            (text, &words, &Extended::default()),
            &[blank(&trained.model)],
        );
    }
    if words.len() > limit {
        let (n, unit) = (words.len(), unit(source.kind()));
        note(format!("cut to its first {limit} of {n} {unit}"));
        words.truncate(limit);
    }
    let ids: Vec<u32> = words.iter().map(|w| trained.vocab.source.id(w)).collect();
    let copies = trained.model.copies();
    if let Some(message) = unknown(&words, &ids, unit(source.kind()), copies) {
        note(message);
    }
    let extended = Extended::new(&trained.vocab.target, &words, &[]);
    let source = SourceIds {
        ids: &ids,
        extended: Some(&extended),
    };
    if let Search::Sampling(sampling) = &mut options.search {
        sampling.source = number;
    }
    let n_best = args.n_best.map_or(1, |n| n as usize);
    let found = decode_n_best(&trained.model, &[source], options, n_best)?;
    let hypotheses = found.concat();
    let best = &hypotheses[0];
    if !hypotheses.iter().all(|h| h.score.is_finite()) {
        let message = "the logits of these weights are not finite numbers: their training had \
                       diverged. Give an earlier checkpoint's folder";
        return Err(Error::checkpoint(&args.run, message));
    }
    if best.tokens.is_empty() {
        note("the model writes nothing for it".into());
    }
    show(args, trained, (text, &words, &extended), &hypotheses)
}

/// The answer to nothing.
fn blank(model: &Seq2Seq) -> Hypothesis {
    Hypothesis {
        tokens: Vec::new(),
        log_probability: 0.0,
        score: 0.0,
        ended: true,
        attention: model.kind().attends().then(Vec::new),
        copied: model.copies().then(Vec::new),
    }
}

/// What to say of words outside the vocabulary.
fn unknown(words: &[String], ids: &[u32], unit: &str, copies: bool) -> Option<String> {
    let mut unknown: Vec<&str> = Vec::new();
    for (word, id) in words.iter().zip(ids) {
        if *id == UNK && !unknown.contains(&&**word) {
            unknown.push(word);
        }
    }
    if !copies && ids.iter().all(|id| *id == UNK) {
        return Some(format!(
            "the model knows none of its {unit}, so what it writes says nothing of them"
        ));
    }
    let but = if copies { ", but can copy" } else { "" };
    let unknown = (!unknown.is_empty()).then(|| unknown.join(" "));
    unknown.map(|unknown| format!("{unit} the model does not know{but}: {unknown}"))
}

/// What the tokens of a source are to people.
fn unit(kind: TokenizerKind) -> &'static str {
    match kind {
        TokenizerKind::Whitespace | TokenizerKind::Words => "words",
        TokenizerKind::Python => "tokens",
        TokenizerKind::Bpe => "pieces",
        TokenizerKind::Chars => "characters",
    }
}

fn options<'a>(
    args: &TranslateArgs,
    trained: &Trained,
    max_length: usize,
    syntax: Option<&'a Syntax>,
) -> DecodeOptions<'a> {
    let search = match args.sampling {
        true => Search::Sampling(Sampling {
            options: args.draws.options(),
            seed: args.draws.seed,
            source: 0,
        }),
        false => Search::of_width(args.beam.map_or(1, |n| n as usize)),
    };
    DecodeOptions {
        search,
        max_length,
        no_unk: args.no_unk,
        length_penalty: args.length_penalty.unwrap_or(trained.config.length_penalty),
        syntax,
    }
}

/// Draws and prints a result. False if nobody reads it.
fn show(
    args: &TranslateArgs,
    trained: &Trained,
    (text, words, extended): (&str, &[String], &Extended),
    hypotheses: &[Hypothesis],
) -> Result<bool> {
    let target = &trained.vocab.target;
    let tokens_of = |hypothesis: &Hypothesis| extended.tokens(target, &hypothesis.tokens);
    let text_of = |tokens: &[String]| trained.vocab.tokenizers.target.join(tokens);
    let best = &hypotheses[0];
    let tokens = tokens_of(best);
    if let (Some(path), Some(weights)) = (&args.attention, &best.attention) {
        let svg = attention_svg(words, &tokens, weights);
        write_atomic(path, |w| w.write_all(svg.as_bytes()))?;
        if !args.quiet {
            log::line(&format!("attention: {}", path.display()));
        }
    }
    if !args.json {
        if let Some(message) = copies(&tokens, best).filter(|_| !args.quiet) {
            log::line(&message);
        }
        let lines = hypotheses.iter().map(|h| text_of(&tokens_of(h)) + "\n");
        return emit_part(&lines.collect::<String>());
    }
    let mut object = json!({ "docstring": text, "source": words });
    let answer = |hypothesis| {
        let tokens = tokens_of(hypothesis);
        answer(text_of(&tokens), tokens, hypothesis)
    };
    if let Some(map) = object.as_object_mut() {
        map.extend(answer(best));
        if args.n_best.is_some() {
            let all = hypotheses.iter().map(answer);
            map.insert("n_best".into(), all.collect::<Vec<_>>().into());
        }
    }
    emit_part(&format!("{object}\n"))
}

/// What JSON says of a hypothesis.
fn answer(text: String, tokens: Vec<String>, hypothesis: &Hypothesis) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("prediction".into(), json!(tokens));
    object.insert("code".into(), json!(text));
    object.insert("ended".into(), json!(hypothesis.ended));
    object.insert("log_probability".into(), json!(hypothesis.log_probability));
    object.insert("score".into(), json!(hypothesis.score));
    seen(&mut object, hypothesis);
    object
}

/// Which tokens were copied, each with the number of its source token, from 1. The answer itself is left as
/// it is, for who reads it by a program.
fn copies(tokens: &[String], hypothesis: &Hypothesis) -> Option<String> {
    let places = hypothesis.copied.as_ref()?;
    let copied = tokens.iter().zip(places).filter_map(|(token, place)| {
        let number = (*place)? + 1;
        Some(format!("{token} ({number})"))
    });
    let copied: Vec<String> = copied.collect();
    (!copied.is_empty()).then(|| format!("copied (source token): {}", copied.join(" ")))
}
