//! Tokenizers: what counts as a token, and how tokens become text again.
//!
//! Source and target of a seq2seq model have one each; a run's `vocab.json` keeps them.

pub mod bpe;
mod learning;
pub mod python;
pub mod words;

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

pub use bpe::Bpe;
pub use learning::learn;

use super::pairs;

/// A way to split text into tokens, by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenizerKind {
    /// What white space separates: the published setup.
    #[default]
    Whitespace,
    /// Words, punctuation apart, quoted strings whole ([`words`]).
    Words,
    /// Python's own tokens ([`python`]).
    Python,
    /// Pieces of words or of Python's tokens ([`Bpe`]).
    Bpe,
    /// Characters, white space too.
    Chars,
}

impl TokenizerKind {
    /// Their names, in order.
    pub const NAMES: [&str; 5] = ["whitespace", "words", "python", "bpe", "chars"];
}

impl fmt::Display for TokenizerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(TokenizerKind::NAMES[*self as usize])
    }
}

/// A way to split text into tokens, with all that it has learned. As JSON it is an object that
/// names its `kind`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Tokenizer {
    /// See [`TokenizerKind::Whitespace`].
    #[default]
    Whitespace,
    /// See [`TokenizerKind::Words`].
    Words,
    /// See [`TokenizerKind::Python`].
    Python,
    /// See [`TokenizerKind::Bpe`].
    Bpe(Bpe),
    /// See [`TokenizerKind::Chars`].
    Chars,
}

impl Tokenizer {
    /// Its name.
    pub fn kind(&self) -> TokenizerKind {
        match self {
            Tokenizer::Whitespace => TokenizerKind::Whitespace,
            Tokenizer::Words => TokenizerKind::Words,
            Tokenizer::Python => TokenizerKind::Python,
            Tokenizer::Bpe(_) => TokenizerKind::Bpe,
            Tokenizer::Chars => TokenizerKind::Chars,
        }
    }

    /// The tokens of a text; a text that is not blank has one.
    pub fn split(&self, text: &str) -> Vec<String> {
        let owned = |words: Vec<&str>| words.into_iter().map(str::to_owned).collect();
        match self {
            Tokenizer::Whitespace => owned(pairs::words(text).collect()),
            Tokenizer::Words => owned(words::split(text)),
            Tokenizer::Python => python::split(text),
            Tokenizer::Bpe(bpe) => bpe.split(text),
            Tokenizer::Chars => text.chars().map(String::from).collect(),
        }
    }

    /// The text of tokens, for people and for Python: code of `python` has the tokens that it was
    /// split into, characters are the text itself, and all others stand with blanks between them.
    pub fn join(&self, tokens: &[impl AsRef<str>]) -> String {
        let tokens = tokens.iter().map(AsRef::as_ref);
        match self {
            Tokenizer::Whitespace | Tokenizer::Words => tokens.collect::<Vec<_>>().join(" "),
            Tokenizer::Python => python::join(tokens),
            Tokenizer::Bpe(bpe) => bpe.join(tokens),
            Tokenizer::Chars => tokens.collect(),
        }
    }

    /// Tokens without their division into pieces; those of all others but `bpe` are whole.
    pub fn whole(&self, tokens: &[impl AsRef<str>]) -> Vec<String> {
        let tokens = tokens.iter().map(AsRef::as_ref);
        match self {
            Tokenizer::Bpe(_) => bpe::whole(tokens),
            _ => tokens.map(str::to_owned).collect(),
        }
    }
}

/// The tokenizers of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokenizers {
    /// Of the source, such as a docstring.
    pub source: Tokenizer,
    /// Of the target, such as code.
    pub target: Tokenizer,
}

impl Tokenizers {
    /// Whether both are the published ones: white space.
    pub fn are_published(&self) -> bool {
        *self == Tokenizers::default()
    }
}

/// By what a token of a target and one of a source are the same: the token itself, or of a string
/// literal its text without white space, for descriptions have that spaced out.
pub fn key(token: &str) -> Cow<'_, str> {
    match is_string(token) && token.contains(char::is_whitespace) {
        true => token.chars().filter(|c| !c.is_whitespace()).collect(),
        false => Cow::Borrowed(token),
    }
}

/// Whether a token is a string literal: a prefix, if any, and quotes around the rest.
pub fn is_string(token: &str) -> bool {
    let Some(at) = token.find(['\'', '"']) else {
        return false;
    };
    let (prefix, rest) = token.split_at(at);
    let closed = rest.len() > 1 && rest.ends_with(&rest[..1]);
    closed && (prefix.is_empty() || words::is_prefix(prefix))
}
