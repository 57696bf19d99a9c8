//! Vocabularies: `vocab.json`, and which character has which id.

use std::collections::HashSet;
use std::path::Path;
use std::{fs, io};

use serde::{Deserialize, Serialize};

use super::words::WordVocab;
use crate::files::RunFolder;
use crate::{Error, Result};

/// The vocabularies of a run as `vocab.json` has them: tokens in index order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Vocab {
    /// Of a character LM.
    Char {
        /// The characters, a string each.
        tokens: Vec<String>,
    },
    /// Of a seq2seq model.
    Words {
        /// The tokens of docstrings, the special ones first.
        source: Vec<String>,
        /// The tokens of code, the special ones first.
        target: Vec<String>,
    },
}

impl Vocab {
    /// Reads a run's `vocab.json`.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when it is missing or no vocabulary; [`Error::Io`].
    pub fn read(folder: &RunFolder) -> Result<Self> {
        Self::parse(&folder.read_vocab()?, &folder.vocab_path())
    }

    /// Reads a file as `vocab.json` is, wherever it stands.
    ///
    /// # Errors
    /// As [`Vocab::read`].
    pub fn load(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::checkpoint(path, "no such vocabulary"),
            io::ErrorKind::InvalidData => Error::checkpoint(path, "not UTF-8 text: damaged?"),
            _ => Error::io("read", path)(error),
        })?;
        Self::parse(&text, path)
    }

    fn parse(text: &str, path: &Path) -> Result<Self> {
        serde_json::from_str(text).map_err(|e| {
            let message = format!("not a vocabulary of rnnx ({e}): damaged?");
            Error::checkpoint(path, message)
        })
    }

    /// What the file calls its kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Vocab::Char { .. } => "char",
            Vocab::Words { .. } => "words",
        }
    }

    /// The content of `vocab.json`.
    pub fn to_text(&self) -> String {
        format!("{:#}\n", serde_json::json!(self))
    }

    /// The vocabulary of a run of a character LM.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] as [`Vocab::read`], and as [`Vocab::into_chars`].
    pub fn read_chars(folder: &RunFolder) -> Result<CharVocab> {
        Self::read(folder)?.into_chars(&folder.vocab_path())
    }

    /// The vocabulary of a character LM, which stands in the file `path`.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] for one of another kind, and for wrong tokens.
    pub fn into_chars(self, path: &Path) -> Result<CharVocab> {
        let fail = |message: String| Error::checkpoint(path, message);
        match self {
            Vocab::Char { tokens } => {
                let chars = tokens.iter().enumerate().map(|(id, token)| {
                    let mut chars = token.chars();
                    match (chars.next(), chars.next()) {
                        (Some(c), None) => Ok(c),
                        _ => Err(fail(format!("token {id} is {token:?}, not one character"))),
                    }
                });
                CharVocab::from_tokens(chars.collect::<Result<Vec<_>>>()?)
                    .map_err(|e| fail(e.to_string()))
            }
            Vocab::Words { .. } => Err(fail(
                "this run is of a seq2seq model (vocabulary `words`), but the command needs a \
                 character LM (vocabulary `char`): give another run, of train-charlm"
                    .into(),
            )),
        }
    }

    /// The vocabularies of a run of a seq2seq model, source first.
    ///
    /// # Errors
    /// As [`Vocab::read_chars`].
    pub fn read_words(folder: &RunFolder) -> Result<(WordVocab, WordVocab)> {
        Self::read(folder)?.into_words(&folder.vocab_path())
    }

    /// The vocabularies of a seq2seq model, source first, which stand in the file `path`.
    ///
    /// # Errors
    /// As [`Vocab::into_chars`].
    pub fn into_words(self, path: &Path) -> Result<(WordVocab, WordVocab)> {
        let fail = |message: String| Error::checkpoint(path, message);
        let side = |name: &str, tokens| {
            WordVocab::from_list(tokens)
                .map_err(|what| fail(format!("the vocabulary \"{name}\": {what}")))
        };
        match self {
            Vocab::Words { source, target } => {
                Ok((side("source", source)?, side("target", target)?))
            }
            Vocab::Char { .. } => Err(fail(
                "this run is of a character LM (vocabulary `char`), but the command needs a \
                 seq2seq model (vocabulary `words`): give another run, of train-seq2seq"
                    .into(),
            )),
        }
    }

    // ---- as lists of tokens, whatever the kind -------------------------------------------------

    /// The lists of tokens, each with its name.
    pub fn lists(&self) -> Vec<(&'static str, &[String])> {
        match self {
            Vocab::Char { tokens } => vec![("tokens", tokens)],
            Vocab::Words { source, target } => vec![("source", source), ("target", target)],
        }
    }

    /// Adds the tokens of `other`, list by list, that it lacks, behind its own. Returns them.
    pub fn extend(&mut self, other: &Vocab) -> Vec<(&'static str, Vec<String>)> {
        let mine = match self {
            Vocab::Char { tokens } => vec![tokens],
            Vocab::Words { source, target } => vec![source, target],
        };
        let both = mine.into_iter().zip(other.lists());
        let added = both.map(|(mine, (name, other))| {
            let known: HashSet<&String> = mine.iter().collect();
            let new = other.iter().filter(|token| !known.contains(token));
            let new: Vec<String> = new.cloned().collect();
            mine.extend(new.iter().cloned());
            (name, new)
        });
        added.filter(|(_, new)| !new.is_empty()).collect()
    }
}

// ---- characters ----------------------------------------------------------------------------

/// Marks a byte that has no id. No vocabulary of ASCII characters has an id this large.
const NONE: u8 = u8::MAX;

/// ASCII characters and their ids, which are their places in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CharVocab {
    tokens: Vec<u8>,
    ids: [u8; 256],
}

impl CharVocab {
    /// The sorted set of the characters of cleaned text.
    ///
    /// # Errors
    /// Text that is empty or holds a byte outside ASCII.
    pub fn from_text(text: &[u8]) -> Result<Self> {
        let mut seen = [false; 256];
        for &b in text {
            seen[usize::from(b)] = true;
        }
        Self::from_tokens(
            (0..=255u8)
                .filter(|&b| seen[usize::from(b)])
                .map(char::from),
        )
    }

    /// A vocabulary of these characters, in index order.
    ///
    /// # Errors
    /// No characters, one that stands there twice, or one outside ASCII.
    pub fn from_tokens(chars: impl IntoIterator<Item = char>) -> Result<Self> {
        let mut vocab = CharVocab {
            tokens: Vec::new(),
            ids: [NONE; 256],
        };
        for c in chars {
            let id = vocab.tokens.len();
            let b = u8::try_from(c).ok().filter(u8::is_ascii).ok_or_else(|| {
                Error::Data(format!(
                    "vocabulary: token {id} is '{}'; a character vocabulary holds ASCII only",
                    c.escape_default()
                ))
            })?;
            if vocab.ids[usize::from(b)] != NONE {
                return Err(Error::Data(format!(
                    "vocabulary: '{}' is there twice, as tokens {} and {id}",
                    c.escape_default(),
                    vocab.ids[usize::from(b)]
                )));
            }
            vocab.ids[usize::from(b)] = id as u8; // below 128: ASCII without doubles
            vocab.tokens.push(b);
        }
        if vocab.tokens.is_empty() {
            return Err(Error::Data(
                "vocabulary: it holds no characters; the text or the list of tokens is empty"
                    .into(),
            ));
        }
        Ok(vocab)
    }

    /// Number of characters, V.
    #[expect(
        clippy::len_without_is_empty,
        reason = "a vocabulary without characters cannot be made"
    )]
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// The characters in index order.
    pub fn tokens(&self) -> impl ExactSizeIterator<Item = char> {
        self.tokens.iter().map(|&b| char::from(b))
    }

    /// As `vocab.json` has it.
    pub fn to_file(&self) -> Vocab {
        Vocab::Char {
            tokens: self.tokens().map(String::from).collect(),
        }
    }

    /// The character of an id. Panics where `id` is not below [`Self::len`].
    pub fn decode(&self, id: u8) -> char {
        char::from(self.tokens[usize::from(id)])
    }

    /// The ids of cleaned text, one a byte.
    ///
    /// # Errors
    /// A character that the vocabulary does not have.
    pub fn encode_all(&self, text: &[u8]) -> Result<Vec<u8>> {
        let ids: Vec<u8> = text.iter().map(|&b| self.ids[usize::from(b)]).collect();
        match ids.iter().position(|&id| id == NONE) {
            None => Ok(ids),
            Some(at) => Err(Error::Data(format!(
                "the corpus's character {}, '{}', is not in the vocabulary of {} characters; \
                 use the corpus that the vocabulary was made from",
                at + 1,
                text[at].escape_ascii(),
                self.len()
            ))),
        }
    }
}
