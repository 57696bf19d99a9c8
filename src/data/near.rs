//! Pairs that are almost the same as others.

use std::collections::{HashMap, HashSet};

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
    let index = Index::new(train);
    let docstring = |pair: &Pair| source_tokens(&pair.docstring).collect::<Vec<_>>().join(" ");
    let docstrings: HashSet<String> = train.iter().map(docstring).collect();
    let near = other.iter().filter(|pair| index.resembles(&pair.code));
    let same = other.iter().filter(|p| docstrings.contains(&docstring(p)));
    NearReport {
        near_code: near.count(),
        same_docstring: same.count(),
    }
}

/// Which training codes hold a word, and how often.
struct Index<'a> {
    postings: HashMap<&'a str, Vec<(usize, usize)>>,
    /// Words of each training code.
    sizes: Vec<usize>,
}

impl<'a> Index<'a> {
    fn new(train: &'a [Pair]) -> Self {
        let mut postings: HashMap<&str, Vec<(usize, usize)>> = HashMap::new();
        let mut sizes = Vec::with_capacity(train.len());
        for (n, pair) in train.iter().enumerate() {
            let bag = bag(&pair.code);
            sizes.push(bag.values().sum());
            for (word, count) in bag {
                postings.entry(word).or_default().push((n, count));
            }
        }
        Index { postings, sizes }
    }

    fn resembles(&self, code: &str) -> bool {
        let bag = bag(code);
        let size: usize = bag.values().sum();
        let mut common = vec![0; self.sizes.len()];
        for (word, count) in bag {
            for &(n, other) in self.postings.get(word).into_iter().flatten() {
                common[n] += count.min(other);
            }
        }
        let (part, whole) = THRESHOLD;
        let mut pairs = common.iter().zip(&self.sizes);
        pairs.any(|(&n, &other)| n > 0 && whole * n >= part * (size + other - n))
    }
}

fn bag(code: &str) -> HashMap<&str, usize> {
    let words = code.split(|c: char| !c.is_alphanumeric() && c != '_');
    let mut bag = HashMap::new();
    for word in words.filter(|word| !word.is_empty()) {
        *bag.entry(word).or_default() += 1;
    }
    bag
}
