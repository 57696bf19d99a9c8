//! Building the trie of the contexts of a text.

use super::trie::{Child, CountsOfCounts, Follower, Node, ONCE, Trie, before, border};

/// Makes the trie of a text.
pub struct Builder<'a> {
    text: &'a [u16],
    border: u16,
    /// Symbols of the longest contexts.
    longest: usize,
    trie: Trie,
    tally: Tally,
}

impl<'a> Builder<'a> {
    /// Of contexts of at most `longest` symbols.
    pub fn new(text: &'a [u16], vocab: usize, longest: usize) -> Self {
        Builder {
            text,
            border: border(vocab),
            longest,
            trie: Trie {
                nodes: Vec::new(),
                children: Vec::new(),
                followers: Vec::new(),
                counts: vec![CountsOfCounts::default(); longest + 1],
            },
            tally: Tally {
                counts: vec![(0, 0); vocab],
                met: Vec::new(),
            },
        }
    }

    /// The trie.
    pub fn trie(mut self) -> Trie {
        let places = (0..)
            .zip(self.text)
            .filter(|(_, symbol)| **symbol != self.border);
        let mut places: Vec<u32> = places.map(|(at, _)| at).collect();
        if !places.is_empty() {
            self.node(&mut places, 0);
        }
        self.trie
    }

    /// Adds what these places have in common, their last `depth` symbols, and all longer contexts.
    fn child(&mut self, places: &mut [u32], depth: usize) -> u32 {
        let &mut [at] = places else {
            return self.node(places, depth);
        };
        for depth in depth..=self.longest {
            self.trie.counts[depth].add([1, 0, 0, 0], [1, 0, 0, 0]);
            if self.ends(at, depth) {
                break;
            }
        }
        at | ONCE
    }

    /// As [`Self::child`], of places that get a node: several, or all, where `depth` is 0.
    fn node(&mut self, places: &mut [u32], depth: usize) -> u32 {
        let (text, at, top) = (self.text, places[0], depth);
        let parts = |depth| {
            let symbol = before(text, at, depth);
            places.iter().any(|&at| before(text, at, depth) != symbol)
        };
        let mut depth = depth;
        // The root is a node, be it that the same symbol stands before all places.
        while depth > 0 && !self.ends(at, depth) && !parts(depth) {
            depth += 1;
        }
        let children = match self.ends(at, depth) {
            true => {
                let followers = places.iter().map(|&at| text[at as usize]);
                followers.for_each(|symbol| self.tally.add(symbol, 1));
                Vec::new()
            }
            false => self.children(places, depth),
        };
        let trie = &mut self.trie;
        let (first_child, first_follower) = (trie.children.len(), trie.followers.len());
        trie.children.extend(children);
        self.tally.drain_into(&mut trie.followers);
        let node = trie.nodes.len() as u32;
        trie.nodes.push(Node {
            at,
            depth: depth as u32,
            first_child: first_child as u32,
            first_follower: first_follower as u32,
        });
        self.count(top, depth, first_follower);
        node
    }

    /// The children of a node of `depth` symbols. What follows them is tallied.
    fn children(&mut self, places: &mut [u32], depth: usize) -> Vec<Child> {
        let text = self.text;
        places.sort_unstable_by_key(|&at| before(text, at, depth));
        let same = |a: &u32, b: &u32| before(text, *a, depth) == before(text, *b, depth);
        let mut children = Vec::new();
        for places in places.chunk_by_mut(same) {
            let symbol = before(text, places[0], depth);
            let to = self.child(places, depth + 1);
            children.push(Child { symbol, to });
        }
        // Only now: a child's own tally must have ended.
        for child in &children {
            if child.to & ONCE == 0 {
                let followers = self.trie.followers(child.to as usize).iter();
                followers.for_each(|to| self.tally.add(to.symbol, to.count));
            } else {
                self.tally.add(text[(child.to & !ONCE) as usize], 1);
            }
        }
        children
    }

    /// Whether a context of `depth` symbols is as long as contexts are.
    fn ends(&self, at: u32, depth: usize) -> bool {
        depth == self.longest || depth > 0 && before(self.text, at, depth - 1) == self.border
    }

    /// Counts the n-grams of the contexts of `top` to `depth` symbols: all have the last followers.
    fn count(&mut self, top: usize, depth: usize, first_follower: usize) {
        let followers = &self.trie.followers[first_follower..];
        let counts = counts_of_counts(followers.iter().map(|to| to.count));
        for edge in &mut self.trie.counts[top..depth] {
            edge.add(counts, [followers.len() as u64, 0, 0, 0]);
        }
        let continuations = counts_of_counts(followers.iter().map(|to| to.continuations));
        self.trie.counts[depth].add(counts, continuations);
    }
}

fn counts_of_counts(counts: impl Iterator<Item = u32>) -> [u64; 4] {
    let mut of = [0; 4];
    for count in counts {
        if let Some(n) = of.get_mut(count as usize - 1) {
            *n += 1;
        }
    }
    of
}

/// Followers while they are counted.
struct Tally {
    /// Count and continuations, by symbol.
    counts: Vec<(u32, u32)>,
    met: Vec<u16>,
}

impl Tally {
    /// A symbol that follows, with one more symbol before the context, this often.
    fn add(&mut self, symbol: u16, count: u32) {
        let (counts, continuations) = &mut self.counts[usize::from(symbol)];
        if *counts == 0 {
            self.met.push(symbol);
        }
        *counts += count;
        *continuations += 1;
    }

    fn drain_into(&mut self, followers: &mut Vec<Follower>) {
        self.met.sort_unstable();
        for symbol in self.met.drain(..) {
            let (count, continuations) = std::mem::take(&mut self.counts[usize::from(symbol)]);
            followers.push(Follower {
                symbol,
                count,
                continuations,
            });
        }
    }
}
