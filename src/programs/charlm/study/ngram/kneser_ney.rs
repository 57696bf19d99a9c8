//! Interpolated Kneser-Ney smoothing, modified by Chen & Goodman.
//!
//! For a context h that is in the training text, h' the same without its first symbol:
//!
//! ```text
//! p(w | h) = (a(hw) - D(a(hw))) / S(h) + (D1 N1(h) + D2 N2(h) + D3 N3(h)) / S(h) * p(w | h')
//! ```
//!
//! and p(w | h') alone for another. S(h) is the sum of a(hx) over all x; N1(h), N2(h), N3(h) count the
//! x with a(hx) 1, 2, and at least 3; below the empty context all characters have 1 / V. For an n-gram
//! of the model's order a is its count in the text; for a shorter one the number of different symbols
//! before it, or, where it begins a file, its count, for then no symbol is before it. D(0) is 0 and D(a)
//! one of D1, D2, D3, of each order from its counts of counts n1 to n4 (Chen & Goodman, "An Empirical
//! Study of Smoothing Techniques for Language Modeling", 1999, equation 26):
//!
//! ```text
//! Y = n1 / (n1 + 2 n2)    D1 = 1 - 2 Y n2 / n1    D2 = 2 - 3 Y n3 / n2    D3 = 3 - 4 Y n4 / n3
//! ```
//!
//! Three discounts rather than one (D = Y): they do better in all of Chen & Goodman's experiments, and a
//! count of 1 says less of code, which is copied, than one of 3. The empty history of a file is the
//! context of a border.

use std::sync::Arc;

use super::super::predictor::Predictor;
use super::contexts::{Contexts, Count, Followers};

/// The discounts of an order whose text is too short to tell: n1, n2 or n3 is 0, or a discount would be
/// negative.
const UNTOLD: Discounts = Discounts([0.5, 1.0, 1.5]);

/// An n-gram model. A place that was held is forgotten at a reset.
#[derive(Clone, Debug)]
pub struct KneserNey {
    contexts: Arc<Contexts>,
    /// From order 1 to the model's.
    discounts: Vec<Discounts>,
    /// The last symbols, one fewer than the order; of a file that is shorter its border and all of it.
    history: Vec<u16>,
    held: Option<Vec<u16>>,
    /// `[V]`, kept for its memory.
    probabilities: Vec<f64>,
}

impl Count {
    /// What a model counts its n-grams by.
    fn of(n: usize, order: usize) -> Self {
        match n == order {
            true => Count::Text,
            false => Count::Continuations,
        }
    }
}

/// D1, D2 and D3 of an order.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Discounts([f64; 3]);

impl Discounts {
    fn new(n: [u64; 4]) -> Self {
        let n = n.map(|n| n as f64);
        let y = n[0] / (n[0] + 2.0 * n[1]);
        let of = |k: usize| k as f64 - (k + 1) as f64 * y * n[k] / n[k - 1];
        let discounts = [of(1), of(2), of(3)];
        // A count of counts of 0 makes minus infinity or no number.
        match discounts.iter().all(|discount| *discount >= 0.0) {
            true => Discounts(discounts),
            false => UNTOLD,
        }
    }

    /// What a count is lowered by.
    fn of(&self, count: u32) -> f64 {
        self.0[count.min(3) as usize - 1]
    }
}

impl KneserNey {
    /// The model of n-grams of an order, from 1 to that of `contexts`; panics for another.
    pub fn new(contexts: Arc<Contexts>, order: usize) -> Self {
        assert!((1..=contexts.order()).contains(&order), "order {order}");
        let discounts = (1..=order).map(|n| {
            let count = Count::of(n, order);
            Discounts::new(contexts.counts_of_counts(n, count))
        });
        let mut model = KneserNey {
            discounts: discounts.collect(),
            history: Vec::new(),
            held: None,
            probabilities: vec![0.0; contexts.vocab()],
            contexts,
        };
        model.reset();
        model
    }

    /// The order n: it sees the last n - 1 characters.
    pub fn order(&self) -> usize {
        self.discounts.len()
    }

    /// The probabilities of the next character, `[V]`.
    pub fn probabilities(&mut self) -> &[f64] {
        let (p, order) = (&mut self.probabilities, self.discounts.len());
        p.fill(1.0 / self.contexts.vocab() as f64);
        let mut n = 0;
        self.contexts.walk(&self.history, |followers| {
            let discounts = &self.discounts[n];
            n += 1;
            interpolate(p, followers, Count::of(n, order), discounts);
        });
        p
    }

    fn remember(&mut self, symbol: u16) {
        self.history.push(symbol);
        if self.history.len() == self.order() {
            self.history.remove(0);
        }
    }
}

/// Makes p(w | h) of p(w | h').
fn interpolate(p: &mut [f64], followers: Followers, count: Count, discounts: &Discounts) {
    let (mut sum, mut taken) = (0.0, 0.0);
    followers.each(count, |_, a| {
        sum += f64::from(a);
        taken += discounts.of(a);
    });
    for p in p.iter_mut() {
        *p *= taken / sum;
    }
    followers.each(count, |w, a| {
        p[usize::from(w)] += (f64::from(a) - discounts.of(a)) / sum;
    });
}

impl Predictor for KneserNey {
    fn vocab(&self) -> usize {
        self.contexts.vocab()
    }

    fn reset(&mut self) {
        self.history.clear();
        self.remember(self.contexts.border());
        self.held = None;
    }

    fn predict(&mut self, probabilities: &mut [f32]) {
        for (to, &p) in probabilities.iter_mut().zip(self.probabilities()) {
            *to = p as f32;
        }
    }

    fn read(&mut self, id: u32) {
        // An id is below the vocabulary's size, which has 16 bits.
        self.remember(id as u16);
    }

    fn hold(&mut self) {
        self.held = Some(self.history.clone());
    }

    fn rewind(&mut self) {
        if let Some(held) = &self.held {
            self.history.clone_from(held);
        }
    }
}
