//! chrF (Popovic 2015) of a corpus as sacrebleu's `CHRF()` computes it: character n-grams of order
//! 1 to 6 without white space, beta 2, no epsilon smoothing; in [0, 1].
//!
//! ```text
//! P, R = means of matches_n / hypothesis_n and of matches_n / reference_n over the orders
//!        that hypotheses and references both have
//! chrF = (1 + beta^2) P R / (beta^2 P + R)
//! ```

use super::{clipped_matches, is_space, ngrams};

/// The longest character n-grams that count.
pub const ORDER: usize = 6;
/// Recall weighs this many times as much as precision.
const BETA: f64 = 2.0;

/// What chrF is computed from, order 1 to 6.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChrfCounts {
    /// Clipped matches.
    pub matches: [u64; ORDER],
    /// N-grams of the hypotheses, those of pairs whose reference has none of this order left out.
    pub hypothesis: [u64; ORDER],
    /// N-grams of the references.
    pub reference: [u64; ORDER],
}

impl ChrfCounts {
    /// Counts one pair.
    pub fn add(&mut self, reference: &[impl AsRef<str>], hypothesis: &[impl AsRef<str>]) {
        let (reference, hypothesis) = (characters(reference), characters(hypothesis));
        for n in 1..=ORDER {
            let in_reference = ngrams(reference.len(), n);
            self.matches[n - 1] += clipped_matches(&reference, &hypothesis, n);
            self.reference[n - 1] += in_reference;
            if in_reference > 0 {
                self.hypothesis[n - 1] += ngrams(hypothesis.len(), n);
            }
        }
    }

    /// chrF in [0, 1]; 0 where nothing matches.
    pub fn chrf(&self) -> f64 {
        let (mut precision, mut recall, mut orders) = (0.0, 0.0, 0.0);
        for n in 0..ORDER {
            if self.hypothesis[n] > 0 && self.reference[n] > 0 {
                let matches = self.matches[n] as f64;
                precision += matches / self.hypothesis[n] as f64;
                recall += matches / self.reference[n] as f64;
                orders += 1.0;
            }
        }
        if precision + recall == 0.0 {
            return 0.0;
        }
        let (precision, recall) = (precision / orders, recall / orders);
        let weight = BETA * BETA;
        (1.0 + weight) * precision * recall / (weight * precision + recall)
    }
}

/// The characters (Unicode scalar values) of all tokens.
fn characters(tokens: &[impl AsRef<str>]) -> Vec<char> {
    let chars = tokens.iter().flat_map(|t| t.as_ref().chars());
    chars.filter(|&c| !is_space(c)).collect()
}
