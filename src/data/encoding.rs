//! Texts that a trained model is given: the ids of their characters, and what becomes of those that its
//! vocabulary lacks.

use super::chars::{CharVocab, UNK};
use super::charset::shown;
use crate::{Error, Result};

/// What becomes of a character that is outside the vocabulary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oov {
    /// Stop and say which and where.
    Error,
    /// Leave it out.
    Skip,
    /// Read it as [`UNK`], where the vocabulary has that.
    Unk,
}

impl Oov {
    /// Checks that a model of this vocabulary can do so.
    ///
    /// # Errors
    /// [`Error::Usage`] for [`Oov::Unk`] where it has no such token.
    pub fn check(self, vocab: &CharVocab) -> Result<()> {
        if self != Oov::Unk || vocab.unknown().is_some() {
            return Ok(());
        }
        Err(Error::Usage(format!(
            "--oov unk: the vocabulary has no {UNK}, which a model has that was trained with \
             min-char-count above 1; leave the characters out with --oov skip"
        )))
    }

    /// The rules that would take a text of unknown characters, for a message.
    pub fn ways_out(vocab: &CharVocab) -> String {
        let unk = match vocab.unknown() {
            Some(_) => format!(", or --oov unk to read them as {UNK}"),
            None => String::new(),
        };
        format!("leave it out, or pass --oov skip to skip such characters{unk}")
    }
}

/// What a model reads of a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoded {
    /// The characters that it reads, as they are shown; of a model of bytes the bytes.
    pub text: Vec<u8>,
    /// Their ids.
    pub ids: Vec<u16>,
    /// Characters that were left out.
    pub skipped: usize,
    /// Characters that it reads as [`UNK`].
    pub unknown: usize,
}

impl Encoded {
    /// The ids of a text, given as [`CharVocab::symbols`] has it.
    ///
    /// # Errors
    /// The first unknown character and its position, unless `oov` says what becomes of it.
    pub fn new(symbols: Vec<char>, vocab: &CharVocab, oov: Oov) -> Result<Self, String> {
        let mut read = Encoded::default();
        for (at, c) in symbols.into_iter().enumerate() {
            let id = match (vocab.id(c), oov, vocab.unknown()) {
                (Some(id), ..) => id,
                (None, Oov::Skip, _) => {
                    read.skipped += 1;
                    continue;
                }
                (None, Oov::Unk, Some(unknown)) => {
                    read.unknown += 1;
                    unknown
                }
                (None, ..) => return Err(unknown(c, at + 1, vocab)),
            };
            read.ids.push(id);
            vocab.write(c, &mut read.text);
        }
        Ok(read)
    }

    /// The ids of what a file or a pipe holds: of a model of bytes the bytes as they are, else UTF-8 in
    /// NFC, where `\r\n` is one newline. `name` is what errors call it.
    ///
    /// # Errors
    /// [`Error::Data`] for bytes that are not UTF-8, for the first unknown character, unless `oov` says
    /// what becomes of it, and where nothing is left to read; as [`Oov::check`].
    pub fn of_bytes(bytes: &[u8], name: &str, vocab: &CharVocab, oov: Oov) -> Result<Self> {
        oov.check(vocab)?;
        if bytes.is_empty() {
            let message = format!("{name} is empty: there is no character to score");
            return Err(Error::Data(message));
        }
        let symbols = match vocab.is_of_bytes() {
            true => bytes.iter().copied().map(char::from).collect(),
            false => {
                let text = std::str::from_utf8(bytes).map_err(|e| {
                    let byte = e.valid_up_to() + 1;
                    Error::Data(format!(
                        "{name}: byte {byte} is not UTF-8; convert the text, as with iconv -t UTF-8"
                    ))
                })?;
                vocab.symbols(&text.replace("\r\n", "\n"))
            }
        };
        let read = Encoded::new(symbols, vocab, oov).map_err(|problem| {
            let ways_out = Oov::ways_out(vocab);
            Error::Data(format!("{name}: {problem}; {ways_out}"))
        })?;
        if read.ids.is_empty() {
            return Err(Error::Data(format!(
                "{name}: the model's vocabulary has none of its {} characters, so nothing is left to \
                 score",
                read.skipped
            )));
        }
        Ok(read)
    }

    /// What to say of unknown characters of `text`, such as "the prompt".
    pub fn notes(&self, text: &str) -> Vec<String> {
        let counts = [
            (self.skipped, "skipped".to_owned()),
            (self.unknown, format!("read as {UNK}")),
        ];
        let told = counts.into_iter().filter(|(n, _)| *n > 0);
        told.map(|(n, what)| {
            format!("{what} {n} character(s) of {text} that the model does not know")
        })
        .collect()
    }
}

/// A character or byte of a text, given as [`CharVocab::symbols`] has it, for a message.
pub fn named(c: char, vocab: &CharVocab) -> String {
    match vocab.is_of_bytes() {
        true => format!("byte 0x{:02X}", u32::from(c)),
        false => format!("character {} (U+{:04X})", shown(c), u32::from(c)),
    }
}

fn unknown(c: char, position: usize, vocab: &CharVocab) -> String {
    let what = named(c, vocab);
    format!("{what} at position {position} is not in the model's vocabulary")
}
