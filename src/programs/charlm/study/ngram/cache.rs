//! A model that also learns from the file that it reads.
//!
//! What the characters of the file so far say is mixed with what another model says:
//!
//! ```text
//! p(w) = l(m) c(w) + (1 - l(m)) q(w)
//! ```
//!
//! q is the other model, c an n-gram model of the file alone, and m the length of the longest context
//! that the file has had before, up to [`LONGEST_MATCH`]; where nothing was read p is q. In c each
//! context h has the weight that Witten & Bell (1991, method C) give it: with c(h) characters behind it
//! so far, T(h) of them different, from the empty context up to that of m characters,
//!
//! ```text
//! c(w | h) = (c(hw) + T(h) c(w | h')) / (c(h) + T(h))
//! ```
//!
//! and 1 / V below the empty one. How much c is worth depends most on m, and from file to file; so l(m)
//! is learnt from the file, too: it is the mean of the shares r = l(m) c(w) / p(w) that c had in the
//! characters w after matches of that length, as expectation maximisation has it, with one right and one
//! wrong c before the first:
//!
//! ```text
//! l(m) = (1 + sum of r) / (2 + number of r)
//! ```
//!
//! Hellendoorn & Devanbu's nested caches ("Are Deep Neural Networks the Best Choice for Modeling Source
//! Code?", 2017) weigh a file's n-grams against others by the counts of their contexts; that has a rule
//! of thumb where this has an estimate.

use super::super::predictor::Predictor;

/// Characters of the longest context that is looked for in the file.
pub const LONGEST_MATCH: usize = 15;

/// Another model with a cache of the file. A place that was held is forgotten at a reset.
#[derive(Clone, Debug)]
pub struct Cached<P> {
    base: P,
    file: FileCounts,
    /// By the length of the match.
    weights: [Weight; LONGEST_MATCH + 1],
    held: Option<[Weight; LONGEST_MATCH + 1]>,
    /// Whether the rest is of the place that was read up to.
    is_asked: bool,
    /// The length of the match; none where nothing was read.
    matched: Option<usize>,
    /// q, `[V]`.
    from_base: Vec<f32>,
    /// c, `[V]`.
    from_file: Vec<f64>,
}

/// What l of a length is learnt from.
#[derive(Clone, Copy, Debug)]
struct Weight {
    shares: f64,
    characters: f64,
}

impl Weight {
    /// One right and one wrong.
    const FIRST: Weight = Weight {
        shares: 1.0,
        characters: 2.0,
    };
}

impl<P: Predictor> Cached<P> {
    /// Mixes a model with a cache of each file.
    pub fn new(base: P) -> Self {
        let vocab = base.vocab();
        Cached {
            base,
            file: FileCounts::new(),
            weights: [Weight::FIRST; LONGEST_MATCH + 1],
            held: None,
            is_asked: false,
            matched: None,
            from_base: vec![0.0; vocab],
            from_file: vec![0.0; vocab],
        }
    }

    /// Asks the two for the next character, unless they were.
    fn ask(&mut self) {
        if !self.is_asked {
            self.base.predict(&mut self.from_base);
            self.matched = self.file.predict(&mut self.from_file);
            self.is_asked = true;
        }
    }

    /// l(m).
    fn weight(&self) -> f64 {
        let weight = self.matched.map(|m| self.weights[m]);
        weight.map_or(0.0, |weight| weight.shares / weight.characters)
    }

    /// The parts of p(w) from the file and from the other model.
    fn parts(&self, w: usize) -> (f64, f64) {
        let l = self.weight();
        (
            l * self.from_file[w],
            (1.0 - l) * f64::from(self.from_base[w]),
        )
    }
}

impl<P: Predictor> Predictor for Cached<P> {
    fn vocab(&self) -> usize {
        self.base.vocab()
    }

    fn reset(&mut self) {
        self.base.reset();
        self.file.reset();
        self.weights = [Weight::FIRST; LONGEST_MATCH + 1];
        self.held = None;
        self.is_asked = false;
    }

    fn predict(&mut self, probabilities: &mut [f32]) {
        self.ask();
        for (w, p) in probabilities.iter_mut().enumerate() {
            let (file, base) = self.parts(w);
            *p = (file + base) as f32;
        }
    }

    fn read(&mut self, id: u32) {
        self.ask();
        let (file, base) = self.parts(id as usize);
        if let Some(m) = self.matched {
            self.weights[m].shares += file / (file + base);
            self.weights[m].characters += 1.0;
        }
        self.base.read(id);
        self.file.read(id);
        self.is_asked = false;
    }

    fn hold(&mut self) {
        self.base.hold();
        self.file.hold();
        self.held = Some(self.weights);
    }

    fn rewind(&mut self) {
        if let Some(weights) = self.held {
            self.base.rewind();
            self.file.rewind();
            self.weights = weights;
            self.is_asked = false;
        }
    }
}

// ---- the n-grams of a file ------------------------------------------------------------------

/// The n-grams of the file so far: a trie whose paths from the root are contexts and what followed.
#[derive(Clone, Debug)]
struct FileCounts {
    /// The root first.
    grams: Vec<Gram>,
    /// The contexts of the next character, by length: none, the last character, the last two and so on.
    contexts: Vec<u32>,
    /// The contexts that were held, and the n-grams that were counted since.
    held: Option<(Vec<u32>, Vec<u32>)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Gram {
    /// Its last character.
    id: u32,
    /// How often it was read. 0 where that was taken back.
    count: u32,
    /// The first of the n-grams that are longer by a character; 0 for none.
    longer: u32,
    /// The next of those that are as long and differ in the last character; 0 for none.
    next: u32,
}

impl FileCounts {
    fn new() -> Self {
        FileCounts {
            grams: vec![Gram::default()],
            contexts: vec![0],
            held: None,
        }
    }

    fn reset(&mut self) {
        self.grams.truncate(1);
        self.grams[0] = Gram::default();
        self.contexts.truncate(1);
        self.held = None;
    }

    /// The n-grams that are a context and one more character.
    fn followers(&self, context: u32) -> impl Iterator<Item = (u32, Gram)> {
        let found = |at: u32| (at != 0).then(|| (at, self.grams[at as usize]));
        let first = found(self.grams[context as usize].longer);
        std::iter::successors(first, move |(_, gram)| found(gram.next))
    }

    /// c of the next character, `[V]`, and the length of the longest context that something followed.
    fn predict(&self, p: &mut [f64]) -> Option<usize> {
        p.fill(1.0 / p.len() as f64);
        let mut matched = None;
        for (m, &context) in self.contexts.iter().enumerate() {
            let followers = || self.followers(context).map(|(_, gram)| gram);
            let followers = || followers().filter(|gram| gram.count > 0);
            let (mut read, mut different) = (0.0, 0.0);
            for gram in followers() {
                read += f64::from(gram.count);
                different += 1.0;
            }
            if read == 0.0 {
                break;
            }
            for p in p.iter_mut() {
                *p *= different / (read + different);
            }
            for gram in followers() {
                p[gram.id as usize] += f64::from(gram.count) / (read + different);
            }
            matched = Some(m);
        }
        matched
    }

    fn read(&mut self, id: u32) {
        let mut contexts = vec![0];
        for context in std::mem::take(&mut self.contexts) {
            let found = self.followers(context).find(|(_, gram)| gram.id == id);
            let gram = found.map_or_else(|| self.add(context, id), |(at, _)| at);
            self.grams[gram as usize].count += 1;
            contexts.push(gram);
        }
        if let Some((_, counted)) = &mut self.held {
            counted.extend_from_slice(&contexts[1..]);
        }
        contexts.truncate(LONGEST_MATCH + 1);
        self.contexts = contexts;
    }

    fn add(&mut self, context: u32, id: u32) -> u32 {
        // 2^32 of them would take 64 GiB.
        let at = self.grams.len() as u32;
        let next = std::mem::replace(&mut self.grams[context as usize].longer, at);
        self.grams.push(Gram {
            id,
            count: 0,
            longer: 0,
            next,
        });
        at
    }

    fn hold(&mut self) {
        self.held = Some((self.contexts.clone(), Vec::new()));
    }

    fn rewind(&mut self) {
        if let Some((contexts, counted)) = &mut self.held {
            for gram in counted.drain(..) {
                self.grams[gram as usize].count -= 1;
            }
            self.contexts.clone_from(contexts);
        }
    }
}
