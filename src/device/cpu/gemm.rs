//! General matrix products by the `gemm` crate.

use crate::dtype::Float;
use crate::error::{Error, Result};
use gemm::Parallelism;

/// A matrix operand in memory, row-major, perhaps read transposed.
#[derive(Clone, Copy)]
pub struct Mat<'a, T> {
    /// The elements, row-major as stored.
    pub data: &'a [T],
    /// Rows and columns as stored.
    pub stored: (usize, usize),
    /// Read as its transpose.
    pub transposed: bool,
}

impl<T> Mat<'_, T> {
    /// Rows and columns as read.
    pub fn extents(&self) -> (usize, usize) {
        let (r, c) = self.stored;
        if self.transposed { (c, r) } else { (r, c) }
    }

    /// Distances between rows and between columns as read.
    fn strides(&self) -> (isize, isize) {
        let ld = self.stored.1 as isize;
        if self.transposed { (1, ld) } else { (ld, 1) }
    }
}

/// c = a b, or c += a b when `accumulate`. `c` is row-major `[m, n]`.
///
/// # Errors
/// [`Error::Op`] if the extents do not agree.
pub fn gemm<T: Float>(a: Mat<T>, b: Mat<T>, c: &mut [T], accumulate: bool) -> Result<()> {
    let ((m, k), (k2, n)) = (a.extents(), b.extents());
    let fits = a.data.len() == m * k && b.data.len() == k * n && c.len() == m * n;
    if k != k2 || !fits {
        return Err(Error::op(
            "matmul",
            format!(
                "cannot multiply [{m}, {k}] by [{k2}, {n}] into {} elements",
                c.len()
            ),
        ));
    }
    let ((a_row, a_col), (b_row, b_col)) = (a.strides(), b.strides());
    // Small products are done before other threads would have begun: they stay on this one.
    let parallelism = if m * n * k < 1 << 18 {
        Parallelism::None
    } else {
        Parallelism::Rayon(0)
    };
    // SAFETY: the lengths were checked above; T is f32 or f64, which `gemm` supports.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            n as isize,
            accumulate,
            a.data.as_ptr(),
            a_col,
            a_row,
            b.data.as_ptr(),
            b_col,
            b_row,
            T::ONE,
            T::ONE,
            false,
            false,
            false,
            parallelism,
        );
    }
    Ok(())
}
