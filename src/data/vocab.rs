//! Vocabularies: `vocab.json`.

use std::collections::HashSet;
use std::path::Path;
use std::{fs, io};

use serde::{Deserialize, Serialize};

use super::chars::{CharVocab, Token, UNK};
use super::tokens::Tokenizers;
use super::words::WordVocab;
use crate::files::RunFolder;
use crate::{Error, Result};

/// The vocabularies of a run as `vocab.json` has them: tokens in index order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Vocab {
    /// Of a character LM.
    Char {
        /// Whether the tokens are bytes: then each is the character of the byte's number.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        bytes: bool,
        /// The characters, a string each; [`UNK`] stands for all others.
        tokens: Vec<String>,
    },
    /// Of a seq2seq model.
    Words {
        /// The tokens of docstrings, the special ones first.
        source: Vec<String>,
        /// The tokens of code, the special ones first.
        target: Vec<String>,
        /// How both are split; left out where it is at white space, as in older files.
        #[serde(default, skip_serializing_if = "is_published")]
        tokenizers: Box<Tokenizers>,
    },
}

/// As a field is left out.
fn is_published(tokenizers: &Tokenizers) -> bool {
    tokenizers.are_published()
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
        Self::parse(&read_text(path)?, path)
    }

    /// Reads a file as `vocab.json` is, or a plain JSON list of characters.
    ///
    /// # Errors
    /// As [`Vocab::read`].
    pub fn load_list(path: &Path) -> Result<Self> {
        let text = read_text(path)?;
        if !text.trim_start().starts_with('[') {
            return Self::parse(&text, path);
        }
        let tokens = serde_json::from_str(&text)
            .map_err(|e| Error::checkpoint(path, format!("not a JSON list of characters ({e})")))?;
        let bytes = false;
        Ok(Vocab::Char { bytes, tokens })
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
            Vocab::Char { bytes, tokens } => {
                let tokens = tokens.iter().enumerate().map(|(id, token)| {
                    let mut chars = token.chars();
                    match (chars.next(), chars.next()) {
                        (Some(c), None) => Ok(Token::Char(c)),
                        _ if token == UNK => Ok(Token::Unknown),
                        _ => Err(fail(format!("token {id} is {token:?}, not one character"))),
                    }
                });
                CharVocab::new(tokens.collect::<Result<Vec<_>>>()?, bytes)
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
            Vocab::Words { source, target, .. } => {
                Ok((side("source", source)?, side("target", target)?))
            }
            Vocab::Char { .. } => Err(fail(
                "this run is of a character LM (vocabulary `char`), but the command needs a \
                 seq2seq model (vocabulary `words`): give another run, of train-seq2seq"
                    .into(),
            )),
        }
    }

    /// How the sides of a seq2seq model are split.
    pub fn tokenizers(&self) -> Tokenizers {
        match self {
            Vocab::Words { tokenizers, .. } => (**tokenizers).clone(),
            Vocab::Char { .. } => Tokenizers::default(),
        }
    }

    // ---- as lists of tokens, whatever the kind -------------------------------------------------

    /// The lists of tokens, each with its name.
    pub fn lists(&self) -> Vec<(&'static str, &[String])> {
        match self {
            Vocab::Char { tokens, .. } => vec![("tokens", tokens)],
            Vocab::Words { source, target, .. } => vec![("source", source), ("target", target)],
        }
    }

    /// Checks that the tokens of `data` are of the same form as those of this vocabulary, which stands in
    /// the file `path`: bytes, or characters.
    ///
    /// # Errors
    /// [`Error::Data`] with the setting to change.
    pub fn check_form(&self, data: &Vocab, path: &Path) -> Result<()> {
        let is_bytes = |vocab: &Vocab| matches!(vocab, Vocab::Char { bytes: true, .. });
        let help = match (is_bytes(self), is_bytes(data)) {
            (true, false) => "of bytes, but the text is read as characters: give charset bytes",
            (false, true) => "of characters, but the text is read as bytes: give another charset",
            _ => return Ok(()),
        };
        Err(Error::Data(format!(
            "the vocabulary {} is one {help}, or start from other weights",
            path.display()
        )))
    }

    /// Adds the tokens of `other`, list by list, that it lacks, behind its own. Returns them.
    pub fn extend(&mut self, other: &Vocab) -> Vec<(&'static str, Vec<String>)> {
        let mine = match self {
            Vocab::Char { tokens, .. } => vec![tokens],
            Vocab::Words { source, target, .. } => vec![source, target],
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

fn read_text(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Error::checkpoint(path, "no such vocabulary"),
        io::ErrorKind::InvalidData => Error::checkpoint(path, "not UTF-8 text: damaged?"),
        _ => Error::io("read", path)(error),
    })
}

impl CharVocab {
    /// As `vocab.json` has it.
    pub fn to_file(&self) -> Vocab {
        let text = |token| match token {
            Token::Unknown => UNK.to_owned(),
            Token::Char(c) => c.to_string(),
        };
        Vocab::Char {
            bytes: self.is_of_bytes(),
            tokens: self.tokens().map(text).collect(),
        }
    }
}
