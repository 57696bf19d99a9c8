//! Tokens that are written piece by piece: which beginnings of a token can still become one.

use std::collections::HashSet;

use crate::data::python::grammar::{TERMINALS, Terminal, TerminalCosts, terminal};
use crate::data::tokens::bpe::GOES_ON;

/// What ends a token that has begun, of strings by their quote. What is left of one when its first piece
/// is written is another one here, so that the next piece is allowed, too.
const STRING_ENDS: [&str; 9] = ["'", "}'", "}}'", "\\'", "''", "'''", "''''", "x}'", "x}}'"];

/// What a token with a quote can be.
const STRINGS: [Terminal; 4] = [
    Terminal::STRING,
    Terminal::FSTRING,
    Terminal::BYTES,
    Terminal::TEMPLATE,
];
/// What one without can be that is not spelled by the grammar.
const WORDS: [Terminal; 3] = [Terminal::NAME, Terminal::NUMBER, Terminal::IMAGINARY];

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

    /// Whether `part` can become a token of a terminal that may follow, in `most` pieces;
    /// `behind` says how many tokens are needed behind each terminal.
    pub fn can_end(
        &self,
        part: &str,
        most: usize,
        behind: impl Fn(Terminal) -> Option<usize>,
    ) -> bool {
        let fits = |terminal: Terminal, pieces: u16| {
            behind(terminal).is_some_and(|tokens| tokens + usize::from(pieces) <= most)
        };
        // The parser is asked last.
        let ends = |end: &str, kinds: &[Terminal]| {
            self.count(end).is_some_and(|pieces| {
                let may_follow = kinds.iter().any(|&kind| fits(kind, pieces));
                let ended = || terminal(&[part, end].concat());
                may_follow && ended().is_some_and(|terminal| fits(terminal, pieces))
            })
        };
        let spelled = || {
            Terminal::all().filter(|t| !t.is_class()).any(|terminal| {
                let rest = terminal.name().strip_prefix(part);
                let pieces = rest
                    .filter(|rest| !rest.is_empty())
                    .and_then(|rest| self.count(rest));
                pieces.is_some_and(|pieces| fits(terminal, pieces))
            })
        };
        if let Some(at) = part.find(['\'', '"']) {
            let double = part[at..].starts_with('"');
            return STRING_ENDS.iter().any(|end| match double {
                true => ends(&end.replace('\'', "\""), &STRINGS),
                false => ends(end, &STRINGS),
            });
        }
        [&self.letter, &self.digit]
            .into_iter()
            .flatten()
            .any(|end| ends(end, &WORDS))
            || spelled()
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
