//! The published text rule, `ascii`: what is kept of the bytes of a file.
//!
//! 1. Bytes are decoded as UTF-8. Each invalid sequence (the longest prefix of a character that
//!    is there, or one byte: Unicode 16, section 3.9, "maximal subparts") becomes one U+FFFD.
//! 2. The text is split at `\n`. Nothing else ends a line: a `\r` alone does not.
//! 3. Each line loses its trailing white space, as Python's `str.rstrip` sees it: Unicode's
//!    White_Space and the separators U+001C to U+001F. So `\r\n` becomes `\n`.
//! 4. Only then every character goes that is not an ASCII letter, digit, punctuation, space or
//!    tab. A blank before a dropped character therefore stays, even at the end of the line.
//! 5. The lines are joined with `\n`. Text that has no `\n` at its end gets none.
//!
//! In Python: `"\n".join("".join(c for c in line.rstrip() if c in KEPT) for line in
//! data.decode("utf-8", "replace").split("\n"))`, with
//! `KEPT = string.ascii_letters + string.digits + string.punctuation + " \t"`.

use std::collections::BTreeMap;

/// What cleaning met on its way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Bytes of input that were used: whole lines, all of the input where the limit did not cut.
    pub bytes: usize,
    /// Tokens kept.
    pub chars: usize,
    /// Characters dropped (here by step 4, trailing white space not counted), U+FFFD counted.
    pub dropped: u64,
    /// Those of `dropped` that stood for an invalid UTF-8 sequence.
    pub invalid: u64,
    /// How often each was dropped.
    pub by_char: BTreeMap<char, u64>,
}

impl Cleaned {
    /// Counts a dropped character.
    pub(super) fn count(&mut self, c: char) {
        self.dropped += 1;
        *self.by_char.entry(c).or_default() += 1;
    }

    /// Counts a dropped sequence that is no UTF-8.
    pub(super) fn count_invalid(&mut self) {
        self.invalid += 1;
        self.count(char::REPLACEMENT_CHARACTER);
    }

    /// Adds the counts of another part.
    pub(super) fn add(&mut self, other: Cleaned) {
        self.bytes += other.bytes;
        self.chars += other.chars;
        self.dropped += other.dropped;
        self.invalid += other.invalid;
        for (c, n) in other.by_char {
            *self.by_char.entry(c).or_default() += n;
        }
    }
}

/// Appends the cleaned `input` to `out` and stops once `out` holds `limit` characters (bytes: what
/// is kept is ASCII). Input behind that point is not looked at.
pub fn clean_into(input: &[u8], out: &mut Vec<u8>, limit: usize) -> Cleaned {
    let (mut counts, start) = (Cleaned::default(), out.len());
    for (n, line) in input.split(|&b| b == b'\n').enumerate() {
        if out.len() >= limit {
            break;
        }
        if n > 0 {
            out.push(b'\n');
            counts.bytes += 1;
        }
        counts.bytes += line.len();
        let body = trim_end(line);
        if body.iter().fold(true, |all, &b| all & is_plain(b)) {
            out.extend_from_slice(&body[..body.len().min(limit - out.len())]);
        } else {
            filter_into(body, out, limit, &mut counts);
        }
    }
    counts.chars = out.len() - start;
    counts
}

/// Step 4 for one line that holds something to drop.
fn filter_into(body: &[u8], out: &mut Vec<u8>, limit: usize, counts: &mut Cleaned) {
    for chunk in body.utf8_chunks() {
        for c in chunk.valid().chars() {
            if out.len() >= limit {
                return;
            }
            match u8::try_from(c) {
                Ok(b) if is_plain(b) => out.push(b),
                _ => counts.count(c),
            }
        }
        if !chunk.invalid().is_empty() && out.len() < limit {
            counts.count_invalid();
        }
    }
}

/// Whether a byte of a line stays: ASCII letters, digits, punctuation, space, tab.
#[inline(always)]
pub(super) fn is_plain(b: u8) -> bool {
    matches!(b, b' '..=b'~') | (b == b'\t')
}

/// The line without its trailing white space (step 3), found from its end.
///
/// The lead byte of a character always starts a new sequence, so the last two or three bytes can
/// be judged alone: if they are one valid character here, they are that character in the line.
fn trim_end(mut line: &[u8]) -> &[u8] {
    while let Some(&last) = line.last() {
        let width = match last {
            b'\t'..=b'\r' | 0x1c..=0x1f | b' ' => 1,
            0..=0x7f => return line,
            _ => match [2, 3].into_iter().find(|&n| ends_in_space(line, n)) {
                Some(width) => width,
                None => return line,
            },
        };
        line = &line[..line.len() - width];
    }
    line
}

/// Whether the last `n` bytes are one white-space character.
fn ends_in_space(line: &[u8], n: usize) -> bool {
    let Some(tail) = line.len().checked_sub(n).map(|at| &line[at..]) else {
        return false;
    };
    std::str::from_utf8(tail)
        .is_ok_and(|s| s.chars().count() == 1 && s.chars().all(char::is_whitespace))
}
