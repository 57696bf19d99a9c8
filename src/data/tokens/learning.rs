//! Learning the merges of byte-pair encoding.
//!
//! Again and again the pair of neighbouring pieces that is there most often becomes one piece, of equally
//! frequent ones that whose pieces are older. Counts are kept up to date where a merge changes them, so
//! the work follows the merges that are made in words, not the size of the text.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};

use super::bpe::{Base, Bpe};
use super::python;

/// Longer tokens, as a page of text in quotes, teach characters but no merges.
const LONGEST: usize = 256;
/// A pair that is there less often is not worth a piece.
const LEAST: u64 = 2;

/// A token, in pieces.
struct Word {
    pieces: Vec<u32>,
    /// How often it is there.
    count: u64,
}

/// A pair of neighbours.
#[derive(Default)]
struct Pair {
    /// How often it is there.
    count: u64,
    /// Words that have it or had it.
    words: Vec<u32>,
}

/// What is known of all words.
struct Counts {
    words: Vec<Word>,
    pairs: HashMap<(u32, u32), Pair>,
    /// Pairs by their counts; a count that has changed since has a later entry.
    order: BinaryHeap<(u64, Reverse<(u32, u32)>)>,
}

/// Learns at most `merges` merges from the tokens of a training split; fewer where no pair is there
/// twice. The same tokens, in any order, give the same merges.
///
/// # Errors
/// Says so for more than 2^32 words or pieces.
pub fn learn<'a>(
    over: Base,
    tokens: impl IntoIterator<Item = &'a str>,
    merges: usize,
) -> Result<Bpe, String> {
    let mut found: BTreeMap<&str, u64> = BTreeMap::new();
    for token in tokens {
        if !python::MARKERS.contains(&token) {
            *found.entry(token).or_default() += 1;
        }
    }
    let characters: BTreeSet<char> = found.keys().flat_map(|token| token.chars()).collect();
    let mut bpe = Bpe::new(over, characters, [])?;
    let words = found.into_iter().filter_map(|(token, count)| {
        let length = token.chars().count();
        let pieces = token.chars().enumerate();
        let pieces = pieces.map(|(n, c)| bpe.start(c, n + 1 < length));
        let pieces = (length <= LONGEST).then(|| pieces.collect::<Option<Vec<u32>>>());
        Some(Word {
            pieces: pieces??,
            count,
        })
    });
    let mut counts = Counts::new(words.collect())?;
    while bpe.merges() < merges {
        let Some(pair) = counts.likeliest() else {
            break;
        };
        if let Some(made) = bpe.merge(pair)? {
            counts.merge(pair, made);
        }
    }
    Ok(bpe)
}

impl Counts {
    fn new(words: Vec<Word>) -> Result<Self, String> {
        u32::try_from(words.len()).map_err(|_| "too many different words")?;
        let mut pairs: HashMap<(u32, u32), Pair> = HashMap::new();
        for (n, word) in (0..).zip(&words) {
            for pair in word.pieces.windows(2) {
                let pair = pairs.entry((pair[0], pair[1])).or_default();
                pair.count += word.count;
                pair.words.push(n);
            }
        }
        let order = pairs
            .iter()
            .map(|(pair, Pair { count, .. })| (*count, Reverse(*pair)));
        Ok(Counts {
            order: order.collect(),
            pairs,
            words,
        })
    }

    /// Takes the pair that is there most often; none where none is there [`LEAST`] times.
    fn likeliest(&mut self) -> Option<(u32, u32)> {
        loop {
            let (count, Reverse(pair)) = self.order.pop()?;
            if count < LEAST {
                return None;
            }
            if self.pairs.get(&pair).is_some_and(|now| now.count == count) {
                return Some(pair);
            }
        }
    }

    /// Makes one piece of a pair, wherever it is, and counts what changes.
    fn merge(&mut self, pair: (u32, u32), made: u32) {
        let mut words = match self.pairs.get_mut(&pair) {
            Some(pair) => std::mem::take(&mut pair.words),
            None => return,
        };
        words.sort_unstable();
        words.dedup();
        let mut changes: HashMap<(u32, u32), i64> = HashMap::new();
        for n in words {
            let Word { pieces, count } = &mut self.words[n as usize];
            let count = *count as i64;
            let mut change = |pair, by| *changes.entry(pair).or_default() += by;
            let mut longer: Vec<u32> = Vec::with_capacity(pieces.len());
            let mut rest = &pieces[..];
            while let Some((&piece, behind)) = rest.split_first() {
                if (piece, behind.first().copied()) != (pair.0, Some(pair.1)) {
                    longer.push(piece);
                    rest = behind;
                    continue;
                }
                change(pair, -count);
                if let Some(&left) = longer.last() {
                    change((left, pair.0), -count);
                    change((left, made), count);
                    self.pairs.entry((left, made)).or_default().words.push(n);
                }
                rest = &behind[1..];
                if let Some(&right) = rest.first() {
                    change((pair.1, right), -count);
                    change((made, right), count);
                    self.pairs.entry((made, right)).or_default().words.push(n);
                }
                longer.push(made);
            }
            *pieces = longer;
        }
        for (pair, by) in changes {
            let known = self.pairs.entry(pair).or_default();
            known.count = known.count.saturating_add_signed(by);
            if by != 0 && known.count > 0 {
                self.order.push((known.count, Reverse(pair)));
            }
        }
    }
}
