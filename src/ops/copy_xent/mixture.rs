//! The mixture itself, for decoding: log-probabilities of the extended vocabulary. No gradient.

use super::cpu::{Mixed, Source, log_add, log_sigmoid};
use super::{Copies, check, gpu};
use crate::device::cpu::simd::Dispatch;
use crate::error::Result;
use crate::ops::softmax_xent::log_sum;
use crate::tensor::{Stored, Tensor, for_float};
use rayon::prelude::*;

/// log p of every token of the extended vocabulary `[N, V + S]`, minus infinity where no position of a
/// row holds an id from V on; of logits `[N, V]`, the gate's logit `[N]` and alpha `[N, S]`. f32 on a
/// GPU.
///
/// # Errors
/// As [`copy_xent`](super::copy_xent()).
pub fn copy_mixture(
    logits: &Tensor,
    gate: &Tensor,
    alpha: &Tensor,
    copies: Copies,
) -> Result<Tensor> {
    check(logits, gate, alpha, copies)?;
    if let Some(gpu) = logits.gpu() {
        return gpu::mixture(gpu, logits, gate, alpha, copies);
    }
    for_float!("copy_xent", logits.dtype(), T => on_cpu::<T>(logits, gate, alpha, copies))
}

fn on_cpu<T: Stored + Dispatch>(
    logits: &Tensor,
    gate: &Tensor,
    alpha: &Tensor,
    copies: Copies,
) -> Result<Tensor> {
    let (vocab, longest) = (logits.shape().last(), copies.spans.longest());
    let mut mixture = Tensor::uninit::<T>([logits.shape().rows(), vocab + longest]);
    let source = Source::<T>::of(alpha, copies)?;
    let (logits, gates) = (logits.data::<T>()?, gate.data::<T>()?);
    let rows = mixture.data_mut::<T>()?.par_chunks_mut(vocab + longest);
    rows.zip(logits.par_chunks(vocab))
        .enumerate()
        .for_each(|(n, (to, row))| {
            let (ids, alpha) = source.row(n);
            let gate = gates[n].to_f64();
            let mixed = Mixed {
                row,
                max: T::ZERO,
                log_sum: log_sum(row),
                log_gate: log_sigmoid(gate),
                log_copy: log_sigmoid(-gate),
                ids,
                alpha,
            };
            let shift = mixed.log_gate - mixed.log_sum;
            let (words, others) = to.split_at_mut(vocab);
            for (to, logit) in words.iter_mut().zip(row) {
                *to = T::from_f64(logit.to_f64() + shift);
            }
            others.fill(T::from_f64(f64::NEG_INFINITY));
            for &id in ids {
                let mass = mixed.mass(id).filter(|&mass| mass > 0.0);
                let Some((mass, to)) = mass.zip(to.get_mut(id as usize)) else {
                    continue;
                };
                let part = mixed.log_copy + mass.ln();
                *to = T::from_f64(log_add(mixed.log_vocabulary(id), part));
            }
        });
    Ok(mixture)
}

/// Ids `[B]`, with `unknown` for those from `vocab` on: what the decoder reads of them.
///
/// # Errors
/// If the device fails.
pub fn known(ids: &Tensor, vocab: usize, unknown: u32) -> Result<Tensor> {
    if let Some(gpu) = ids.gpu() {
        return gpu::known(gpu, ids, vocab, unknown);
    }
    let ids_known = ids.data::<u32>()?.iter();
    let ids_known: Vec<u32> = ids_known
        .map(|&id| if (id as usize) < vocab { id } else { unknown })
        .collect();
    Tensor::from_slice(&ids_known, ids.shape().clone())
}
