//! **op** y = x + bias in each row.

use super::gpu;
use crate::autograd::{Backward, Grads, Slot, Tape, Var};
use crate::device::Gpu;
use crate::device::driver::{Arg, Launch};
use crate::dtype::Float;
use crate::error::{Error, Result};
use crate::tensor::{Stored, Tensor, for_float};
use rayon::prelude::*;
use std::sync::Arc;

/// x `[.., N]` + bias `[N]`. Overwrites x where nobody else holds it.
///
/// # Errors
/// [`Error::Op`] if the bias does not fit a row.
pub fn add_bias(tape: &mut Tape, x: Var, bias: &Var) -> Result<Var> {
    if bias.value().dims() != [x.value().shape().last()] {
        return Err(Error::op(
            "add_bias",
            format!(
                "bias {} for rows of {}",
                bias.value().shape(),
                x.value().shape()
            ),
        ));
    }
    if bias.value().numel() == 0 {
        let message = format!(
            "{} has no columns for bias {}",
            x.value().shape(),
            bias.value().shape()
        );
        return Err(Error::op("add_bias", message));
    }
    super::common::one_dtype("add_bias", &[x.value(), bias.value()])?;
    let x_slot = x.slot();
    if let Some(gpu) = gpu::common("add_bias", x.value(), bias.value())?.cloned() {
        let y = add_bias_on_gpu(&gpu, x.into_value(), bias.value())?;
        return Ok(record_add_bias(tape, y, x_slot, bias));
    }
    let value = for_float!("add_bias", x.value().dtype(), T => {
        let mut value = into_owned::<T>(x)?;
        let bias = bias.value().data::<T>()?;
        value.data_mut::<T>()?.par_chunks_mut(bias.len() * ROWS).for_each(|rows| {
            for row in rows.chunks_mut(bias.len()) {
                row.iter_mut().zip(bias).for_each(|(x, &b)| *x += b);
            }
        });
        Ok(value)
    })?;
    Ok(record_add_bias(tape, value, x_slot, bias))
}

fn record_add_bias(tape: &mut Tape, value: Tensor, x: Option<Slot>, bias: &Var) -> Var {
    let y = tape.output(value, [x, bias.slot()]);
    if y.slot().is_some() {
        tape.push(AddBias {
            x,
            bias: bias.clone(),
            y: y.slot(),
        });
    }
    y
}

// ---- cpu -----------------------------------------------------------------------------------

/// Rows that one task of a row-wise op takes.
const ROWS: usize = 256;

/// The value itself if nobody else holds it, else a copy.
fn into_owned<T: Stored>(x: Var) -> Result<Tensor> {
    let mut value = x.into_value();
    if value.is_unique() {
        return Ok(value);
    }
    Tensor::from_slice(value.data::<T>()?, value.shape().clone())
}

// ---- gpu -----------------------------------------------------------------------------------

/// Rows that a thread of the kernel goes over.
const ROWS_A_THREAD: usize = 8;

fn add_bias_on_gpu(gpu: &Arc<Gpu>, mut x: Tensor, bias: &Tensor) -> Result<Tensor> {
    let (rows, columns) = (x.shape().rows(), bias.numel());
    let kernel = format!("add_bias_{}", x.dtype());
    let y = match x.is_unique() {
        true => x.clone(),
        false => Tensor::on_gpu(gpu, x.dtype(), x.shape().clone())?,
    };
    let (lanes, wide) = gpu::row_lanes(columns);
    let rows_a_block = gpu::ROW_THREADS / lanes * ROWS_A_THREAD;
    let tall = rows
        .div_ceil(rows_a_block)
        .min(gpu::MAX_ROW_BLOCKS as usize);
    let mut launch = Launch::new(&kernel, tall as u32, gpu::ROW_THREADS as u32);
    launch.grid[1] = wide as u32;
    let mut args = gpu::pointers(&[&x, bias, &y])?;
    args.extend([rows, columns, lanes].map(|n| Arg::from(n as u32)));
    gpu.launch(&launch, &args)?;
    Ok(y)
}

// ---- backward ------------------------------------------------------------------------------

struct AddBias {
    x: Option<Slot>,
    bias: Var,
    y: Option<Slot>,
}

impl Backward for AddBias {
    fn name(&self) -> &'static str {
        "add_bias"
    }

    /// db is the sum over rows, first within groups of rows and then over the groups.
    fn backward(self: Box<Self>, grads: &mut Grads) -> Result<()> {
        let Some(dy) = grads.take(self.y) else {
            return Ok(());
        };
        let bias = self.bias.value();
        if let Some(gpu) = dy.gpu() {
            gpu::column_sum(grads, self.bias.slot(), gpu, &dy, bias.shape())?;
            return grads.add(self.x, dy);
        }
        for_float!("add_bias", dy.dtype(), T => {
            grads.write::<T>(self.bias.slot(), bias.shape(), |to, accumulate| {
                if !accumulate {
                    to.fill(T::default());
                }
                let groups = dy.data::<T>()?.par_chunks(to.len() * ROWS);
                let sums: Vec<Vec<T>> = groups.map(|rows| column_sums(rows, bias.numel())).collect();
                for sum in &sums {
                    to.iter_mut().zip(sum).for_each(|(to, &x)| *to += x);
                }
                Ok(())
            })
        })?;
        grads.add(self.x, dy)
    }
}

fn column_sums<T: Float>(rows: &[T], columns: usize) -> Vec<T> {
    let mut sum = vec![T::ZERO; columns];
    for row in rows.chunks(columns) {
        sum.iter_mut().zip(row).for_each(|(s, &x)| *s += x);
    }
    sum
}
