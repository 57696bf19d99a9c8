//! Sequences of different lengths without padding.
//!
//! The rows of a batch stand in the order of their lengths, longest first, and time is outermost:
//! step t holds one element of every row that is longer than t, so of the first n_t rows. All of
//! them, step after step, are the packed rows (torch's `PackedSequence`):
//!
//! ```text
//! lengths 3 2 2    n_t 3 3 1    packed rows a0 b0 c0 | a1 b1 c1 | a2
//! ```

use std::sync::Arc;

use crate::{Error, Result};

/// Where the steps of a packed batch lie. Cloning it copies nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packing {
    /// First packed row of each step, and behind the last one their number N.
    offsets: Arc<[usize]>,
}

impl Packing {
    /// The packing of sequences of these lengths, which must not increase.
    ///
    /// # Errors
    /// [`Error::Op`] for no sequences, an empty one, or one longer than the one before it.
    pub fn new(lengths: &[usize]) -> Result<Self> {
        let fail = |message: String| Err(Error::op("packing", message));
        let Some((&longest, &shortest)) = lengths.first().zip(lengths.last()) else {
            return fail("no sequences".into());
        };
        if !lengths.is_sorted_by(|a, b| a >= b) || shortest == 0 {
            return fail(format!(
                "the lengths {lengths:?} are not in falling order and at least 1"
            ));
        }
        let mut offsets = Vec::with_capacity(longest + 1);
        let (mut at, mut active) = (0, lengths.len());
        offsets.push(0);
        for t in 0..longest {
            while lengths[active - 1] <= t {
                active -= 1;
            }
            at += active;
            offsets.push(at);
        }
        Ok(Packing {
            offsets: offsets.into(),
        })
    }

    /// The packing of `batch` sequences that all have `steps` elements: an ordinary `[T, B]`.
    ///
    /// # Errors
    /// [`Error::Op`] if one of them is zero.
    pub fn uniform(steps: usize, batch: usize) -> Result<Self> {
        if steps == 0 || batch == 0 {
            let message = format!("an empty sequence: {steps} steps of {batch} rows");
            return Err(Error::op("packing", message));
        }
        Ok(Packing {
            offsets: (0..=steps).map(|t| t * batch).collect(),
        })
    }

    /// The packing where each sequence stands `n` times, its copies one below the other.
    #[must_use]
    pub fn times(&self, n: usize) -> Self {
        Packing {
            offsets: self.offsets.iter().map(|offset| n * offset).collect(),
        }
    }

    /// T, the length of the longest sequence.
    pub fn steps(&self) -> usize {
        self.offsets.len() - 1
    }

    /// B, the number of sequences.
    pub fn batch(&self) -> usize {
        self.offsets[1]
    }

    /// N, the packed rows of all steps.
    pub fn rows(&self) -> usize {
        self.offsets[self.steps()]
    }

    /// First packed row of step t; of t = T, the number of all.
    #[inline]
    pub fn offset(&self, t: usize) -> usize {
        self.offsets[t]
    }

    /// First packed row of each step, and behind the last one their number: `[T + 1]`.
    pub fn offsets(&self) -> Vec<u32> {
        self.offsets.iter().map(|&offset| offset as u32).collect()
    }

    /// n_t, the sequences longer than t; none from T on.
    #[inline]
    pub fn active(&self, t: usize) -> usize {
        match t < self.steps() {
            true => self.offsets[t + 1] - self.offsets[t],
            false => 0,
        }
    }

    /// The packed row of element t of sequence b; none where that sequence has ended.
    pub fn row(&self, t: usize, b: usize) -> Option<usize> {
        (b < self.active(t)).then(|| self.offset(t) + b)
    }

    /// Length of sequence b.
    pub fn length(&self, b: usize) -> usize {
        (0..self.steps())
            .take_while(|&t| b < self.active(t))
            .count()
    }

    /// The lengths of the sequences.
    pub fn lengths(&self) -> Vec<usize> {
        (0..self.batch()).map(|b| self.length(b)).collect()
    }

    /// The packed rows of sequence after sequence, each in its order.
    pub fn by_sequence(&self) -> Vec<u32> {
        let of = |b: usize| (0..self.steps()).map_while(move |t| self.row(t, b));
        (0..self.batch())
            .flat_map(of)
            .map(|row| row as u32)
            .collect()
    }

    /// The step of each packed row.
    pub fn steps_of_rows(&self) -> Vec<u32> {
        let of = |t: usize| std::iter::repeat_n(t as u32, self.active(t));
        (0..self.steps()).flat_map(of).collect()
    }

    /// Whether all sequences have the same length.
    pub fn is_uniform(&self) -> bool {
        self.active(self.steps() - 1) == self.batch()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_sequences() {
        let p = Packing::new(&[3, 2, 2]).unwrap();
        assert_eq!((p.steps(), p.batch(), p.rows()), (3, 3, 7));
        assert_eq!([0, 1, 2, 3].map(|t| p.offset(t)), [0, 3, 6, 7]);
        assert_eq!(p.offsets(), [0, 3, 6, 7]);
        assert_eq!([0, 1, 2, 3].map(|t| p.active(t)), [3, 3, 1, 0]);
        assert_eq!(
            (p.row(1, 2), p.row(2, 1), p.row(9, 0)),
            (Some(5), None, None)
        );
        assert_eq!([0, 1, 2].map(|b| p.length(b)), [3, 2, 2]);
        assert_eq!(p.lengths(), [3, 2, 2]);
        assert_eq!(p.by_sequence(), [0, 3, 6, 1, 4, 2, 5]);
        assert_eq!(p.steps_of_rows(), [0, 0, 0, 1, 1, 1, 2]);
        assert!(!p.is_uniform());
        assert_eq!(
            Packing::new(&[4, 4]).unwrap(),
            Packing::uniform(4, 2).unwrap()
        );
        assert!(Packing::uniform(4, 2).unwrap().is_uniform());
        assert_eq!(p.times(1), p);
        assert_eq!(p.times(2), Packing::new(&[3, 3, 2, 2, 2, 2]).unwrap());
        for bad in [&[][..], &[2, 3], &[2, 0]] {
            assert!(Packing::new(bad).is_err());
        }
        assert!(Packing::uniform(0, 2).is_err());
    }
}
