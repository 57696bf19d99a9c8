//! Greedy search: the likeliest token at each step.

use super::run::{Hypothesis, Partial, Run, log_sum, weights};
use crate::data::words::EOS;
use crate::error::Result;
use crate::programs::seq2seq::model::{best_tokens, in_f32};
use crate::tensor::Tensor;
use rayon::prelude::*;

impl Run<'_> {
    pub(super) fn greedy(&mut self, rows: usize) -> Result<Vec<Hypothesis>> {
        let mut outputs = vec![Partial::start(); rows];
        let longest = self.options.max_length;
        let open = |o: &Partial| o.last() != EOS && o.len() < longest;
        for _ in 0..longest {
            if !outputs.iter().any(open) {
                break;
            }
            let last: Vec<u32> = outputs.iter().map(Partial::last).collect();
            let out = self.step(&last)?;
            let alpha = weights(&out)?;
            let scores = in_f32(out.logits.value())?;
            let chosen = best_tokens(&scores, self.options.no_unk)?;
            let gains = gains(&scores, &chosen)?;
            for (row, output) in outputs.iter_mut().enumerate() {
                if !open(output) {
                    continue;
                }
                let (token, gain) = (chosen[row], gains[row]);
                let weights = alpha
                    .as_ref()
                    .map(|a| self.weights_of(a, row))
                    .transpose()?;
                *output = output.extended(token, gain, weights);
            }
        }
        Ok(outputs.into_iter().map(Partial::finish).collect())
    }
}

/// The log-probability of one token of each row.
fn gains(logits: &Tensor, tokens: &[u32]) -> Result<Vec<f64>> {
    let rows = logits.data::<f32>()?.par_chunks(logits.shape().last());
    let gain = |(row, &token): (&[f32], &u32)| f64::from(row[token as usize]) - log_sum(row);
    Ok(rows.zip(tokens).map(gain).collect())
}
