//! The extended vocabulary of a source: the target's words, and behind them the source's unknown
//! tokens (See, Liu & Manning 2017, section 2.2).

use crate::data::tokens::key;
use crate::data::words::{UNK, WordVocab};

/// What a model that copies can write for one source. Ids below V, the size of the target
/// vocabulary, are its words; V + k is the k-th different token of the source that is none of them.
#[derive(Clone, Debug)]
pub struct ExtendedVocab<'a> {
    words: &'a WordVocab,
    unknown: Vec<&'a str>,
    ids: Vec<u32>,
}

/// The extended ids of a pair.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extended {
    /// Of each source position.
    pub source: Vec<u32>,
    /// Of each target token: [`UNK`] where neither the vocabulary nor the source has it.
    pub target: Vec<u32>,
    /// The tokens behind the vocabulary: V + k is the k-th.
    pub unknown: Vec<String>,
}

impl<'a> ExtendedVocab<'a> {
    /// That of a source's tokens.
    pub fn new(words: &'a WordVocab, source: &'a [String]) -> Self {
        let mut unknown: Vec<&str> = Vec::new();
        let id = |token: &'a String| match words.id_of_same(token) {
            UNK => {
                let place = unknown.iter().position(|other| key(other) == key(token));
                let place = place.unwrap_or_else(|| {
                    unknown.push(token);
                    unknown.len() - 1
                });
                (words.len() + place) as u32
            }
            word => word,
        };
        let ids = source.iter().map(id).collect();
        ExtendedVocab {
            words,
            unknown,
            ids,
        }
    }

    /// The id of each source position.
    pub fn source_ids(&self) -> &[u32] {
        &self.ids
    }

    /// The id of a target's token.
    pub fn id(&self, token: &str) -> u32 {
        match self.words.id_of_same(token) {
            UNK => {
                let place = self.unknown.iter().position(|u| key(u) == key(token));
                place.map_or(UNK, |place| (self.words.len() + place) as u32)
            }
            word => word,
        }
    }

    /// The token of an id. Panics for one that no token has.
    pub fn token(&self, id: u32) -> &'a str {
        match (id as usize).checked_sub(self.words.len()) {
            Some(place) => self.unknown[place],
            None => self.words.token(id),
        }
    }

    /// The tokens of ids. Panics for one that no token has.
    pub fn tokens(&self, ids: &[u32]) -> Vec<String> {
        ids.iter().map(|&id| self.token(id).to_owned()).collect()
    }

    /// The ids of the source and of these target tokens.
    pub fn pair(self, target: &[String]) -> Extended {
        Extended {
            target: target.iter().map(|token| self.id(token)).collect(),
            unknown: self.unknown.into_iter().map(str::to_owned).collect(),
            source: self.ids,
        }
    }

    /// The ids of the source, without a target.
    pub fn of_source(self) -> Extended {
        self.pair(&[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_tokens_of_a_source_have_ids_behind_the_words() {
        let words = WordVocab::from_tokens(["call", "the"], 1).unwrap();
        let source = ["call", "foo", "the", "bar", "foo", "<UNK>"].map(str::to_owned);
        let extended = ExtendedVocab::new(&words, &source);
        // Four special tokens, then call and the.
        assert_eq!(extended.source_ids(), [4, 6, 5, 7, 6, 8]);
        let tokens = extended.tokens(&[4, 6, 7, 8]);
        assert_eq!(tokens, ["call", "foo", "bar", "<UNK>"]);
        let target = ["bar", "the", "baz", "foo"].map(str::to_owned);
        assert_eq!(extended.pair(&target).target, [7, 5, UNK, 6]);
    }
}
