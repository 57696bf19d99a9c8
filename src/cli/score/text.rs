//! How likely a character LM holds a text.

use std::io::{self, IsTerminal};
use std::path::Path;

use serde_json::json;

use super::{Json, ScoreArgs, TOP, choose, figures, row};
use crate::cli::process::{emit, read_stdin};
use crate::data::chars::{CharVocab, Token, UNK};
use crate::data::encoding::{Encoded, Oov};
use crate::data::input::{self, read_all};
use crate::data::unpacking::Unpacking;
use crate::files::run::RunFolder;
use crate::programs::charlm::score::{Score, Scorer};
use crate::programs::orders::{self, check_finite};
use crate::train::progress::Progress;
use crate::{Error, Result};

/// One text is one sequence, so that a GPU has little to do at a time.
const ON_THE_CPU: &str = "characters of one text come one after the other; on a GPU not measured";

pub(super) fn run(
    args: &ScoreArgs,
    (folder, checkpoint): (&RunFolder, &Path),
    vocab: &CharVocab,
) -> Result<()> {
    refuse_pairs(args)?;
    let (name, bytes) = text(args)?;
    let read = Encoded::of_bytes(&bytes, &name, vocab, args.oov.unwrap_or(Oov::Error))?;
    let chosen = choose(args, ON_THE_CPU)?;
    let progress = Progress::new(args.quiet);
    if args.device.device.is_some() {
        progress.line(&chosen.line());
    }
    for note in read.notes("the text") {
        progress.line(&note);
    }
    let mut scorer = Scorer::open((folder, checkpoint), vocab, &chosen)?;
    if args.json {
        return print(args, (checkpoint, vocab), &mut scorer, &read);
    }
    let score = Score::of(&mut scorer, &read.ids, |_, _| Ok(true))?;
    check_finite(checkpoint, score.loss())?;
    let (bits, perplexity) = figures(score.loss());
    emit(&format!(
        "characters       {}\n\
         log_probability  {:.4} nats\n\
         bits_per_char    {bits:.4}\n\
         perplexity       {perplexity:.4}\n",
        score.characters, -score.nats
    ))
}

/// Refuses what only a seq2seq run has.
fn refuse_pairs(args: &ScoreArgs) -> Result<()> {
    let given = [
        ("--source and --target", args.source.is_some()),
        ("--source-field", args.source_field.is_some()),
        ("--target-field", args.target_field.is_some()),
        ("--strict", args.strict),
    ];
    match given.into_iter().find(|(_, is_given)| *is_given) {
        Some((flag, _)) => Err(Error::Usage(format!(
            "{flag}: of pairs, and {} is a character LM: give its text as TEXT, with --file FILE, or on \
             standard input",
            args.run.display()
        ))),
        None => Ok(()),
    }
}

/// The text as it was given, and what errors call it.
fn text(args: &ScoreArgs) -> Result<(String, Vec<u8>)> {
    if let Some(path) = &args.file {
        return Ok((format!("--file {}", path.display()), read_all(path)?));
    }
    match &args.text {
        Some(text) if text != "-" => Ok(("the text".into(), text.clone().into_bytes())),
        None if io::stdin().is_terminal() => Err(Error::Usage(
            "no text: give it as TEXT, with --file FILE, or on standard input (a pipe, or - to type \
             it)"
            .into(),
        )),
        _ => {
            let bytes = read_stdin("the text", args.quiet)?;
            let bytes = input::unpacked(&bytes, &mut Unpacking::default())?;
            Ok(("standard input".into(), bytes))
        }
    }
}

/// The object of a text, written while it is read.
fn print(
    args: &ScoreArgs,
    (checkpoint, vocab): (&Path, &CharVocab),
    scorer: &mut Scorer,
    read: &Encoded,
) -> Result<()> {
    let top = args.top.map_or(TOP, |n| n as usize);
    let tokens: Vec<String> = vocab.tokens().map(token).collect();
    let mut json = Json::new(checkpoint);
    json.fields(&orders::figures([
        ("skipped", json!(read.skipped)),
        ("unknown", json!(read.unknown)),
    ]));
    json.begin_list("positions");
    let mut is_read = true;
    let score = Score::of(scorer, &read.ids, |score, position| {
        check_finite(checkpoint, score.loss())?;
        let row = row(position, top, |id| &tokens[id as usize]);
        is_read = json.element(score.characters == 1, &row)?;
        Ok(is_read)
    })?;
    if !is_read {
        return Ok(());
    }
    let (bits, perplexity) = figures(score.loss());
    json.end_list();
    json.fields(&orders::figures([
        ("characters", json!(score.characters)),
        ("nats", json!(score.nats)),
        ("bits_per_char", json!(bits)),
        ("perplexity", json!(perplexity)),
    ]));
    json.end()
}

/// A token as `vocab.json` has it.
fn token(token: Token) -> String {
    match token {
        Token::Unknown => UNK.to_owned(),
        Token::Char(c) => c.to_string(),
    }
}
