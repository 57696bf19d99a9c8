//! What the model writes by itself: functions, and whether they hold together.
//!
//! After `def ` it goes on until a line stands left of the function's body: that much is one function. A
//! text that has not come to its end after [`LONGEST`] characters is no function.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::repeats::Trained;
use crate::Result;
use crate::data::chars::CharVocab;
use crate::data::python;
use crate::programs::charlm::generate::generator::Generator;
use crate::programs::charlm::generate::weights::CharLmWeights;
use crate::programs::charlm::study::estimate::{Bootstrap, Estimate};
use crate::programs::charlm::study::held_out::char_of;
use crate::programs::charlm::study::lexer::lex;
use crate::programs::charlm::study::source::{Class, Mark, SourceFile};
use crate::programs::charlm::study::syntax::{BracketKind, LogicalLine, Syntax};
use crate::sampling::{Sampler, SamplingOptions};

/// What every text begins with.
pub const PROMPT: &str = "def ";
/// The most characters of a text.
pub const LONGEST: usize = 1536;
/// Texts that are written side by side.
const STREAMS: usize = 50;
/// Characters of a text that are looked up in the training text: as many of each, as a longer text holds
/// something of it the sooner.
pub const LOOKED_UP: usize = 256;
/// Characters between looks at whether all texts have come to their end.
const LOOK: usize = 128;

/// What is written.
#[derive(Clone, Debug)]
pub struct WritingSpec {
    /// Texts of each temperature.
    pub samples: usize,
    /// Temperatures.
    pub temperatures: Vec<f64>,
    /// Draws characters.
    pub seed: u64,
}

/// Texts of one origin. Shares are of all its texts; intervals are over texts, of functions of the held-out
/// files over files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Written {
    /// The temperature; none for functions of the held-out files, which stand beside.
    pub temperature: Option<f64>,
    /// Texts.
    pub n: u64,
    /// Share that comes to an end; of functions of the held-out files all, as longer ones than
    /// [`LONGEST`] are left out.
    pub complete: Option<Estimate>,
    /// Share that comes to an end and parses.
    pub parses: Option<Estimate>,
    /// Share that comes to an end with every bracket closed, by one of its type.
    pub balanced: Option<Estimate>,
    /// Share with three quotes that open a string and none that close it.
    pub open_triple_quotes: Option<Estimate>,
    /// Of those that end and do not parse: characters before the first error ([`Judged::first_error`]).
    pub first_error: Option<Estimate>,
    /// Of the texts of at least [`LOOKED_UP`] characters, the share with 50 or more in a row among the
    /// first so many that stand in the training text, be it a line of dashes: that of the held-out
    /// functions is what any Python has.
    pub remembered: Option<Estimate>,
    /// Characters, the mean.
    pub chars: Option<Estimate>,
}

/// One text.
#[derive(Clone, Debug, PartialEq)]
pub struct Text {
    /// Its ids.
    pub ids: Vec<u32>,
    /// Its characters.
    pub chars: Vec<char>,
    /// Texts of one origin are not independent of each other: a function's file; a written text is its
    /// own.
    pub origin: usize,
}

/// Whether one text is a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judged {
    /// Characters up to the first line that stands left of the function's body; none where none does.
    pub end: Option<usize>,
    /// Whether it parses.
    pub parses: bool,
    /// Whether its brackets match.
    pub balanced: bool,
    /// Whether a string of three quotes is open at its end.
    pub open_triple_quotes: bool,
    /// Where it does not parse: the place of its first wrong bracket or, where all match, of the parser's
    /// first error, if it names one.
    pub first_error: Option<usize>,
}

/// Writes texts at each temperature, and judges them and the functions of `files`. What is remembered
/// stays blank without the training text.
///
/// # Errors
/// [`Error::Data`](crate::Error::Data) where generation cannot take the weights, or the vocabulary
/// lacks a character of the prompt.
pub fn writing(
    weights: &CharLmWeights,
    vocab: &CharVocab,
    files: &[&SourceFile],
    trained: Option<&Trained>,
    spec: &WritingSpec,
) -> Result<Vec<Written>> {
    let mut rows = Vec::new();
    for &temperature in &spec.temperatures {
        let batches: Vec<usize> = (0..spec.samples).step_by(STREAMS).collect();
        let texts: Vec<Vec<Text>> = batches
            .par_iter()
            .map(|&first| {
                let streams = STREAMS.min(spec.samples - first);
                write(
                    weights,
                    vocab,
                    temperature,
                    first as u32..(first + streams) as u32,
                    spec.seed,
                )
            })
            .collect::<Result<_>>()?;
        rows.push(judge(Some(temperature), &texts.concat(), trained));
    }
    let files = files.iter().enumerate();
    let functions: Vec<Text> = files.flat_map(|(n, file)| functions(n, file)).collect();
    rows.push(judge(None, &functions, trained));
    Ok(rows)
}

/// The texts of some streams, each up to where its function ends.
fn write(
    weights: &CharLmWeights,
    vocab: &CharVocab,
    temperature: f64,
    streams: std::ops::Range<u32>,
    seed: u64,
) -> Result<Vec<Text>> {
    let options = SamplingOptions {
        temperature,
        top_k: None,
        top_p: None,
    };
    let prompt = vocab.encode(PROMPT)?;
    let char_of = char_of(vocab);
    let characters = |ids: &[u16]| -> Vec<char> {
        let chars = ids.iter().map(|&id| char_of[usize::from(id)]);
        chars.collect()
    };
    let mut generator = Generator::new(weights, streams.len())?;
    let samplers = streams.clone().map(|stream| {
        let sampler = Sampler::new(options, vocab.len(), seed, stream)?;
        Ok(sampler.never(vocab.unknown().map(usize::from)))
    });
    let mut samplers = samplers.collect::<Result<Vec<Sampler>>>()?;
    let mut texts = vec![prompt.clone(); streams.len()];
    generator.step(&vec![vocab.start(); streams.len()]);
    for id in &prompt[..prompt.len() - 1] {
        generator.step(&vec![*id; streams.len()]);
    }
    let mut last = vec![prompt[prompt.len() - 1]; streams.len()];
    while texts[0].len() < LONGEST {
        let logits = generator.step(&last);
        let drawn = samplers.iter_mut().zip(logits.chunks_exact(vocab.len()));
        for ((last, text), (sampler, logits)) in last.iter_mut().zip(&mut texts).zip(drawn) {
            *last = sampler.sample(logits) as u16;
            text.push(*last);
        }
        let has_ended = |text: &Vec<u16>| end(&lex(&characters(text)).1).is_some();
        if texts[0].len() % LOOK == 0 && texts.iter().all(has_ended) {
            break;
        }
    }
    let texts = streams.zip(texts).map(|(stream, mut ids)| {
        let mut chars = characters(&ids);
        let shown = shown(&chars);
        ids.truncate(shown);
        chars.truncate(shown);
        Text {
            ids: ids.into_iter().map(u32::from).collect(),
            chars,
            origin: stream as usize,
        }
    });
    Ok(texts.collect())
}

/// Where the first function ends: at the next logical line that stands left of its body, as most do in
/// a text that goes on as the methods of a class.
fn end(syntax: &Syntax) -> Option<&LogicalLine> {
    let lines = syntax.lines.get(1..).unwrap_or_default();
    let body = lines.first()?.width;
    lines.iter().find(|line| line.width < body.max(1))
}

/// Characters up to where a text shows the end of its function: up to and with the first of the next
/// line that is no white space; all where nothing ends it.
pub fn shown(chars: &[char]) -> usize {
    end(&lex(chars).1).map_or(chars.len(), |next| next.text + 1)
}

/// The functions at the left margin of a file, as [`write`] has its own, but those longer than [`LONGEST`].
fn functions(origin: usize, file: &SourceFile) -> Vec<Text> {
    let lines = &file.syntax.lines;
    let prompt: Vec<char> = PROMPT.chars().collect();
    let starts = lines
        .iter()
        .enumerate()
        .filter(|(_, line)| line.width == 0 && file.chars[line.start..].starts_with(&prompt));
    let texts = starts.filter_map(|(n, line)| {
        let next = lines[n + 1..].iter().find(|line| line.width == 0)?;
        let range = line.start..next.start + 1;
        (range.len() <= LONGEST).then(|| Text {
            ids: file.ids[range.clone()].to_vec(),
            chars: file.chars[range].to_vec(),
            origin,
        })
    });
    texts.collect()
}

/// Judges a text that begins with a function.
pub fn judged(chars: &[char]) -> Judged {
    let (marks, syntax) = lex(chars);
    let end = end(&syntax).map(|next| next.start);
    let length = end.unwrap_or(chars.len());
    let code: String = chars[..length].iter().collect();
    let bracket = first_wrong_bracket(&chars[..length], &marks);
    let parses = end.is_some() && python::parses(&code);
    let first_error = || {
        bracket.or_else(|| {
            let byte = python::first_error(&code)?;
            Some(code.char_indices().take_while(|&(at, _)| at < byte).count())
        })
    };
    Judged {
        end,
        parses,
        balanced: bracket.is_none(),
        open_triple_quotes: syntax
            .strings
            .iter()
            .any(|s| s.delimiter.triple && !s.is_closed),
        first_error: if parses { None } else { first_error() },
    }
}

/// The first closer that does not close the innermost open bracket; without one, the innermost bracket
/// that stays open.
fn first_wrong_bracket(chars: &[char], marks: &[Mark]) -> Option<usize> {
    let mut open: Vec<(usize, BracketKind)> = Vec::new();
    for (at, (&c, mark)) in chars.iter().zip(marks).enumerate() {
        match mark.class {
            Class::Opener => open.extend(BracketKind::of_opener(c).map(|kind| (at, kind))),
            Class::Closer if open.pop().map(|(_, kind)| kind) != BracketKind::of_closer(c) => {
                return Some(at);
            }
            _ => {}
        }
    }
    open.pop().map(|(at, _)| at)
}

fn judge(temperature: Option<f64>, texts: &[Text], trained: Option<&Trained>) -> Written {
    let outcomes: Vec<Outcome> = texts
        .par_iter()
        .map(|text| {
            let judged = judged(&text.chars);
            let length = judged.end.unwrap_or(text.chars.len());
            Outcome {
                judged,
                length,
                remembered: trained
                    .filter(|_| length >= LOOKED_UP)
                    .map(|t| t.holds_part_of(&text.ids[..LOOKED_UP])),
            }
        })
        .collect();
    let origins = texts.iter().map(|text| text.origin + 1).max();
    let bootstrap = Bootstrap::new(origins.unwrap_or(0));
    let figure = |value: &dyn Fn(&Outcome) -> Option<f64>| {
        let each = texts.iter().zip(&outcomes);
        bootstrap.mean(each.filter_map(|(text, o)| Some((text.origin, value(o)?))))
    };
    let one = |holds: bool| f64::from(u8::from(holds));
    let share = |holds: fn(&Judged) -> bool| figure(&|o| Some(one(holds(&o.judged))));
    Written {
        temperature,
        n: texts.len() as u64,
        complete: share(|j| j.end.is_some()),
        parses: share(|j| j.parses),
        balanced: share(|j| j.end.is_some() && j.balanced),
        open_triple_quotes: share(|j| j.open_triple_quotes),
        first_error: figure(&|o| {
            let place = o.judged.first_error.filter(|_| o.judged.end.is_some());
            place.map(|place| place as f64)
        }),
        remembered: figure(&|o| o.remembered.map(one)),
        chars: figure(&|o| Some(o.length as f64)),
    }
}

/// What holds of one text.
struct Outcome {
    judged: Judged,
    /// Its characters, up to its end.
    length: usize,
    /// Whether the training text has a part of its beginning; none where that is not there, or it is too
    /// short.
    remembered: Option<bool>,
}
