//! Tokens that are written piece by piece: which beginnings of a token can still become one.

use std::collections::HashSet;

use crate::data::python::grammar::{TERMINALS, Terminal, TerminalCosts, terminal};
use crate::data::tokens::bpe::GOES_ON;

/// What ends a token that has begun, of strings by their quote. What is left of one when its first piece
/// is written is another one here, so that the next piece is allowed, too.
const STRING_ENDS: [&str; 9] = ["'", "}'", "}}'", "\\'", "''", "'''", "''''", "x}'", "x}}'"];

/// The pieces of a vocabulary.
#[derive(Default)]
pub(super) struct Pieces {
    /// Those that end a token.
    last: HashSet<String>,
    /// Those that go on, without their mark.
    inner: HashSet<String>,
    /// A last piece for names, and one for numbers.
    letter: Option<String>,
    digit: Option<String>,
}

impl Pieces {
    pub fn new<'a>(tokens: impl Iterator<Item = &'a str>) -> Self {
        let mut pieces = Self::default();
        for token in tokens {
            match token.strip_suffix(GOES_ON) {
                Some(part) => pieces.inner.insert(part.to_owned()),
                None => pieces.last.insert(token.to_owned()),
            };
        }
        let least = |kind| {
            let of_kind = pieces.last.iter().filter(|p| terminal(p) == Some(kind));
            of_kind.min().cloned()
        };
        (pieces.letter, pieces.digit) = (least(Terminal::NAME), least(Terminal::NUMBER));
        pieces
    }

    /// Fewest pieces of a token of each terminal.
    pub fn costs(&self) -> TerminalCosts {
        let mut costs = [u16::MAX; TERMINALS];
        for terminal in Terminal::all().filter(|t| !t.is_class()) {
            costs[terminal.index()] = self.count(terminal.name()).unwrap_or(u16::MAX);
        }
        for class in self.last.iter().filter_map(|piece| terminal(piece)) {
            costs[class.index()] = 1;
        }
        costs
    }

    /// What `part` can become: terminals, each with the pieces that it takes then. Not all that it can, but
    /// where there is a way there is one here.
    pub fn ways<'a>(&'a self, part: &'a str) -> impl Iterator<Item = (Terminal, u16)> + 'a {
        let quote = part.find(['\'', '"']).map(|at| &part[at..=at]);
        let closings = STRING_ENDS.iter().filter_map(move |end| {
            let quote = quote?;
            Some(end.replace('\'', quote))
        });
        let words = [&self.letter, &self.digit].into_iter().flatten();
        let words = words.filter(move |_| quote.is_none()).cloned();
        // The parser is asked last.
        let ended = closings.chain(words).filter_map(move |end| {
            let pieces = self.count(&end)?;
            Some((terminal(&[part, &*end].concat())?, pieces))
        });
        let spelled = Terminal::all().filter(|t| !t.is_class());
        let spelled = spelled.filter_map(move |terminal| {
            let rest = terminal.name().strip_prefix(part)?;
            Some((terminal, self.count(rest)?))
        });
        ended.chain(spelled)
    }

    /// Fewest pieces that spell the rest of a token; `None` where none do.
    fn count(&self, rest: &str) -> Option<u16> {
        // From the end: pieces from each place on.
        let mut counts = vec![None::<u16>; rest.len()];
        let places = rest.char_indices().map(|(at, _)| at);
        for at in places.rev() {
            counts[at] = match self.last.contains(&rest[at..]) {
                true => Some(1),
                false => {
                    let inner = (at + 1..rest.len()).filter(|&end| {
                        let piece = rest.get(at..end);
                        piece.is_some_and(|piece| self.inner.contains(piece))
                    });
                    inner.filter_map(|end| Some(counts[end]? + 1)).min()
                }
            };
        }
        counts.first().copied().flatten()
    }
}
