//! Vocabularies of words, one for docstrings and one for code.

use std::collections::HashMap;

use super::tokens::{is_string, key};
use crate::{Error, Result};

/// Fills up the rows of a batch; no token has it.
pub const PAD: u32 = 0;
/// Starts a target.
pub const SOS: u32 = 1;
/// Ends a target.
pub const EOS: u32 = 2;
/// Stands for every token that is not in the vocabulary.
pub const UNK: u32 = 3;

/// The names of the ids that are no words, in index order.
pub const SPECIALS: [&str; 4] = ["<PAD>", "<SOS>", "<EOS>", "<UNK>"];

/// Words and their ids, which are their places in the list behind [`SPECIALS`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WordVocab {
    tokens: Vec<String>,
    /// Words only: a token of a text that spells like a special is an unknown one.
    ids: HashMap<String, u32>,
    /// String literals by their [`key`].
    strings: HashMap<String, u32>,
}

/// The tokens that occur at least `min_frequency` times, sorted bytewise, and how many different
/// ones there are in all. One that spells like a special is no word.
pub fn frequent<'a>(
    tokens: impl IntoIterator<Item = &'a str>,
    min_frequency: usize,
) -> (Vec<&'a str>, usize) {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for token in tokens {
        *counts.entry(token).or_default() += 1;
    }
    let different = counts.len();
    counts.retain(|token, n| *n >= min_frequency && !SPECIALS.contains(token));
    let mut words: Vec<&str> = counts.into_keys().collect();
    words.sort_unstable();
    (words, different)
}

impl WordVocab {
    /// The [`frequent`] tokens, sorted bytewise.
    ///
    /// # Errors
    /// [`Error::Data`] where no token occurs so often.
    pub fn from_tokens<'a>(
        tokens: impl IntoIterator<Item = &'a str>,
        min_frequency: usize,
    ) -> Result<Self> {
        let (words, different) = frequent(tokens, min_frequency);
        if words.is_empty() {
            return Err(Error::Data(format!(
                "the vocabulary would hold nothing but its special tokens: of {different} \
                 different tokens none occurs {min_frequency} times; lower min-frequency or give \
                 more training pairs"
            )));
        }
        let tokens = SPECIALS.iter().chain(&words);
        Self::from_list(tokens.map(|&word| word.to_owned()).collect()).map_err(Error::Data)
    }

    /// A vocabulary of these tokens behind the specials, sorted bytewise.
    ///
    /// # Errors
    /// [`Error::Data`] where there are none, or one is there twice.
    pub fn of_all<'a>(tokens: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let mut tokens: Vec<&str> = tokens.into_iter().collect();
        tokens.sort_unstable();
        let tokens = SPECIALS.iter().chain(&tokens);
        Self::from_list(tokens.map(|&token| token.to_owned()).collect()).map_err(Error::Data)
    }

    /// A vocabulary of these tokens in index order, or what is wrong with them.
    pub(super) fn from_list(tokens: Vec<String>) -> Result<Self, String> {
        if tokens.len() < SPECIALS.len() || tokens[..SPECIALS.len()] != SPECIALS {
            return Err(format!("it does not start with {}", SPECIALS.join(" ")));
        }
        if tokens.len() == SPECIALS.len() {
            return Err("it holds nothing but its special tokens".into());
        }
        let mut ids = HashMap::with_capacity(tokens.len());
        for (id, token) in tokens.iter().enumerate() {
            let id = u32::try_from(id).map_err(|_| "it holds more than 2^32 tokens")?;
            if let Some(first) = ids.insert(token.clone(), id) {
                return Err(format!(
                    "\"{}\" is there twice, as tokens {first} and {id}",
                    token.escape_debug()
                ));
            }
        }
        for special in SPECIALS {
            ids.remove(special);
        }
        let mut strings = HashMap::new();
        for (id, token) in (0..).zip(&tokens) {
            if is_string(token) {
                strings.entry(key(token).into_owned()).or_insert(id);
            }
        }
        Ok(WordVocab {
            tokens,
            ids,
            strings,
        })
    }

    /// Number of tokens, the specials with them.
    #[expect(
        clippy::len_without_is_empty,
        reason = "a vocabulary without words cannot be made"
    )]
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// The tokens in index order.
    pub fn tokens(&self) -> &[String] {
        &self.tokens
    }

    /// The token of an id. Panics where `id` is not below [`Self::len`].
    pub fn token(&self, id: u32) -> &str {
        &self.tokens[id as usize]
    }

    /// The id of a token, [`UNK`] where it is not a word of the vocabulary.
    pub fn id(&self, token: &str) -> u32 {
        self.ids.get(token).copied().unwrap_or(UNK)
    }

    /// The id of the word that is the same as a token for copying: the token itself, or a string
    /// literal of the same [`key`]. [`UNK`] where there is none.
    pub fn id_of_same(&self, token: &str) -> u32 {
        let same = || self.strings.get(&*key(token)).copied();
        let string = is_string(token).then(same).flatten();
        self.ids.get(token).copied().or(string).unwrap_or(UNK)
    }

    /// The ids of tokens, one each.
    pub fn encode<'a>(&self, tokens: impl IntoIterator<Item = &'a str>) -> Vec<u32> {
        tokens.into_iter().map(|token| self.id(token)).collect()
    }
}
