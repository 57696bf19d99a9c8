//! Bounded Dyck words: brackets of k types, closed in the order of a stack, never more than m open.
//!
//! Dyck-(k, m) of Hewitt, Hahn, Ganguli, Liang, Manning, "RNNs can generate bounded hierarchical
//! languages with optimal memory" (EMNLP 2020, arXiv 2010.07515). A word of a given length is drawn
//! uniformly from all of that length.

use std::ops::RangeInclusive;

use crate::rng::Reader;

/// The language Dyck-(k, m). Its characters: opener of type j is 2 j, its closer 2 j + 1, and
/// [`Dyck::boundary`] stands before and behind a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Dyck {
    /// k, types of brackets.
    pub types: u32,
    /// m, the most brackets that are open at a time.
    pub depth: usize,
}

impl Dyck {
    /// V: openers, closers and the boundary.
    pub fn vocab(self) -> usize {
        2 * self.types as usize + 1
    }

    /// The character between words.
    pub fn boundary(self) -> u32 {
        2 * self.types
    }

    /// The type of a closer, none of other characters.
    pub fn closes(self, id: u32) -> Option<u32> {
        (id < self.boundary() && id % 2 == 1).then_some(id / 2)
    }

    /// Words of even lengths, each length as likely as the others.
    pub fn source(self, lengths: RangeInclusive<usize>) -> Words {
        let longest = *lengths.end();
        let mut ways = vec![vec![0.0; self.depth + 1]; longest + 1];
        ways[0][0] = 1.0;
        for left in 1..=longest {
            for depth in 0..=self.depth {
                let deeper = ways[left - 1].get(depth + 1).copied().unwrap_or(0.0);
                let shallower = depth.checked_sub(1).map_or(0.0, |d| ways[left - 1][d]);
                ways[left][depth] = deeper + shallower;
            }
        }
        Words {
            dyck: self,
            lengths: lengths.filter(|n| n % 2 == 0).collect(),
            ways,
        }
    }
}

/// Draws words of a language.
#[derive(Clone, Debug)]
pub struct Words {
    dyck: Dyck,
    lengths: Vec<usize>,
    /// Ways to be at depth 0 after so many more characters, from each depth.
    ways: Vec<Vec<f64>>,
}

impl Words {
    /// A length.
    pub fn length(&self, random: &mut Reader) -> usize {
        self.lengths[random.below(self.lengths.len() as u32) as usize]
    }

    /// A word of an even length that the source was made for.
    pub fn word(&self, length: usize, random: &mut Reader) -> Vec<u32> {
        let mut open: Vec<u32> = Vec::new();
        let mut word = Vec::with_capacity(length);
        for left in (0..length).rev() {
            let all = self.ways[left + 1][open.len()];
            let deeper = self.ways[left].get(open.len() + 1).copied().unwrap_or(0.0);
            if random.uniform() * all < deeper {
                let kind = random.below(self.dyck.types);
                open.push(kind);
                word.push(2 * kind);
            } else if let Some(kind) = open.pop() {
                word.push(2 * kind + 1);
            }
        }
        word
    }
}

/// The most brackets that are open at a time in a word.
pub fn max_depth(word: &[u32]) -> usize {
    let depths = word.iter().scan(0usize, |depth, id| {
        *depth = if id % 2 == 0 { *depth + 1 } else { *depth - 1 };
        Some(*depth)
    });
    depths.max().unwrap_or(0)
}
