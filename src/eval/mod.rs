//! Measures of predicted tokens against references: BLEU, chrF and plain shares.
//!
//! Each counts pair by pair and divides once at the end, so the figures of a part of the pairs, as
//! those with short docstrings, come from the counts of that part.

pub mod bleu;
pub mod chrf;
pub mod scores;
pub mod sentence;

use std::collections::HashMap;
use std::hash::Hash;

use serde::{Deserialize, Deserializer};

/// How many n-grams of `hypothesis` are in `reference`, each counted at most as often as it is
/// there: the clipped matches of BLEU and chrF.
fn clipped_matches<T: Eq + Hash>(reference: &[T], hypothesis: &[T], n: usize) -> u64 {
    let mut left: HashMap<&[T], u64> = HashMap::new();
    for gram in reference.windows(n) {
        *left.entry(gram).or_default() += 1;
    }
    let mut found = 0;
    for gram in hypothesis.windows(n) {
        if let Some(count) = left.get_mut(gram).filter(|count| **count > 0) {
            *count -= 1;
            found += 1;
        }
    }
    found
}

/// How many n-grams a sequence of this length has.
fn ngrams(length: usize, n: usize) -> u64 {
    (length + 1).saturating_sub(n) as u64
}

/// White space as Python's `str.split` sees it: Unicode's, and the separators U+001C to U+001F.
/// sacrebleu joins and splits there, so a token that holds one of them counts as two.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// `x / n`, and 0 where nothing was counted.
fn share(x: u64, n: u64) -> f64 {
    if n == 0 { 0.0 } else { x as f64 / n as f64 }
}

/// Reads a number, or `null`, which stands in JSON for one that is not finite, as NaN.
pub(crate) fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

/// What a number is read as that a file does not have.
pub(crate) fn nan() -> f64 {
    f64::NAN
}
