//! The mean of sentence BLEU that papers on writing code report (Ling et al. 2016, arXiv 1603.06744;
//! Yin & Neubig 2017, arXiv 1704.01696), as NLTK computes it: every output counts the same, however
//! long it is, where corpus BLEU ([`bleu`](super::bleu)) goes by the long ones.
//!
//! ```text
//! BLEU(r, h) = BP * exp(1/4 * sum over n <= min(4, |r|) of ln p_n)     p_n = matches_n / max(1, totals_n)
//! ```
//!
//! The k-th order without a match has precision 1 / (2^k max(1, totals_n)) (Chen & Cherry 2014, method 3);
//! without any token in common BLEU is 0. Of a reference of fewer than four tokens the sum has fewer
//! terms, each still a quarter.

use super::bleu::{NgramCounts, ORDER};

/// BLEU of one text, in [0, 1]; 0 where the reference has no token.
pub fn sentence_bleu(reference: &str, hypothesis: &str) -> f64 {
    let (reference, hypothesis) = (pieces(reference), pieces(hypothesis));
    let mut counts = NgramCounts::default();
    counts.add(&reference, &hypothesis);
    if counts.matches[0] == 0 {
        return 0.0;
    }
    let (mut logs, mut pretended) = (0.0, 1.0);
    for n in 0..ORDER.min(reference.len()) {
        let matches = match counts.matches[n] {
            0 => {
                pretended /= 2.0;
                pretended
            }
            n => n as f64,
        };
        logs += (matches / counts.totals[n].max(1) as f64).ln();
    }
    counts.brevity_penalty() * (logs / ORDER as f64).exp()
}

/// What is compared: names and numbers, parted where a small letter meets a capital one, and every other
/// character that is no white space by itself; all quotes are the same.
fn pieces(text: &str) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    let mut before = ' ';
    for c in text.chars() {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let goes_on = is_name(before)
            && is_name(c)
            && !(before.is_ascii_lowercase() && c.is_ascii_uppercase());
        match pieces.last_mut() {
            Some(last) if goes_on => last.push(c),
            _ if super::is_space(c) => {}
            _ if matches!(c, '"' | '\'') => pieces.push("`".into()),
            _ => pieces.push(c.into()),
        }
        before = c;
    }
    pieces
}
