//! **cpu** Rows in parallel, each in registers of the machine's width.

use super::{Copies, TINY};
use crate::autograd::{Backward, Grads, Slot, Tape, Var};
use crate::data::spans::Spans;
use crate::device::cpu::simd::{Dispatch, Simd, Task};
use crate::error::Result;
use crate::ops::softmax_xent::SoftmaxXent;
use crate::ops::softmax_xent::cpu::{ROWS, RowSum, gradient};
use crate::tensor::{Stored, Tensor};
use rayon::prelude::*;

pub(super) fn run<T: Stored + Dispatch>(
    tape: &mut Tape,
    logits: Var,
    [gate, alpha]: [&Var; 2],
    copies: Copies,
    targets: &Tensor,
) -> Result<SoftmaxXent> {
    let (rows, vocab) = (logits.value().shape().rows(), logits.value().shape().last());
    let mut shares = vec![Share::default(); rows];
    let source = Source::<T>::of(alpha.value(), copies)?;
    let gates = gate.value().data::<T>()?;
    let chunks = logits.value().data::<T>()?.par_chunks(ROWS * vocab);
    let parts: Vec<(f64, usize)> = chunks
        .zip(targets.data::<u32>()?.par_chunks(ROWS))
        .zip(shares.par_chunks_mut(ROWS))
        .enumerate()
        .map(|(chunk, ((logits, targets), shares))| {
            T::dispatch(Score {
                logits,
                vocab,
                first: chunk * ROWS,
                gates,
                source,
                targets,
                shares,
            })
        })
        .collect();
    let (nll, correct) = parts
        .iter()
        .fold((0.0, 0), |(a, b), &(x, y)| (a + x, b + y));
    let loss = Tensor::scalar(T::from_f64(nll / rows as f64));
    let loss = tape.output(loss, [logits.slot(), gate.slot(), alpha.slot()]);
    if loss.slot().is_some() {
        tape.push(Node {
            slots: [logits.slot(), gate.slot(), alpha.slot()],
            logits: logits.into_value(),
            gate: gate.value().clone(),
            shares,
            ids: copies.ids.clone(),
            rows: copies.rows.clone(),
            spans: copies.spans.clone(),
            targets: targets.clone(),
            loss: loss.slot(),
        });
    }
    let correct = Tensor::scalar(correct as u32);
    let nll = loss.value().clone();
    Ok(SoftmaxXent { loss, nll, correct })
}

/// What can be copied, and how much attention it has.
#[derive(Clone, Copy)]
pub(super) struct Source<'a, T> {
    /// `[N, S]`
    alpha: &'a [T],
    /// `[M]`
    ids: &'a [u32],
    /// `[N]`
    rows: &'a [u32],
    spans: &'a Spans,
}

impl<'a, T: Stored> Source<'a, T> {
    pub(super) fn of(alpha: &'a Tensor, copies: Copies<'a>) -> Result<Self> {
        Ok(Source {
            alpha: alpha.data()?,
            ids: copies.ids.data()?,
            rows: copies.rows.data()?,
            spans: copies.spans,
        })
    }

    /// The ids that row n can copy, position by position, and their attention weights.
    pub(super) fn row(&self, n: usize) -> (&'a [u32], &'a [T]) {
        let b = self.rows[n] as usize;
        let length = self.spans.len(b);
        (
            &self.ids[self.spans.start(b)..][..length],
            &self.alpha[n * self.spans.longest()..][..length],
        )
    }
}

/// What a row's gradients are computed from.
#[derive(Clone, Copy, Debug, Default)]
struct Share<T> {
    /// Of the logits.
    sum: RowSum<T>,
    /// r, the vocabulary's share in p(target).
    vocabulary: T,
    /// g - r.
    gate: T,
    /// (1 - r) / A.
    copy: T,
}

/// The forward pass of some rows: their summed loss and the number predicted right.
struct Score<'a, T> {
    logits: &'a [T],
    vocab: usize,
    /// The number of the first row.
    first: usize,
    /// z of all rows.
    gates: &'a [T],
    source: Source<'a, T>,
    targets: &'a [u32],
    shares: &'a mut [Share<T>],
}

impl<T: Stored + Dispatch> Task<T> for Score<'_, T> {
    type Output = (f64, usize);

    #[inline(always)]
    unsafe fn run<S: Simd<E = T>>(self) -> (f64, usize) {
        let (mut nll, mut correct) = (0.0, 0);
        let rows = self.logits.chunks(self.vocab).zip(self.targets);
        for (i, ((row, &target), saved)) in rows.zip(self.shares).enumerate() {
            // SAFETY: dispatch chose the set.
            let sum = unsafe { RowSum::of::<S>(row) };
            let (ids, alpha) = self.source.row(self.first + i);
            let gate = self.gates[self.first + i].to_f64();
            let mixed = Mixed {
                row,
                max: sum.max,
                log_sum: sum.sum.to_f64().ln(),
                log_gate: log_sigmoid(gate),
                log_copy: log_sigmoid(-gate),
                ids,
                alpha,
            };
            let (log_p, share) = mixed.score(target, sum);
            *saved = share;
            nll -= log_p;
            correct += usize::from(mixed.chooses(target));
        }
        (nll, correct)
    }
}

/// A row's two distributions.
pub(super) struct Mixed<'a, T> {
    /// Logits `[V]`.
    pub row: &'a [T],
    /// The largest of them.
    pub max: T,
    /// log of the sum of exp(l - max).
    pub log_sum: f64,
    /// log g.
    pub log_gate: f64,
    /// log(1 - g).
    pub log_copy: f64,
    /// What the positions hold.
    pub ids: &'a [u32],
    /// Their attention weights.
    pub alpha: &'a [T],
}

impl<T: Stored + Dispatch> Mixed<'_, T> {
    /// log g + log softmax(l)_id; minus infinity of an id outside the vocabulary.
    pub fn log_vocabulary(&self, id: u32) -> f64 {
        let logit = self.row.get(id as usize);
        logit.map_or(f64::NEG_INFINITY, |l| {
            self.log_gate + (l.to_f64() - self.max.to_f64() - self.log_sum)
        })
    }

    /// A of an id; none where no position holds it.
    pub fn mass(&self, id: u32) -> Option<f64> {
        let held = self.ids.iter().zip(self.alpha).filter(|(i, _)| **i == id);
        let weights = held.map(|(_, alpha)| alpha.to_f64());
        weights.fold(None, |sum, alpha| Some(sum.unwrap_or(0.0) + alpha))
    }

    /// log p(target), and what its gradients are computed from; `sum` is that of the logits.
    fn score(&self, target: u32, sum: RowSum<T>) -> (f64, Share<T>) {
        let log_vocabulary = self.log_vocabulary(target);
        // A target outside the vocabulary has no other part.
        let mass = self
            .mass(target)
            .or((log_vocabulary.is_infinite()).then_some(0.0));
        let log_copy = mass.map_or(f64::NEG_INFINITY, |mass| self.log_copy + log_of_mass(mass));
        let log_p = log_add(log_vocabulary, log_copy);
        let [vocabulary, copy] = [log_vocabulary, log_copy].map(|part| (part - log_p).exp());
        let share = Share {
            sum,
            vocabulary: T::from_f64(vocabulary),
            gate: T::from_f64(self.log_gate.exp() - vocabulary),
            copy: T::from_f64(mass.map_or(0.0, |mass| copy / mass.max(TINY))),
        };
        (log_p, share)
    }

    /// p of an id.
    fn p(&self, id: u32) -> f64 {
        let copied = self.mass(id).unwrap_or(0.0) * self.log_copy.exp();
        self.log_vocabulary(id).exp() + copied
    }

    /// Whether an id is the likeliest of the extended vocabulary; of equals that is the lowest.
    fn chooses(&self, id: u32) -> bool {
        let p = self.p(id);
        let largest = (self.log_gate - self.log_sum).exp();
        let before = &self.row[..self.row.len().min(id as usize)];
        if p < largest || (p == largest && before.contains(&self.max)) {
            return false;
        }
        // What is copied may be likelier than the likeliest word.
        self.ids.iter().all(|&other| {
            let of_other = self.p(other);
            of_other < p || (of_other == p && other >= id)
        })
    }
}

/// log sigmoid(z)
pub(super) fn log_sigmoid(z: f64) -> f64 {
    z.min(0.0) - (-z.abs()).exp().ln_1p()
}

/// log(exp(a) + exp(b)), not both minus infinity.
pub(super) fn log_add(a: f64, b: f64) -> f64 {
    let (large, small) = (a.max(b), a.min(b));
    large + (small - large).exp().ln_1p()
}

/// log A, and below [`TINY`] its tangent there.
fn log_of_mass(mass: f64) -> f64 {
    mass.max(TINY).ln() + (mass / TINY - 1.0).min(0.0)
}

// ---- backward ------------------------------------------------------------------------------

struct Node<T> {
    /// Of logits, gate and alpha.
    slots: [Option<Slot>; 3],
    logits: Tensor,
    gate: Tensor,
    shares: Vec<Share<T>>,
    ids: Tensor,
    rows: Tensor,
    spans: Spans,
    targets: Tensor,
    loss: Option<Slot>,
}

impl<T: Stored + Dispatch> Backward for Node<T> {
    fn name(&self) -> &'static str {
        "copy_xent"
    }

    fn backward(self: Box<Self>, grads: &mut Grads) -> Result<()> {
        let Some(dloss) = grads.take(self.loss) else {
            return Ok(());
        };
        let scale = T::from_f64(dloss.item()? / self.shares.len() as f64);
        let [logits_slot, gate_slot, alpha_slot] = self.slots;
        if gate_slot.is_some() {
            let dz: Vec<T> = self.shares.iter().map(|s| s.gate * scale).collect();
            grads.add(
                gate_slot,
                Tensor::from_slice(&dz, self.gate.shape().clone())?,
            )?;
        }
        if alpha_slot.is_some() {
            grads.add(alpha_slot, self.dalpha(scale)?)?;
        }
        if logits_slot.is_none() {
            return Ok(());
        }
        let of_row = |n: usize| (self.shares[n].sum, scale * self.shares[n].vocabulary);
        let dlogits = gradient(self.logits, (&self.targets).into(), of_row)?;
        grads.add(logits_slot, dlogits)
    }
}

impl<T: Stored + Dispatch> Node<T> {
    /// The gradient of the attention weights.
    fn dalpha(&self, scale: T) -> Result<Tensor> {
        let longest = self.spans.longest();
        let mut dalpha = Tensor::zeros::<T>([self.shares.len(), longest]);
        let (ids, of_batch) = (self.ids.data::<u32>()?, self.rows.data::<u32>()?);
        let targets = self.targets.data::<u32>()?.iter().zip(&self.shares);
        let rows = dalpha.data_mut::<T>()?.chunks_mut(longest).zip(of_batch);
        for ((row, &b), (target, share)) in rows.zip(targets) {
            let held = &ids[self.spans.start(b as usize)..][..self.spans.len(b as usize)];
            let gradient = T::ZERO - scale * share.copy;
            for (to, _) in row.iter_mut().zip(held).filter(|(_, id)| *id == target) {
                *to = gradient;
            }
        }
        Ok(dalpha)
    }
}
