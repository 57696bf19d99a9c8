//! Shapes of contiguous, row-major tensors.

use std::fmt;

/// The extents of a tensor, outermost first. A scalar has no extents and one element.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Shape(Vec<usize>);

impl Shape {
    /// The extents, outermost first.
    pub fn dims(&self) -> &[usize] {
        &self.0
    }

    /// Number of elements.
    pub fn numel(&self) -> usize {
        self.0.iter().product()
    }

    /// The innermost extent; 1 for a scalar.
    pub fn last(&self) -> usize {
        self.0.last().copied().unwrap_or(1)
    }

    /// Number of rows when all but the innermost extent are taken as one.
    pub fn rows(&self) -> usize {
        self.0
            .split_last()
            .map_or(1, |(_, outer)| outer.iter().product())
    }
}

impl<D: AsRef<[usize]>> From<D> for Shape {
    fn from(dims: D) -> Self {
        Shape(dims.as_ref().to_vec())
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}
