//! What a study reads texts with: a model as a stream of characters.

use crate::programs::charlm::generate::generator::{Generator, State};

/// A model that reads a text character by character.
pub trait Predictor {
    /// Number of ids, V.
    fn vocab(&self) -> usize;
    /// Forgets what was read: a new file begins.
    fn reset(&mut self);
    /// The probabilities of the next character, `[V]`, given what was read since the reset. They are
    /// not negative and sum to 1.
    fn predict(&mut self, probabilities: &mut [f32]);
    /// Reads the next character, an id below V.
    fn read(&mut self, id: u32);
    /// Remembers the place in the text, for [`Self::rewind`]. One place is remembered at a time.
    fn hold(&mut self);
    /// Goes back to the place that was last held, as if nothing had been read since. Nothing happens
    /// where none was.
    fn rewind(&mut self);
}

// ---- the character LM ----------------------------------------------------------------------

/// A character LM. Its state is zero after a reset; what it predicts before it has read anything is
/// what follows the character that a text begins after (a newline), which is not read itself.
pub struct Recurrent {
    generator: Generator,
    /// The distribution before anything is read, `[V]`.
    first: Vec<f32>,
    /// The distribution after the last character, `[V]`.
    next: Vec<f32>,
    held: Option<(State, Vec<f32>)>,
}

impl Recurrent {
    /// Reads with a generator of one stream; a text begins after the character `start`.
    ///
    /// # Panics
    /// If the generator has several streams.
    pub fn new(mut generator: Generator, start: u16) -> Self {
        generator.reset();
        let mut first = Vec::new();
        softmax(generator.step(&[start]), &mut first);
        generator.reset();
        Recurrent {
            next: first.clone(),
            first,
            generator,
            held: None,
        }
    }
}

impl Predictor for Recurrent {
    fn vocab(&self) -> usize {
        self.first.len()
    }

    fn reset(&mut self) {
        self.generator.reset();
        self.next.clone_from(&self.first);
    }

    fn predict(&mut self, probabilities: &mut [f32]) {
        probabilities.copy_from_slice(&self.next);
    }

    fn read(&mut self, id: u32) {
        softmax(self.generator.step(&[id as u16]), &mut self.next);
    }

    fn hold(&mut self) {
        self.held = Some((self.generator.state(), self.next.clone()));
    }

    fn rewind(&mut self) {
        if let Some((state, next)) = &self.held {
            self.generator.set_state(state);
            self.next.clone_from(next);
        }
    }
}

/// exp(x) / sum exp(x), the sum in f64.
fn softmax(logits: &[f32], probabilities: &mut Vec<f32>) {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    probabilities.clear();
    probabilities.extend(logits.iter().map(|x| (x - max).exp()));
    let sum: f64 = probabilities.iter().copied().map(f64::from).sum();
    let scale = (1.0 / sum) as f32;
    for p in probabilities {
        *p *= scale;
    }
}

// ---- models whose figures are known --------------------------------------------------------

/// Gives every character 1 / V.
#[derive(Clone, Copy, Debug)]
pub struct Uniform {
    /// Number of ids, V.
    pub vocab: usize,
}

impl Predictor for Uniform {
    fn vocab(&self) -> usize {
        self.vocab
    }

    fn reset(&mut self) {}

    fn predict(&mut self, probabilities: &mut [f32]) {
        probabilities.fill(1.0 / self.vocab as f32);
    }

    fn read(&mut self, _: u32) {}

    fn hold(&mut self) {}

    fn rewind(&mut self) {}
}

/// Knows the file: gives the next character 1 as long as the file is read from its start, and every
/// character 1 / V behind its end or once another character was read.
#[derive(Clone, Debug)]
pub struct Oracle<'a> {
    ids: &'a [u32],
    vocab: usize,
    /// Characters read, and whether they were the file's.
    at: (usize, bool),
    held: (usize, bool),
}

impl<'a> Oracle<'a> {
    /// Knows these ids, each below `vocab`.
    pub fn new(ids: &'a [u32], vocab: usize) -> Self {
        Oracle {
            ids,
            vocab,
            at: (0, true),
            held: (0, true),
        }
    }
}

impl Predictor for Oracle<'_> {
    fn vocab(&self) -> usize {
        self.vocab
    }

    fn reset(&mut self) {
        self.at = (0, true);
    }

    fn predict(&mut self, probabilities: &mut [f32]) {
        match self.at {
            (at, true) if at < self.ids.len() => {
                probabilities.fill(0.0);
                probabilities[self.ids[at] as usize] = 1.0;
            }
            _ => Uniform { vocab: self.vocab }.predict(probabilities),
        }
    }

    fn read(&mut self, id: u32) {
        let (at, known) = self.at;
        self.at = (at + 1, known && self.ids.get(at) == Some(&id));
    }

    fn hold(&mut self) {
        self.held = self.at;
    }

    fn rewind(&mut self) {
        self.at = self.held;
    }
}
