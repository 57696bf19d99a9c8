//! Test pairs: the docstring, the reference, and what each model made of it, token by token.

use std::collections::HashMap;
use std::fmt::Write;

use crate::report::shell::run_key;
use crate::report::text::escape;
use crate::report::{PairSample, RunData};

/// Pairs shown open; the others are folded away.
const OPEN: usize = 5;
/// Pairs on the page; the file beside it has all of them.
const SHOWN: usize = 40;
const UNKNOWN: &str = "<UNK>";

/// How a token of an output stands to the reference.
#[derive(Clone, Copy, PartialEq)]
enum Hit {
    /// The reference has it in the same place.
    Place,
    /// The reference has it in another place that no other token of the output took.
    Elsewhere,
    /// `<UNK>`.
    Unknown,
    None,
}

/// The pairs of all runs beside one another; nothing where no run has any.
pub fn section(runs: &[RunData]) -> String {
    let pairs = distinct(runs);
    if pairs.is_empty() {
        return String::new();
    }
    let mut out = "<section><h2>Sample predictions</h2><p class=\"note\">Tokens of an output: \
                   <span class=\"hit\">in its place</span> as in the reference, <span \
                   class=\"near\">elsewhere</span> in the reference (each of its tokens counts \
                   once), <span class=\"unk\">&lt;UNK&gt;</span> outside the vocabulary. The pairs \
                   stand in the order of samples/test.jsonl.</p>"
        .to_owned();
    if runs
        .iter()
        .any(|run| run.pairs.iter().any(|p| !p.copied.is_empty()))
    {
        out += "<p class=\"note\">Tokens <span class=\"copied\">copied</span> from the source say on \
                hovering which of its tokens they are.</p>";
    }
    let shown = pairs.len().min(SHOWN);
    let cards: Vec<String> = pairs[..shown].iter().map(|pair| card(runs, pair)).collect();
    let (open, folded) = cards.split_at(cards.len().min(OPEN));
    out += &open.concat();
    if !folded.is_empty() {
        let _ = write!(
            out,
            "<details class=\"more\"><summary>{} more</summary>{}</details>",
            folded.len(),
            folded.concat()
        );
    }
    if shown < pairs.len() {
        let _ = write!(
            out,
            "<p class=\"note\">These are the first {shown} of {} pairs.</p>",
            pairs.len()
        );
    }
    out + "</section>\n"
}

/// The pairs that some run has, in the first run's order, each once.
fn distinct(runs: &[RunData]) -> Vec<&PairSample> {
    let mut pairs: Vec<&PairSample> = Vec::new();
    for pair in runs.iter().flat_map(|r| &r.pairs) {
        if !pairs.iter().any(|p| is_same(p, pair)) {
            pairs.push(pair);
        }
    }
    pairs
}

fn is_same(a: &PairSample, b: &PairSample) -> bool {
    (&a.docstring, &a.reference) == (&b.docstring, &b.reference)
}

fn card(runs: &[RunData], pair: &PairSample) -> String {
    let mut out = format!(
        "<article class=\"card pair\"><p class=\"doc\">{}</p><dl>",
        escape(&pair.docstring)
    );
    if pair.docstring.split_whitespace().ne(&pair.source) {
        let source = pair.source.iter().map(|t| match t == UNKNOWN {
            true => (escape(t), Hit::Unknown),
            false => (escape(t), Hit::None),
        });
        let _ = write!(
            out,
            "<dt>read as</dt><dd class=\"soft\">{}</dd>",
            tokens(source)
        );
    }
    let plain = pair.reference.iter().map(|t| (escape(t), Hit::None));
    let _ = write!(
        out,
        "<dt>reference<small>{}</small></dt><dd>{}</dd>",
        many(pair.reference.len()),
        tokens(plain)
    );
    for (i, run) in runs.iter().enumerate() {
        let Some(found) = run.pairs.iter().find(|p| is_same(p, pair)) else {
            continue;
        };
        let hits = hits(&found.prediction, &found.reference);
        let count = |hit| hits.iter().filter(|h| **h == hit).count();
        let text = match found.prediction.is_empty() {
            true => "<span class=\"soft\">(nothing)</span>".to_owned(),
            false => {
                let words = found.prediction.iter().enumerate();
                let words = words.map(|(i, token)| written(token, copied_from(found, i)));
                tokens(words.zip(hits.clone()))
            }
        };
        let _ = write!(
            out,
            "<dt>{}<small>{}, {} in place, {} elsewhere</small></dt><dd>{text}</dd>",
            run_key(i, &run.label()),
            many(found.prediction.len()),
            count(Hit::Place),
            count(Hit::Elsewhere)
        );
    }
    out + "</dl></article>"
}

/// The place and the token of the source that token `i` of a prediction was copied from.
fn copied_from(pair: &PairSample, i: usize) -> Option<(usize, &str)> {
    let place = (*pair.copied.get(i)?)?;
    Some((place, pair.source.get(place)?))
}

/// A token as the page has it.
fn written(token: &str, copied_from: Option<(usize, &str)>) -> String {
    let token = escape(token);
    copied_from.map_or(token.clone(), |(place, source)| {
        let (number, source) = (place + 1, escape(source));
        format!(
            "<span class=\"copied\" title=\"copied from token {number}, {source}\">{token}</span>"
        )
    })
}

fn many(tokens: usize) -> String {
    format!("{tokens} token{}", if tokens == 1 { "" } else { "s" })
}

/// What each token of the prediction is to the reference. As in BLEU, no token of the reference
/// counts twice; those in their places come first.
fn hits(prediction: &[String], reference: &[String]) -> Vec<Hit> {
    let in_place = |i: usize| reference.get(i) == prediction.get(i);
    let mut left: HashMap<&str, usize> = HashMap::new();
    for (i, token) in reference.iter().enumerate() {
        if !in_place(i) {
            *left.entry(token).or_default() += 1;
        }
    }
    let hit = |(i, token): (usize, &String)| {
        if token == UNKNOWN {
            return Hit::Unknown;
        }
        if in_place(i) {
            return Hit::Place;
        }
        match left.get_mut(token.as_str()) {
            Some(count) if *count > 0 => {
                *count -= 1;
                Hit::Elsewhere
            }
            _ => Hit::None,
        }
    };
    prediction.iter().enumerate().map(hit).collect()
}

/// Tokens, as HTML, with blanks between, neighbours of the same kind in one element.
fn tokens(tokens: impl Iterator<Item = (String, Hit)>) -> String {
    let all: Vec<_> = tokens.collect();
    let groups = all.chunk_by(|a, b| a.1 == b.1).map(|group| {
        let words: Vec<_> = group.iter().map(|(token, _)| token.as_str()).collect();
        match group[0].1 {
            Hit::None => words.join(" "),
            // A box each: two unknown tokens are two.
            Hit::Unknown => words
                .iter()
                .map(|w| format!("<span class=\"unk\">{w}</span>"))
                .collect::<Vec<_>>()
                .join(" "),
            Hit::Place => format!("<span class=\"hit\">{}</span>", words.join(" ")),
            Hit::Elsewhere => format!("<span class=\"near\">{}</span>", words.join(" ")),
        }
    });
    groups.collect::<Vec<_>>().join(" ")
}
