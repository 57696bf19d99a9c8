//! What a model holds likely at one place of a sequence.

use crate::ops::softmax_xent::log_sum;

/// A token, and the distribution that a model gives its place. Arithmetic is in f64.
#[derive(Clone, Copy, Debug)]
pub struct Position<'a> {
    /// The token.
    pub id: u32,
    logits: &'a [f32], // [V]
    log_sum: f64,      // log sum_k exp(l_k)
}

impl<'a> Position<'a> {
    /// The place of a token below V, given the logits `[V]` there.
    pub fn new(id: u32, logits: &'a [f32]) -> Self {
        let exact: Vec<f64> = logits.iter().map(|&x| f64::from(x)).collect();
        Position {
            id,
            logits,
            log_sum: log_sum(&exact),
        }
    }

    /// The token's probability.
    pub fn p(&self) -> f64 {
        self.log_p().exp()
    }

    /// The token's log-probability, in nats.
    pub fn log_p(&self) -> f64 {
        self.log_p_of(self.id as usize)
    }

    fn log_p_of(&self, id: usize) -> f64 {
        f64::from(self.logits[id]) - self.log_sum
    }

    /// Whether the token is the likeliest one; of a tie the first of the vocabulary is.
    pub fn is_likeliest(&self) -> bool {
        let own = self.logits[self.id as usize];
        let (before, behind) = self.logits.split_at(self.id as usize);
        before.iter().all(|&l| l < own) && behind.iter().all(|&l| l <= own)
    }

    /// Entropy of the distribution over all tokens, H = -sum_j p_j log p_j, in nats.
    pub fn entropy(&self) -> f64 {
        let terms = (0..self.logits.len()).map(|id| {
            let log_p = self.log_p_of(id);
            // An underflow of p leaves nothing of the term.
            let p = log_p.exp();
            if p > 0.0 { -p * log_p } else { 0.0 }
        });
        terms.sum()
    }

    /// The `n` likeliest tokens with their probabilities, the likeliest first; of a tie the one that
    /// is first in the vocabulary.
    pub fn top(&self, n: usize) -> Vec<(u32, f64)> {
        let likelier =
            |&a: &usize, &b: &usize| self.logits[b].total_cmp(&self.logits[a]).then(a.cmp(&b));
        let mut ids: Vec<usize> = (0..self.logits.len()).collect();
        if n < ids.len() {
            ids.select_nth_unstable_by(n, likelier);
            ids.truncate(n);
        }
        ids.sort_unstable_by(likelier);
        let p = |id: usize| (id as u32, self.log_p_of(id).exp());
        ids.into_iter().map(p).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_tie_the_first_is_the_likeliest() {
        let logits = [0.0, 1.0, 1.0, -1.0];
        let of = |id| Position::new(id, &logits);
        assert_eq!(
            [0, 1, 2, 3].map(|id| of(id).is_likeliest()),
            [false, true, false, false]
        );
        let top = |n| {
            of(0)
                .top(n)
                .into_iter()
                .map(|(id, _)| id)
                .collect::<Vec<_>>()
        };
        assert_eq!(top(1), [1]);
        assert_eq!(top(3), [1, 2, 0]);
        assert_eq!(top(9), [1, 2, 0, 3]);
    }

    #[test]
    fn a_token_that_cannot_be_adds_nothing() {
        let logits = [0.0, f32::NEG_INFINITY, 0.0];
        let position = Position::new(1, &logits);
        assert_eq!((position.p(), position.log_p()), (0.0, f64::NEG_INFINITY));
        assert!((position.entropy() - 2f64.ln()).abs() < 1e-15);
        assert_eq!(position.top(3)[2], (1, 0.0));
    }
}
