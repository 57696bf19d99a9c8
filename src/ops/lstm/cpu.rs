//! The LSTM on the CPU: slabs of batch rows in parallel, and the sum of their weight gradients.

use super::backward::{self, Partial};
use super::forward::{self, Slab};
use super::pack::{self, Blocks, Columns};
use super::{Input, Output, SavedInput, Sizes, outputs};
use crate::autograd::{self, Grads, Slot, Tape, Var};
use crate::data::packing::Packing;
use crate::device::cpu::buffer::{Buffer, SharedMut};
use crate::device::cpu::simd::Dispatch;
use crate::error::Result;
use crate::shape::Shape;
use crate::tensor::{Stored, Tensor};
use rayon::prelude::*;

/// What the forward pass leaves for the backward pass.
struct Node<T: Stored + Dispatch> {
    sizes: Sizes,
    input: SavedInput,
    w_hh: Var,
    state: Option<(Var, Var)>,
    y: Tensor,
    /// Activated gates, blocked: `[slab][steps][units][rows][4L]`.
    gates: Buffer<T>,
    /// Cell states, blocked: `[slab][steps][units][rows][L]`.
    cells: Buffer<T>,
    y_slot: Option<Slot>,
    h_n_slot: Option<Slot>,
    c_n_slot: Option<Slot>,
}

pub(super) fn run<T: Stored + Dispatch>(
    tape: &mut Tape,
    input: Input,
    w_hh: &Var,
    state: Option<(&Var, &Var)>,
    sizes: Sizes,
) -> Result<Output> {
    let hidden = sizes.hidden;
    let (packed, batch) = (sizes.packing.rows(), sizes.packing.batch());
    let blocks = Blocks::new::<T>(hidden);
    let slabs = Slab::all(&sizes.packing, blocks);
    let saved_input = SavedInput::of(input);
    let rows = pack::rows(blocks, saved_input.start_var().value().data::<T>()?);
    let start = saved_input.start::<T>(&rows)?;
    let w_ih = match input {
        Input::Dense { w_ih, .. } => Some(w_ih.value().data::<T>()?),
        Input::Table { .. } => None,
    };
    let weights = pack::forward(blocks, w_ih, w_hh.value().data::<T>()?);
    let h0 = state.map(|(h, _)| h.value().data::<T>()).transpose()?;
    let c0 = state.map(|(_, c)| c.value().data::<T>()).transpose()?;

    let mut y = Tensor::uninit::<T>([packed, hidden]);
    let mut c_n = Tensor::uninit::<T>([batch, hidden]);
    let mut saved = tape.is_recording().then(|| {
        let gates = Slab::saved_rows(&slabs) * blocks.gates();
        (Buffer::<T>::uninit(gates), Buffer::<T>::uninit(gates / 4))
    });
    let y_out = SharedMut::new(y.data_mut::<T>()?);
    let c_n_out = SharedMut::new(c_n.data_mut::<T>()?);
    let saved_out = saved
        .as_mut()
        .map(|(g, c)| (SharedMut::new(g), SharedMut::new(c)));
    slabs.into_par_iter().with_max_len(1).for_each(|slab| {
        T::dispatch(forward::Forward {
            slab,
            start,
            context: (),
            weights: &weights,
            h0,
            c0,
            y: y_out,
            c_n: c_n_out,
            saved: saved_out,
        });
    });

    let h_n = last_rows::<T>(&sizes.packing, &y)?;
    let out = outputs(tape, input, w_hh, state, [y.clone(), h_n, c_n]);
    if let Some((gates, cells)) = saved.filter(|_| out.y.slot().is_some()) {
        tape.push(Node {
            sizes,
            input: saved_input,
            w_hh: w_hh.clone(),
            state: state.map(|(h, c)| (h.clone(), c.clone())),
            y,
            gates,
            cells,
            y_slot: out.y.slot(),
            h_n_slot: out.h_n.slot(),
            c_n_slot: out.c_n.slot(),
        });
    }
    Ok(out)
}

/// The row of `[N, H]` of each sequence's last element: `[B, H]`.
pub fn last_rows<T: Stored>(packing: &Packing, y: &Tensor) -> Result<Tensor> {
    let hidden = y.shape().last();
    let mut last = Tensor::uninit::<T>([packing.batch(), hidden]);
    let (from, to) = (y.data::<T>()?, last.data_mut::<T>()?);
    for t in 0..packing.steps() {
        // Those that have no element t + 1.
        let (first, end) = (packing.active(t + 1), packing.active(t));
        let (at, n) = ((packing.offset(t) + first) * hidden, (end - first) * hidden);
        to[first * hidden..][..n].copy_from_slice(&from[at..at + n]);
    }
    Ok(last)
}

impl<T: Stored + Dispatch> autograd::Backward for Node<T> {
    fn name(&self) -> &'static str {
        "lstm"
    }

    fn backward(self: Box<Self>, grads: &mut Grads) -> Result<()> {
        let dy = grads.take(self.y_slot);
        let dh_n = grads.take(self.h_n_slot);
        let dc_n = grads.take(self.c_n_slot);
        if dy.is_none() && dh_n.is_none() && dc_n.is_none() {
            return Ok(());
        }
        let (batch, hidden) = (self.sizes.packing.batch(), self.sizes.hidden);
        let blocks = Blocks::new::<T>(hidden);
        let rows = pack::rows(blocks, self.input.start_var().value().data::<T>()?);
        let w_hh = pack::backward(blocks, self.w_hh.value().data::<T>()?, 0..hidden, &[]);
        let mut dx = match &self.input {
            SavedInput::Dense { x, w_ih, .. } if x.slot().is_some() => {
                let columns = 0..x.value().shape().last();
                Some((
                    pack::backward(blocks, w_ih.value().data::<T>()?, columns, &[]),
                    Tensor::uninit::<T>(x.value().shape().clone()),
                ))
            }
            _ => None,
        };
        let mut state = [None, None];
        if let Some((h0, c0)) = &self.state {
            for (to, var) in state.iter_mut().zip([h0, c0]) {
                *to = var.slot().map(|_| Tensor::uninit::<T>([batch, hidden]));
            }
        }
        let partials = self.slabs(
            blocks,
            &rows,
            &w_hh,
            [&dy, &dh_n, &dc_n],
            dx.as_mut().map(|(w, t)| (&w[..], t)),
            &mut state,
        )?;
        drop((dy, dh_n, dc_n));
        self.give(grads, blocks, &partials, dx.map(|(_, t)| t), state)
    }
}

impl<T: Stored + Dispatch> Node<T> {
    /// Runs the slabs; their shares of the summed gradients come back in order.
    fn slabs(
        &self,
        blocks: Blocks,
        rows: &[T],
        w_hh: &[T],
        [dy, dh_n, dc_n]: [&Option<Tensor>; 3],
        dx: Option<(&[T], &mut Tensor)>,
        state: &mut [Option<Tensor>; 2],
    ) -> Result<Vec<Partial<T>>> {
        fn slice<T: Stored>(t: &Option<Tensor>) -> Result<Option<&[T]>> {
            t.as_ref().map(|t| t.data::<T>()).transpose()
        }
        let start = self.input.start::<T>(rows)?;
        let dx = match dx {
            Some((w, t)) => Some((w, SharedMut::new(t.data_mut::<T>()?))),
            None => None,
        };
        let [dh0, dc0] = state.each_mut().map(|t| {
            t.as_mut()
                .map(|t| t.data_mut::<T>().map(SharedMut::new))
                .transpose()
        });
        let (dh0, dc0) = (dh0?, dc0?);
        let h0 = self
            .state
            .as_ref()
            .map(|(h, _)| h.value().data::<T>())
            .transpose()?;
        let c0 = self
            .state
            .as_ref()
            .map(|(_, c)| c.value().data::<T>())
            .transpose()?;
        let y = self.y.data::<T>()?;
        let (dy, dh_n, dc_n) = (slice::<T>(dy)?, slice::<T>(dh_n)?, slice::<T>(dc_n)?);
        let slabs = Slab::all(&self.sizes.packing, blocks).into_par_iter();
        let partials = slabs
            .with_max_len(1)
            .map(|slab| {
                T::dispatch(backward::Backward {
                    slab,
                    start,
                    context: (),
                    w_hh,
                    dx,
                    h0,
                    c0,
                    y,
                    gates: &self.gates,
                    cells: &self.cells,
                    dy,
                    dh_n,
                    dc_n,
                    dh0,
                    dc0,
                })
                .0
            })
            .collect();
        Ok(partials)
    }

    /// Sums the slabs' shares into the gradients of the parameters.
    fn give(
        &self,
        grads: &mut Grads,
        blocks: Blocks,
        partials: &[Partial<T>],
        dx: Option<Tensor>,
        [dh0, dc0]: [Option<Tensor>; 2],
    ) -> Result<()> {
        let weights: Vec<&[T]> = partials.iter().map(|p| &p.weights[..]).collect();
        let starts: Vec<&[T]> = partials.iter().map(|p| &p.start[..]).collect();
        let inputs = match &self.input {
            SavedInput::Dense { w_ih, .. } => w_ih.value().shape().last(),
            SavedInput::Table { .. } => 0,
        };
        let mut weight = |var: &Var, first: usize| {
            let columns = Columns {
                of: inputs + blocks.hidden,
                first,
                count: var.value().shape().last(),
            };
            grads.write::<T>(var.slot(), var.value().shape(), |to, accumulate| {
                let position = |row| blocks.position(row);
                pack::unpack_weight(blocks, &weights, columns, position, to, accumulate);
                Ok(())
            })
        };
        if let SavedInput::Dense { w_ih, .. } = &self.input {
            weight(w_ih, 0)?;
        }
        weight(&self.w_hh, inputs)?;
        let start = self.input.start_var();
        let shape: &Shape = start.value().shape();
        grads.write::<T>(start.slot(), shape, |to, accumulate| {
            pack::unpack_rows(blocks, &starts, to, accumulate);
            Ok(())
        })?;
        if let (Some(dx), SavedInput::Dense { x, .. }) = (dx, &self.input) {
            grads.add(x.slot(), dx)?;
        }
        if let Some((h0, c0)) = &self.state {
            for (var, gradient) in [(h0, dh0), (c0, dc0)] {
                if let Some(gradient) = gradient {
                    grads.add(var.slot(), gradient)?;
                }
            }
        }
        Ok(())
    }
}
