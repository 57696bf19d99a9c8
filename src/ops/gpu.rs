//! What the GPU sections of several ops share.

mod products;

pub use products::{Columns, GpuMat, gemm, gemm_batch, gemm_columns, gemm_times};

use crate::autograd::{GpuTarget, Grads, Slot, Var};
use crate::device::Gpu;
use crate::device::driver::{Arg, DevicePtr, Launch};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::Tensor;
use std::sync::Arc;

/// The rows of matrices of one width and data type, one below the other; of a single one itself.
///
/// # Errors
/// If the device fails.
pub fn stacked(gpu: &Arc<Gpu>, parts: &[&Tensor]) -> Result<Tensor> {
    if let [part] = parts {
        return Ok((*part).clone());
    }
    let (dtype, width) = (parts[0].dtype(), parts[0].shape().last());
    let rows: usize = parts.iter().map(|part| part.numel() / width).sum();
    let all = Tensor::on_gpu(gpu, dtype, [rows, width])?;
    let mut to = all.ptr()?;
    for part in parts {
        let bytes = part.numel() * dtype.size();
        gpu.driver().copy(to, part.ptr()?, bytes)?;
        to = to.offset(bytes);
    }
    Ok(all)
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

/// The addresses of tensors, as a kernel's arguments.
///
/// # Errors
/// If a tensor is in host memory.
pub fn pointers(tensors: &[&Tensor]) -> Result<Vec<Arg>> {
    tensors.iter().map(|t| Ok(t.ptr()?.into())).collect()
}

/// The address of a tensor; null without one.
///
/// # Errors
/// If the tensor is in host memory.
pub fn or_null(t: Option<&Tensor>) -> Result<DevicePtr> {
    t.map_or(Ok(DevicePtr::NULL), Tensor::ptr)
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

/// Threads of a block that goes over the rows of a matrix, eight columns a thread.
pub const ROW_THREADS: usize = 256;

/// Threads of such a block that share a row of `columns` columns, and blocks that share a row.
pub fn row_lanes(columns: usize) -> (usize, usize) {
    let threads = columns.div_ceil(8);
    let lanes = threads.clamp(1, 32);
    (lanes, threads.div_ceil(lanes))
}

/// Rows of a matrix that one block of `column_sum` adds up.
const COLUMN_SUM_ROWS: usize = 1024;

/// Adds the sum over the rows of x `[rows, columns]` to an f32 gradient of `columns` elements.
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
    let rows = x.numel() / shape.numel();
    grads.write_gpu(slot, gpu, DType::F32, shape, |to| {
        sum_rows(gpu, x, rows, shape.numel(), to)
    })
}

/// Adds the sums over the rows of x `[rows, ..]` to the f32 gradients of biases whose columns stand
/// side by side in it.
///
/// # Errors
/// If the device fails.
pub fn column_sums(grads: &mut Grads, gpu: &Arc<Gpu>, x: &Tensor, biases: &[&Var]) -> Result<()> {
    if let [bias] = biases {
        return column_sum(grads, bias.slot(), gpu, x, bias.value().shape());
    }
    let columns: usize = biases.iter().map(|bias| bias.value().numel()).sum();
    if biases.iter().all(|bias| bias.slot().is_none()) {
        return Ok(());
    }
    let sums = Tensor::on_gpu(gpu, DType::F32, [columns])?;
    sum_rows(gpu, x, x.numel() / columns, columns, GpuTarget::of(&sums)?)?;
    let mut at = 0;
    for bias in biases {
        let shape = bias.value().shape();
        grads.add(bias.slot(), sums.slice(at, shape.clone())?)?;
        at += shape.numel();
    }
    Ok(())
}

/// The sum over the rows of x `[rows, columns]`.
///
/// # Errors
/// If the device fails.
pub fn sum_rows(
    gpu: &Arc<Gpu>,
    x: &Tensor,
    rows: usize,
    columns: usize,
    to: GpuTarget,
) -> Result<()> {
    let factor = None;
    let x = &x.reshape([rows, columns])?;
    RowSums { x, columns, factor }.write(gpu, to)
}

/// A sum over the rows of a matrix, in chunks of rows and then over the chunks.
#[derive(Clone, Copy, Debug)]
pub struct RowSums<'a> {
    /// `[rows, ld]`
    pub x: &'a Tensor,
    /// The first columns, which are summed.
    pub columns: usize,
    /// Multiplies the sums: an f32 in device memory.
    pub factor: Option<DevicePtr>,
}

impl RowSums<'_> {
    /// Writes the sums `[columns]`, f32.
    ///
    /// # Errors
    /// If the device fails.
    pub fn write(self, gpu: &Arc<Gpu>, to: GpuTarget) -> Result<()> {
        let (rows, columns) = (self.x.shape().rows(), self.columns);
        let chunks = rows.div_ceil(COLUMN_SUM_ROWS);
        if chunks == 1 {
            return self.launch(gpu, to.ptr, to.accumulate);
        }
        let partial = Tensor::on_gpu(gpu, DType::F32, [chunks, columns])?;
        let factor = None;
        let first = RowSums { factor, ..self };
        first.launch(gpu, partial.ptr()?, false)?;
        RowSums {
            x: &partial,
            ..self
        }
        .write(gpu, to)
    }

    /// One sum for each chunk of rows.
    fn launch(self, gpu: &Gpu, to: DevicePtr, accumulate: bool) -> Result<()> {
        let (rows, ld) = (self.x.shape().rows(), self.x.shape().last());
        let name = format!("column_sum_{}", self.x.dtype());
        let (lanes, blocks) = row_lanes(self.columns);
        let mut launch = Launch::new(&name, blocks as u32, ROW_THREADS as u32);
        launch.grid[1] = rows.div_ceil(COLUMN_SUM_ROWS) as u32;
        let factor = self.factor.unwrap_or(DevicePtr::NULL);
        let mut args = [self.x.ptr()?, to, factor].map(Arg::from).to_vec();
        let sizes = [rows, self.columns, ld, COLUMN_SUM_ROWS, lanes];
        args.extend(sizes.map(|n| Arg::from(n as u32)));
        args.push(u32::from(accumulate).into());
        gpu.launch(&launch, &args)
    }
}

/// Elements that one block of `sum` adds up.
const SUM_CHUNK: usize = 1 << 14;

/// The sum of all elements (kernel `sum`) or of their squares (`sum_squares`) times `factor`, as an
/// f32 scalar.
///
/// # Errors
/// If the device fails.
pub fn sum_all(gpu: &Arc<Gpu>, kernel: &str, x: &Tensor, factor: f32) -> Result<Tensor> {
    let blocks = x.numel().div_ceil(SUM_CHUNK).max(1);
    let sums = Tensor::on_gpu(gpu, DType::F32, [blocks])?;
    let (n, chunk) = (x.numel() as u64, SUM_CHUNK as u64);
    let kernel = format!("{kernel}_{}", x.dtype());
    let args = [x.ptr()?.into(), sums.ptr()?.into(), n.into(), chunk.into()];
    gpu.launch(&Launch::new(&kernel, blocks as u32, 256), &args)?;
    if blocks > 1 {
        return sum_all(gpu, "sum", &sums, factor);
    }
    scaled(gpu, &sums, factor)?.reshape(Shape::default())
}

/// A tensor times a constant.
///
/// # Errors
/// If the device fails.
pub fn scaled(gpu: &Arc<Gpu>, x: &Tensor, factor: f32) -> Result<Tensor> {
    let y = Tensor::on_gpu(gpu, x.dtype(), x.shape().clone())?;
    let args = [x.ptr()?.into(), y.ptr()?.into(), factor.into()];
    per_element(gpu, "scale", x.dtype(), &args, x.numel())?;
    Ok(y)
}
