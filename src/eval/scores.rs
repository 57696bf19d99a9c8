//! All figures of predicted texts: what a seq2seq model is scored by beside its loss.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::bleu::NgramCounts;
use super::chrf::ChrfCounts;
use super::sentence::sentence_bleu;
use super::{clipped_matches, nan, number, share};
use crate::data::tokens::python::is_identifier;

/// Source lengths that make one row of [`TextFigures::by_length`].
const BUCKET: usize = 5;

/// Scores of predictions, counted pair by pair.
///
/// References are the pair's own tokens, cut to the longest target but not mapped to the
/// vocabulary: a predicted `<UNK>` is wrong, whatever stands in its place (unless the code itself
/// has this very word).
#[derive(Clone, Debug)]
pub struct TextScores {
    /// Whether a text parses as Python, where it ought to.
    parses: Option<fn(&str) -> bool>,
    /// The token that stands for every unknown one.
    unknown: &'static str,
    pairs: u64,
    exact: u64,
    parsed: u64,
    parsed_references: u64,
    /// Identifiers of the references, of the predictions, and of both.
    identifiers: [u64; 3],
    same_trees: u64,
    right_tokens: u64,
    unknown_tokens: u64,
    reference_tokens: u64,
    predicted_tokens: u64,
    chrf: ChrfCounts,
    /// Of Python's tokens.
    python: NgramCounts,
    /// Sum over the pairs.
    sentence_bleu: f64,
    /// Pairs and their counts by (source length - 1) / [`BUCKET`].
    buckets: BTreeMap<usize, (u64, NgramCounts)>,
}

/// The figures of predictions, under the names and in the order that files have. A file may lack
/// one, or hold `null` for one that is not finite: it is read as NaN.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TextFigures {
    /// Pairs counted.
    pub pairs: Option<u64>,
    /// Corpus BLEU-4 in [0, 1], unsmoothed.
    #[serde(default = "nan", deserialize_with = "number")]
    pub bleu: f64,
    /// Corpus BLEU-4 in [0, 1], exponentially smoothed.
    #[serde(default = "nan", deserialize_with = "number")]
    pub bleu_smoothed: f64,
    /// Corpus BLEU-4 in [0, 1], unsmoothed, of Python's tokens and the whole references, whatever the
    /// tokens of the model are; NaN where targets are not Python.
    #[serde(default = "nan", deserialize_with = "number")]
    pub bleu_python: f64,
    /// Mean over the pairs of their BLEU as papers on writing code have it, of the whole references as
    /// text, in [0, 1]; see [`sentence_bleu`].
    #[serde(default = "nan", deserialize_with = "number")]
    pub bleu_sentence: f64,
    /// What BLEU is computed from.
    pub ngram_counts: Option<NgramCounts>,
    /// Share of predictions that are their reference.
    #[serde(default = "nan", deserialize_with = "number")]
    pub exact_match: f64,
    /// Positions at which prediction and reference have the same token, as a share of all reference
    /// tokens. What a prediction has beyond its reference's end neither helps nor harms.
    #[serde(default = "nan", deserialize_with = "number")]
    pub token_accuracy: f64,
    /// Corpus chrF in [0, 1].
    #[serde(default = "nan", deserialize_with = "number")]
    pub chrf: f64,
    /// Share of predictions that parse; NaN where they are no code.
    #[serde(default = "nan", deserialize_with = "number")]
    pub parse_rate: f64,
    /// Share of references that parse, their tokens joined as a prediction's are: cut, and, where white
    /// space separates tokens, without their line ends. A model that writes them all has this as its
    /// `parse_rate`.
    #[serde(default = "nan", deserialize_with = "number")]
    pub reference_parse_rate: f64,
    /// F1 of the identifiers of predictions and whole references, each counted as often as it is there:
    /// names that are no reserved words. NaN where targets are not Python.
    #[serde(default = "nan", deserialize_with = "number")]
    pub identifier_f1: f64,
    /// Share of predictions whose syntax tree is that of the whole reference; NaN where targets are not
    /// Python. What does not parse has no tree.
    #[serde(default = "nan", deserialize_with = "number")]
    pub tree_match: f64,
    /// Share of predicted tokens that are `<UNK>`.
    #[serde(default = "nan", deserialize_with = "number")]
    pub unk_rate: f64,
    /// BLEU by source length, 1 to 5 tokens, 6 to 10 and so on; lengths that no pair has are
    /// left out.
    #[serde(default)]
    pub by_length: Vec<LengthScore>,
}

/// BLEU of the pairs whose sources have `from` to `to` tokens.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LengthScore {
    /// Fewest tokens of a source.
    pub from: usize,
    /// Most tokens of a source.
    pub to: usize,
    /// Pairs, at least one.
    pub pairs: u64,
    /// BLEU-4 in [0, 1], unsmoothed.
    #[serde(deserialize_with = "number")]
    pub bleu: f64,
    /// BLEU-4 in [0, 1], exponentially smoothed.
    #[serde(deserialize_with = "number")]
    pub bleu_smoothed: f64,
}

/// A prediction beside its reference.
#[derive(Clone, Debug)]
pub struct Compared<'a> {
    /// Tokens of the reference.
    pub reference: &'a [String],
    /// Tokens of the prediction.
    pub prediction: &'a [String],
    /// The text of the reference's tokens.
    pub reference_text: String,
    /// The whole reference.
    pub whole: &'a str,
    /// The text of the prediction's tokens.
    pub text: &'a str,
    /// Whether the prediction counts as right.
    pub exact: bool,
    /// Python's tokens of the whole reference and of the prediction, where they are Python, as they are
    /// compared.
    pub python: Option<[Vec<String>; 2]>,
    /// Whether both have the same syntax tree, of the whole reference.
    pub same_tree: bool,
}

impl TextScores {
    /// No pair yet. `parses` says whether a text is Python, where targets are code; `unknown` is the
    /// token that stands for every unknown one.
    pub fn new(parses: Option<fn(&str) -> bool>, unknown: &'static str) -> Self {
        TextScores {
            parses,
            unknown,
            pairs: 0,
            exact: 0,
            parsed: 0,
            parsed_references: 0,
            identifiers: [0; 3],
            same_trees: 0,
            right_tokens: 0,
            unknown_tokens: 0,
            reference_tokens: 0,
            predicted_tokens: 0,
            chrf: ChrfCounts::default(),
            python: NgramCounts::default(),
            sentence_bleu: 0.0,
            buckets: BTreeMap::new(),
        }
    }

    /// Counts one pair. `source_length` is the source's number of tokens, at least 1, as the
    /// model read it.
    pub fn add(&mut self, source_length: usize, pair: &Compared) {
        let (reference, prediction) = (pair.reference, pair.prediction);
        let pairs = reference.iter().zip(prediction);
        let right = pairs.filter(|(r, p)| r == p).count();
        let unknown = prediction.iter().filter(|t| *t == self.unknown).count();
        let parses = |text: &str| u64::from(self.parses.is_some_and(|parses| parses(text)));
        let (parsed, parsed_reference) = (parses(pair.text), parses(&pair.reference_text));
        self.pairs += 1;
        self.exact += u64::from(pair.exact);
        self.parsed += parsed;
        self.parsed_references += parsed_reference;
        self.right_tokens += right as u64;
        self.unknown_tokens += unknown as u64;
        self.reference_tokens += reference.len() as u64;
        self.predicted_tokens += prediction.len() as u64;
        self.chrf.add(&[&pair.reference_text], &[pair.text]);
        if let Some([reference, prediction]) = &pair.python {
            self.python.add(reference, prediction);
            let of = |tokens: &[String]| -> Vec<String> {
                let names = tokens.iter().filter(|token| is_identifier(token));
                names.cloned().collect()
            };
            let (reference, prediction) = (of(reference), of(prediction));
            let both = clipped_matches(&reference, &prediction, 1);
            let counts = [reference.len() as u64, prediction.len() as u64, both];
            for (sum, count) in self.identifiers.iter_mut().zip(counts) {
                *sum += count;
            }
        }
        self.same_trees += u64::from(pair.same_tree);
        self.sentence_bleu += sentence_bleu(pair.whole, pair.text);
        let bucket = source_length.saturating_sub(1) / BUCKET;
        let (pairs, counts) = self.buckets.entry(bucket).or_default();
        *pairs += 1;
        counts.add(reference, prediction);
    }

    /// All figures; of no pair they are zeros.
    pub fn figures(&self) -> TextFigures {
        let mut counts = NgramCounts::default();
        for (_, part) in self.buckets.values() {
            counts += *part;
        }
        let of_python = |figure| self.parses.map_or(f64::NAN, |_| figure);
        let parsing = |parsed| of_python(share(parsed, self.pairs));
        let [of_references, of_predictions, of_both] = self.identifiers;
        let rows = self.buckets.iter();
        let rows = rows.map(|(bucket, (pairs, counts))| LengthScore {
            from: bucket * BUCKET + 1,
            to: (bucket + 1) * BUCKET,
            pairs: *pairs,
            bleu: counts.bleu(),
            bleu_smoothed: counts.bleu_smoothed(),
        });
        TextFigures {
            pairs: Some(self.pairs),
            bleu: counts.bleu(),
            bleu_smoothed: counts.bleu_smoothed(),
            bleu_python: of_python(self.python.bleu()),
            bleu_sentence: self.sentence_bleu / self.pairs.max(1) as f64,
            ngram_counts: Some(counts),
            exact_match: share(self.exact, self.pairs),
            token_accuracy: share(self.right_tokens, self.reference_tokens),
            chrf: self.chrf.chrf(),
            parse_rate: parsing(self.parsed),
            reference_parse_rate: parsing(self.parsed_references),
            identifier_f1: of_python(share(2 * of_both, of_references + of_predictions)),
            tree_match: of_python(share(self.same_trees, self.pairs)),
            unk_rate: share(self.unknown_tokens, self.predicted_tokens),
            by_length: rows.collect(),
        }
    }
}
