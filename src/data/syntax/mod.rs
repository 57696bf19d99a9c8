//! Which tokens of a vocabulary may be written next, so that what is written is Python.
//!
//! [`python::grammar`](super::python::grammar) knows kinds of tokens; here they are tokens with ids, an end,
//! and a length that must do.

mod pieces;
#[cfg(test)]
mod tests;

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::slice::from_ref;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::python::grammar::{
    Begun, Grammar, Recogniser, Start, Terminal, TerminalSet, terminal, terminals,
};
use super::tokens::TokenizerKind;
use super::tokens::bpe::GOES_ON;
use super::tokens::python::{DEDENT, INDENT, MARKERS, NEWLINE};
use super::words::{SPECIALS, WordVocab};
use crate::{Error, Result};
use pieces::Pieces;

/// What outputs are held to, as a setting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GrammarChoice {
    /// Nothing.
    #[default]
    None,
    /// [`Start::Module`].
    Module,
    /// [`Start::Statement`].
    Statement,
    /// [`Start::Line`].
    Line,
}

impl GrammarChoice {
    /// Their names, in order.
    pub const NAMES: [&str; 4] = ["none", "module", "statement", "line"];

    /// The grammar's start.
    pub fn start(self) -> Option<Start> {
        match self {
            GrammarChoice::None => None,
            GrammarChoice::Module => Some(Start::Module),
            GrammarChoice::Statement => Some(Start::Statement),
            GrammarChoice::Line => Some(Start::Line),
        }
    }
}

impl fmt::Display for GrammarChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::NAMES[*self as usize])
    }
}

impl FromStr for GrammarChoice {
    type Err = String;
    fn from_str(name: &str) -> Result<Self, String> {
        use GrammarChoice::{Line, Module, None, Statement};
        let named = [None, Module, Statement, Line].into_iter();
        let mut named = named.filter(|choice| choice.to_string() == name);
        named
            .next()
            .ok_or_else(|| format!("give {}", Self::NAMES.join(" or ")))
    }
}

/// What a token of a vocabulary is to the grammar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// Nothing: it is never written.
    Never,
    /// These terminals, one after the other.
    Whole(Box<[Terminal]>),
    /// A piece that ends a token, and what it is where it is all of it.
    Last(Box<str>, Option<Terminal>),
    /// A piece that its token goes on behind, and where it is the first one what the token can become, each
    /// with the fewest pieces that this takes.
    Inner(Box<str>, Box<[(Terminal, u16)]>),
}

/// What decides whether a token may stand where none is under way.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Begins<'a> {
    Nothing,
    /// These terminals, one after the other.
    Whole(&'a [Terminal]),
    /// One of these, each with the fewest pieces behind this one.
    Part(&'a [(Terminal, u16)]),
}

impl Form {
    fn begins(&self) -> Begins<'_> {
        match self {
            Form::Never | Form::Last(_, None) => Begins::Nothing,
            Form::Whole(terminals) => Begins::Whole(terminals),
            Form::Last(_, Some(alone)) => Begins::Whole(from_ref(alone)),
            Form::Inner(_, ways) => Begins::Part(ways),
        }
    }

    /// That of a token of this kind.
    fn of(token: &str, kind: TokenizerKind, pieces: &Pieces) -> Self {
        let marker = match token {
            NEWLINE => Some(Terminal::NEWLINE),
            INDENT => Some(Terminal::INDENT),
            DEDENT => Some(Terminal::DEDENT),
            _ => None,
        };
        let whole = match (kind, marker) {
            (TokenizerKind::Whitespace | TokenizerKind::Words, _) => terminals(token),
            (TokenizerKind::Bpe, None) => {
                return match token.strip_suffix(GOES_ON) {
                    Some(part) => Form::Inner(part.into(), pieces.ways(part).collect()),
                    None => Form::Last(token.into(), terminal(token)),
                };
            }
            (_, marker) => marker.or_else(|| terminal(token)).map(|alone| vec![alone]),
        };
        whole.map_or(Form::Never, |terminals| Form::Whole(terminals.into()))
    }
}

/// The grammar of Python over the tokens of a vocabulary.
pub struct Syntax {
    start: Start,
    /// Behind nothing.
    begin: Recogniser,
    kind: TokenizerKind,
    /// By id.
    forms: Vec<Form>,
    /// By id: the number of what a token begins, which many have in common.
    alike: Vec<u32>,
    /// Such numbers.
    kinds: usize,
    /// Of `bpe`.
    pieces: Pieces,
}

impl fmt::Debug for Syntax {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tokens = self
            .forms
            .iter()
            .filter(|form| **form != Form::Never)
            .count();
        write!(f, "{:?} of {tokens} {} tokens", self.start, self.kind)
    }
}

impl Syntax {
    /// Checks that tokens of this kind have a place in Python's: of characters none says that it ends one.
    ///
    /// # Errors
    /// [`Error::Usage`] if they have none.
    pub fn check_tokens(kind: TokenizerKind) -> Result<()> {
        if kind == TokenizerKind::Chars {
            return Err(Error::Usage(format!(
                "a grammar cannot be held to tokens of the kind {kind}: give target-tokens python, \
                 bpe, words or whitespace, or grammar none"
            )));
        }
        Ok(())
    }

    /// Of the tokens of `vocab`, as a tokenizer of this kind makes them; `bpe` is over Python's. Of one
    /// that splits at white space, tokens that hold a part of a string are never written, and of `words`
    /// no operator of several characters, whose parts are tokens of their own.
    ///
    /// # Errors
    /// [`Error::Usage`] for characters, of which none says that it ends a token; [`Error::Data`] if the
    /// vocabulary has not the tokens for any text.
    pub fn new(start: Start, kind: TokenizerKind, vocab: &WordVocab) -> Result<Self> {
        Self::check_tokens(kind)?;
        let words = || {
            vocab
                .tokens()
                .iter()
                .skip(SPECIALS.len())
                .map(String::as_str)
        };
        let pieces = match kind {
            TokenizerKind::Bpe => Pieces::new(words().filter(|word| !MARKERS.contains(word))),
            _ => Pieces::default(),
        };
        let specials = SPECIALS.iter().map(|_| Form::Never);
        let forms = specials.chain(words().map(|word| Form::of(word, kind, &pieces)));
        let forms: Vec<Form> = forms.collect();
        let mut numbers = HashMap::new();
        let alike = forms.iter().map(|form| {
            let next = numbers.len() as u32;
            *numbers.entry(form.begins()).or_insert(next)
        });
        let alike: Vec<u32> = alike.collect();
        let kinds = numbers.len();
        let mut costs = pieces.costs();
        // A token of several terminals may be written, and is never needed.
        for form in &forms {
            if let Form::Whole(terminals) = form
                && let [alone] = terminals[..]
            {
                costs[alone.index()] = 1;
            }
        }
        let syntax = Self {
            start,
            begin: Recogniser::new(&Grammar::with_costs(costs), start),
            kind,
            forms,
            alike,
            kinds,
            pieces,
        };
        match syntax.shortest() {
            Some(_) => Ok(syntax),
            None => Err(Error::Data(
                "the vocabulary of the targets has not the tokens that Python needs: lower \
                 min-frequency, give more training pairs, or grammar none"
                    .into(),
            )),
        }
    }

    /// Tokens of the shortest text.
    pub fn shortest(&self) -> Option<usize> {
        self.begin.shortest_end()
    }

    /// The form of a token from anywhere, be it of the vocabulary or not.
    pub fn form(&self, token: &str) -> Form {
        Form::of(token, self.kind, &self.pieces)
    }

    /// V, tokens of the vocabulary.
    pub fn tokens(&self) -> usize {
        self.forms.len()
    }

    /// The form of a token of the vocabulary.
    pub fn form_of(&self, id: u32) -> &Form {
        &self.forms[id as usize]
    }

    /// Nothing is written yet.
    pub fn begin(&self) -> Written {
        Written {
            recogniser: self.begin.clone(),
            part: String::new(),
        }
    }
}

/// A text under way.
#[derive(Clone)]
pub struct Written {
    recogniser: Recogniser,
    /// What is written of a token that goes on.
    part: String,
}

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} tokens to its end", self.recogniser.shortest_end())
    }
}

impl Written {
    /// What may be written next where there is room for `room` tokens, the next one included.
    pub fn next<'a>(&'a self, syntax: &'a Syntax, room: usize) -> Next<'a> {
        Next {
            allowed: self.recogniser.allowed_within(room),
            syntax,
            written: self,
            room,
            known: OnceCell::new(),
            ways: RefCell::default(),
            begun: (!self.part.is_empty()).then(|| Begun::of(&self.part)),
            longer: OnceCell::new(),
        }
    }

    /// Goes on with a token. False where it may not follow.
    pub fn push(&mut self, form: &Form) -> bool {
        match form {
            Form::Never => false,
            Form::Whole(terminals) => {
                self.part.is_empty() && terminals.iter().all(|&t| self.recogniser.push(t))
            }
            Form::Inner(piece, _) => {
                self.part += piece;
                true
            }
            Form::Last(piece, _) => {
                let token = std::mem::take(&mut self.part) + piece;
                terminal(&token).is_some_and(|terminal| self.recogniser.push(terminal))
            }
        }
    }
}

/// What may be written next.
pub struct Next<'a> {
    syntax: &'a Syntax,
    written: &'a Written,
    allowed: TerminalSet,
    room: usize,
    /// By number of what a token begins: whether it may, where that has been asked.
    known: OnceCell<Vec<Cell<Option<bool>>>>,
    /// Behind the terminals of tokens that have been asked about: others that begin alike go the same way.
    ways: RefCell<Vec<Recogniser>>,
    /// Of a token under way.
    begun: Option<Begun>,
    /// The terminals that it may become with a piece behind the next one.
    longer: OnceCell<TerminalSet>,
}

impl Next<'_> {
    /// Whether the text may end here.
    pub fn may_end(&self) -> bool {
        self.begun.is_none() && self.written.recogniser.can_end()
    }

    /// Whether a token of the vocabulary may be written.
    pub fn may_follow(&self, id: u32) -> bool {
        let form = self.syntax.form_of(id);
        if self.begun.is_some() {
            return self.may_be(form);
        }
        let known = || vec![Cell::new(None); self.syntax.kinds];
        let known = &self.known.get_or_init(known)[self.syntax.alike[id as usize] as usize];
        known.get().unwrap_or_else(|| {
            let may = self.may_be(form);
            known.set(Some(may));
            may
        })
    }

    /// Whether a token of this form may be written.
    pub fn may_be(&self, form: &Form) -> bool {
        let Some(begun) = &self.begun else {
            return self.may_begin(form.begins());
        };
        let whole = |piece: &str| [&self.written.part, piece].concat();
        match form {
            Form::Never | Form::Whole(_) => false,
            Form::Last(piece, _) | Form::Inner(piece, _) if !begun.goes_on(piece) => false,
            Form::Last(piece, _) => {
                let can = begun.becomes.meets(self.allowed);
                can && terminal(&whole(piece)).is_some_and(|t| self.allowed.contains(t))
            }
            Form::Inner(piece, _) => {
                // It takes one more piece at least.
                let within = || {
                    self.written
                        .recogniser
                        .allowed_within(self.room.saturating_sub(1))
                };
                let longer = self.longer.get_or_init(within);
                let fits = |way| self.fits(way);
                begun.becomes.meets(*longer) && self.syntax.pieces.ways(&whole(piece)).any(fits)
            }
        }
    }

    fn may_begin(&self, begins: Begins) -> bool {
        let recogniser = &self.written.recogniser;
        match begins {
            Begins::Nothing => false,
            Begins::Whole(&[terminal]) => self.allowed.contains(terminal),
            Begins::Whole(terminals) => {
                let begins = |first: &Terminal| recogniser.shortest_behind(*first).is_some();
                let ends = || {
                    let mut longer = recogniser.clone();
                    let fits = |n: usize| n < self.room;
                    let pushed = terminals.iter().all(|&t| {
                        let pushed = longer.push(t);
                        self.ways.borrow_mut().push(longer.clone());
                        pushed
                    });
                    pushed && longer.shortest_end().is_some_and(fits)
                };
                terminals.first().is_some_and(begins) && ends()
            }
            Begins::Part(ways) => ways.iter().any(|&way| self.fits(way)),
        }
    }

    /// Whether there is room for a terminal and so many pieces of it behind the next one.
    fn fits(&self, (terminal, pieces): (Terminal, u16)) -> bool {
        let behind = self.written.recogniser.shortest_behind(terminal);
        behind.is_some_and(|tokens| tokens + usize::from(pieces) < self.room)
    }
}
