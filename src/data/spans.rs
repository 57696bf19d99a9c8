//! Contiguous ranges of rows, one behind the other: the source positions of each row of a batch.

use std::sync::Arc;

use crate::{Error, Result};

/// Which rows of a matrix belong to which row of a batch. Cloning it copies nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spans {
    /// First position of each row, and behind the last one the number of all.
    offsets: Arc<[u32]>,
    longest: usize,
}

impl Spans {
    /// Spans of these lengths, in this order.
    ///
    /// # Errors
    /// [`Error::Op`] for no spans, an empty one, or more than 2^32 - 1 positions.
    pub fn new(lengths: &[usize]) -> Result<Self> {
        let fail = |message: String| Err(Error::op("spans", message));
        if let Some(row) = lengths.iter().position(|&n| n == 0) {
            return fail(format!("row {row} of {} has no position", lengths.len()));
        }
        let Some(&longest) = lengths.iter().max() else {
            return fail("no rows".into());
        };
        let mut offsets = Vec::with_capacity(lengths.len() + 1);
        let mut at = 0u32;
        offsets.push(at);
        for &n in lengths {
            let end = u32::try_from(n).ok().and_then(|n| at.checked_add(n));
            let Some(end) = end else {
                return fail(format!("more than {} positions", u32::MAX));
            };
            at = end;
            offsets.push(at);
        }
        Ok(Spans {
            offsets: offsets.into(),
            longest,
        })
    }

    /// B, the number of spans.
    pub fn rows(&self) -> usize {
        self.offsets.len() - 1
    }

    /// First position of row b.
    #[inline]
    pub fn start(&self, b: usize) -> usize {
        self.offsets[b] as usize
    }

    /// Behind the last position of row b.
    #[inline]
    pub fn end(&self, b: usize) -> usize {
        self.offsets[b + 1] as usize
    }

    /// Positions of row b, at least one.
    #[inline]
    pub fn len(&self, b: usize) -> usize {
        (self.offsets[b + 1] - self.offsets[b]) as usize
    }

    /// M, the positions of all rows.
    pub fn total(&self) -> usize {
        self.start(self.rows())
    }

    /// S, the positions of the row that has most.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// First position of each row, and M: B + 1 numbers.
    pub fn offsets(&self) -> &[u32] {
        &self.offsets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_rows() {
        let s = Spans::new(&[2, 5, 1]).unwrap();
        assert_eq!((s.rows(), s.total(), s.longest()), (3, 8, 5));
        assert_eq!([0, 1, 2].map(|b| s.start(b)), [0, 2, 7]);
        assert_eq!([0, 1, 2].map(|b| s.len(b)), [2, 5, 1]);
        assert_eq!(s.offsets(), [0, 2, 7, 8]);
        for bad in [&[][..], &[1, 0], &[usize::MAX], &[u32::MAX as usize, 1]] {
            assert!(Spans::new(bad).is_err());
        }
    }
}
