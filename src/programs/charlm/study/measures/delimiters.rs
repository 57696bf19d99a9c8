//! C. Delimiters: does the model know, at the end of a string, which quotes began it?
//!
//! At the close of each string: the probability of its delimiter (of three quotes the product), and
//! the share of its quote in the probability of both. Inside it: the probability of its quote where
//! none stands, the mean over its characters; for a single quote that is the probability of closing too
//! early, for three of them an upper bound. Characters behind a backslash are left out there.

use serde::{Deserialize, Serialize};

use super::reading::Reading;
use crate::programs::charlm::study::bins::Span;
use crate::programs::charlm::study::dump::FileDump;
use crate::programs::charlm::study::estimate::{Estimate, Tally};
use crate::programs::charlm::study::source::SourceFile;
use crate::programs::charlm::study::syntax::StringToken;
use std::collections::BTreeMap;

/// How strings are closed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delimiters {
    /// By kind of string.
    pub by_kind: Vec<DelimiterRow>,
    /// By kind and length.
    pub by_kind_and_length: Vec<DelimiterRow>,
}

/// Strings of a bin. Figures of fewer than 50 strings are blank.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DelimiterRow {
    /// `'`, `"`, `'''`, `"""`, or `docstring` with any of them.
    pub kind: String,
    /// Characters between the delimiters; none is every length.
    pub length: Option<Span>,
    /// Strings.
    pub n: u64,
    /// Probability of the delimiter.
    pub p: Option<Estimate>,
    /// Share of its quote in the probability of both.
    pub share: Option<Estimate>,
    /// Probability of its quote inside the string.
    pub early: Option<Estimate>,
}

type Key = (usize, Option<Span>);

const KINDS: [&str; 5] = ["'", "\"", "'''", "\"\"\"", "docstring"];

fn kind(string: &StringToken) -> usize {
    match string.is_docstring {
        true => 4,
        false => {
            usize::from(string.delimiter.quote == '"') + 2 * usize::from(string.delimiter.triple)
        }
    }
}

/// Measures it; none where no string is closed in any file.
pub fn measure(reading: &Reading) -> Option<Delimiters> {
    let mut groups: BTreeMap<Key, [Tally; 3]> = BTreeMap::new();
    for (i, file, dump) in reading.each() {
        for string in file.syntax.strings.iter().filter(|s| s.is_closed) {
            let length = Span::between_powers(string.close - string.body);
            for key in [(kind(string), None), (kind(string), Some(length))] {
                count(groups.entry(key).or_default(), (i, file, dump), string);
            }
        }
    }
    let row = |(&(kind, length), tallies): (&Key, &[Tally; 3])| {
        let [p, share, early] = tallies.each_ref().map(|t| reading.bootstrap.estimate(t));
        DelimiterRow {
            kind: KINDS[kind].to_owned(),
            length,
            n: tallies[0].events(),
            p,
            share,
            early,
        }
    };
    let rows = groups.iter().map(row);
    let (by_kind_and_length, by_kind): (Vec<_>, Vec<_>) = rows.partition(|r| r.length.is_some());
    (!by_kind.is_empty()).then_some(Delimiters {
        by_kind,
        by_kind_and_length,
    })
}

fn count(
    [p, share, early]: &mut [Tally; 3],
    (i, file, dump): (usize, &SourceFile, &FileDump),
    string: &StringToken,
) {
    let positions = &dump.positions;
    let quote = string.delimiter.quote;
    let close = &positions[string.close..string.end()];
    p.add(i, close.iter().map(|at| f64::from(at.p)).product());
    let both: f64 = ['\'', '"'].map(|c| close[0].quote(c)).iter().sum();
    if both > 0.0 {
        share.add(i, close[0].quote(quote) / both);
    }
    let (mut sum, mut places, mut is_escaped) = (0.0, 0, false);
    let body = string.body..string.close;
    for (&c, position) in file.chars[body.clone()].iter().zip(&positions[body]) {
        if !is_escaped && c != quote {
            sum += position.quote(quote);
            places += 1;
        }
        is_escaped = c == '\\' && !is_escaped;
    }
    if places > 0 {
        early.add_weighted(i, sum / f64::from(places), f64::from(places));
    }
}
