//! **op** c = op(a) op(b), where op is the identity or the transpose.

use super::gpu::{self, GpuMat};
use crate::autograd::{Backward, Grads, Slot, Tape, Var};
use crate::device::Gpu;
use crate::device::cpu::gemm::{Gemm, Mat, gemm};
use crate::device::cpu::panels::Panels;
use crate::error::{Error, Result};
use crate::tensor::{Stored, Tensor, for_float};
use std::sync::Arc;

/// Product of two matrices `[m, k]` and `[k, n]` (as read), giving `[m, n]`.
///
/// `a` of more than two extents is taken as a matrix of rows if it is not transposed.
///
/// # Errors
/// [`Error::Op`] if the extents or the data types do not fit.
pub fn matmul(tape: &mut Tape, a: &Var, b: &Var, trans_a: bool, trans_b: bool) -> Result<Var> {
    if b.value().dims().len() != 2 || (trans_a && a.value().dims().len() != 2) {
        return Err(Error::op(
            "matmul",
            format!(
                "{} by {} are not matrices",
                a.value().shape(),
                b.value().shape()
            ),
        ));
    }
    super::common::one_dtype("matmul", &[a.value(), b.value()])?;
    let value = match gpu::common("matmul", a.value(), b.value())? {
        Some(gpu) => product_on_gpu(gpu, a.value(), b.value(), trans_a, trans_b)?,
        None => for_float!("matmul", a.value().dtype(), T => {
            let (ma, mb) = (mat::<T>(a.value(), trans_a)?, mat::<T>(b.value(), trans_b)?);
            product(ma, mb)
        })?,
    };
    let c = tape.output(value, [a.slot(), b.slot()]);
    if c.slot().is_some() {
        tape.push(MatMul {
            a: a.clone(),
            b: b.clone(),
            trans_a,
            trans_b,
            c: c.slot(),
        });
    }
    Ok(c)
}

/// Rows x `[.., k]` by a weight w `[n, k]`, giving x w^T `[m, n]`. A tape [of steps](Tape::of_steps) packs the
/// weight once on the CPU, whatever the number of steps.
///
/// # Errors
/// As [`matmul`].
pub fn project(tape: &mut Tape, x: &Var, w: &Var) -> Result<Var> {
    let (rows, columns) = (x.value().shape().rows(), x.value().shape().last());
    let fits = w.value().dims().len() == 2 && w.value().shape().last() == columns && columns > 0;
    let on_cpu = x.value().gpu().is_none() && w.value().gpu().is_none();
    if !tape.keeps() || !fits || !on_cpu || x.value().dtype() != w.value().dtype() {
        return matmul(tape, x, w, false, true);
    }
    let outputs = w.value().shape().rows();
    let value = for_float!("matmul", x.value().dtype(), T => {
        let panels = tape.prepared("matmul", &[w], || {
            Panels::new(w.value().data::<T>()?, (outputs, columns))
        })?;
        let mut product = Tensor::uninit::<T>([rows, outputs]);
        panels.product(x.value().data::<T>()?, product.data_mut::<T>()?)?;
        Ok(product)
    })?;
    Ok(tape.output(value, [None]))
}

// ---- cpu -----------------------------------------------------------------------------------

fn mat<T: Stored>(t: &Tensor, transposed: bool) -> Result<Mat<'_, T>> {
    Ok(Mat {
        data: t.data::<T>()?,
        stored: (t.shape().rows(), t.shape().last()),
        transposed,
    })
}

fn product<T: Gemm + Stored>(a: Mat<T>, b: Mat<T>) -> Result<Tensor> {
    let mut c = Tensor::uninit::<T>([a.extents().0, b.extents().1]);
    gemm(a, b, c.data_mut::<T>()?, false)?;
    Ok(c)
}

// ---- gpu -----------------------------------------------------------------------------------

fn product_on_gpu(
    gpu: &Arc<Gpu>,
    a: &Tensor,
    b: &Tensor,
    trans_a: bool,
    trans_b: bool,
) -> Result<Tensor> {
    let (a, b) = (GpuMat::of(a, trans_a)?, GpuMat::of(b, trans_b)?);
    let c = Tensor::on_gpu(gpu, a.dtype, [a.extents().0, b.extents().1])?;
    gpu::gemm(gpu, a, b, c.ptr()?, c.dtype(), false)?;
    Ok(c)
}

// ---- backward ------------------------------------------------------------------------------

struct MatMul {
    a: Var,
    b: Var,
    trans_a: bool,
    trans_b: bool,
    c: Option<Slot>,
}

impl Backward for MatMul {
    fn name(&self) -> &'static str {
        "matmul"
    }

    /// For c = a b: da = dc b^T and db = a^T dc; a transposed operand gets the transpose of that.
    fn backward(self: Box<Self>, grads: &mut Grads) -> Result<()> {
        let Some(dc) = grads.take(self.c) else {
            return Ok(());
        };
        let MatMul {
            a,
            b,
            trans_a,
            trans_b,
            ..
        } = *self;
        if let Some(gpu) = dc.gpu() {
            let mat = GpuMat::of;
            grads.write_gpu(a.slot(), gpu, dc.dtype(), a.value().shape(), |to| {
                let (left, right) = match trans_a {
                    true => (mat(b.value(), trans_b)?, mat(&dc, true)?),
                    false => (mat(&dc, false)?, mat(b.value(), !trans_b)?),
                };
                gpu::gemm(gpu, left, right, to.ptr, to.dtype, to.accumulate)
            })?;
            return grads.write_gpu(b.slot(), gpu, dc.dtype(), b.value().shape(), |to| {
                let (left, right) = match trans_b {
                    true => (mat(&dc, true)?, mat(a.value(), trans_a)?),
                    false => (mat(a.value(), !trans_a)?, mat(&dc, false)?),
                };
                gpu::gemm(gpu, left, right, to.ptr, to.dtype, to.accumulate)
            });
        }
        for_float!("matmul", dc.dtype(), T => {
            grads.write::<T>(a.slot(), a.value().shape(), |to, accumulate| {
                let value = b.value();
                if trans_a {
                    gemm(mat::<T>(value, trans_b)?, mat::<T>(&dc, true)?, to, accumulate)
                } else {
                    gemm(mat::<T>(&dc, false)?, mat::<T>(value, !trans_b)?, to, accumulate)
                }
            })?;
            grads.write::<T>(b.slot(), b.value().shape(), |to, accumulate| {
                let value = a.value();
                if trans_b {
                    gemm(mat::<T>(&dc, true)?, mat::<T>(value, trans_a)?, to, accumulate)
                } else {
                    gemm(mat::<T>(value, !trans_a)?, mat::<T>(&dc, false)?, to, accumulate)
                }
            })
        })
    }
}
