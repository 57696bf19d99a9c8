//! What is said of a corpus: what was read, kept and dropped.

use std::fmt;

use serde::Serialize;

use super::charset::{Charset, shown};
use super::text::Cleaned;
use crate::log::{counted, thousands};
use crate::{Error, Result};

/// The share of a text that may be dropped.
const MAX_DROPPED: f64 = 0.01;
/// How many of the characters that were dropped are named.
const NAMED: usize = 5;

/// What a corpus was made from. Its `Display` is one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CorpusReport {
    /// [`EMBEDDED_SOURCE`](super::corpus::EMBEDDED_SOURCE), or the paths that were given.
    pub source: String,
    /// What was kept.
    pub charset: Charset,
    /// Files read; where the text was cut, those behind the cut do not count.
    pub files: usize,
    /// Bytes of those files that were read.
    pub bytes: u64,
    /// Characters kept: the length of the text; of `bytes`, bytes.
    pub chars: usize,
    /// Characters dropped, white space at the ends of lines not counted.
    pub dropped: u64,
    /// Those of `dropped` that were invalid UTF-8 sequences.
    pub invalid_utf8: u64,
    /// The characters that were dropped most often, and how often; an invalid sequence is U+FFFD.
    pub most_dropped: Vec<(char, u64)>,
    /// Whether text was left behind at `max_chars`.
    pub truncated: bool,
    /// The paths that were given of which nothing is in the text.
    pub unused: Vec<String>,
    /// Lines of the text; the last may lack its newline.
    pub lines: usize,
    /// SHA-256 of the text, in hexadecimal.
    pub sha256: String,
}

impl CorpusReport {
    /// What the user should know about the text that was dropped, in one line; `None` where
    /// nothing was.
    pub fn dropped_note(&self) -> Option<String> {
        let plural = |n: u64| if n == 1 { "" } else { "s" };
        let what = match self.charset {
            Charset::Ascii => "outside printable ASCII",
            _ if self.dropped == 1 => "that is not text",
            _ => "that are not text",
        };
        let invalid = match self.invalid_utf8 {
            0 => String::new(),
            n => format!(" ({} invalid UTF-8 sequence{})", thousands(n), plural(n)),
        };
        (self.dropped > 0).then(|| {
            format!(
                "dropped {} character{} {what}{invalid}: {}",
                thousands(self.dropped),
                plural(self.dropped),
                named(&self.most_dropped)
            )
        })
    }

    /// Refuses a text of which more than 1 % was dropped: what is left is another text.
    ///
    /// # Errors
    /// [`Error::Data`] that names the characters dropped most often, and the way out.
    pub fn check_dropped(&self) -> Result<()> {
        let all = self.dropped + self.chars as u64;
        if self.dropped as f64 <= MAX_DROPPED * all as f64 {
            return Ok(());
        }
        Err(Error::Data(format!(
            "corpus {}: charset {} drops {} of its {} characters ({:.1} %; at most 1 % may be): {}; {}",
            self.source,
            self.charset,
            thousands(self.dropped),
            thousands(all),
            100.0 * self.dropped as f64 / all as f64,
            named(&self.most_dropped),
            way_out(self.charset)
        )))
    }
}

/// The characters dropped most often, and how often.
pub(super) fn most_dropped(cleaned: &Cleaned) -> Vec<(char, u64)> {
    let mut most: Vec<(char, u64)> = cleaned.by_char.iter().map(|(&c, &n)| (c, n)).collect();
    most.sort_by_key(|&(c, n)| (std::cmp::Reverse(n), c));
    most.truncate(NAMED);
    most
}

/// Characters and how often each was dropped.
pub(super) fn named(most: &[(char, u64)]) -> String {
    let one = |&(c, n): &(char, u64)| match n {
        1 => format!("{} once", shown(c)),
        n => format!("{} {} times", shown(c), thousands(n)),
    };
    most.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// How nothing is dropped.
pub(super) fn way_out(charset: Charset) -> &'static str {
    match charset {
        Charset::Ascii => "charset unicode keeps every character",
        _ => {
            "save the text as UTF-8 without control characters, or use charset bytes, which keeps \
             every byte"
        }
    }
}

impl fmt::Display for CorpusReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.charset {
            Charset::Bytes => "bytes",
            _ => "characters",
        };
        write!(
            f,
            "{} {unit} in {} of {} ({}), charset {}{}",
            thousands(self.chars as u64),
            counted(self.lines, "line"),
            counted(self.files, "file"),
            self.source,
            self.charset,
            if self.truncated {
                ", cut there: there is more text than max-chars"
            } else {
                ""
            }
        )?;
        match &self.unused[..] {
            [] => Ok(()),
            unused => write!(f, "; nothing of {} is in it", unused.join(", ")),
        }
    }
}
