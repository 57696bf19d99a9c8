//! The trie of contexts: see [`Contexts`](super::Contexts).

/// Marks a child that is one place in the text.
pub const ONCE: u32 = 1 << 31;

#[derive(Debug)]
pub struct Trie {
    /// Children before their parents, the root last; none where there is no text.
    pub nodes: Vec<Node>,
    /// Of all nodes in turn, sorted by symbol.
    pub children: Vec<Child>,
    /// Of all nodes in turn, sorted by symbol.
    pub followers: Vec<Follower>,
    /// By length of the context.
    pub counts: Vec<CountsOfCounts>,
}

/// A context that is in the text at least twice, and that different symbols stand before, or that is
/// as long as contexts are.
#[derive(Clone, Copy, Debug)]
pub struct Node {
    /// One of its places in the text: that of the character behind it.
    pub at: u32,
    /// Its symbols.
    pub depth: u32,
    pub first_child: u32,
    pub first_follower: u32,
}

#[derive(Clone, Copy, Debug)]
pub struct Child {
    /// What stands before the parent's context.
    pub symbol: u16,
    /// A node, or a place in the text with the mark [`ONCE`].
    pub to: u32,
}

/// A character that follows a context.
#[derive(Clone, Copy, Debug)]
pub struct Follower {
    pub symbol: u16,
    /// How often it does.
    pub count: u32,
    /// As [`Count::Continuations`](super::contexts::Count::Continuations).
    pub continuations: u32,
}

/// How many n-grams of an order have the count 1, 2, 3 and 4, of each kind of [`Count`](super::contexts::Count).
#[derive(Clone, Copy, Debug, Default)]
pub struct CountsOfCounts {
    pub text: [u64; 4],
    pub continuations: [u64; 4],
}

/// The symbol that stands before each file: no character has this id.
pub fn border(vocab: usize) -> u16 {
    u16::try_from(vocab).expect("a vocabulary is numbered with 16 bits")
}

/// The symbol before the last `depth` symbols before a place.
pub fn before(text: &[u16], at: u32, depth: usize) -> u16 {
    text[at as usize - 1 - depth]
}

impl Trie {
    pub fn followers(&self, node: usize) -> &[Follower] {
        let (this, next) = (self.nodes[node], self.nodes.get(node + 1));
        let end = next.map_or(self.followers.len(), |next| next.first_follower as usize);
        &self.followers[this.first_follower as usize..end]
    }

    pub fn child(&self, node: usize, symbol: u16) -> Option<u32> {
        let (this, next) = (self.nodes[node], self.nodes.get(node + 1));
        let end = next.map_or(self.children.len(), |next| next.first_child as usize);
        let children = &self.children[this.first_child as usize..end];
        let found = children.binary_search_by_key(&symbol, |child| child.symbol);
        found.ok().map(|n| children[n].to)
    }
}

impl CountsOfCounts {
    pub fn add(&mut self, text: [u64; 4], continuations: [u64; 4]) {
        for n in 0..4 {
            self.text[n] += text[n];
            self.continuations[n] += continuations[n];
        }
    }
}
