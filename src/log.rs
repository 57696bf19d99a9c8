//! Lines on standard error, and numbers for people.

use crate::Error;
use crate::terminal::{colours, visible};
use std::io::Write;
use std::sync::OnceLock;

/// This process among those that train together.
static RANK: OnceLock<usize> = OnceLock::new();

/// Names this process in its errors, as one of several that train together.
pub fn of_rank(rank: usize) {
    RANK.get_or_init(|| rank);
}

/// Writes a line for the user to standard error. One that cannot be written (the reader has gone, the
/// disk is full) must not end the work.
pub fn line(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", visible(text));
}

/// Writes an error to standard error, its label in red where there are colours.
pub fn error(error: &Error) {
    let label = match colours() {
        true => "\x1b[1;31merror:\x1b[0m",
        false => "error:",
    };
    let message = match RANK.get() {
        Some(rank) => format!("rank {rank}: {error}"),
        None => error.to_string(),
    };
    // With stderr closed nobody is left to tell.
    let _ = writeln!(std::io::stderr(), "{label} {}", visible(&message));
}

/// A count with a comma between thousands, as 1,234,567.
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count and what it is of, as 1 file or 1,234 files.
pub fn counted(n: usize, what: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{} {what}{plural}", thousands(n as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_are_grouped() {
        let grouped = [0, 999, 1000, 123_456, 6_000_000].map(thousands);
        assert_eq!(grouped, ["0", "999", "1,000", "123,456", "6,000,000"]);
    }

    #[test]
    fn one_is_no_plural() {
        let counts = [0, 1, 1200].map(|n| counted(n, "file"));
        assert_eq!(counts, ["0 files", "1 file", "1,200 files"]);
    }
}
