//! **op** y = [a | b | ..]: matrices side by side.

use super::gpu;
use crate::autograd::{Backward, GpuTarget, Grads, Slot, Tape, Var};
use crate::device::Gpu;
use crate::device::driver::{Arg, Launch};
use crate::dtype::Float;
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::{Stored, Tensor, for_float};
use rayon::prelude::*;
use std::sync::Arc;

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
    let mut columns = Vec::new();
    for part in &tensors {
        match *part.dims() {
            [rows, width] if rows == first.dims()[0] && rows * width > 0 => columns.push(width),
            _ => {
                let shapes: Vec<_> = tensors.iter().map(|t| t.shape().to_string()).collect();
                let message = format!("{} are not [rows, w] of one height", shapes.join(" and "));
                return Err(Error::op("concat", message));
            }
        }
    }
    super::one_dtype("concat", &tensors)?;
    for part in &tensors {
        gpu::common("concat", first, part)?;
    }
    let value = match first.gpu() {
        Some(gpu) => concat_on_gpu(gpu, &tensors, &columns)?,
        None => for_float!("concat", first.dtype(), T => join::<T>(&tensors, &columns))?,
    };
    let y = tape.output(value, parts.iter().map(|part| part.slot()));
    if y.slot().is_some() {
        let parts = parts.iter().map(|p| (p.slot(), p.value().shape().clone()));
        tape.push(Concat {
            parts: parts.collect(),
            y: y.slot(),
        });
    }
    Ok(y)
}

// ---- cpu -----------------------------------------------------------------------------------

/// Rows that one task takes.
const ROWS: usize = 64;

fn join<T: Stored>(parts: &[&Tensor], columns: &[usize]) -> Result<Tensor> {
    let width: usize = columns.iter().sum();
    let mut y = Tensor::uninit::<T>([parts[0].shape().rows(), width]);
    let parts: Vec<&[T]> = parts.iter().map(|p| p.data::<T>()).collect::<Result<_>>()?;
    let tasks = y.data_mut::<T>()?.par_chunks_mut(ROWS * width);
    tasks.enumerate().for_each(|(task, rows)| {
        for (k, row) in rows.chunks_mut(width).enumerate() {
            let (r, mut at) = (task * ROWS + k, 0);
            for (part, &n) in parts.iter().zip(columns) {
                row[at..at + n].copy_from_slice(&part[r * n..][..n]);
                at += n;
            }
        }
    });
    Ok(y)
}

/// Writes, or adds, the columns from `first` on of dy `[rows, width]` to a part's gradient
/// `[rows, columns]`.
fn split<T: Float>(dy: &[T], width: usize, first: usize, columns: usize, to: &mut [T], add: bool) {
    let tasks = to.par_chunks_mut(ROWS * columns);
    tasks.zip(dy.par_chunks(ROWS * width)).for_each(|(to, dy)| {
        for (to, dy) in to.chunks_mut(columns).zip(dy.chunks(width)) {
            let from = &dy[first..first + columns];
            match add {
                true => to.iter_mut().zip(from).for_each(|(to, &x)| *to += x),
                false => to.copy_from_slice(from),
            }
        }
    });
}

// ---- gpu -----------------------------------------------------------------------------------

/// A part of concat: some columns of a matrix on a GPU.
#[derive(Clone, Copy)]
struct Part {
    /// Of the matrix.
    width: usize,
    first: usize,
    columns: usize,
}

fn concat_on_gpu(gpu: &Arc<Gpu>, parts: &[&Tensor], columns: &[usize]) -> Result<Tensor> {
    let (rows, width) = (parts[0].shape().rows(), columns.iter().sum());
    let y = Tensor::on_gpu(gpu, parts[0].dtype(), [rows, width])?;
    let mut first = 0;
    for (part, &columns) in parts.iter().zip(columns) {
        let to = GpuTarget {
            ptr: y.ptr()?,
            dtype: y.dtype(),
            accumulate: false,
        };
        let whole = Part {
            width: columns,
            first: 0,
            columns,
        };
        let place = Part {
            width,
            first,
            columns,
        };
        copy_columns(gpu, part, whole, to, place)?;
        first += columns;
    }
    Ok(y)
}

/// Copies, or adds, columns of a tensor of rows to as many columns elsewhere.
fn copy_columns(gpu: &Gpu, x: &Tensor, from: Part, to: GpuTarget, place: Part) -> Result<()> {
    if to.dtype != x.dtype() {
        let message = format!("{} cannot be added to {}", x.dtype(), to.dtype);
        return Err(Error::op("concat", message));
    }
    let rows = x.shape().rows() as u32;
    let mut args = vec![Arg::from(x.ptr()?), to.ptr.into()];
    let [a, b, c, d] = [from.width, from.first, place.width, place.first];
    args.extend([a, b, c, d].map(|n| Arg::from(n as u32)));
    args.extend([rows, from.columns as u32, to.accumulate.into()].map(Arg::from));
    let kernel = format!("copy_columns_{}", x.dtype());
    let threads = from.columns.next_multiple_of(32).min(256) as u32;
    let launch = Launch::new(&kernel, rows.min(gpu::MAX_ROW_BLOCKS), threads);
    gpu.launch(&launch, &args)
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
        let (width, mut first) = (dy.shape().last(), 0);
        for (slot, shape) in self.parts {
            let columns = shape.last();
            if let Some(gpu) = dy.gpu() {
                grads.write_gpu(slot, gpu, dy.dtype(), &shape, |to| {
                    let from = Part {
                        width,
                        first,
                        columns,
                    };
                    let whole = Part {
                        width: columns,
                        first: 0,
                        columns,
                    };
                    copy_columns(gpu, &dy, from, to, whole)
                })?;
            } else {
                for_float!("concat", dy.dtype(), T => {
                    let dy = dy.data::<T>()?;
                    grads.write::<T>(slot, &shape, |to, accumulate| {
                        split(dy, width, first, columns, to, accumulate);
                        Ok(())
                    })
                })?;
            }
            first += columns;
        }
        Ok(())
    }
}
