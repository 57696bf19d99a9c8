//! **cpu** Rows in parallel, each in registers of the machine's width.

use super::scored::{SoftmaxXent, Targets};
use crate::autograd::{Backward, Grads, Slot, Tape, Var};
use crate::device::cpu::simd::{Dispatch, Simd, Task};
use crate::device::cpu::tile::{MAX_LANES, load_up_to, store_up_to, sum_row};
use crate::error::Result;
use crate::tensor::{Stored, Tensor};
use rayon::prelude::*;

/// Rows that one task takes; fixed, so that the sum over tasks has a fixed order.
pub(in crate::ops) const ROWS: usize = 128;

pub(super) fn run<T: Stored + Dispatch>(
    tape: &mut Tape,
    logits: Var,
    targets: &Tensor,
    smoothing: f64,
) -> Result<SoftmaxXent> {
    let (rows, vocab) = (logits.value().shape().rows(), logits.value().shape().last());
    let mut sums = vec![RowSum::default(); rows];
    let chunks = logits.value().data::<T>()?.par_chunks(ROWS * vocab);
    let parts: Vec<Sums> = chunks
        .zip(targets.data::<u32>()?.par_chunks(ROWS))
        .zip(sums.par_chunks_mut(ROWS))
        .map(|((logits, targets), sums)| {
            T::dispatch(Score {
                logits,
                vocab,
                targets,
                smoothed: smoothing > 0.0,
                sums,
            })
        })
        .collect();
    let all = parts.iter().fold(Sums::default(), |a, b| Sums {
        nll: a.nll + b.nll,
        spread: a.spread + b.spread,
        correct: a.correct + b.correct,
    });
    let mean = |sum: f64| Tensor::scalar(T::from_f64(sum / rows as f64));
    let nll = mean(all.nll);
    let loss = mean(all.nll + smoothing * all.spread);
    let loss = tape.output(loss, [logits.slot()]);
    if loss.slot().is_some() {
        tape.push(Node {
            logits_slot: logits.slot(),
            logits: logits.into_value(),
            sums,
            targets: targets.clone(),
            smoothing,
            loss: loss.slot(),
        });
    }
    let correct = Tensor::scalar(all.correct as u32);
    Ok(SoftmaxXent { loss, nll, correct })
}

/// What some rows add up to.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    /// Negative log-likelihoods.
    nll: f64,
    /// By how much the target's logit is above the mean, where labels are smoothed.
    spread: f64,
    /// Rows predicted right.
    correct: usize,
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

/// The forward pass of some rows.
struct Score<'a, T> {
    logits: &'a [T],
    vocab: usize,
    targets: &'a [u32],
    smoothed: bool,
    sums: &'a mut [RowSum<T>],
}

impl<T: Dispatch> Task<T> for Score<'_, T> {
    type Output = Sums;

    #[inline(always)]
    unsafe fn run<S: Simd<E = T>>(self) -> Sums {
        let mut all = Sums::default();
        let rows = self.logits.chunks(self.vocab).zip(self.targets);
        for ((row, &target), saved) in rows.zip(self.sums) {
            // SAFETY: dispatch chose the set.
            *saved = unsafe { RowSum::of::<S>(row) };
            let RowSum { max, sum } = *saved;
            let of_target = row[target as usize];
            all.nll += sum.to_f64().ln() + (max.to_f64() - of_target.to_f64());
            if self.smoothed {
                // SAFETY: dispatch chose the set.
                let below = unsafe { sum_row::<S>(row, max) }.to_f64() / row.len() as f64;
                all.spread += (of_target.to_f64() - max.to_f64()) - below;
            }
            // Of equal ones the first is the prediction; few targets get as far as the search.
            let right = of_target == max && !row[..target as usize].contains(&max);
            all.correct += usize::from(right);
        }
        all
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

// ---- backward ------------------------------------------------------------------------------

struct Node<T> {
    logits_slot: Option<Slot>,
    logits: Tensor,
    sums: Vec<RowSum<T>>,
    targets: Tensor,
    smoothing: f64,
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
        let targets = Targets {
            ids: &self.targets,
            smoothing: self.smoothing,
        };
        let dlogits = gradient(self.logits, targets, |n| (self.sums[n], scale))?;
        grads.add(self.logits_slot, dlogits)
    }
}

/// The gradient of logits `[N, V]`, in their memory where nobody else holds it: of row n the softmax, less
/// one at its target if that is a column, times a scale; with smoothing the target has less of that, and
/// every column its part. `of_row` gives what its softmax is computed from,
/// and the scale.
pub(in crate::ops) fn gradient<T: Stored + Dispatch>(
    mut logits: Tensor,
    targets: Targets,
    of_row: impl Fn(usize) -> (RowSum<T>, T) + Sync,
) -> Result<Tensor> {
    if !logits.is_unique() {
        logits = Tensor::from_slice(logits.data::<T>()?, logits.shape().clone())?;
    }
    let vocab = logits.shape().last();
    let rows = logits.data_mut::<T>()?.par_chunks_mut(ROWS * vocab);
    let chunks = rows
        .zip(targets.ids.data::<u32>()?.par_chunks(ROWS))
        .enumerate();
    let share = T::from_f64(targets.smoothing / vocab as f64);
    let of_target = T::from_f64(1.0 - targets.smoothing);
    chunks.for_each(|(chunk, (rows, targets))| {
        T::dispatch(Gradient {
            rows,
            vocab,
            targets,
            share,
            of_target,
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
    /// What every class has of a target.
    share: T,
    /// What the target's own has besides.
    of_target: T,
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
            unsafe { row_gradient::<S>(row, max, scale / sum, scale * self.share) };
            if let Some(of_target) = row.get_mut(target as usize) {
                *of_target = *of_target - scale * self.of_target;
            }
        }
    }
}

/// Turns the logits of a row into scale exp(l - max) - less.
#[inline(always)]
unsafe fn row_gradient<S: Simd>(row: &mut [S::E], max: S::E, scale: S::E, less: S::E) {
    // SAFETY: each part of the row is read and written within its length.
    unsafe {
        let (shift, scale, less) = (S::splat(max), S::splat(scale), S::splat(less));
        for part in row.chunks_mut(S::LANES) {
            let (p, n) = (part.as_mut_ptr(), part.len());
            let e = S::mul(scale, S::exp(S::sub(load_up_to::<S>(p, n), shift)));
            store_up_to::<S>(p, S::sub(e, less), n);
        }
    }
}
