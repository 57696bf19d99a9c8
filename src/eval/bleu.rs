//! Corpus BLEU-4 (Papineni et al. 2002) as sacrebleu computes it (Post 2018):
//! `BLEU(tokenize='none', smooth_method='none' | 'exp')`, with the score in [0, 1].
//!
//! ```text
//! BLEU = BP * exp(1/4 * sum over n of ln p_n)     p_n = matches_n / totals_n, n = 1 to 4
//! BP   = 1 if hyp_len >= ref_len, else exp(1 - ref_len / hyp_len)
//! ```

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use super::{clipped_matches, is_space, ngrams};

/// The longest n-grams that count.
pub const ORDER: usize = 4;

/// What BLEU is computed from. Counts of parts of a corpus add up to those of the whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NgramCounts {
    /// N-grams of the hypotheses that their reference has, clipped to how often it has them; order
    /// 1 to 4.
    pub matches: [u64; ORDER],
    /// N-grams of the hypotheses, order 1 to 4.
    pub totals: [u64; ORDER],
    /// Tokens of the hypotheses.
    #[serde(rename = "hypothesis_length")]
    pub hyp_len: u64,
    /// Tokens of the references.
    #[serde(rename = "reference_length")]
    pub ref_len: u64,
}

impl NgramCounts {
    /// Counts one pair. Tokens hold no white space; one that does counts as several, as in
    /// sacrebleu, which joins tokens by spaces and splits them again.
    pub fn add(&mut self, reference: &[impl AsRef<str>], hypothesis: &[impl AsRef<str>]) {
        let (reference, hypothesis) = (words(reference), words(hypothesis));
        for n in 1..=ORDER {
            self.matches[n - 1] += clipped_matches(&reference, &hypothesis, n);
            self.totals[n - 1] += ngrams(hypothesis.len(), n);
        }
        self.hyp_len += hypothesis.len() as u64;
        self.ref_len += reference.len() as u64;
    }

    /// BLEU without smoothing, in [0, 1]: 0 as soon as one order has no match, or no n-gram at all.
    pub fn bleu(&self) -> f64 {
        self.score(false)
    }

    /// BLEU with exponential smoothing, in [0, 1] (sacrebleu's `exp`; Chen & Cherry 2014, method 3):
    /// the k-th order without a match has precision 1 / (2^k totals). An order without n-grams, and
    /// a corpus without any match, still give 0.
    pub fn bleu_smoothed(&self) -> f64 {
        self.score(true)
    }

    fn score(&self, smoothed: bool) -> f64 {
        if self.matches == [0; ORDER] {
            return 0.0;
        }
        let (mut logs, mut pretended) = (0.0, 1.0);
        for (&matches, &total) in self.matches.iter().zip(&self.totals) {
            let matches = match matches {
                0 if smoothed && total > 0 => {
                    pretended /= 2.0;
                    pretended
                }
                0 => return 0.0,
                n => n as f64,
            };
            logs += (matches / total as f64).ln();
        }
        self.brevity_penalty() * (logs / ORDER as f64).exp()
    }

    /// BP of the formula; 0 for hypotheses without a token where the references have some.
    pub fn brevity_penalty(&self) -> f64 {
        if self.hyp_len >= self.ref_len {
            return 1.0;
        }
        (1.0 - self.ref_len as f64 / self.hyp_len as f64).exp()
    }
}

impl AddAssign for NgramCounts {
    fn add_assign(&mut self, other: Self) {
        for n in 0..ORDER {
            self.matches[n] += other.matches[n];
            self.totals[n] += other.totals[n];
        }
        self.hyp_len += other.hyp_len;
        self.ref_len += other.ref_len;
    }
}

/// The tokens as they come back from a line that sacrebleu splits.
fn words(tokens: &[impl AsRef<str>]) -> Vec<&str> {
    let parts = tokens.iter().flat_map(|t| t.as_ref().split(is_space));
    parts.filter(|word| !word.is_empty()).collect()
}
