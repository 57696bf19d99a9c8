//! All contexts of a text up to a length, each with the characters that follow it.
//!
//! A context is the run of symbols before a place in the text. The contexts form a trie that is read
//! backwards from the place, with a node only where contexts part: one edge stands for all symbols up
//! to the next node, and a context that is in the text once has no node. So the n-grams of all orders
//! together take two or three entries for each character of the text.

use super::building::Builder;
use super::trie::{Follower, Node, ONCE, Trie, before, border};
use crate::{Error, Result};

/// The contexts of a text of several files. Before each file stands a border, which is no character of
/// the vocabulary; a context that has reached it ends.
#[derive(Debug)]
pub struct Contexts {
    vocab: usize,
    order: usize,
    /// The files, each behind a border.
    text: Vec<u16>,
    trie: Trie,
}

/// What an n-gram's count is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Count {
    /// How often it is in the text.
    Text,
    /// How many different symbols stand before it (its continuation count); for one that begins with a
    /// border, before which none is, how often it is in the text.
    Continuations,
}

/// What follows a context.
#[derive(Clone, Copy, Debug)]
pub(super) enum Followers<'a> {
    /// It is in the text once.
    One(u16),
    /// It is a node.
    Node(&'a [Follower]),
    /// It is a part of an edge: the same symbol stands before it everywhere.
    Edge(&'a [Follower]),
}

impl Followers<'_> {
    /// Hands each character to `f`, with the count of the n-gram that ends with it.
    #[inline]
    pub fn each(self, count: Count, mut f: impl FnMut(u16, u32)) {
        match (self, count) {
            (Followers::One(symbol), _) => f(symbol, 1),
            (Followers::Node(list) | Followers::Edge(list), Count::Text) => {
                list.iter().for_each(|to| f(to.symbol, to.count));
            }
            (Followers::Node(list), Count::Continuations) => {
                list.iter().for_each(|to| f(to.symbol, to.continuations));
            }
            (Followers::Edge(list), Count::Continuations) => {
                list.iter().for_each(|to| f(to.symbol, 1));
            }
        }
    }
}

impl Contexts {
    /// The contexts of the n-grams of all orders from 1 to `order` in these files. Panics where `order`
    /// is 0, for a `vocab` beyond 16 bits, and for an id that is not below it.
    ///
    /// # Errors
    /// [`Error::Data`] for a text that is too long to number its characters with 31 bits.
    pub fn new<'a>(
        files: impl IntoIterator<Item = &'a [u32]>,
        vocab: usize,
        order: usize,
    ) -> Result<Self> {
        let mut text = Vec::new();
        for file in files {
            text.push(border(vocab));
            text.extend(file.iter().map(|&id| id as u16));
        }
        if text.len() >= ONCE as usize {
            return Err(Error::Data(format!(
                "n-grams are counted in at most {ONCE} characters, and {} train: lower max-chars",
                text.len()
            )));
        }
        let trie = Builder::new(&text, vocab, order - 1).trie();
        Ok(Contexts {
            vocab,
            order,
            text,
            trie,
        })
    }

    /// Number of characters, V.
    pub fn vocab(&self) -> usize {
        self.vocab
    }

    /// The order of the longest n-grams.
    pub fn order(&self) -> usize {
        self.order
    }

    /// What a history begins with where it reaches back to the beginning of its file.
    pub(super) fn border(&self) -> u16 {
        border(self.vocab)
    }

    /// How many n-grams of an order have the count 1, 2, 3 and 4: n1 to n4.
    pub(super) fn counts_of_counts(&self, order: usize, count: Count) -> [u64; 4] {
        let counts = &self.trie.counts[order - 1];
        match count {
            Count::Text => counts.text,
            Count::Continuations => counts.continuations,
        }
    }

    /// Hands the followers of the empty context to `f`, then those of the last symbol of `history`, of
    /// its last two and so on, up to the whole or the longest that the text has. `history` has fewer
    /// than [`Self::order`] symbols, and a border at most as its first.
    pub(super) fn walk<'a>(&'a self, history: &[u16], mut f: impl FnMut(Followers<'a>)) {
        let trie = &self.trie;
        let Some(mut node) = trie.nodes.len().checked_sub(1) else {
            return;
        };
        f(Followers::Node(trie.followers(node)));
        let mut depth = 0;
        let mut back = history.iter().rev().copied();
        while let Some(child) = back.next().and_then(|symbol| trie.child(node, symbol)) {
            let (at, end, list) = if child & ONCE == 0 {
                node = child as usize;
                let Node { at, depth, .. } = trie.nodes[node];
                (at, depth as usize, Some(trie.followers(node)))
            } else {
                (child & !ONCE, usize::MAX, None)
            };
            loop {
                depth += 1;
                f(match list {
                    None => Followers::One(self.text[at as usize]),
                    Some(list) if depth == end => Followers::Node(list),
                    Some(list) => Followers::Edge(list),
                });
                if depth == end {
                    break;
                }
                match back.next() {
                    Some(symbol) if symbol == before(&self.text, at, depth) => {}
                    _ => return,
                }
            }
        }
    }
}
