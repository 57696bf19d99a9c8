//! The tanh RNN on the CPU: large products over all packed rows, and slabs in parallel between.

use super::slab::{self, Slab};
use super::{Layer, RnnOutput};
use crate::autograd::{self, Grads, Slot, Tape, Var};
use crate::device::cpu::buffer::{Buffer, SharedMut};
use crate::device::cpu::gemm::{Mat, gemm};
use crate::device::cpu::simd::Dispatch;
use crate::error::Result;
use crate::tensor::{Stored, Tensor, for_float};
use rayon::prelude::*;

/// What the forward pass leaves for the backward pass.
struct Node {
    layer: Layer,
    y: Tensor,
    y_slot: Option<Slot>,
    h_n_slot: Option<Slot>,
}

/// A matrix in memory, perhaps read transposed.
fn mat<T>(data: &[T], columns: usize, transposed: bool) -> Mat<'_, T> {
    Mat {
        data,
        stored: (data.len() / columns, columns),
        transposed,
    }
}

pub(super) fn run<T: Stored + Dispatch>(tape: &mut Tape, layer: Layer) -> Result<RnnOutput> {
    let (hidden, inputs) = (layer.hidden(), layer.x.value().shape().last());
    let packing = &layer.packing;
    let mut y = Tensor::uninit::<T>([packing.rows(), hidden]);
    gemm(
        mat(layer.x.value().data::<T>()?, inputs, false),
        mat(layer.w_ih.value().data::<T>()?, inputs, true),
        y.data_mut::<T>()?,
        false,
    )?;
    let w_hh = slab::pack(layer.w_hh.value().data::<T>()?, hidden, true);
    let bias = slab::pad(layer.bias.value().data::<T>()?);
    let h0 = layer.h0.as_ref().map(|h| h.value().data::<T>());
    let h0 = h0.transpose()?;
    let y_out = SharedMut::new(y.data_mut::<T>()?);
    let slabs = Slab::all(packing, hidden).into_par_iter().with_max_len(1);
    slabs.for_each(|slab| {
        T::dispatch(slab::Forward {
            slab,
            w_hh: &w_hh,
            bias: &bias,
            h0,
            y: y_out,
        });
    });

    let mut h_n = Tensor::uninit::<T>([packing.batch(), hidden]);
    let (from, to) = (y.data::<T>()?, h_n.data_mut::<T>()?);
    for t in 0..packing.steps() {
        // The rows that end here.
        let ended = packing.active(t + 1) * hidden..packing.active(t) * hidden;
        let from = &from[packing.offset(t) * hidden..][ended.clone()];
        to[ended].copy_from_slice(from);
    }
    let out = layer.outputs(tape, y.clone(), h_n);
    if out.y.slot().is_some() {
        tape.push(Node {
            layer,
            y,
            y_slot: out.y.slot(),
            h_n_slot: out.h_n.slot(),
        });
    }
    Ok(out)
}

// ---- backward ------------------------------------------------------------------------------

impl autograd::Backward for Node {
    fn name(&self) -> &'static str {
        "rnn"
    }

    fn backward(self: Box<Self>, grads: &mut Grads) -> Result<()> {
        let (dy, dh_n) = (grads.take(self.y_slot), grads.take(self.h_n_slot));
        if dy.is_none() && dh_n.is_none() {
            return Ok(());
        }
        for_float!("rnn", self.y.dtype(), T => {
            let dz = self.recurrence::<T>(grads, dy, dh_n)?;
            self.products::<T>(grads, &dz)
        })
    }
}

impl Node {
    /// dz `[N, H]`. Gives the gradients of the bias and of the initial state on the way.
    fn recurrence<T: Stored + Dispatch>(
        &self,
        grads: &mut Grads,
        dy: Option<Tensor>,
        dh_n: Option<Tensor>,
    ) -> Result<Buffer<T>> {
        fn slice<T: Stored>(t: &Option<Tensor>) -> Result<Option<&[T]>> {
            t.as_ref().map(Tensor::data::<T>).transpose()
        }
        let Layer { packing, h0, .. } = &self.layer;
        let hidden = self.layer.hidden();
        let w_hh = slab::pack(self.layer.w_hh.value().data::<T>()?, hidden, false);
        let mut dz = Buffer::<T>::uninit(packing.rows() * hidden);
        let dz_out = SharedMut::new(&mut dz);
        let h0_slot = h0.as_ref().and_then(Var::slot);
        let mut dh0 = h0_slot.map(|_| Tensor::uninit::<T>([packing.batch(), hidden]));
        let dh0_out = dh0.as_mut().map(|t| t.data_mut::<T>().map(SharedMut::new));
        let dh0_out = dh0_out.transpose()?;
        let y = self.y.data::<T>()?;
        let (dy, dh_n) = (slice::<T>(&dy)?, slice::<T>(&dh_n)?);
        let slabs = Slab::all(packing, hidden).into_par_iter().with_max_len(1);
        let shares = slabs.map(|slab| {
            T::dispatch(slab::Backward {
                slab,
                w_hh: &w_hh,
                y,
                dy,
                dh_n,
                dz: dz_out,
                dh0: dh0_out,
            })
        });
        let shares: Vec<Buffer<T>> = shares.collect();
        let bias = &self.layer.bias;
        grads.write::<T>(bias.slot(), bias.value().shape(), |to, accumulate| {
            for (k, share) in shares.iter().enumerate() {
                for (to, &x) in to.iter_mut().zip(share.iter()) {
                    *to = if k > 0 || accumulate { *to + x } else { x };
                }
            }
            Ok(())
        })?;
        if let Some(dh0) = dh0 {
            grads.add(h0_slot, dh0)?;
        }
        Ok(dz)
    }

    /// Gives dx, dW_ih and dW_hh.
    fn products<T: Stored + Dispatch>(&self, grads: &mut Grads, dz: &[T]) -> Result<()> {
        let Layer { x, w_ih, w_hh, .. } = &self.layer;
        let hidden = self.layer.hidden();
        let inputs = x.value().shape().last();
        grads.write::<T>(x.slot(), x.value().shape(), |to, accumulate| {
            let w_ih = mat(w_ih.value().data::<T>()?, inputs, false);
            gemm(mat(dz, hidden, false), w_ih, to, accumulate)
        })?;
        grads.write::<T>(w_ih.slot(), w_ih.value().shape(), |to, accumulate| {
            let x = mat(x.value().data::<T>()?, inputs, false);
            gemm(mat(dz, hidden, true), x, to, accumulate)
        })?;
        grads.write::<T>(w_hh.slot(), w_hh.value().shape(), |to, accumulate| {
            let before = self.states_before::<T>()?;
            let before = mat(&before[..], hidden, false);
            gemm(mat(dz, hidden, true), before, to, accumulate)
        })
    }

    /// h_{t-1} of each packed row `[N, H]`.
    fn states_before<T: Stored>(&self) -> Result<Buffer<T>> {
        let packing = &self.layer.packing;
        let (hidden, y) = (self.layer.hidden(), self.y.data::<T>()?);
        let mut before = Buffer::uninit(y.len());
        let (first, rest) = before.split_at_mut(packing.batch() * hidden);
        match &self.layer.h0 {
            Some(h0) => first.copy_from_slice(h0.value().data::<T>()?),
            None => first.fill(T::default()),
        }
        for t in 1..packing.steps() {
            let at = (packing.offset(t) - packing.batch()) * hidden;
            let n = packing.active(t) * hidden;
            let from = &y[packing.offset(t - 1) * hidden..][..n];
            rest[at..][..n].copy_from_slice(from);
        }
        Ok(before)
    }
}
