//! **op** y = rows of a table: `y[i] = table[ids[i]]`. [`gather`](super::gather()) is the same op.

use super::gpu;
use crate::autograd::{Backward, GpuTarget, Grads, Slot, Tape, Var};
use crate::device::Gpu;
use crate::device::driver::{Arg, DevicePtr, Launch};
use crate::dtype::{DType, Float};
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::{Stored, Tensor, for_float};
use rayon::prelude::*;
use std::sync::Arc;

/// Gathers rows of `table` `[V, E]` by `ids` `[..]`, giving `[.., E]`.
///
/// # Errors
/// [`Error::Op`] if an id is not below V.
pub fn embedding(tape: &mut Tape, table: &Var, ids: &Tensor) -> Result<Var> {
    pick("embedding", tape, table, ids)
}

/// The op under the name that its messages give it.
pub(super) fn pick(op: &'static str, tape: &mut Tape, table: &Var, ids: &Tensor) -> Result<Var> {
    let fail = |message: String| Err(Error::op(op, message));
    let &[vocab, width] = table.value().dims() else {
        return fail(format!("table {} is not [V, E]", table.value().shape()));
    };
    if width == 0 {
        return fail(format!("table {} has no columns", table.value().shape()));
    }
    if let Some(gpu) = gpu::common(op, table.value(), ids)? {
        let value = gather_on_gpu(gpu, table.value(), ids, width)?;
        return Ok(record(op, tape, value, table, ids));
    }
    if let Some(id) = ids.data::<u32>()?.iter().find(|&&id| id as usize >= vocab) {
        return fail(format!("id {id} is outside a table of {vocab} rows"));
    }
    let value = for_float!(op, table.value().dtype(), T => gather::<T>(table.value(), ids, width))?;
    Ok(record(op, tape, value, table, ids))
}

fn record(op: &'static str, tape: &mut Tape, value: Tensor, table: &Var, ids: &Tensor) -> Var {
    let y = tape.output(value, [table.slot()]);
    if y.slot().is_some() {
        tape.push(Embedding {
            op,
            table: table.slot(),
            shape: table.value().shape().clone(),
            ids: ids.clone(),
            y: y.slot(),
        });
    }
    y
}

// ---- cpu -----------------------------------------------------------------------------------

fn gather<T: Float + Stored>(table: &Tensor, ids: &Tensor, width: usize) -> Result<Tensor> {
    let mut shape = ids.dims().to_vec();
    shape.push(width);
    let mut y = Tensor::uninit::<T>(shape);
    let (table, ids) = (table.data::<T>()?, ids.data::<u32>()?);
    y.data_mut::<T>()?
        .par_chunks_mut(width)
        .zip(ids)
        .for_each(|(row, &id)| {
            row.copy_from_slice(&table[id as usize * width..][..width]);
        });
    Ok(y)
}

// ---- gpu -----------------------------------------------------------------------------------

/// Ids were checked before they were copied to the device.
fn gather_on_gpu(gpu: &Arc<Gpu>, table: &Tensor, ids: &Tensor, width: usize) -> Result<Tensor> {
    let mut shape = ids.dims().to_vec();
    shape.push(width);
    let y = Tensor::on_gpu(gpu, table.dtype(), shape)?;
    let tokens = ids.numel() as u32;
    let kernel = format!("embedding_fwd_{}", table.dtype());
    let args = [
        table.ptr()?.into(),
        ids.ptr()?.into(),
        y.ptr()?.into(),
        tokens.into(),
        (width as u32).into(),
    ];
    gpu.launch(
        &Launch::new(&kernel, tokens.min(gpu::MAX_ROW_BLOCKS), 128),
        &args,
    )?;
    Ok(y)
}

/// Adds dy `[tokens, width]` to the rows of a table's f32 gradient `[V, width]`.
///
/// # Errors
/// If the sizes do not fit, or the device fails.
pub fn segment_sum(
    grads: &mut Grads,
    slot: Option<Slot>,
    gpu: &Arc<Gpu>,
    dy: &Tensor,
    ids: &Tensor,
    shape: &Shape,
) -> Result<()> {
    grads.write_gpu(slot, gpu, DType::F32, shape, |to| {
        scatter_on_gpu(gpu, dy, ids, shape, to)
    })
}

/// Rows that one block sorts: `LIST` in `kernels/embedding.cu`.
const LIST: usize = 2048;

/// The rows of dy are sorted by their ids, a list of them a block, so that each id's block reads its
/// own alone.
fn scatter_on_gpu(
    gpu: &Arc<Gpu>,
    dy: &Tensor,
    ids: &Tensor,
    shape: &Shape,
    to: GpuTarget,
) -> Result<()> {
    let (rows, vocab, width) = (ids.numel(), shape.rows(), shape.last());
    let lists = rows.div_ceil(LIST);
    // Lists of one id that a block adds up: sums of several blocks can be added in f32 alone, and are
    // together no larger than dy (a large table has blocks enough without them).
    let (kernel, share) = match (dy.dtype(), to.dtype) {
        (from, DType::F32) => {
            let parts = (rows / vocab.max(1)).clamp(1, lists.max(1));
            (
                format!("embedding_bwd_{from}"),
                lists.div_ceil(parts).max(1),
            )
        }
        (DType::F16, DType::F16) => ("gather_bwd_f16".to_owned(), lists.max(1)),
        (from, to) => {
            let message = format!("{from} cannot be added to {to}");
            return Err(Error::op("gradient", message));
        }
    };
    let order = Tensor::on_gpu(gpu, DType::U32, [rows])?;
    let starts = Tensor::on_gpu(gpu, DType::U32, [lists, vocab + 1])?;
    if lists > 0 {
        let mut args = gpu::pointers(&[ids, &order, &starts])?;
        args.extend([rows, vocab].map(|n| Arg::from(n as u32)));
        gpu.launch(&Launch::new("embedding_sort", lists as u32, 512), &args)?;
    }
    let parts = lists.div_ceil(share).max(1);
    let (lanes, wide) = gpu::row_lanes(width);
    let mut launch = Launch::new(&kernel, vocab as u32, gpu::ROW_THREADS as u32);
    launch.grid = [vocab, parts, wide].map(|n| n as u32);
    let run = |out: DevicePtr, accumulate: bool| {
        let mut args = gpu::pointers(&[dy, &order, &starts])?;
        args.push(out.into());
        args.extend([rows, width, share, lanes].map(|n| Arg::from(n as u32)));
        args.push(u32::from(accumulate).into());
        gpu.launch(&launch, &args)
    };
    if parts == 1 {
        return run(to.ptr, to.accumulate);
    }
    let sums = Tensor::on_gpu(gpu, DType::F32, [parts, shape.numel()])?;
    run(sums.ptr()?, false)?;
    gpu::sum_rows(gpu, &sums, parts, shape.numel(), to)
}

// ---- backward ------------------------------------------------------------------------------

struct Embedding {
    op: &'static str,
    table: Option<Slot>,
    shape: Shape,
    ids: Tensor,
    y: Option<Slot>,
}

impl Backward for Embedding {
    fn name(&self) -> &'static str {
        self.op
    }

    /// Each row of the table's gradient is the sum over its occurrences, in their order.
    fn backward(self: Box<Self>, grads: &mut Grads) -> Result<()> {
        let Some(dy) = grads.take(self.y) else {
            return Ok(());
        };
        if let Some(gpu) = dy.gpu() {
            return grads.write_gpu(self.table, gpu, dy.dtype(), &self.shape, |to| {
                scatter_on_gpu(gpu, &dy, &self.ids, &self.shape, to)
            });
        }
        let width = self.shape.last();
        let ids = self.ids.data::<u32>()?;
        // Occurrences of each id, by counting sort.
        let mut starts = vec![0usize; self.shape.rows() + 1];
        ids.iter().for_each(|&id| starts[id as usize + 1] += 1);
        (1..starts.len()).for_each(|i| starts[i] += starts[i - 1]);
        let mut next = starts.clone();
        let mut places = vec![0usize; ids.len()];
        for (place, &id) in ids.iter().enumerate() {
            places[next[id as usize]] = place;
            next[id as usize] += 1;
        }
        for_float!(self.op, dy.dtype(), T => {
            let dy = dy.data::<T>()?;
            grads.write::<T>(self.table, &self.shape, |to, accumulate| {
                to.par_chunks_mut(width).enumerate().for_each(|(id, row)| {
                    if !accumulate {
                        row.fill(T::default());
                    }
                    for &place in &places[starts[id]..starts[id + 1]] {
                        let from = &dy[place * width..][..width];
                        row.iter_mut().zip(from).for_each(|(to, &x)| *to += x);
                    }
                });
                Ok(())
            })
        })
    }
}
