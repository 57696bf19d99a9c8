//! Which tokens of a vocabulary may be written next, so that what is written is Python.
//!
//! [`python::grammar`](super::python::grammar) knows kinds of tokens; here they are tokens with ids, an end,
//! and a length that must do.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::python::grammar::{
    Grammar, Recogniser, Start, TERMINALS, Terminal, TerminalSet, terminal, terminals,
};
use super::tokens::TokenizerKind;
use super::tokens::python::{DEDENT, INDENT, NEWLINE};
use super::words::{SPECIALS, WordVocab};
use crate::{Error, Result};

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

/// The terminals that a token of a vocabulary stands for; none for one that is never written.
pub type Form = Box<[Terminal]>;

/// The grammar of Python over the tokens of a vocabulary.
pub struct Syntax {
    grammar: Arc<Grammar>,
    start: Start,
    kind: TokenizerKind,
    /// By id.
    forms: Vec<Form>,
}

impl fmt::Debug for Syntax {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tokens = self.forms.iter().filter(|form| !form.is_empty()).count();
        write!(
            f,
            "Syntax({:?} of {tokens} {} tokens)",
            self.start, self.kind
        )
    }
}

impl Syntax {
    /// Of the tokens of `vocab`, as a tokenizer of this kind makes them. Of one that splits at white space,
    /// those that hold a part of a string are never written.
    ///
    /// # Errors
    /// [`Error::Usage`] for pieces of tokens; [`Error::Data`] if the vocabulary has not the tokens for any
    /// text.
    pub fn new(start: Start, kind: TokenizerKind, vocab: &WordVocab) -> Result<Self> {
        if !matches!(kind, TokenizerKind::Whitespace | TokenizerKind::Python) {
            return Err(Error::Usage(format!(
                "a grammar knows whole tokens, and those of {kind} are none: give target-tokens \
                 python, or grammar none"
            )));
        }
        let mut syntax = Self {
            grammar: Grammar::python(),
            start,
            kind,
            forms: Vec::new(),
        };
        let words = vocab.tokens().iter().skip(SPECIALS.len());
        let specials = SPECIALS.iter().map(|_| Form::default());
        syntax.forms = specials
            .chain(words.map(|word| syntax.form(word)))
            .collect();
        // A token of several terminals may be written, and is never needed.
        let mut costs = [u16::MAX; TERMINALS];
        for form in &syntax.forms {
            if let [alone] = form[..] {
                costs[alone.index()] = 1;
            }
        }
        syntax.grammar = Grammar::with_costs(costs);
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
        self.begin().recogniser.shortest_end()
    }

    /// The terminals of a token from anywhere.
    pub fn form(&self, token: &str) -> Form {
        let one = |terminal| vec![terminal];
        let form = match (self.kind, token) {
            (TokenizerKind::Whitespace, _) => terminals(token),
            (_, NEWLINE) => Some(one(Terminal::NEWLINE)),
            (_, INDENT) => Some(one(Terminal::INDENT)),
            (_, DEDENT) => Some(one(Terminal::DEDENT)),
            _ => terminal(token).map(one),
        };
        form.unwrap_or_default().into()
    }

    /// V, tokens of the vocabulary.
    pub fn tokens(&self) -> usize {
        self.forms.len()
    }

    /// The terminals of a token of the vocabulary.
    pub fn form_of(&self, id: u32) -> &Form {
        &self.forms[id as usize]
    }

    /// Nothing is written yet.
    pub fn begin(&self) -> Written {
        let recogniser = Recogniser::new(&self.grammar, self.start);
        Written { recogniser }
    }
}

/// A text under way.
#[derive(Clone)]
pub struct Written {
    recogniser: Recogniser,
}

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Written({:?} to its end)",
            self.recogniser.shortest_end()
        )
    }
}

impl Written {
    /// What may be written next where there is room for `room` tokens, the next one included.
    pub fn next(&self, room: usize) -> Next<'_> {
        Next {
            allowed: self.recogniser.allowed_within(room),
            can_end: self.recogniser.can_end(),
            written: self,
            room,
        }
    }

    /// Goes on with a token. False where it may not follow.
    pub fn push(&mut self, form: &Form) -> bool {
        form.iter().all(|&terminal| self.recogniser.push(terminal))
    }
}

/// What may be written next.
pub struct Next<'a> {
    allowed: TerminalSet,
    can_end: bool,
    written: &'a Written,
    room: usize,
}

impl Next<'_> {
    /// Whether the text may end here.
    pub fn may_end(&self) -> bool {
        self.can_end
    }

    /// Whether a token may be written.
    pub fn may_be(&self, form: &Form) -> bool {
        match form[..] {
            [] => false,
            [terminal] => self.allowed.contains(terminal),
            _ => {
                let mut longer = self.written.clone();
                let fits = |shortest: Option<usize>| shortest.is_some_and(|n| n < self.room);
                longer.push(form) && fits(longer.recogniser.shortest_end())
            }
        }
    }
}
