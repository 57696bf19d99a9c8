//! What the GPU sections of several ops share.

use crate::autograd::{Grads, Slot};
use crate::device::Gpu;
use crate::device::driver::{Arg, DevicePtr, Gemm, Launch, Matrix};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::Tensor;
use std::sync::Arc;

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
}

/// c = a b, or c += a b when `accumulate`; c is row-major `[m, n]`.
///
/// cuBLAS is column-major: it is asked for c^T = b^T a^T, whose matrices are the same memory.
///
/// # Errors
/// If the extents do not agree, or the device fails.
pub fn gemm(gpu: &Gpu, a: GpuMat, b: GpuMat, c: DevicePtr, c_dtype: DType, accumulate: bool) -> Result<()> {
    let ((m, k), (k2, n)) = (a.extents(), b.extents());
    if k != k2 {
        return Err(Error::op("matmul", format!("cannot multiply [{m}, {k}] by [{k2}, {n}]")));
    }
    let matrix = |ptr, dtype, ld| Matrix {
        ptr,
        dtype,
        ld,
        stride: 0,
    };
    gpu.gemm(&Gemm {
        trans_a: b.transposed,
        trans_b: a.transposed,
        m: n,
        n: m,
        k,
        alpha: 1.0,
        a: matrix(b.ptr, b.dtype, b.stored.1),
        b: matrix(a.ptr, a.dtype, a.stored.1),
        beta: f32::from(u8::from(accumulate)),
        c: matrix(c, c_dtype, n),
        batch: 1,
    })
}

/// Runs a kernel named by the data type over `n` elements.
///
/// # Errors
/// If the device fails.
pub fn per_element(gpu: &Gpu, name: &str, dtype: DType, args: &[Arg], n: usize) -> Result<()> {
    let kernel = format!("{name}_{dtype}");
    let mut args = args.to_vec();
    args.push((n as u64).into());
    gpu.launch(&Launch::per_element(&kernel, n as u64), &args)
}

/// The GPU that holds both tensors; none if both are in host memory.
///
/// # Errors
/// [`Error::Op`] if they are in different places or of different data types.
pub fn common<'a>(op: &'static str, a: &'a Tensor, b: &Tensor) -> Result<Option<&'a Arc<Gpu>>> {
    match (a.gpu(), b.gpu()) {
        (Some(x), Some(y)) if Arc::ptr_eq(x, y) => Ok(Some(x)),
        (None, None) => Ok(None),
        _ => {
            let message = format!("operands on {} and {}", a.device(), b.device());
            Err(Error::op(op, message))
        }
    }
}

/// The largest grid of a kernel whose blocks take rows in turn.
pub const MAX_ROW_BLOCKS: u32 = 65_535;

/// Rows that one block of `column_sum` takes.
const COLUMN_SUM_ROWS: usize = 512;

/// Adds the sum over the rows of x `[rows, columns]` to an f32 gradient.
///
/// # Errors
/// If the sizes do not fit, or the device fails.
pub fn column_sum(
    grads: &mut Grads,
    slot: Option<Slot>,
    gpu: &Arc<Gpu>,
    x: &Tensor,
    shape: &Shape,
) -> Result<()> {
    let (rows, columns) = (x.numel() / shape.numel(), shape.numel() as u32);
    let parts = rows.div_ceil(COLUMN_SUM_ROWS) as u32;
    grads.write_gpu(slot, gpu, DType::F32, shape, |to| {
        let partial = Tensor::on_gpu(gpu, DType::F32, [parts as usize, columns as usize])?;
        let name = format!("column_sum_{}", x.dtype());
        let (rows, per_block) = (rows as u32, COLUMN_SUM_ROWS as u32);
        let mut launch = Launch::new(&name, columns.div_ceil(128), 128);
        launch.grid[1] = parts;
        let partial = partial.ptr()?;
        let args = [x.ptr()?.into(), partial.into(), rows.into(), columns.into(), per_block.into()];
        gpu.launch(&launch, &args)?;
        let finish = Launch::new("column_sum_finish", columns.div_ceil(128), 128);
        let accumulate = u32::from(to.accumulate);
        let args = [partial.into(), to.ptr.into(), parts.into(), columns.into(), accumulate.into()];
        gpu.launch(&finish, &args)
    })
}
