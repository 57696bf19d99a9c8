//! What may reach a terminal.
//!
//! Tensor names, tokens, metadata, file names and whatever else the program reads were written by
//! others, and a terminal obeys the control characters in them. So all text leaves the program
//! through [`visible`]:
//!
//! - lines, notes and errors on standard error ([`log::line`](crate::log::line),
//!   [`log::error`](crate::log::error)) and tables on standard output are for people, and pass
//!   through it wherever they go;
//! - what is for programs, that is JSON and the text that a model writes, passes through it on a
//!   terminal, and reaches files and pipes exact to the byte ([`stdout`]).
//!
//! The program's own colours are added behind it.

use std::borrow::Cow;
use std::env;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

/// The text with every character that a terminal would obey in a form that can be seen: `\u001b`,
/// which JSON reads as the same character. That is every control character (C0, DEL, C1) but the
/// line break and the tab, and those that turn the direction of writing.
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(is_obeyed) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match is_obeyed(c) {
            // Writing to a string cannot fail.
            true => drop(write!(shown, "\\u{:04x}", u32::from(c))),
            false => shown.push(c),
        }
    }
    shown.into()
}

/// Whether a terminal does something else with it than to show it.
fn is_obeyed(c: char) -> bool {
    let turns = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || (c.is_control() && c != '\n' && c != '\t')
}

/// Standard output for what programs may read, too: on a terminal [`visible`], elsewhere exact.
pub fn stdout() -> Box<dyn Write> {
    let out = io::stdout().lock();
    match out.is_terminal() {
        true => Box::new(Visible::new(out)),
        false => Box::new(out),
    }
}

/// Writes text as it is [`visible`]. A character may come in several pieces, as a model of bytes writes
/// it: its beginning waits for the rest, and is left out where none comes.
struct Visible<W> {
    out: W,
    begun: Vec<u8>,
}

impl<W> Visible<W> {
    fn new(out: W) -> Self {
        Visible {
            out,
            begun: Vec::new(),
        }
    }
}

impl<W: Write> Write for Visible<W> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.begun.extend_from_slice(text);
        let last = self.begun.utf8_chunks().last();
        let open = last.map_or(0, |chunk| match std::str::from_utf8(chunk.invalid()) {
            Err(e) if e.error_len().is_none() => chunk.invalid().len(),
            _ => 0,
        });
        let rest = self.begun.split_off(self.begun.len() - open);
        let shown = String::from_utf8_lossy(&self.begun);
        self.out.write_all(visible(&shown).as_bytes())?;
        self.begun = rest;
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Whether standard error is a terminal that can move its cursor. Without a TERM none can, but on
/// Windows.
pub fn draws() -> bool {
    let dumb = env::var_os("TERM").map_or(!cfg!(windows), |term| term.is_empty() || term == "dumb");
    io::stderr().is_terminal() && !dumb
}

/// Whether lines on standard error may have colours (<https://no-color.org>).
pub fn colours() -> bool {
    draws() && env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_shown() {
        let plain = "def f(x):\n\treturn \"äöü \u{5d0} 語 🦀\"\n";
        assert!(matches!(visible(plain), Cow::Borrowed(text) if text == plain));
        for c in (0..0x20).chain(0x7f..0xa0).filter_map(char::from_u32) {
            let kept = c == '\n' || c == '\t';
            assert_eq!(visible(&c.to_string()) == c.to_string(), kept, "{c:?}");
        }
        let hostile = "a\x1b]0;title\x07b\r\u{9b}31m\u{202e}c\u{2066}";
        let shown = r"a\u001b]0;title\u0007b\u000d\u009b31m\u202ec\u2066";
        assert_eq!(visible(hostile), shown);
    }

    #[test]
    fn json_stays_the_same_json() {
        let name = "n\x1b\u{7f}\u{9b}\u{202e}\n";
        let json = serde_json::to_string(name).unwrap();
        assert!(json.contains('\u{9b}'));
        let shown = visible(&json);
        assert!(shown.is_ascii(), "{shown}");
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), name);
    }

    #[test]
    fn text_is_filtered_as_it_is_written() {
        let mut out = Visible::new(Vec::new());
        for piece in ["é\u{9b}", "\x1b\n"] {
            write!(out, "{piece}").unwrap();
        }
        assert_eq!(String::from_utf8(out.out).unwrap(), "é\\u009b\\u001b\n");
    }

    #[test]
    fn a_character_may_come_in_pieces() {
        let text = "αβ\u{9b}語🦀".as_bytes();
        for size in 1..=text.len() {
            let mut out = Visible::new(Vec::new());
            text.chunks(size)
                .for_each(|piece| out.write_all(piece).unwrap());
            assert_eq!(
                String::from_utf8(out.out).unwrap(),
                "αβ\\u009b語🦀",
                "{size}"
            );
        }
        // What is no character at all is shown as such, the rest goes on.
        let mut out = Visible::new(Vec::new());
        for piece in [&b"a\xff"[..], b"\xce", b"b"] {
            out.write_all(piece).unwrap();
        }
        assert_eq!(String::from_utf8(out.out).unwrap(), "a\u{fffd}\u{fffd}b");
    }
}
