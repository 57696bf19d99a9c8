//! Where strings end.

use super::syntax::Delimiter;

/// What is found at a quote.
pub(super) struct Found {
    /// The delimiter.
    pub delimiter: Delimiter,
    /// The place of the closing delimiter; where there is none, the end of what belongs to the string.
    pub close: usize,
    /// Whether there is a closing delimiter.
    pub is_closed: bool,
}

/// Whether a word before a quote is a string's prefix, and if so whether the string has fields in
/// braces. Those of Python 2 are prefixes, too.
pub(super) fn prefix(word: &[char]) -> Option<bool> {
    if word.len() > 2 {
        return None;
    }
    let word: String = word.iter().map(char::to_ascii_lowercase).collect();
    match &*word {
        "" | "r" | "u" | "b" | "br" | "rb" | "ur" => Some(false),
        "f" | "fr" | "rf" | "t" | "tr" | "rt" => Some(true),
        _ => None,
    }
}

/// Reads the string whose opening quote is at `quote`.
///
/// A string of one quote ends at the line's end where it is not closed. In one with fields a quote
/// within a field does not close it (PEP 701); where the fields do not end, it is read as if it had
/// none.
pub(super) fn find(chars: &[char], quote: usize, has_fields: bool) -> Found {
    let c = chars[quote];
    let delimiter = Delimiter {
        quote: c,
        triple: chars[quote..].starts_with(&[c; 3]),
    };
    let body = quote + delimiter.length();
    let with_fields = || match has_fields {
        true => fields_close(chars, body, delimiter),
        false => None,
    };
    let plain = || plain_close(chars, body, delimiter);
    match with_fields().map_or_else(plain, Ok) {
        Ok(close) => Found {
            delimiter,
            close,
            is_closed: true,
        },
        Err(close) => Found {
            delimiter,
            close,
            is_closed: false,
        },
    }
}

fn closes(chars: &[char], at: usize, delimiter: Delimiter) -> bool {
    chars[at..].starts_with(&[delimiter.quote; 3][..delimiter.length()])
}

/// The closing delimiter's place, or where an unclosed string ends.
fn plain_close(chars: &[char], body: usize, delimiter: Delimiter) -> Result<usize, usize> {
    let mut at = body;
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 1,
            '\n' if !delimiter.triple => return Err(at),
            _ if closes(chars, at, delimiter) => return Ok(at),
            _ => {}
        }
        at += 1;
    }
    Err(chars.len())
}

/// The closing delimiter's place of a string with fields; none where the string or a field does not
/// end.
fn fields_close(chars: &[char], body: usize, delimiter: Delimiter) -> Option<usize> {
    let mut at = body;
    while at < chars.len() {
        match chars[at] {
            // `\{` is a backslash and a field; of `\N{...}` the braces pass for one.
            '\\' if chars.get(at + 1) != Some(&'{') => at += 1,
            '\n' if !delimiter.triple => return None,
            '{' if chars.get(at + 1) == Some(&'{') => at += 1,
            '{' => at = field_end(chars, at, delimiter)?,
            _ if closes(chars, at, delimiter) => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}

/// The place of the brace that ends the field which begins at `open`. Strings inside it are passed
/// over; behind its colon it is a text with fields of its own.
fn field_end(chars: &[char], open: usize, delimiter: Delimiter) -> Option<usize> {
    let (mut at, mut depth, mut in_format) = (open + 1, 0usize, false);
    while at < chars.len() {
        match chars[at] {
            '{' if in_format => at = field_end(chars, at, delimiter)?,
            '}' if depth == 0 => return Some(at),
            _ if in_format && closes(chars, at, delimiter) => return None,
            '\n' if in_format && !delimiter.triple => return None,
            _ if in_format => {}
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.checked_sub(1)?,
            ':' if depth == 0 => in_format = true,
            '#' => at += chars[at..].iter().position(|&c| c == '\n')?,
            '\'' | '"' => {
                let word = word_before(chars, at);
                let inner = find(chars, at, prefix(word) == Some(true));
                if !inner.is_closed {
                    return None;
                }
                at = inner.close + inner.delimiter.length() - 1;
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// The name characters that end just before a place.
fn word_before(chars: &[char], at: usize) -> &[char] {
    let before = chars[..at].iter().rev();
    let length = before.take_while(|c| c.is_alphanumeric()).count();
    &chars[at - length..at]
}
