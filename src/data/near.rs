//! Bags of words that are almost the same, and pairs that are so.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use serde::Serialize;

use super::pairs::{Pair, source_tokens};

/// The least Jaccard index of near-duplicates, as a fraction: 4 of 5 words.
const THRESHOLD: (usize, usize) = (4, 5);

/// What counts as a near-duplicate, for people.
pub const MEASURE: &str = "4 of 5 words shared";

/// How many pairs of a split are close to one of the training split.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NearReport {
    /// Pairs whose code is a near-duplicate.
    pub near_code: usize,
    /// Pairs with the same source tokens.
    pub same_docstring: usize,
}

/// Counts the pairs of `other` that resemble a pair of `train`.
///
/// Code resembles code where the Jaccard index of their words is at least 0.8. The words
/// are the longest runs of letters, digits and `_`, each counted as often as it is there: common
/// words / all words, of two bags (Allamanis, "The Adverse Effects of Code Duplication", 2019,
/// compares the identifiers and literals of files so). Code without words resembles nothing.
pub fn near(train: &[Pair], other: &[Pair]) -> NearReport {
    let codes = Codes::of(train);
    let resembles = |pair: &&Pair| codes.have_like(&pair.code);
    let docstring = |pair: &Pair| source_tokens(&pair.docstring).collect::<Vec<_>>().join(" ");
    let docstrings: HashSet<String> = train.iter().map(docstring).collect();
    let same = other.iter().filter(|p| docstrings.contains(&docstring(p)));
    NearReport {
        near_code: other.iter().filter(resembles).count(),
        same_docstring: same.count(),
    }
}

/// The code of some pairs.
#[derive(Debug)]
pub struct Codes<'a>(BagIndex<&'a str>);

impl<'a> Codes<'a> {
    /// That of these pairs.
    pub fn of(pairs: impl IntoIterator<Item = &'a Pair>) -> Self {
        let bags = pairs.into_iter().map(|pair| bag(words(&pair.code)));
        Codes(BagIndex::new(bags))
    }

    /// Whether a code resembles one of them, as in [`near`].
    pub fn have_like(&self, code: &str) -> bool {
        let bag = bag(words(code));
        let mut overlaps = self.0.overlaps(&bag);
        overlaps.any(|(_, overlap)| overlap.bags.is_at_least(THRESHOLD))
    }
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    let words = code.split(|c: char| !c.is_alphanumeric() && c != '_');
    words.filter(|word| !word.is_empty())
}

// ---- bags -----------------------------------------------------------------------------------

/// How often each word is there.
pub type Bag<W> = HashMap<W, usize>;

/// The bag of these words.
pub fn bag<W: Eq + Hash>(words: impl IntoIterator<Item = W>) -> Bag<W> {
    let mut bag = Bag::new();
    for word in words {
        *bag.entry(word).or_default() += 1;
    }
    bag
}

/// Which of many bags hold a word, and how often.
#[derive(Debug)]
pub struct BagIndex<W> {
    postings: HashMap<W, Vec<(usize, usize)>>,
    /// Different words and words of each bag.
    sizes: Vec<(usize, usize)>,
}

/// The Jaccard index of two sets or bags, common / all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jaccard {
    /// Words of both.
    pub common: usize,
    /// Words of either.
    pub all: usize,
}

impl Jaccard {
    /// Whether it is a fraction (part, whole) or more.
    pub fn is_at_least(self, (part, whole): (usize, usize)) -> bool {
        whole * self.common >= part * self.all
    }

    /// The index in [0, 1], of two that are not both empty.
    pub fn value(self) -> f64 {
        self.common as f64 / self.all as f64
    }
}

/// What two bags have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// Every word counted once.
    pub sets: Jaccard,
    /// Every word counted as often as it is there.
    pub bags: Jaccard,
}

impl<W: Eq + Hash> BagIndex<W> {
    /// An index of bags, which have the numbers from 0 on.
    pub fn new(bags: impl IntoIterator<Item = Bag<W>>) -> Self {
        let mut postings: HashMap<W, Vec<(usize, usize)>> = HashMap::new();
        let mut sizes = Vec::new();
        for (n, bag) in bags.into_iter().enumerate() {
            sizes.push((bag.len(), bag.values().sum()));
            for (word, count) in bag {
                postings.entry(word).or_default().push((n, count));
            }
        }
        BagIndex { postings, sizes }
    }

    /// The bags that have a word of `bag`, by number, and what they have in common.
    pub fn overlaps(&self, bag: &Bag<W>) -> impl Iterator<Item = (usize, Overlap)> {
        let (different, words) = (bag.len(), bag.values().sum::<usize>());
        let mut common = vec![(0, 0); self.sizes.len()];
        for (word, &count) in bag {
            for &(n, other) in self.postings.get(word).into_iter().flatten() {
                common[n].0 += 1;
                common[n].1 += count.min(other);
            }
        }
        let jaccard = |common, a: usize, b: usize| Jaccard {
            common,
            all: a + b - common,
        };
        let found = common.into_iter().zip(&self.sizes).enumerate();
        let found = found.filter(|(_, ((sets, _), _))| *sets > 0);
        found.map(move |(n, ((sets, bags), size))| {
            let overlap = Overlap {
                sets: jaccard(sets, different, size.0),
                bags: jaccard(bags, words, size.1),
            };
            (n, overlap)
        })
    }
}
