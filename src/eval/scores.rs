//! All figures of predicted texts: what `rnnx eval` prints for a seq2seq model beside its loss.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use super::bleu::NgramCounts;
use super::chrf::ChrfCounts;
use super::share;
use crate::data::words::{SPECIALS, UNK};

/// Docstring lengths that make one row of [`TextScores::by_length`].
const BUCKET: usize = 5;

/// Scores of predictions, counted pair by pair.
///
/// References are the pair's own tokens, cut to the longest target but not mapped to the
/// vocabulary: a predicted `<UNK>` is wrong, whatever stands in its place (unless the code itself
/// has this very word).
#[derive(Clone, Debug)]
pub struct TextScores {
    /// Whether a text parses as Python.
    parses: fn(&str) -> bool,
    pairs: u64,
    exact: u64,
    parsed: u64,
    parsed_references: u64,
    right_tokens: u64,
    unknown_tokens: u64,
    reference_tokens: u64,
    predicted_tokens: u64,
    chrf: ChrfCounts,
    /// Pairs and their counts by (docstring length - 1) / [`BUCKET`].
    buckets: BTreeMap<usize, (u64, NgramCounts)>,
}

/// BLEU of the pairs whose docstrings have `from` to `to` tokens.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LengthScore {
    /// Fewest tokens of a docstring.
    pub from: usize,
    /// Most tokens of a docstring.
    pub to: usize,
    /// Pairs, at least one.
    pub pairs: u64,
    /// BLEU-4 in [0, 1], unsmoothed.
    pub bleu: f64,
    /// BLEU-4 in [0, 1], exponentially smoothed.
    pub bleu_smoothed: f64,
}

impl TextScores {
    /// No pair yet. `parses` says whether a text, tokens joined by spaces, is Python.
    pub fn new(parses: fn(&str) -> bool) -> Self {
        TextScores {
            parses,
            pairs: 0,
            exact: 0,
            parsed: 0,
            parsed_references: 0,
            right_tokens: 0,
            unknown_tokens: 0,
            reference_tokens: 0,
            predicted_tokens: 0,
            chrf: ChrfCounts::default(),
            buckets: BTreeMap::new(),
        }
    }

    /// Counts one pair. `docstring_length` is the docstring's number of tokens, at least 1, as the
    /// model read it.
    pub fn add(
        &mut self,
        docstring_length: usize,
        reference: &[impl AsRef<str>],
        prediction: &[impl AsRef<str>],
    ) {
        let pairs = reference.iter().zip(prediction);
        let right = pairs.filter(|(r, p)| r.as_ref() == p.as_ref()).count();
        let exact = right == reference.len() && right == prediction.len();
        let unknown = prediction
            .iter()
            .filter(|t| t.as_ref() == SPECIALS[UNK as usize])
            .count();
        let parses = |tokens: &[&str]| u64::from((self.parses)(&tokens.join(" ")));
        let words: Vec<&str> = prediction.iter().map(AsRef::as_ref).collect();
        let wanted: Vec<&str> = reference.iter().map(AsRef::as_ref).collect();
        let (parsed, parsed_reference) = (parses(&words), parses(&wanted));
        self.pairs += 1;
        self.exact += u64::from(exact);
        self.parsed += parsed;
        self.parsed_references += parsed_reference;
        self.right_tokens += right as u64;
        self.unknown_tokens += unknown as u64;
        self.reference_tokens += reference.len() as u64;
        self.predicted_tokens += prediction.len() as u64;
        self.chrf.add(reference, prediction);
        let bucket = docstring_length.saturating_sub(1) / BUCKET;
        let (pairs, counts) = self.buckets.entry(bucket).or_default();
        *pairs += 1;
        counts.add(reference, prediction);
    }

    /// Pairs counted.
    pub fn pairs(&self) -> u64 {
        self.pairs
    }

    /// What BLEU is computed from.
    pub fn ngram_counts(&self) -> NgramCounts {
        let mut all = NgramCounts::default();
        for (_, counts) in self.buckets.values() {
            all += *counts;
        }
        all
    }

    /// Corpus BLEU-4 in [0, 1], unsmoothed.
    pub fn bleu(&self) -> f64 {
        self.ngram_counts().bleu()
    }

    /// Corpus BLEU-4 in [0, 1], exponentially smoothed.
    pub fn bleu_smoothed(&self) -> f64 {
        self.ngram_counts().bleu_smoothed()
    }

    /// Share of predictions that are their reference, token for token.
    pub fn exact_match(&self) -> f64 {
        share(self.exact, self.pairs)
    }

    /// Positions at which prediction and reference have the same token, as a share of all reference
    /// tokens. What a prediction has beyond its reference's end neither helps nor harms.
    pub fn token_accuracy(&self) -> f64 {
        share(self.right_tokens, self.reference_tokens)
    }

    /// Corpus chrF in [0, 1].
    pub fn chrf(&self) -> f64 {
        self.chrf.chrf()
    }

    /// Share of predictions that parse.
    pub fn parse_rate(&self) -> f64 {
        share(self.parsed, self.pairs)
    }

    /// Share of references that parse, their tokens joined by spaces as a prediction's are: without
    /// their line ends, and cut. A model that writes them all has this [`Self::parse_rate`].
    pub fn reference_parse_rate(&self) -> f64 {
        share(self.parsed_references, self.pairs)
    }

    /// Share of predicted tokens that are `<UNK>`.
    pub fn unk_rate(&self) -> f64 {
        share(self.unknown_tokens, self.predicted_tokens)
    }

    /// BLEU by docstring length, 1 to 5 tokens, 6 to 10 and so on; lengths that no pair has are
    /// left out.
    pub fn by_length(&self) -> Vec<LengthScore> {
        let rows = self.buckets.iter();
        rows.map(|(bucket, (pairs, counts))| LengthScore {
            from: bucket * BUCKET + 1,
            to: (bucket + 1) * BUCKET,
            pairs: *pairs,
            bleu: counts.bleu(),
            bleu_smoothed: counts.bleu_smoothed(),
        })
        .collect()
    }

    /// All figures under the names that `rnnx eval --json` prints.
    pub fn to_json(&self) -> Value {
        let counts = self.ngram_counts();
        json!({
            "pairs": self.pairs,
            "bleu": counts.bleu(),
            "bleu_smoothed": counts.bleu_smoothed(),
            "ngram_counts": {
                "matches": counts.matches,
                "totals": counts.totals,
                "hypothesis_length": counts.hyp_len,
                "reference_length": counts.ref_len,
            },
            "exact_match": self.exact_match(),
            "token_accuracy": self.token_accuracy(),
            "chrf": self.chrf(),
            "parse_rate": self.parse_rate(),
            "reference_parse_rate": self.reference_parse_rate(),
            "unk_rate": self.unk_rate(),
            "by_length": self.by_length(),
        })
    }
}
