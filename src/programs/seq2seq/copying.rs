//! The extended vocabulary of a source: the target's words, and behind them the source's unknown
//! tokens (See, Liu & Manning 2017, section 2.2).

use crate::data::tokens::key;
use crate::data::words::{UNK, WordVocab};

/// What a model that copies can write for one source, and the ids of a pair in it. Ids below V, the size
/// of the target vocabulary, are its words; V + k is the k-th different token of the source that is
/// none of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extended {
    /// Of each source position.
    pub source: Vec<u32>,
    /// Of each target token: [`UNK`] where neither the vocabulary nor the source has it.
    pub target: Vec<u32>,
    /// The tokens behind the vocabulary: V + k is the k-th.
    pub unknown: Vec<String>,
}

impl Extended {
    /// That of a source's tokens, with the ids of these target tokens.
    pub fn new(words: &WordVocab, source: &[String], target: &[String]) -> Self {
        let mut unknown: Vec<String> = Vec::new();
        let behind = |place: usize| (words.len() + place) as u32;
        let of_source = |token: &String| match words.id_of_same(token) {
            UNK => behind(place(&unknown, token).unwrap_or_else(|| {
                unknown.push(token.clone());
                unknown.len() - 1
            })),
            word => word,
        };
        let source = source.iter().map(of_source).collect();
        let of_target = |token: &String| match words.id_of_same(token) {
            UNK => place(&unknown, token).map_or(UNK, behind),
            word => word,
        };
        let target = target.iter().map(of_target).collect();
        Extended {
            source,
            target,
            unknown,
        }
    }

    /// The token of an id; `words` is the target vocabulary. Panics for one that no token has.
    pub fn token<'a>(&'a self, words: &'a WordVocab, id: u32) -> &'a str {
        match (id as usize).checked_sub(words.len()) {
            Some(place) => &self.unknown[place],
            None => words.token(id),
        }
    }

    /// The tokens of ids, likewise.
    pub fn tokens(&self, words: &WordVocab, ids: &[u32]) -> Vec<String> {
        let ids = ids.iter();
        ids.map(|&id| self.token(words, id).to_owned()).collect()
    }
}

/// Which of the unknown tokens is the same as this one.
fn place(unknown: &[String], token: &str) -> Option<usize> {
    unknown.iter().position(|other| key(other) == key(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_tokens_of_a_source_have_ids_behind_the_words() {
        let words = WordVocab::from_tokens(["call", "the"], 1).unwrap();
        let source = ["call", "foo", "the", "bar", "foo", "<UNK>"].map(str::to_owned);
        let target = ["bar", "the", "baz", "foo"].map(str::to_owned);
        let extended = Extended::new(&words, &source, &target);
        // Four special tokens, then call and the.
        assert_eq!(extended.source, [4, 6, 5, 7, 6, 8]);
        assert_eq!(extended.target, [7, 5, UNK, 6]);
        let tokens = extended.tokens(&words, &[4, 6, 7, 8]);
        assert_eq!(tokens, ["call", "foo", "bar", "<UNK>"]);
    }
}
