//! **cpu** Rows in parallel, each in registers of the machine's width.

use super::scored::SoftmaxXent;
use crate::autograd::{Backward, Grads, Slot, Tape, Var};
use crate::device::cpu::simd::{Dispatch, Simd, Task};
use crate::error::Result;
use crate::tensor::{Stored, Tensor};
use rayon::prelude::*;

/// Rows that one task takes; fixed, so that the sum over tasks has a fixed order.
pub(in crate::ops) const ROWS: usize = 128;

pub(super) fn run<T: Stored + Dispatch>(
    tape: &mut Tape,
    logits: Var,
    targets: &Tensor,
) -> Result<SoftmaxXent> {
    let (rows, vocab) = (logits.value().shape().rows(), logits.value().shape().last());
    let mut sums = vec![RowSum::default(); rows];
    let chunks = logits.value().data::<T>()?.par_chunks(ROWS * vocab);
    let parts: Vec<(f64, usize)> = chunks
        .zip(targets.data::<u32>()?.par_chunks(ROWS))
        .zip(sums.par_chunks_mut(ROWS))
        .map(|((logits, targets), sums)| {
            T::dispatch(Score {
                logits,
                vocab,
                targets,
                sums,
            })
        })
        .collect();
    let (nll, correct) = parts
        .iter()
        .fold((0.0, 0), |(a, b), &(x, y)| (a + x, b + y));
    let loss = Tensor::scalar(T::from_f64(nll / rows as f64));
    let loss = tape.output(loss, [logits.slot()]);
    if loss.slot().is_some() {
        tape.push(Node {
            logits_slot: logits.slot(),
            logits: logits.into_value(),
            sums,
            targets: targets.clone(),
            loss: loss.slot(),
        });
    }
    let correct = Tensor::scalar(correct as u32);
    Ok(SoftmaxXent { loss, correct })
}

/// What a row's softmax is computed from.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::ops) struct RowSum<T> {
    /// The largest logit.
    pub max: T,
    /// Sum of exp(l - max).
    pub sum: T,
}

impl<T: Dispatch> RowSum<T> {
    /// Of a row.
    #[inline(always)]
    pub unsafe fn of<S: Simd<E = T>>(row: &[T]) -> Self {
        // SAFETY: the caller vouches for the set; the helpers stay within the row.
        unsafe {
            let max = row_max::<S>(row);
            let sum = row_exp_sum::<S>(row, max);
            RowSum { max, sum }
        }
    }

    /// log of the sum of the exponentials.
    pub fn log(self) -> f64 {
        self.max.to_f64() + self.sum.to_f64().ln()
    }
}

/// The forward pass of some rows: their summed loss and the number predicted right.
struct Score<'a, T> {
    logits: &'a [T],
    vocab: usize,
    targets: &'a [u32],
    sums: &'a mut [RowSum<T>],
}

impl<T: Dispatch> Task<T> for Score<'_, T> {
    type Output = (f64, usize);

    #[inline(always)]
    unsafe fn run<S: Simd<E = T>>(self) -> (f64, usize) {
        let (mut nll, mut correct) = (0.0, 0);
        let rows = self.logits.chunks(self.vocab).zip(self.targets);
        for ((row, &target), saved) in rows.zip(self.sums) {
            // SAFETY: dispatch chose the set.
            *saved = unsafe { RowSum::of::<S>(row) };
            let RowSum { max, sum } = *saved;
            let of_target = row[target as usize];
            nll += sum.to_f64().ln() + (max.to_f64() - of_target.to_f64());
            // Of equal ones the first is the prediction; few targets get as far as the search.
            let right = of_target == max && !row[..target as usize].contains(&max);
            correct += usize::from(right);
        }
        (nll, correct)
    }
}

/// log of the sum of the exponentials of a row.
pub fn log_sum<T: Dispatch>(row: &[T]) -> f64 {
    T::dispatch(LogSum(row))
}

struct LogSum<'a, T>(&'a [T]);

impl<T: Dispatch> Task<T> for LogSum<'_, T> {
    type Output = f64;

    #[inline(always)]
    unsafe fn run<S: Simd<E = T>>(self) -> f64 {
        // SAFETY: dispatch chose the set.
        unsafe { RowSum::of::<S>(self.0) }.log()
    }
}

/// The largest element of a row.
#[inline(always)]
unsafe fn row_max<S: Simd>(row: &[S::E]) -> S::E {
    let mut best = row[0];
    let whole = row.len() / S::LANES * S::LANES;
    if whole > 0 {
        // SAFETY: only whole registers of the row are read.
        unsafe {
            let mut max = S::load(row.as_ptr());
            for i in (S::LANES..whole).step_by(S::LANES) {
                max = S::max(max, S::load(row.as_ptr().add(i)));
            }
            let mut lanes = [best; MAX_LANES];
            S::store(lanes.as_mut_ptr(), max);
            for &x in &lanes[..S::LANES] {
                best = if x > best { x } else { best };
            }
        }
    }
    for &x in &row[whole..] {
        best = if x > best { x } else { best };
    }
    best
}

/// The sum of exp(l - max) of a row.
#[inline(always)]
unsafe fn row_exp_sum<S: Simd>(row: &[S::E], max: S::E) -> S::E {
    use crate::dtype::Float;
    let mut lanes = [S::E::ZERO; MAX_LANES];
    // SAFETY: parts of the row are read, LANES elements of `lanes` are written.
    unsafe {
        let shift = S::splat(max);
        let mut sum = S::splat(S::E::ZERO);
        let mut tail = 0;
        for part in row.chunks(S::LANES) {
            if part.len() == S::LANES {
                sum = S::add(sum, S::exp(S::sub(S::load(part.as_ptr()), shift)));
            } else {
                tail = part.len();
                let e = S::exp(S::sub(S::load_part(part.as_ptr(), tail), shift));
                S::store(lanes.as_mut_ptr(), e);
            }
        }
        let mut total = S::E::ZERO;
        lanes[..tail].iter().for_each(|&x| total += x);
        S::store(lanes.as_mut_ptr(), sum);
        lanes[..S::LANES].iter().for_each(|&x| total += x);
        total
    }
}

/// At least the lanes of any instruction set.
const MAX_LANES: usize = 16;

// ---- backward ------------------------------------------------------------------------------

struct Node<T> {
    logits_slot: Option<Slot>,
    logits: Tensor,
    sums: Vec<RowSum<T>>,
    targets: Tensor,
    loss: Option<Slot>,
}

impl<T: Stored + Dispatch> Backward for Node<T> {
    fn name(&self) -> &'static str {
        "softmax_xent"
    }

    fn backward(self: Box<Self>, grads: &mut Grads) -> Result<()> {
        let Some(dloss) = grads.take(self.loss) else {
            return Ok(());
        };
        let scale = T::from_f64(dloss.item()? / self.sums.len() as f64);
        let dlogits = gradient(self.logits, &self.targets, |n| (self.sums[n], scale))?;
        grads.add(self.logits_slot, dlogits)
    }
}

/// The gradient of logits `[N, V]`, in their memory where nobody else holds it: of row n the softmax, less
/// one at its target if that is a column, times a scale. `of_row` gives what its softmax is computed from,
/// and the scale.
pub(in crate::ops) fn gradient<T: Stored + Dispatch>(
    mut logits: Tensor,
    targets: &Tensor,
    of_row: impl Fn(usize) -> (RowSum<T>, T) + Sync,
) -> Result<Tensor> {
    if !logits.is_unique() {
        logits = Tensor::from_slice(logits.data::<T>()?, logits.shape().clone())?;
    }
    let vocab = logits.shape().last();
    let rows = logits.data_mut::<T>()?.par_chunks_mut(ROWS * vocab);
    let chunks = rows
        .zip(targets.data::<u32>()?.par_chunks(ROWS))
        .enumerate();
    chunks.for_each(|(chunk, (rows, targets))| {
        T::dispatch(Gradient {
            rows,
            vocab,
            targets,
            first: chunk * ROWS,
            of_row: &of_row,
        });
    });
    Ok(logits)
}

/// Turns some rows of logits into their gradients.
struct Gradient<'a, T, F> {
    rows: &'a mut [T],
    vocab: usize,
    targets: &'a [u32],
    /// The number of the first row.
    first: usize,
    of_row: &'a F,
}

impl<T: Dispatch, F: Fn(usize) -> (RowSum<T>, T)> Task<T> for Gradient<'_, T, F> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd<E = T>>(self) {
        let rows = self.rows.chunks_mut(self.vocab).zip(self.targets);
        for (i, (row, &target)) in rows.enumerate() {
            let (RowSum { max, sum }, scale) = (self.of_row)(self.first + i);
            // SAFETY: dispatch chose the set.
            unsafe { row_gradient::<S>(row, max, scale / sum) };
            if let Some(of_target) = row.get_mut(target as usize) {
                *of_target = *of_target - scale;
            }
        }
    }
}

/// Turns the logits of a row into scale exp(l - max).
#[inline(always)]
unsafe fn row_gradient<S: Simd>(row: &mut [S::E], max: S::E, scale: S::E) {
    // SAFETY: each part of the row is read and written within its length.
    unsafe {
        let (shift, scale) = (S::splat(max), S::splat(scale));
        for part in row.chunks_mut(S::LANES) {
            let (p, n) = (part.as_mut_ptr(), part.len());
            if n == S::LANES {
                S::store(p, S::mul(scale, S::exp(S::sub(S::load(p), shift))));
            } else {
                let x = S::load_part(p, n);
                S::store_part(p, S::mul(scale, S::exp(S::sub(x, shift))), n);
            }
        }
    }
}
