//! General matrix products by the kernels of the `gemm` crate, of which f32 and f64 are compiled.

use crate::dtype::Float;
use crate::error::{Error, Result};
use gemm_common::Parallelism;

/// Products of fewer multiply-adds are done before other threads would have begun: they stay on one.
pub const SMALL: usize = 1 << 18;

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

/// A column-major product dst = alpha dst + beta lhs rhs: m, n, k; dst with the distances between its
/// columns and rows, and whether it is read; lhs and rhs with theirs; alpha, beta; no conjugates.
#[rustfmt::skip]
type Kernel<T> = unsafe fn(
    usize, usize, usize,
    *mut T, isize, isize, bool,
    *const T, isize, isize,
    *const T, isize, isize,
    T, T, bool, bool, bool,
    Parallelism,
);

/// An element type that has a kernel.
pub trait Gemm: Float {
    /// The kernel for this machine.
    fn kernel() -> Kernel<Self>;
}

impl Gemm for f32 {
    fn kernel() -> Kernel<f32> {
        gemm_f32::gemm::f32::get_gemm_fn()
    }
}

impl Gemm for f64 {
    fn kernel() -> Kernel<f64> {
        gemm_f64::gemm::f64::get_gemm_fn()
    }
}

/// c = a b, or c += a b when `accumulate`. `c` is row-major `[m, n]`.
///
/// # Errors
/// [`Error::Op`] if the extents do not agree.
pub fn gemm<T: Gemm>(a: Mat<T>, b: Mat<T>, c: &mut [T], accumulate: bool) -> Result<()> {
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
    let (a, b, dst) = (a.data.as_ptr(), b.data.as_ptr(), c.as_mut_ptr());
    let parallelism = if m * n * k < SMALL {
        Parallelism::None
    } else {
        Parallelism::Rayon(0)
    };
    // The kernels prefer columns, so rows are computed as c^T = b^T a^T; a single column stands as
    // it is.
    let (kernel, one, row) = (T::kernel(), T::ONE, n as isize);
    let (sizes, dst_strides, left, right) = match n {
        1 => ((m, n), (1, row), (a, a_col, a_row), (b, b_col, b_row)),
        _ => ((n, m), (row, 1), (b, b_row, b_col), (a, a_row, a_col)),
    };
    // SAFETY: the lengths were checked above.
    unsafe {
        kernel(
            sizes.0,
            sizes.1,
            k,
            dst,
            dst_strides.0,
            dst_strides.1,
            accumulate,
            left.0,
            left.1,
            left.2,
            right.0,
            right.1,
            right.2,
            one,
            one,
            false,
            false,
            false,
            parallelism,
        );
    }
    Ok(())
}
