//! Products of row-major matrices, and of some columns of them.

use crate::device::Gpu;
use crate::device::driver::{DevicePtr, Gemm, Matrix};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// A row-major matrix operand in device memory, perhaps read transposed.
#[derive(Clone, Copy, Debug)]
pub struct GpuMat {
    /// First element.
    pub ptr: DevicePtr,
    /// F32 or F16.
    pub dtype: DType,
    /// Rows and columns as stored.
    pub stored: (usize, usize),
    /// Read as its transpose.
    pub transposed: bool,
}

impl GpuMat {
    /// A tensor taken as a matrix of rows.
    ///
    /// # Errors
    /// If the tensor is in host memory.
    pub fn of(t: &Tensor, transposed: bool) -> Result<Self> {
        Ok(GpuMat {
            ptr: t.ptr()?,
            dtype: t.dtype(),
            stored: (t.shape().rows(), t.shape().last()),
            transposed,
        })
    }

    /// Rows and columns as read.
    pub fn extents(&self) -> (usize, usize) {
        let (r, c) = self.stored;
        if self.transposed { (c, r) } else { (r, c) }
    }

    /// `count` columns of the matrix as stored, from column `first` on.
    #[must_use]
    pub fn columns(self, first: usize, count: usize) -> Columns {
        let (rows, width) = self.stored;
        Columns {
            mat: GpuMat {
                ptr: self.ptr.offset(first * self.dtype.size()),
                stored: (rows, count),
                ..self
            },
            width,
        }
    }
}

/// Some columns of a matrix.
#[derive(Clone, Copy, Debug)]
pub struct Columns {
    /// The columns.
    mat: GpuMat,
    /// Elements of a whole row.
    width: usize,
}

impl Columns {
    /// Their transpose.
    #[must_use]
    pub fn transposed(self) -> Self {
        let mat = GpuMat {
            transposed: !self.mat.transposed,
            ..self.mat
        };
        Columns { mat, ..self }
    }
}

impl From<GpuMat> for Columns {
    fn from(mat: GpuMat) -> Self {
        mat.columns(0, mat.stored.1)
    }
}

/// c = a b, or c += a b when `accumulate`; c is row-major `[m, n]`.
///
/// cuBLAS is column-major: it is asked for c^T = b^T a^T, whose matrices are the same memory.
///
/// # Errors
/// If the extents do not agree, or the device fails.
pub fn gemm(
    gpu: &Gpu,
    a: GpuMat,
    b: GpuMat,
    c: DevicePtr,
    c_dtype: DType,
    accumulate: bool,
) -> Result<()> {
    let n = b.extents().1;
    gemm_columns(gpu, a, b, (c, n), c_dtype, accumulate)
}

/// As [`gemm()`], where each matrix may be some columns of a wider one: `c` is its first element and
/// the elements from one row to the next.
///
/// # Errors
/// As [`gemm()`].
pub fn gemm_columns(
    gpu: &Gpu,
    a: impl Into<Columns>,
    b: impl Into<Columns>,
    c: (DevicePtr, usize),
    c_dtype: DType,
    accumulate: bool,
) -> Result<()> {
    gemm_times(gpu, None, a, b, c, c_dtype, accumulate)
}

/// As [`gemm_columns()`] with the product times an f32 in device memory.
///
/// # Errors
/// As [`gemm()`].
pub fn gemm_times(
    gpu: &Gpu,
    alpha: Option<DevicePtr>,
    a: impl Into<Columns>,
    b: impl Into<Columns>,
    c: (DevicePtr, usize),
    c_dtype: DType,
    accumulate: bool,
) -> Result<()> {
    let (a, b, c) = ((a.into(), 0), (b.into(), 0), (c.0, c.1, 0));
    products(gpu, (1, alpha), a, b, c, c_dtype, accumulate)
}

/// As [`gemm_columns()`], for a batch of products: a, b and c each end with the elements from a
/// product's first element to the next one's.
///
/// # Errors
/// As [`gemm()`].
pub fn gemm_batch(
    gpu: &Gpu,
    batch: usize,
    a: (Columns, usize),
    b: (Columns, usize),
    c: (DevicePtr, usize, usize),
    c_dtype: DType,
    accumulate: bool,
) -> Result<()> {
    products(gpu, (batch, None), a, b, c, c_dtype, accumulate)
}

fn products(
    gpu: &Gpu,
    (batch, alpha): (usize, Option<DevicePtr>),
    (a, a_stride): (Columns, usize),
    (b, b_stride): (Columns, usize),
    c: (DevicePtr, usize, usize),
    c_dtype: DType,
    accumulate: bool,
) -> Result<()> {
    let ((m, k), (k2, n)) = (a.mat.extents(), b.mat.extents());
    if k != k2 {
        return Err(Error::op(
            "matmul",
            format!("cannot multiply [{m}, {k}] by [{k2}, {n}]"),
        ));
    }
    let matrix = |(ptr, ld, stride), dtype| Matrix {
        ptr,
        dtype,
        ld,
        stride,
    };
    gpu.gemm(&Gemm {
        batch,
        trans_a: b.mat.transposed,
        trans_b: a.mat.transposed,
        m: n,
        n: m,
        k,
        alpha,
        a: matrix((b.mat.ptr, b.width, b_stride), b.mat.dtype),
        b: matrix((a.mat.ptr, a.width, a_stride), a.mat.dtype),
        beta: f32::from(u8::from(accumulate)),
        c: matrix(c, c_dtype),
    })
}
