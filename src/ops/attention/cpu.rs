//! The attention decoder on the CPU: the LSTM's slabs with attention between their steps.

use super::backward::AttendGradient;
use super::forward::{Attend, Source};
use super::{AttentionOutput, Operands};
use crate::autograd::{self, Grads, Slot, Tape, Var};
use crate::device::cpu::buffer::{Buffer, SharedMut};
use crate::device::cpu::simd::Dispatch;
use crate::error::Result;
use crate::ops::lstm::Lstm;
use crate::ops::recurrent::backward::{Backward, Partial};
use crate::ops::recurrent::cell::Cell;
use crate::ops::recurrent::cpu::{Saved, data, given, last_rows, shared, wanted};
use crate::ops::recurrent::forward::{Forward, Start};
use crate::ops::recurrent::pack::{self, Blocks};
use crate::ops::recurrent::slab::Slab;
use crate::tensor::{Stored, Tensor};
use rayon::prelude::*;
use std::marker::PhantomData;

/// What the forward pass leaves for the backward pass.
struct Node<T: Stored + Dispatch> {
    operands: Operands,
    y: Tensor,
    context: Tensor,
    alpha: Tensor,
    /// Queries `[N, panels * 4L]`.
    q: Buffer<T>,
    saved: Saved<T>,
    y_slot: Option<Slot>,
    context_slot: Option<Slot>,
    alpha_slot: Option<Slot>,
    h_n_slot: Option<Slot>,
    c_n_slot: Option<Slot>,
}

/// A row of A elements padded with zeros to whole panels.
fn padded<T: Dispatch>(blocks: Blocks, row: &[T]) -> Buffer<T> {
    let mut padded = Buffer::zeros(blocks.panels_of(row.len()) * blocks.panel());
    padded[..row.len()].copy_from_slice(row);
    padded
}

impl Operands {
    /// The parameters of the forward pass.
    fn weights(&self) -> [&Var; 6] {
        [
            &self.bias, &self.w_ih, &self.w_hh, &self.w_q, &self.b_q, &self.v,
        ]
    }

    fn source<'a, T: Stored + Dispatch>(
        &'a self,
        blocks: Blocks,
        v: &'a [T],
    ) -> Result<Source<'a, T>> {
        Ok(Source {
            v,
            keys: data(&self.keys)?,
            values: data(&self.values)?,
            spans: &self.spans,
            width: self.width(),
            columns: self.columns(),
            panels: blocks.panels_of(self.width()),
        })
    }

    fn start<'a, T: Stored + Dispatch>(&'a self, bias: &'a [T]) -> Result<Start<'a, T>> {
        Ok(Start::Dense {
            bias,
            x: data(&self.x)?,
            inputs: self.inputs(),
        })
    }
}

/// The weights in the order of the inner loops.
struct Weights<T: Dispatch> {
    bias: Buffer<T>,
    lstm: Buffer<T>,
    w_q: Buffer<T>,
    b_q: Buffer<T>,
    v: Buffer<T>,
}

impl<T: Stored + Dispatch> Weights<T> {
    fn of(o: &Operands, blocks: Blocks) -> Result<Self> {
        Ok(Weights {
            bias: pack::rows(blocks, data::<T>(&o.bias)?, None),
            lstm: pack::forward(blocks, Some(data::<T>(&o.w_ih)?), data(&o.w_hh)?),
            w_q: pack::transposed(blocks, data::<T>(&o.w_q)?, o.hidden()),
            b_q: padded(blocks, data::<T>(&o.b_q)?),
            v: padded(blocks, data::<T>(&o.v)?),
        })
    }
}

pub(super) fn run<T: Stored + Dispatch>(
    tape: &mut Tape,
    operands: Operands,
) -> Result<AttentionOutput> {
    let (hidden, columns) = (operands.hidden(), operands.columns());
    let (packed, batch) = (operands.packing.rows(), operands.packing.batch());
    let blocks = Blocks::new::<T>(Lstm::GATES, hidden);
    let packed_weights = tape.prepared("attention", &operands.weights(), || {
        Weights::<T>::of(&operands, blocks)
    })?;
    let weights = &*packed_weights;
    let (start, source) = (
        operands.start(&weights.bias)?,
        operands.source(blocks, &weights.v)?,
    );
    let (h0, c0) = (data(&operands.h0)?, data(&operands.c0)?);

    let slabs = Slab::all(&operands.packing, blocks);
    let mut y = Tensor::uninit::<T>([packed, hidden]);
    let mut context = Tensor::uninit::<T>([packed, columns]);
    let mut alpha = Tensor::zeros::<T>([packed, operands.spans.longest()]);
    let mut c_n = Tensor::uninit::<T>([batch, hidden]);
    let mut q = Buffer::<T>::uninit(packed * weights.v.len());
    let mut saved = tape
        .is_recording()
        .then(|| Saved::new::<Lstm>(&slabs, blocks));
    let [y_out, context_out, alpha_out, c_n_out] = [
        SharedMut::new(y.data_mut::<T>()?),
        SharedMut::new(context.data_mut::<T>()?),
        SharedMut::new(alpha.data_mut::<T>()?),
        SharedMut::new(c_n.data_mut::<T>()?),
    ];
    let q_out = SharedMut::new(&mut q);
    let saved_out = saved.as_mut().map(Saved::shared);
    slabs.into_par_iter().with_max_len(1).for_each(|slab| {
        T::dispatch(Forward {
            cell: PhantomData::<Lstm>,
            slab,
            start,
            context: Attend {
                source,
                w_q: &weights.w_q,
                b_q: &weights.b_q,
                q: q_out,
                alpha: alpha_out,
                context: context_out,
            },
            weights: &weights.lstm,
            h0: Some(h0),
            c0: Some(c0),
            y: y_out,
            c_n: Some(c_n_out),
            saved: saved_out,
        });
    });

    let h_n = last_rows::<T>(&operands.packing, &y)?;
    let tensors = [y.clone(), context.clone(), alpha.clone(), h_n, c_n];
    let out = operands.outputs(tape, tensors);
    if let Some(saved) = saved.filter(|_| out.y.slot().is_some()) {
        tape.push(Node {
            operands,
            y,
            context,
            alpha,
            q,
            saved,
            y_slot: out.y.slot(),
            context_slot: out.context.slot(),
            alpha_slot: out.alpha.slot(),
            h_n_slot: out.h_n.slot(),
            c_n_slot: out.c_n.slot(),
        });
    }
    Ok(out)
}

// ---- backward ------------------------------------------------------------------------------

/// A slab's share of the sums over the batch: of the LSTM's and the query's parameters, and of v.
type Share<T> = (Partial<T>, Buffer<T>);

/// Gradients that the slabs write row by row, where they are wanted.
struct RowGradients {
    x: Option<Tensor>,
    h0: Option<Tensor>,
    c0: Option<Tensor>,
    keys: Option<Tensor>,
    values: Option<Tensor>,
}

impl<T: Stored + Dispatch> autograd::Backward for Node<T> {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn backward(self: Box<Self>, grads: &mut Grads) -> Result<()> {
        let above = [
            grads.take(self.y_slot),
            grads.take(self.context_slot),
            grads.take(self.alpha_slot),
            grads.take(self.h_n_slot),
            grads.take(self.c_n_slot),
        ];
        if above.iter().all(Option::is_none) {
            return Ok(());
        }
        let o = &self.operands;
        let mut rows = RowGradients {
            x: wanted::<T>(&o.x),
            h0: wanted::<T>(&o.h0),
            c0: wanted::<T>(&o.c0),
            // The steps add to it.
            keys: (o.keys.slot()).map(|_| Tensor::zeros::<T>(o.keys.value().shape().clone())),
            values: wanted::<T>(&o.values),
        };
        let shares = self.slabs(&above, &mut rows)?;
        drop(above);
        self.give_shares(grads, &shares)?;
        let given = [
            (&o.x, rows.x),
            (&o.h0, rows.h0),
            (&o.c0, rows.c0),
            (&o.keys, rows.keys),
            (&o.values, rows.values),
        ];
        for (var, gradient) in given {
            if let Some(gradient) = gradient {
                grads.add(var.slot(), gradient)?;
            }
        }
        Ok(())
    }
}

impl<T: Stored + Dispatch> Node<T> {
    /// Runs the slabs; their shares of the summed gradients come back in order.
    fn slabs(
        &self,
        [dy, dcontext, dalpha, dh_n, dc_n]: &[Option<Tensor>; 5],
        rows: &mut RowGradients,
    ) -> Result<Vec<Share<T>>> {
        let o = &self.operands;
        let (hidden, inputs, columns) = (o.hidden(), o.inputs(), o.columns());
        let blocks = Blocks::new::<T>(Lstm::GATES, hidden);
        let side = Lstm::GATES.input; // both products add to the same gates
        let bias = pack::rows(blocks, data::<T>(&o.bias)?, None);
        let v = padded(blocks, data::<T>(&o.v)?);
        let (start, source) = (o.start(&bias)?, o.source(blocks, &v)?);
        let w_hh = pack::backward(blocks, side, data::<T>(&o.w_hh)?, 0..hidden, data(&o.w_q)?);
        let w_ih = data::<T>(&o.w_ih)?;
        let w_context = pack::backward(blocks, side, w_ih, inputs..inputs + columns, &[]);
        let w_x = match rows.x {
            Some(_) => pack::backward(blocks, side, w_ih, 0..inputs, &[]),
            None => Buffer::zeros(0),
        };
        let dx = shared::<T>(&mut rows.x)?.map(|dx| (&w_x[..], dx));
        let (dh0, dc0) = (shared::<T>(&mut rows.h0)?, shared::<T>(&mut rows.c0)?);
        let (dkeys, dvalues) = (shared::<T>(&mut rows.keys)?, shared::<T>(&mut rows.values)?);
        let (h0, c0) = (data::<T>(&o.h0)?, data::<T>(&o.c0)?);
        let (y, context, alpha) = (self.y.data()?, self.context.data()?, self.alpha.data()?);
        let (dy, dcontext) = (given::<T>(dy)?, given::<T>(dcontext)?);
        let dalpha = given::<T>(dalpha)?;
        let (dh_n, dc_n) = (given::<T>(dh_n)?, given::<T>(dc_n)?);
        let panels = blocks.panels_of(columns);
        let slabs = Slab::all(&o.packing, blocks).into_par_iter();
        let shares = slabs.with_max_len(1).map(|slab| {
            let (partial, attend) = T::dispatch(Backward {
                cell: PhantomData::<Lstm>,
                slab,
                start,
                context: AttendGradient {
                    source,
                    w_ih: &w_context,
                    q: &self.q,
                    alpha,
                    context,
                    dcontext,
                    dalpha,
                    dkeys,
                    dvalues,
                    dv: Buffer::zeros(v.len()),
                    dctx: Buffer::uninit(slab.rows * slab.steps * panels * blocks.panel()),
                    weights: Buffer::uninit(slab.steps * o.spans.longest()),
                },
                w_hh: &w_hh,
                dx,
                h0: Some(h0),
                c0: Some(c0),
                y,
                saved: &self.saved.panels,
                cells: &self.saved.cells,
                dy,
                dh_n,
                dc_n,
                dh0,
                dc0,
            });
            (partial, attend.dv)
        });
        Ok(shares.collect())
    }

    /// Sums the slabs' shares into the gradients of the parameters.
    fn give_shares(&self, grads: &mut Grads, shares: &[Share<T>]) -> Result<()> {
        let o = &self.operands;
        let blocks = Blocks::new::<T>(Lstm::GATES, o.hidden());
        let weights: Vec<&[T]> = shares.iter().map(|(p, _)| &p.weights[..]).collect();
        let starts: Vec<&[T]> = shares.iter().map(|(p, _)| &p.start[..]).collect();
        let dv: Vec<&[T]> = shares.iter().map(|(_, dv)| &dv[..]).collect();
        // dW is [panels][x | context | h][4L]: the gates' panels, then those of the query.
        let before_h = o.inputs() + o.columns();
        let k = before_h + o.hidden();
        let query = |row| (blocks.panels() + row / blocks.panel(), row % blocks.panel());
        let gate = |row| blocks.position(Lstm::GATES.input, row);
        let mut weight =
            |var: &Var, columns, position: &(dyn Fn(usize) -> (usize, usize) + Sync)| {
                grads.write::<T>(var.slot(), var.value().shape(), |to, accumulate| {
                    pack::unpack_weight(blocks, &weights, (k, columns), position, to, accumulate);
                    Ok(())
                })
            };
        weight(&o.w_ih, 0..before_h, &gate)?;
        weight(&o.w_hh, before_h..k, &gate)?;
        weight(&o.w_q, before_h..k, &query)?;
        grads.write::<T>(o.bias.slot(), o.bias.value().shape(), |to, accumulate| {
            pack::unpack_row(blocks, Lstm::GATES.input, &starts, 0..1, to, accumulate);
            Ok(())
        })?;
        for (var, parts, first) in [(&o.b_q, &starts, blocks.row()), (&o.v, &dv, 0)] {
            grads.write::<T>(var.slot(), var.value().shape(), |to, accumulate| {
                for (a, to) in to.iter_mut().enumerate() {
                    let sum = pack::sum_of(parts, first + a);
                    *to = if accumulate { *to + sum } else { sum };
                }
                Ok(())
            })?;
        }
        Ok(())
    }
}
