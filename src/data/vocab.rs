//! Vocabularies: `vocab.json`, and which character has which id.

use std::collections::HashSet;
use std::path::Path;
use std::{fs, io};

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

use super::charset::{Charset, shown};
use super::corpus::Corpus;
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
            Vocab::Char { tokens, .. } => vec![("tokens", tokens)],
            Vocab::Words { source, target } => vec![("source", source), ("target", target)],
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

/// Marks a character that has no id.
const NONE: u16 = u16::MAX;
/// The most tokens of a vocabulary.
pub const MAX_TOKENS: usize = NONE as usize;
/// The token of all characters that have none of their own, as `vocab.json` has it.
pub const UNK: &str = "<UNK>";

/// What an id of a character LM stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// Every character that has no id of its own.
    Unknown,
    /// A character; in a vocabulary of bytes the byte of its number.
    Char(char),
}

/// Characters, or bytes, and their ids, which are their places in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CharVocab {
    tokens: Vec<Token>,
    /// By code point, as far as the largest character of the list.
    ids: Vec<u16>,
    unknown: Option<u16>,
    bytes: bool,
}

/// The different characters of a text, sorted, and how often each is there.
pub fn count_chars(corpus: &Corpus) -> Vec<(char, u64)> {
    let mut counts: Vec<u64> = vec![0; 256];
    corpus.for_each(|c| {
        let at = c as usize;
        if at >= counts.len() {
            counts.resize(at + 1, 0);
        }
        counts[at] += 1;
    });
    let counted = (0..).zip(counts).filter(|&(_, n)| n > 0);
    counted
        .filter_map(|(c, n)| Some((char::from_u32(c)?, n)))
        .collect()
}

impl CharVocab {
    /// The sorted set of the characters of a text that are there at least `min_count` times; before
    /// them [`Token::Unknown`] where others are rarer.
    ///
    /// # Errors
    /// Where no character is left, or too many to number.
    pub fn of(corpus: &Corpus, min_count: usize) -> Result<Self> {
        let mut chars = count_chars(corpus);
        let all = chars.len();
        chars.retain(|&(_, n)| n >= min_count as u64);
        if chars.is_empty() {
            return Err(Error::Data(format!(
                "vocabulary: no character is {min_count} times in the text, so all would be {UNK}; \
                 lower min-char-count"
            )));
        }
        let unknown = (chars.len() < all).then_some(Token::Unknown);
        let tokens = unknown
            .into_iter()
            .chain(chars.into_iter().map(|(c, _)| Token::Char(c)));
        Self::new(tokens, corpus.report.charset == Charset::Bytes)
    }

    /// A vocabulary of these characters, in index order.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn from_tokens(chars: impl IntoIterator<Item = char>) -> Result<Self> {
        Self::new(chars.into_iter().map(Token::Char), false)
    }

    /// A vocabulary of these tokens, in index order.
    ///
    /// # Errors
    /// No characters, a token that stands there twice, one that is no byte in a vocabulary of bytes,
    /// or more than [`MAX_TOKENS`].
    pub fn new(tokens: impl IntoIterator<Item = Token>, bytes: bool) -> Result<Self> {
        let fail = |message: String| Err(Error::Data(format!("vocabulary: {message}")));
        let tokens: Vec<Token> = tokens.into_iter().collect();
        if tokens.len() > MAX_TOKENS {
            return fail(format!(
                "{} different characters are more than the {MAX_TOKENS} that can be numbered; raise \
                 min-char-count, so that the rare ones become {UNK}",
                tokens.len()
            ));
        }
        let (mut ids, mut unknown) = (vec![NONE; 256], None);
        for (id, &token) in (0..=NONE).zip(&tokens) {
            let before = match token {
                Token::Unknown => unknown.replace(id),
                Token::Char(c) if bytes && c > '\u{ff}' => {
                    return fail(format!(
                        "token {id} is {}, but one of bytes has only characters up to U+00FF",
                        shown(c)
                    ));
                }
                Token::Char(c) => {
                    let at = c as usize;
                    ids.resize(ids.len().max(at + 1), NONE);
                    let before = std::mem::replace(&mut ids[at], id);
                    (before != NONE).then_some(before)
                }
            };
            if let Some(before) = before {
                let token = name(token);
                return fail(format!(
                    "{token} is there twice, as tokens {before} and {id}"
                ));
            }
        }
        if tokens.len() == usize::from(unknown.is_some()) {
            return fail("it holds no characters; the text or the list of tokens is empty".into());
        }
        Ok(CharVocab {
            tokens,
            ids,
            unknown,
            bytes,
        })
    }

    /// Number of tokens, V.
    #[expect(
        clippy::len_without_is_empty,
        reason = "a vocabulary without characters cannot be made"
    )]
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// The tokens in index order.
    pub fn tokens(&self) -> impl ExactSizeIterator<Item = Token> {
        self.tokens.iter().copied()
    }

    /// The id of [`Token::Unknown`].
    pub fn unknown(&self) -> Option<u16> {
        self.unknown
    }

    /// Whether the tokens are bytes.
    pub fn is_of_bytes(&self) -> bool {
        self.bytes
    }

    /// As `vocab.json` has it.
    pub fn to_file(&self) -> Vocab {
        let text = |token| match token {
            Token::Unknown => UNK.to_owned(),
            Token::Char(c) => c.to_string(),
        };
        Vocab::Char {
            bytes: self.bytes,
            tokens: self.tokens().map(text).collect(),
        }
    }

    /// The id of a character's own.
    pub fn id(&self, c: char) -> Option<u16> {
        let id = self.ids.get(c as usize).copied();
        id.filter(|&id| id != NONE)
    }

    /// Appends the character or byte of an id to `text`; of [`Token::Unknown`] U+FFFD. Panics where
    /// `id` is not below [`Self::len`].
    pub fn decode_into(&self, id: u16, text: &mut Vec<u8>) {
        let c = match self.tokens[usize::from(id)] {
            Token::Unknown => char::REPLACEMENT_CHARACTER,
            Token::Char(c) => c,
        };
        match u8::try_from(c) {
            Ok(byte) if self.bytes => text.push(byte),
            _ => text.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }

    /// The id that a text begins after: a newline's, or the first character's.
    pub fn start(&self) -> u16 {
        let first = u16::from(self.unknown == Some(0));
        self.id('\n').unwrap_or(first)
    }

    /// The characters of a string as this vocabulary counts them: in NFC, or its bytes.
    pub fn symbols(&self, text: &str) -> Vec<char> {
        match self.bytes {
            true => text.bytes().map(char::from).collect(),
            false => text.nfc().collect(),
        }
    }

    /// The ids of a string.
    ///
    /// # Errors
    /// A character that the vocabulary does not have.
    pub fn encode(&self, text: &str) -> Result<Vec<u16>> {
        let ids = self.symbols(text).into_iter().enumerate().map(|(at, c)| {
            self.id(c).or(self.unknown).ok_or_else(|| {
                let (c, at) = (shown(c), at + 1);
                Error::Data(format!("character {at}, {c}, is not in the vocabulary"))
            })
        });
        ids.collect()
    }

    /// The ids of a text, and how many of them are [`Token::Unknown`].
    ///
    /// # Errors
    /// A character that the vocabulary does not have; characters where it has bytes, or the other
    /// way round.
    pub fn encode_all(&self, corpus: &Corpus) -> Result<(Vec<u16>, usize)> {
        let charset = corpus.report.charset;
        if self.bytes != (charset == Charset::Bytes) {
            let (has, use_) = match self.bytes {
                true => ("bytes", "charset bytes"),
                false => ("characters", "charset ascii or unicode"),
            };
            return Err(Error::Data(format!(
                "the vocabulary is of {has}, but the corpus was read with charset {charset}: use {use_}"
            )));
        }
        let (mut ids, mut unknown, mut missing) =
            (Vec::with_capacity(corpus.report.chars), 0, None);
        corpus.for_each(|c| {
            let id = self.id(c).unwrap_or_else(|| {
                unknown += 1;
                missing.get_or_insert((ids.len(), c));
                self.unknown.unwrap_or(NONE)
            });
            ids.push(id);
        });
        match (missing, self.unknown) {
            (Some((at, c)), None) => Err(Error::Data(format!(
                "the corpus's character {}, {}, is not in the vocabulary of {} characters; use the \
                 corpus that the vocabulary was made from",
                at + 1,
                shown(c),
                self.len()
            ))),
            _ => Ok((ids, unknown)),
        }
    }
}

/// A token in messages.
pub fn name(token: Token) -> String {
    match token {
        Token::Unknown => UNK.to_owned(),
        Token::Char(c) => shown(c),
    }
}
