//! A recurrent layer on the CPU: slabs of batch rows in parallel, and the sum of their weight
//! gradients.

use super::backward::{Backward, Partial};
use super::cell::Cell;
use super::forward::{Forward, Start};
use super::layer::{Layer, LayerInput, Output, outputs};
use super::pack::{self, Blocks};
use super::slab::Slab;
use crate::autograd::{self, Grads, Slot, Tape, Var};
use crate::data::packing::Packing;
use crate::device::cpu::buffer::{Buffer, SharedMut};
use crate::device::cpu::simd::Dispatch;
use crate::device::cpu::tile::WIDTH;
use crate::error::Result;
use crate::tensor::{Stored, Tensor};
use rayon::prelude::*;
use std::marker::PhantomData;
use std::slice::from_ref;

/// What the forward pass leaves for the backward pass.
struct Node<T: Stored + Dispatch, C> {
    cell: PhantomData<C>,
    layer: Layer,
    y: Tensor,
    saved: Saved<T>,
    slots: [Option<Slot>; 3],
}

/// What the slabs save.
pub struct Saved<T: Dispatch> {
    /// Panels `[slab][steps][panels][rows][4L]`.
    pub panels: Buffer<T>,
    /// Cell states `[slab][steps][panels][rows][L]`, of a cell that has them.
    pub cells: Buffer<T>,
}

impl<T: Dispatch> Saved<T> {
    /// Room for all slabs.
    pub fn new<C: Cell>(slabs: &[Slab], blocks: Blocks) -> Self {
        let panels = Slab::saved_rows(slabs) * blocks.row();
        let cells = if C::HAS_C { panels / WIDTH } else { 0 };
        Saved {
            panels: Buffer::uninit(panels),
            cells: Buffer::uninit(cells),
        }
    }

    /// Where the slabs write them.
    pub fn shared(&mut self) -> (SharedMut<T>, SharedMut<T>) {
        (
            SharedMut::new(&mut self.panels),
            SharedMut::new(&mut self.cells),
        )
    }
}

/// The elements of a value.
///
/// # Errors
/// If they are of another data type or in device memory.
pub fn data<T: Stored>(var: &Var) -> Result<&[T]> {
    var.value().data::<T>()
}

/// The elements of a gradient that may not have arrived.
///
/// # Errors
/// As [`data`].
pub fn given<T: Stored>(gradient: &Option<Tensor>) -> Result<Option<&[T]>> {
    gradient.as_ref().map(|t| t.data::<T>()).transpose()
}

/// Room for the gradient of a value that wants one.
pub fn wanted<T: Stored>(var: &Var) -> Option<Tensor> {
    let shape = var.value().shape().clone();
    var.slot().map(|_| Tensor::uninit::<T>(shape))
}

/// Where the slabs write a tensor, each its rows.
///
/// # Errors
/// As [`data`], or if the tensor is shared.
pub fn shared<T: Stored>(tensor: &mut Option<Tensor>) -> Result<Option<SharedMut<T>>> {
    let data = tensor.as_mut().map(|t| t.data_mut::<T>()).transpose()?;
    Ok(data.map(SharedMut::new))
}

impl Layer {
    /// The bias or the table.
    fn start_var(&self) -> &Var {
        match &self.input {
            LayerInput::Dense { bias, .. } => bias,
            LayerInput::Table { table, .. } => table,
        }
    }

    /// What the gates start from, in blocked order.
    fn start_rows<T: Stored + Dispatch>(&self, blocks: Blocks) -> Result<Buffer<T>> {
        let b_hh = self.b_hh.as_ref().map(data).transpose()?;
        Ok(pack::rows(blocks, data(self.start_var())?, b_hh))
    }

    /// The start of the gates from [`Layer::start_rows`].
    fn start<'a, T: Stored>(&'a self, rows: &'a [T]) -> Result<Start<'a, T>> {
        Ok(match &self.input {
            LayerInput::Dense { x, .. } => Start::Dense {
                bias: rows,
                x: data(x)?,
                inputs: self.inputs(),
            },
            LayerInput::Table { ids, .. } => Start::Table {
                table: rows,
                ids: ids.data::<u32>()?,
            },
        })
    }

    /// h0 and c0.
    fn initial<T: Stored>(&self) -> Result<[Option<&[T]>; 2]> {
        let h0 = self.state.as_ref().map(|state| data(&state.h));
        Ok([h0.transpose()?, self.c0().map(data).transpose()?])
    }
}

pub(super) fn run<T: Stored + Dispatch, C: Cell>(tape: &mut Tape, layer: Layer) -> Result<Output> {
    let (packing, hidden) = (&layer.packing, layer.hidden());
    let blocks = Blocks::new::<T>(C::GATES, hidden);
    let slabs = Slab::all(packing, blocks);
    let w_ih = match &layer.input {
        LayerInput::Dense { w_ih, .. } => Some(w_ih),
        LayerInput::Table { .. } => None,
    };
    let parameters = [Some(layer.start_var()), layer.b_hh.as_ref(), w_ih];
    let parameters: Vec<&Var> = parameters
        .into_iter()
        .flatten()
        .chain([&layer.w_hh])
        .collect();
    let prepared = tape.prepared(C::NAME, &parameters, || {
        let w_ih = w_ih.map(data::<T>).transpose()?;
        let weights = pack::forward(blocks, w_ih, data(&layer.w_hh)?);
        Ok((layer.start_rows::<T>(blocks)?, weights))
    })?;
    let (rows, weights) = &*prepared;
    let start = layer.start(rows)?;
    let [h0, c0] = layer.initial()?;

    let mut y = Tensor::uninit::<T>([packing.rows(), hidden]);
    let mut c_n = C::HAS_C.then(|| Tensor::uninit::<T>([packing.batch(), hidden]));
    let mut saved = tape.is_recording().then(|| Saved::new::<C>(&slabs, blocks));
    let y_out = SharedMut::new(y.data_mut::<T>()?);
    let c_n_out = shared(&mut c_n)?;
    let saved_out = saved.as_mut().map(Saved::shared);
    slabs.into_par_iter().with_max_len(1).for_each(|slab| {
        T::dispatch(Forward {
            cell: PhantomData::<C>,
            slab,
            start,
            context: (),
            weights,
            h0,
            c0,
            y: y_out,
            c_n: c_n_out,
            saved: saved_out,
        });
    });

    let h_n = last_rows::<T>(packing, &y)?;
    let out = outputs(from_ref(&layer), tape, y.clone(), h_n, c_n);
    if let Some(saved) = saved.filter(|_| out.y.slot().is_some()) {
        tape.push(Node {
            cell: PhantomData::<C>,
            layer,
            y,
            saved,
            slots: out.slots(),
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

// ---- backward ------------------------------------------------------------------------------

impl<T: Stored + Dispatch, C: Cell> autograd::Backward for Node<T, C> {
    fn name(&self) -> &'static str {
        C::NAME
    }

    fn backward(self: Box<Self>, grads: &mut Grads) -> Result<()> {
        let above = self.slots.map(|slot| grads.take(slot));
        if above.iter().all(Option::is_none) {
            return Ok(());
        }
        let layer = &self.layer;
        let mut dx = match &layer.input {
            LayerInput::Dense { x, .. } => wanted::<T>(x),
            LayerInput::Table { .. } => None,
        };
        let mut dh0 = layer.state.as_ref().and_then(|s| wanted::<T>(&s.h));
        let mut dc0 = layer.c0().and_then(wanted::<T>);
        let partials = self.slabs(&above, [&mut dx, &mut dh0, &mut dc0])?;
        drop(above);
        self.give(grads, &partials)?;
        let x = match &layer.input {
            LayerInput::Dense { x, .. } => x.slot(),
            LayerInput::Table { .. } => None,
        };
        let h0 = layer.state.as_ref().and_then(|s| s.h.slot());
        let c0 = layer.c0().and_then(Var::slot);
        for (slot, gradient) in [(x, dx), (h0, dh0), (c0, dc0)] {
            if let Some(gradient) = gradient {
                grads.add(slot, gradient)?;
            }
        }
        Ok(())
    }
}

impl<T: Stored + Dispatch, C: Cell> Node<T, C> {
    /// Runs the slabs; their shares of the summed gradients come back in order.
    fn slabs(
        &self,
        [dy, dh_n, dc_n]: &[Option<Tensor>; 3],
        [dx, dh0, dc0]: [&mut Option<Tensor>; 3],
    ) -> Result<Vec<Partial<T>>> {
        let layer = &self.layer;
        let blocks = Blocks::new::<T>(C::GATES, layer.hidden());
        let rows = layer.start_rows::<T>(blocks)?;
        let start = layer.start(&rows)?;
        let (hidden, w_hh) = (0..layer.hidden(), data::<T>(&layer.w_hh)?);
        let w_hh = pack::backward(blocks, C::GATES.hidden, w_hh, hidden, &[]);
        let w_ih = match (&layer.input, &dx) {
            (LayerInput::Dense { w_ih, .. }, Some(_)) => {
                let (columns, w_ih) = (0..layer.inputs(), data::<T>(w_ih)?);
                pack::backward(blocks, C::GATES.input, w_ih, columns, &[])
            }
            _ => Buffer::zeros(0),
        };
        let dx = shared::<T>(dx)?.map(|dx| (&w_ih[..], dx));
        let (dh0, dc0) = (shared::<T>(dh0)?, shared::<T>(dc0)?);
        let [h0, c0] = layer.initial()?;
        let y = self.y.data::<T>()?;
        let (dy, dh_n, dc_n) = (given::<T>(dy)?, given::<T>(dh_n)?, given::<T>(dc_n)?);
        let slabs = Slab::all(&layer.packing, blocks).into_par_iter();
        let partials = slabs.with_max_len(1).map(|slab| {
            let backward = Backward {
                cell: PhantomData::<C>,
                slab,
                start,
                context: (),
                w_hh: &w_hh,
                dx,
                h0,
                c0,
                y,
                saved: &self.saved.panels,
                cells: &self.saved.cells,
                dy,
                dh_n,
                dc_n,
                dh0,
                dc0,
            };
            T::dispatch(backward).0
        });
        Ok(partials.collect())
    }

    /// Sums the slabs' shares into the gradients of the parameters.
    fn give(&self, grads: &mut Grads, partials: &[Partial<T>]) -> Result<()> {
        let layer = &self.layer;
        let blocks = Blocks::new::<T>(C::GATES, layer.hidden());
        let weights: Vec<&[T]> = partials.iter().map(|p| &p.weights[..]).collect();
        let starts: Vec<&[T]> = partials.iter().map(|p| &p.start[..]).collect();
        let (inputs, k) = (layer.inputs(), layer.inputs() + layer.hidden());
        let mut weight = |var: &Var, side, columns| {
            grads.write::<T>(var.slot(), var.value().shape(), |to, accumulate| {
                let position = |row| blocks.position(side, row);
                pack::unpack_weight(blocks, &weights, (k, columns), position, to, accumulate);
                Ok(())
            })
        };
        if let LayerInput::Dense { w_ih, .. } = &layer.input {
            weight(w_ih, C::GATES.input, 0..inputs)?;
        }
        weight(&layer.w_hh, C::GATES.hidden, inputs..k)?;
        let start = layer.start_var();
        let rows = start.value().numel() / (C::GATES.count() * layer.hidden());
        grads.write::<T>(start.slot(), start.value().shape(), |to, accumulate| {
            let to = to.par_chunks_mut(C::GATES.count() * layer.hidden());
            to.enumerate().for_each(|(r, to)| {
                let side = C::GATES.input;
                pack::unpack_row(blocks, side, &starts, r..r + 1, to, accumulate);
            });
            Ok(())
        })?;
        if let Some(b_hh) = &layer.b_hh {
            grads.write::<T>(b_hh.slot(), b_hh.value().shape(), |to, accumulate| {
                let side = C::GATES.hidden;
                pack::unpack_row(blocks, side, &starts, 0..rows, to, accumulate);
                Ok(())
            })?;
        }
        Ok(())
    }
}
