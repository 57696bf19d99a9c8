//! `--stop`: texts that end what is generated, found while it is written.

use super::escapes::symbols;
use super::request::GenerateRequest;
use crate::data::chars::CharVocab;
use crate::data::encoding::named;
use crate::{Error, Result};

/// A text looked for in bytes that come one by one (Knuth, Morris and Pratt, "Fast Pattern Matching
/// in Strings", 1977).
#[derive(Clone, Debug)]
struct Stop {
    text: Vec<u8>, // never empty
    /// For each beginning of the text: how much of the text's beginning also ends it.
    borders: Vec<usize>,
    /// Bytes of the text that the bytes so far end with.
    matched: usize,
}

impl Stop {
    fn new(text: Vec<u8>) -> Self {
        let mut borders = vec![0; text.len()];
        let mut matched = 0;
        for end in 1..text.len() {
            matched = longer(&text, &borders, matched, text[end]);
            borders[end] = matched;
        }
        Stop {
            text,
            borders,
            matched: 0,
        }
    }

    /// Whether the text is complete with these bytes.
    fn take(&mut self, bytes: &[u8]) -> bool {
        for &byte in bytes {
            if self.matched == self.text.len() {
                self.matched = self.borders[self.matched - 1];
            }
            self.matched = longer(&self.text, &self.borders, self.matched, byte);
        }
        self.matched == self.text.len()
    }
}

/// How much of the text's beginning a match of `matched` bytes ends with, and then `byte`.
fn longer(text: &[u8], borders: &[usize], mut matched: usize, byte: u8) -> usize {
    while matched > 0 && text[matched] != byte {
        matched = borders[matched - 1];
    }
    matched + usize::from(text[matched] == byte)
}

/// The texts that end one stream.
#[derive(Clone, Debug)]
pub(super) struct Stops(Vec<Stop>);

impl Stops {
    /// What the request asks for, in the bytes that it would be written in. Texts that cannot come
    /// are noted.
    ///
    /// # Errors
    /// [`Error::Usage`] for an empty text or a wrong escape.
    pub fn asked(
        request: &GenerateRequest,
        vocab: &CharVocab,
        notes: &mut Vec<String>,
    ) -> Result<Self> {
        let mut texts = Vec::new();
        for stop in &request.stop {
            let symbols = symbols(stop.as_bytes(), vocab, request.escapes)
                .map_err(|problem| Error::Usage(format!("--stop: {problem}")))?;
            if symbols.is_empty() {
                let message = "--stop is empty: give a text that ends what is generated";
                return Err(Error::Usage(message.into()));
            }
            if let Some(&c) = symbols.iter().find(|&&c| vocab.id(c).is_none()) {
                let c = named(c, vocab);
                notes.push(format!(
                    "--stop {stop:?} ends nothing: the model never writes {c}"
                ));
            }
            let mut text = Vec::new();
            symbols.into_iter().for_each(|c| vocab.write(c, &mut text));
            texts.push(Stop::new(text));
        }
        Ok(Stops(texts))
    }

    /// Takes the bytes of the next token of the stream. Where a text is complete with it, its length;
    /// of several the longest.
    pub fn take(&mut self, bytes: &[u8]) -> Option<usize> {
        let complete = |stop: &mut Stop| stop.take(bytes).then_some(stop.text.len());
        self.0.iter_mut().filter_map(complete).max()
    }

    /// How many of the last bytes may be the beginning of one of the texts.
    pub fn held(&self) -> usize {
        self.0.iter().map(|stop| stop.matched).max().unwrap_or(0)
    }
}
