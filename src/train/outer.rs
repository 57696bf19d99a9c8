//! Local steps: how ranks that train by themselves for a while take on what they have learnt (DiLoCo,
//! Douillard et al. 2023, arXiv:2311.08105).
//!
//! A round begins with the same weights `w0` and the same optimizer on all ranks. Each trains
//! [`Local::steps`] steps on its own rows, and then has weights `w_r`. An outer step of gradient descent
//! with Nesterov's momentum (Sutskever et al. 2013) along the mean of the differences ends the round:
//!
//! ```text
//! d = mean over the ranks of (w0 - w_r)
//! u = momentum u + d
//! w = w0 - learning_rate (d + momentum u)
//! ```

use crate::error::{Error, Result};
use crate::ranks::tree::{self, Known};
use std::ops::Range;

/// Rounds of steps that each rank takes by itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Local {
    /// Steps of a round; the end of an epoch ends one, too.
    pub steps: u64,
    /// Step size of the outer optimizer.
    pub learning_rate: f64,
    /// Its momentum.
    pub momentum: f64,
}

impl Local {
    /// The paper's step size of the outer optimizer.
    pub const LEARNING_RATE: f64 = 0.7;
    /// The paper's momentum.
    pub const MOMENTUM: f64 = 0.9;

    /// Takes the outer step, in f64: `weights` are `w0` and then `w`, `momentum` is `u`, and `d` the mean of
    /// the differences, all `[P]`.
    pub fn take(&self, weights: &mut [f32], momentum: &mut [f32], d: &[f64]) {
        for ((w, u), &d) in weights.iter_mut().zip(momentum).zip(d) {
            let next = self.momentum * f64::from(*u) + d;
            *u = next as f32;
            *w = (f64::from(*w) - self.learning_rate * (d + self.momentum * next)) as f32;
        }
    }
}

/// The mean of what `of` gives for each of so many ranks, `[P]`, added in the order of the
/// [tree] over their numbers.
///
/// # Errors
/// Those of `of`.
pub fn mean(ranks: usize, mut of: impl FnMut(usize) -> Result<Vec<f64>>) -> Result<Vec<f64>> {
    let known = &mut |node: &Range<usize>| match node.len() {
        1 => Ok::<_, Error>(Known::Sum(Some(of(node.start)?))),
        _ => Ok(Known::Parts),
    };
    let add = &|mut a: Vec<f64>, b: Vec<f64>| {
        a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
        Ok(a)
    };
    let mut sum = tree::sum(0..ranks, known, add)?.unwrap_or_default();
    sum.iter_mut().for_each(|x| *x /= ranks as f64);
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outer_step_is_that_of_nesterov() {
        let local = Local {
            steps: 1,
            learning_rate: 0.5,
            momentum: 0.5,
        };
        let (mut w, mut u) = ([1.0, 8.0], [4.0, 0.0]);
        local.take(&mut w, &mut u, &[2.0, -1.0]);
        // u = 0.5 * 4 + 2, w = 1 - 0.5 (2 + 0.5 u)
        assert_eq!((u, w), ([4.0, -1.0], [-1.0, 8.75]));
    }

    #[test]
    fn one_rank_without_momentum_keeps_its_weights() {
        let plain = Local {
            steps: 1,
            learning_rate: 1.0,
            momentum: 0.0,
        };
        // Far apart, so that the difference alone is not exact in f32.
        let (base, own) = ([1e-20f32, 3.0, -7.0], [0.1f32, 1e-5, 5.3e-7]);
        let differ = |_| {
            Ok(base
                .iter()
                .zip(own)
                .map(|(a, b)| f64::from(*a) - f64::from(b))
                .collect())
        };
        let (mut w, mut u) = (base, [0.0; 3]);
        plain.take(&mut w, &mut u, &mean(1, differ).unwrap());
        assert_eq!(w, own);
    }

    #[test]
    fn a_mean_has_the_order_of_the_tree() {
        // 1 + 2^-53 is 1 in f64, and 1 + 2^-52 is not.
        let list = [1.0, 0.0, 2f64.powi(-53), 2f64.powi(-53)];
        let sum = (list[0] + list[1]) + (list[2] + list[3]);
        assert_ne!(sum, list.iter().sum::<f64>());
        assert_eq!(mean(4, |rank| Ok(vec![list[rank]])).unwrap(), [sum / 4.0]);
    }
}
