//! All contexts of a text up to a length, each with the characters that follow it.
//!
//! A context is the run of symbols before a place in the text. The contexts form a trie that is read
//! backwards from the place, with a node only where contexts part: one edge stands for all symbols up
//! to the next node, and a context that is in the text once has no node. So the n-grams of all orders
//! together take two or three entries for each character of the text.

use crate::{Error, Result};

/// Marks a child that is one place in the text.
const ONCE: u32 = 1 << 31;

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

#[derive(Debug)]
struct Trie {
    /// Children before their parents, the root last; none where there is no text.
    nodes: Vec<Node>,
    /// Of all nodes in turn, sorted by symbol.
    children: Vec<Child>,
    /// Of all nodes in turn, sorted by symbol.
    followers: Vec<Follower>,
    /// By length of the context.
    counts: Vec<CountsOfCounts>,
}

/// A context that is in the text at least twice, and that different symbols stand before, or that is
/// as long as contexts are.
#[derive(Clone, Copy, Debug)]
struct Node {
    /// One of its places in the text: that of the character behind it.
    at: u32,
    /// Its symbols.
    depth: u32,
    first_child: u32,
    first_follower: u32,
}

#[derive(Clone, Copy, Debug)]
struct Child {
    /// What stands before the parent's context.
    symbol: u16,
    /// A node, or a place in the text with the mark [`ONCE`].
    to: u32,
}

/// A character that follows a context.
#[derive(Clone, Copy, Debug)]
pub(super) struct Follower {
    symbol: u16,
    /// How often it does.
    count: u32,
    /// As [`Count::Continuations`].
    continuations: u32,
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

/// How many n-grams of an order have the count 1, 2, 3 and 4, of each kind of [`Count`].
#[derive(Clone, Copy, Debug, Default)]
struct CountsOfCounts {
    text: [u64; 4],
    continuations: [u64; 4],
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

/// The symbol that stands before each file: no character has this id.
fn border(vocab: usize) -> u16 {
    u16::try_from(vocab).expect("a vocabulary is numbered with 16 bits")
}

/// The symbol before the last `depth` symbols before a place.
fn before(text: &[u16], at: u32, depth: usize) -> u16 {
    text[at as usize - 1 - depth]
}

impl Trie {
    fn followers(&self, node: usize) -> &[Follower] {
        let (this, next) = (self.nodes[node], self.nodes.get(node + 1));
        let end = next.map_or(self.followers.len(), |next| next.first_follower as usize);
        &self.followers[this.first_follower as usize..end]
    }

    fn child(&self, node: usize, symbol: u16) -> Option<u32> {
        let (this, next) = (self.nodes[node], self.nodes.get(node + 1));
        let end = next.map_or(self.children.len(), |next| next.first_child as usize);
        let children = &self.children[this.first_child as usize..end];
        let found = children.binary_search_by_key(&symbol, |child| child.symbol);
        found.ok().map(|n| children[n].to)
    }
}

// ---- building -------------------------------------------------------------------------------

struct Builder<'a> {
    text: &'a [u16],
    border: u16,
    /// Symbols of the longest contexts.
    longest: usize,
    trie: Trie,
    tally: Tally,
}

impl<'a> Builder<'a> {
    fn new(text: &'a [u16], vocab: usize, longest: usize) -> Self {
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

    fn trie(mut self) -> Trie {
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

impl CountsOfCounts {
    fn add(&mut self, text: [u64; 4], continuations: [u64; 4]) {
        for n in 0..4 {
            self.text[n] += text[n];
            self.continuations[n] += continuations[n];
        }
    }
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
