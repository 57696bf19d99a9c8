//! **cpu** Sequences in parallel, the heads of one after the other: so each element of a gradient is one
//! task's.

use super::head::{Head, Part, Scratch};
use super::{Attended, Columns, Operands};
use crate::autograd::{Backward, Grads, Slot, Tape};
use crate::device::cpu::buffer::SharedMut;
use crate::device::cpu::simd::{Dispatch, Simd, Task};
use crate::error::Result;
use crate::tensor::{Stored, Tensor};
use rayon::prelude::*;

pub(super) fn run<T: Stored + Dispatch>(tape: &mut Tape, operands: Operands) -> Result<Attended> {
    let [rows, width, longest] = operands.sizes();
    let mut context = Tensor::uninit::<T>([rows, width]);
    let mut alpha = (operands.weights).then(|| Tensor::zeros::<T>([rows, longest]));
    let written = Written {
        context: SharedMut::new(context.data_mut()?),
        alpha: match &mut alpha {
            Some(alpha) => Some(SharedMut::new(alpha.data_mut()?)),
            None => None,
        },
    };
    let data = Data::<T>::of(&operands)?;
    for_each_sequence(&operands, |b, rows, scratch| {
        T::dispatch(Forward {
            data,
            operands: &operands,
            rows,
            b,
            scratch,
            written,
        });
    })?;
    let context = tape.output(context, operands.slots());
    let alpha = alpha.map(|alpha| tape.output(alpha, operands.slots()));
    if context.slot().is_some() {
        tape.push(Node::<T> {
            context: context.slot(),
            alpha: alpha.as_ref().and_then(|alpha| alpha.slot()),
            operands,
            of: std::marker::PhantomData,
        });
    }
    Ok(Attended { context, alpha })
}

/// Elements of queries, keys and values.
#[derive(Clone, Copy)]
struct Data<'a, T> {
    queries: (&'a [T], usize, usize),
    keys: (&'a [T], usize, usize),
    values: (&'a [T], usize, usize),
}

impl<'a, T: Stored> Data<'a, T> {
    fn of(operands: &'a Operands) -> Result<Self> {
        let of = |c: &'a Columns| -> Result<_> {
            Ok((c.tensor.data::<T>()?, c.tensor.shape().last(), c.first))
        };
        Ok(Data {
            queries: of(&operands.queries)?,
            keys: of(&operands.keys)?,
            values: of(&operands.values)?,
        })
    }
}

/// The rows of a sequence's queries and keys.
#[derive(Default)]
struct SequenceRows {
    queries: Vec<usize>,
    keys: Vec<usize>,
}

/// Runs a task for each sequence.
fn for_each_sequence<T: Stored + Dispatch>(
    operands: &Operands,
    task: impl Fn(usize, &SequenceRows, &mut Scratch<T>) + Sync,
) -> Result<()> {
    let memory = || (SequenceRows::default(), Scratch::<T>::default());
    let sequences = (0..operands.of_queries.spans().rows()).into_par_iter();
    sequences.try_for_each_init(memory, |(rows, scratch), b| {
        operands.of_queries.rows(b, &mut rows.queries)?;
        operands.of_keys.rows(b, &mut rows.keys)?;
        task(b, rows, scratch);
        Ok(())
    })
}

/// The head number `h` of a sequence.
#[inline(always)]
fn head<'a, T>(data: Data<'a, T>, o: &Operands, rows: &'a SequenceRows, h: usize) -> Head<'a, T> {
    let part = |(data, width, first): (&'a [T], usize, usize), rows: &'a [usize]| Part {
        data,
        width,
        first: first + h * o.depth,
        depth: o.depth,
        rows,
    };
    Head {
        queries: part(data.queries, &rows.queries),
        keys: part(data.keys, &rows.keys),
        values: part(data.values, &rows.keys),
        causal: o.causal,
    }
}

/// What the forward pass writes.
#[derive(Clone, Copy)]
struct Written<T> {
    /// `[N, D]`
    context: SharedMut<T>,
    /// `[N, S]`, zeros.
    alpha: Option<SharedMut<T>>,
}

/// The forward pass of a sequence.
struct Forward<'a, T> {
    data: Data<'a, T>,
    operands: &'a Operands,
    rows: &'a SequenceRows,
    b: usize,
    scratch: &'a mut Scratch<T>,
    written: Written<T>,
}

impl<T: Stored + Dispatch> Task<T> for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd<E = T>>(self) {
        let [_, width, longest] = self.operands.sizes();
        let share = T::ONE / T::from_f64(self.operands.heads as f64);
        let queries = &self.rows.queries;
        for h in 0..self.operands.heads {
            let head = head(self.data, self.operands, self.rows, h);
            // SAFETY: dispatch chose the set; the rows of a sequence are its own.
            unsafe {
                head.weights::<S>(self.scratch);
                let first = h * self.operands.depth;
                let to = |i: usize| self.written.context.at(queries[i] * width + first);
                head.context::<S>(self.scratch, to);
            }
            let Some(alpha) = self.written.alpha else {
                continue;
            };
            let keys = self.operands.of_keys.spans().len(self.b);
            let weights = self.scratch.weights.chunks(head.pitch(S::LANES));
            for (row, weights) in queries.iter().zip(weights) {
                for (j, &p) in weights[..keys].iter().enumerate() {
                    // SAFETY: the row is of this sequence, and has room for its keys.
                    unsafe { *alpha.at(row * longest + j) += p * share };
                }
            }
        }
    }
}

// ---- backward ------------------------------------------------------------------------------

struct Node<T> {
    operands: Operands,
    context: Option<Slot>,
    alpha: Option<Slot>,
    of: std::marker::PhantomData<T>,
}

impl<T: Stored + Dispatch> Backward for Node<T> {
    fn name(&self) -> &'static str {
        "dot_attention"
    }

    fn backward(self: Box<Self>, grads: &mut Grads) -> Result<()> {
        let (dcontext, dalpha) = (grads.take(self.context), grads.take(self.alpha));
        if dcontext.is_none() && dalpha.is_none() {
            return Ok(());
        }
        let o = &self.operands;
        let mut dq = Tensor::uninit::<T>(o.queries.tensor.shape().clone());
        // That of keys and values is the same where they are of one matrix.
        let mut dkv = match o.together {
            true => None,
            false => Some(Tensor::uninit::<T>(o.keys.tensor.shape().clone())),
        };
        let queries = SharedMut::new(dq.data_mut()?);
        let keys = match &mut dkv {
            Some(dkv) => SharedMut::new(dkv.data_mut()?),
            None => queries,
        };
        let data = Data::<T>::of(o)?;
        let above = [&dcontext, &dalpha].map(|t| t.as_ref().map(Tensor::data::<T>).transpose());
        let [dcontext, dalpha] = above;
        let (dcontext, dalpha) = (dcontext?, dalpha?);
        for_each_sequence(o, |_, rows, scratch| {
            T::dispatch(Gradient {
                data,
                operands: o,
                rows,
                scratch,
                dcontext,
                dalpha,
                queries,
                keys,
            });
        })?;
        grads.add(o.queries.slot, dq)?;
        match dkv {
            Some(dkv) => grads.add(o.keys.slot, dkv),
            None => Ok(()),
        }
    }
}

/// The backward pass of a sequence.
struct Gradient<'a, T> {
    data: Data<'a, T>,
    operands: &'a Operands,
    rows: &'a SequenceRows,
    scratch: &'a mut Scratch<T>,
    /// `[N, D]`
    dcontext: Option<&'a [T]>,
    /// `[N, S]`
    dalpha: Option<&'a [T]>,
    /// Gradient of the matrix of the queries.
    queries: SharedMut<T>,
    /// Gradient of the matrix of keys and values.
    keys: SharedMut<T>,
}

impl<T: Stored + Dispatch> Task<T> for Gradient<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd<E = T>>(self) {
        let Gradient { rows, scratch, .. } = self;
        let o = self.operands;
        let [_, width, longest] = o.sizes();
        let share = T::ONE / T::from_f64(o.heads as f64);
        for h in 0..o.heads {
            let head = head(self.data, o, rows, h);
            let dc = self.dcontext.map(|data| Part {
                data,
                width,
                first: h * o.depth,
                depth: o.depth,
                rows: &rows.queries,
            });
            let above = self
                .dalpha
                .map(|d| |i: usize| d[rows.queries[i] * longest..].as_ptr());
            let (q_width, k_width) = (head.queries.width, head.keys.width);
            // SAFETY: dispatch chose the set; the rows of a sequence and their columns are its own.
            unsafe {
                head.weights::<S>(scratch);
                let to =
                    |first: usize| move |j: usize| self.keys.at(rows.keys[j] * k_width + first);
                match dc {
                    Some(dc) => head.of_values::<S>(scratch, dc, to(head.values.first)),
                    None => clear(to(head.values.first), rows.keys.len(), o.depth),
                }
                head.scores::<S>(scratch, dc, above, share);
                head.of_keys::<S>(scratch, to(head.keys.first));
                let first = head.queries.first;
                let to = |i: usize| self.queries.at(rows.queries[i] * q_width + first);
                head.of_queries::<S>(scratch, to);
            }
        }
    }
}

/// Zeros in the columns of some rows.
#[inline(always)]
unsafe fn clear<T: Dispatch>(to: impl Fn(usize) -> *mut T, rows: usize, depth: usize) {
    for i in 0..rows {
        for c in 0..depth {
            // SAFETY: the caller vouches for the places.
            unsafe { *to(i).add(c) = T::ZERO };
        }
    }
}
