//! Characters, or bytes, and their ids.

use unicode_normalization::UnicodeNormalization;

use super::charset::{Charset, shown};
use super::corpus::Corpus;
use crate::{Error, Result};

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
        self.write(c, text);
    }

    /// Appends a character to `text`; in a vocabulary of bytes the byte of its number.
    pub fn write(&self, c: char, text: &mut Vec<u8>) {
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
