//! **op** y = [a | b | ..]: matrices side by side. [`slice`](super::slice()) is the inverse, and
//! both are copies of columns of a matrix to columns of another.

use super::gpu;
use crate::autograd::{Backward, GpuTarget, Grads, Slot, Tape, Var};
use crate::device::Gpu;
use crate::device::driver::{Arg, Launch};
use crate::dtype::Float;
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::{Tensor, for_float};
use rayon::prelude::*;

/// The columns of the parts, each `[rows, w_i]`, side by side: `[rows, sum of w_i]`.
///
/// # Errors
/// [`Error::Op`] if there are no parts, one is empty or no matrix, or their rows, data types or
/// devices differ.
pub fn concat(tape: &mut Tape, parts: &[&Var]) -> Result<Var> {
    let tensors: Vec<&Tensor> = parts.iter().map(|part| part.value()).collect();
    let Some(&first) = tensors.first() else {
        return Err(Error::op("concat", "no parts"));
    };
    for part in &tensors {
        match *part.dims() {
            [rows, width] if rows == first.dims()[0] && rows * width > 0 => {}
            _ => {
                let shapes: Vec<_> = tensors.iter().map(|t| t.shape().to_string()).collect();
                let message = format!("{} are not [rows, w] of one height", shapes.join(" and "));
                return Err(Error::op("concat", message));
            }
        }
    }
    super::common::one_dtype("concat", &tensors)?;
    for part in &tensors {
        gpu::common("concat", first, part)?;
    }
    let y = tape.output(join(&tensors)?, parts.iter().map(|part| part.slot()));
    if y.slot().is_some() {
        let parts = parts.iter().map(|p| (p.slot(), p.value().shape().clone()));
        tape.push(Concat {
            parts: parts.collect(),
            y: y.slot(),
        });
    }
    Ok(y)
}

fn join(parts: &[&Tensor]) -> Result<Tensor> {
    let rows = parts[0].shape().rows();
    let width = parts.iter().map(|part| part.shape().last()).sum();
    let mut at = 0;
    let mut blocks = parts.iter().map(|part| {
        let columns = part.shape().last();
        let to = (width, at);
        at += columns;
        (part, Block::new(rows, columns, (columns, 0), to))
    });
    if let Some(gpu) = parts[0].gpu() {
        let y = Tensor::on_gpu(gpu, parts[0].dtype(), [rows, width])?;
        let to = GpuTarget::of(&y)?;
        blocks.try_for_each(|(part, block)| block.copy_on_gpu(gpu, part, to))?;
        return Ok(y);
    }
    for_float!("concat", parts[0].dtype(), T => {
        let mut y = Tensor::uninit::<T>([rows, width]);
        let to = y.data_mut::<T>()?;
        for (part, block) in blocks {
            block.copy(part.data::<T>()?, to, false);
        }
        Ok(y)
    })
}

/// Columns of a matrix, and as many columns of another of as many rows to which they go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    rows: usize,
    columns: usize,
    /// Width of the matrix that is read, and the first column.
    from: (usize, usize),
    /// Width of the matrix that is written, and the first column.
    to: (usize, usize),
}

impl Block {
    pub fn new(rows: usize, columns: usize, from: (usize, usize), to: (usize, usize)) -> Self {
        Block {
            rows,
            columns,
            from,
            to,
        }
    }

    /// The way back.
    pub fn reversed(self) -> Self {
        Block::new(self.rows, self.columns, self.to, self.from)
    }
}

// ---- cpu -----------------------------------------------------------------------------------

/// Rows that one task takes.
const ROWS: usize = 64;

impl Block {
    /// Writes, or adds, the columns.
    pub fn copy<T: Float>(self, from: &[T], to: &mut [T], add: bool) {
        let (read, write) = (self.from, self.to);
        let tasks = to.par_chunks_mut(ROWS * write.0);
        tasks
            .zip(from.par_chunks(ROWS * read.0))
            .for_each(|(to, from)| {
                for (to, from) in to.chunks_mut(write.0).zip(from.chunks(read.0)) {
                    let to = &mut to[write.1..][..self.columns];
                    let from = &from[read.1..][..self.columns];
                    match add {
                        true => to.iter_mut().zip(from).for_each(|(to, &x)| *to += x),
                        false => to.copy_from_slice(from),
                    }
                }
            });
    }
}

// ---- gpu -----------------------------------------------------------------------------------

/// Columns that a thread takes before there are several blocks a row.
const COLUMNS: usize = 8;

impl Block {
    /// As [`Block::copy`], in device memory.
    pub fn copy_on_gpu(self, gpu: &Gpu, from: &Tensor, to: GpuTarget) -> Result<()> {
        if to.dtype != from.dtype() {
            let message = format!("{} cannot be added to {}", from.dtype(), to.dtype);
            return Err(Error::op("gradient", message));
        }
        let mut args = vec![Arg::from(from.ptr()?), to.ptr.into()];
        let places = [self.from.0, self.from.1, self.to.0, self.to.1];
        let sizes = places.into_iter().chain([self.rows, self.columns]);
        args.extend(sizes.map(|n| Arg::from(n as u32)));
        args.push(u32::from(to.accumulate).into());
        let kernel = format!("copy_columns_{}", from.dtype());
        let blocks = |n: usize| n.min(gpu::MAX_ROW_BLOCKS as usize) as u32;
        let threads = self.columns.next_multiple_of(32).min(256);
        let mut launch = Launch::new(&kernel, blocks(self.rows), threads as u32);
        launch.grid[1] = blocks(self.columns.div_ceil(COLUMNS * threads));
        gpu.launch(&launch, &args)
    }
}

// ---- backward ------------------------------------------------------------------------------

struct Concat {
    parts: Vec<(Option<Slot>, Shape)>,
    y: Option<Slot>,
}

impl Backward for Concat {
    fn name(&self) -> &'static str {
        "concat"
    }

    /// Each part gets its columns of dy.
    fn backward(self: Box<Self>, grads: &mut Grads) -> Result<()> {
        let Some(dy) = grads.take(self.y) else {
            return Ok(());
        };
        let (rows, width, mut at) = (dy.shape().rows(), dy.shape().last(), 0);
        for (slot, shape) in self.parts {
            let columns = shape.last();
            let block = Block::new(rows, columns, (width, at), (columns, 0));
            if let Some(gpu) = dy.gpu() {
                grads.write_gpu(slot, gpu, dy.dtype(), &shape, |to| {
                    block.copy_on_gpu(gpu, &dy, to)
                })?;
            } else {
                for_float!("concat", dy.dtype(), T => {
                    let dy = dy.data::<T>()?;
                    grads.write::<T>(slot, &shape, |to, accumulate| {
                        block.copy(dy, to, accumulate);
                        Ok(())
                    })
                })?;
            }
            at += columns;
        }
        Ok(())
    }
}
