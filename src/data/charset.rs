//! Character sets: what of a text is kept, and what a token is.
//!
//! - `ascii`: the published rule ([`text`](super::text)). A token is a character.
//! - `unicode`: every character of the text in NFC, but for control characters other than tab and
//!   newline, and for bytes that are no UTF-8; both are counted. `\r\n` is one newline. White space at
//!   the ends of lines stays. A token is a character.
//! - `bytes`: everything as it is. A token is a byte.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use unicode_normalization::char::canonical_combining_class;
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

use super::text::{Cleaned, clean_into, is_plain};

/// What of a text is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Charset {
    /// Printable ASCII, tab and newline.
    Ascii,
    /// Every character.
    Unicode,
    /// Every byte.
    Bytes,
}

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CharsetChoice {
    /// `ascii` for the embedded corpus, `unicode` for a text of the user's.
    Auto,
    /// [`Charset::Ascii`]
    Ascii,
    /// [`Charset::Unicode`]
    Unicode,
    /// [`Charset::Bytes`]
    Bytes,
}

impl CharsetChoice {
    /// The words, as settings have them.
    pub const NAMES: [&'static str; 4] = ["auto", "ascii", "unicode", "bytes"];

    /// The character set of the embedded corpus, or of a text of the user's.
    pub fn settle(self, embedded: bool) -> Charset {
        match self {
            CharsetChoice::Auto if embedded => Charset::Ascii,
            CharsetChoice::Auto | CharsetChoice::Unicode => Charset::Unicode,
            CharsetChoice::Ascii => Charset::Ascii,
            CharsetChoice::Bytes => Charset::Bytes,
        }
    }
}

impl FromStr for CharsetChoice {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "auto" => Ok(CharsetChoice::Auto),
            "ascii" => Ok(CharsetChoice::Ascii),
            "unicode" => Ok(CharsetChoice::Unicode),
            "bytes" => Ok(CharsetChoice::Bytes),
            _ => Err(format!("give one of {}", CharsetChoice::NAMES.join(", "))),
        }
    }
}

impl fmt::Display for Charset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Charset::Ascii => "ascii",
            Charset::Unicode => "unicode",
            Charset::Bytes => "bytes",
        })
    }
}

impl Charset {
    /// Appends the cleaned `input` to `out`, `room` tokens of it at most. Lines behind them are not
    /// looked at.
    pub fn clean_into(self, input: &[u8], out: &mut Vec<u8>, room: usize) -> Cleaned {
        match self {
            Charset::Ascii => clean_into(input, out, out.len().saturating_add(room)),
            Charset::Unicode => unicode_into(input, out, room),
            Charset::Bytes => {
                let kept = &input[..input.len().min(room)];
                out.extend_from_slice(kept);
                Cleaned {
                    bytes: kept.len(),
                    chars: kept.len(),
                    ..Cleaned::default()
                }
            }
        }
    }

    /// The last place behind `from` where `block` can be cut in two that give, cleaned one after the
    /// other, what the whole gives; none where there is no such place.
    pub fn cut(self, block: &[u8], from: usize) -> Option<usize> {
        let ends_here = |p: usize| match self {
            Charset::Bytes => true,
            // White space at the end of a line would have to be known to be there.
            Charset::Ascii => block[p - 1] == b'\n' || block[p - 1].is_ascii_graphic(),
            Charset::Unicode => block[p - 1] == b'\n' || starts_anew(&block[p..]),
        };
        (from.max(1)..=block.len()).rev().find(|&p| ends_here(p))
    }
}

// ---- unicode -------------------------------------------------------------------------------

fn unicode_into(input: &[u8], out: &mut Vec<u8>, room: usize) -> Cleaned {
    let mut counts = Cleaned::default();
    for line in input.split_inclusive(|&b| b == b'\n') {
        if counts.chars >= room {
            break;
        }
        counts.bytes += line.len();
        let (body, is_ended) = match line.strip_suffix(b"\n") {
            Some(body) => (body.strip_suffix(b"\r").unwrap_or(body), true),
            None => (line, false),
        };
        if body.iter().fold(true, |all, &b| all & is_plain(b)) {
            let kept = &body[..body.len().min(room - counts.chars)];
            out.extend_from_slice(kept);
            counts.chars += kept.len();
        } else {
            filter_into(body, out, room, &mut counts);
        }
        if is_ended && counts.chars < room {
            out.push(b'\n');
            counts.chars += 1;
        }
    }
    counts
}

/// A line that holds more than plain ASCII.
fn filter_into(body: &[u8], out: &mut Vec<u8>, room: usize, counts: &mut Cleaned) {
    let mut kept = String::with_capacity(body.len());
    for chunk in body.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c.is_control() && c != '\t' {
                true => counts.count(c),
                false => kept.push(c),
            }
        }
        if !chunk.invalid().is_empty() {
            counts.count_invalid();
        }
    }
    let room = room - counts.chars;
    let mut push = |c: char| {
        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        counts.chars += 1;
    };
    match is_nfc_quick(kept.chars()) {
        IsNormalized::Yes => kept.chars().take(room).for_each(&mut push),
        _ => kept.nfc().take(room).for_each(&mut push),
    }
}

/// Whether `bytes` begin with a character that no character before it changes in NFC.
fn starts_anew(bytes: &[u8]) -> bool {
    let width = match bytes.first() {
        Some(&b) if is_plain(b) => return true,
        Some(0xc2..=0xdf) => 2,
        Some(0xe0..=0xef) => 3,
        Some(0xf0..=0xf4) => 4,
        _ => return false,
    };
    let first = bytes.get(..width).and_then(|b| std::str::from_utf8(b).ok());
    first.and_then(|s| s.chars().next()).is_some_and(|c| {
        let is_fixed = is_nfc_quick([c].into_iter()) == IsNormalized::Yes;
        is_fixed && canonical_combining_class(c) == 0 && !c.is_control()
    })
}

// ---- characters in messages ----------------------------------------------------------------

/// A character as messages show it, in quotes: itself, or an escape where it cannot be seen by itself
/// (control characters, combining marks, blanks other than the space).
pub fn shown(c: char) -> String {
    match c {
        '\'' | '"' | '\\' => format!("'{c}'"),
        _ => format!("'{}'", c.escape_debug()),
    }
}
