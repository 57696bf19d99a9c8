//! Choosing the next token from logits: temperature, top-k, nucleus (top-p).

use crate::rng::{Purpose, Reader, Stream};
use crate::{Error, Result};
use rayon::prelude::*;

/// How a token is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SamplingOptions {
    /// Divides the logits; 0 chooses the most likely token.
    pub temperature: f64,
    /// Only this many of the most likely tokens are in play.
    pub top_k: Option<usize>,
    /// Then only the smallest set of the most likely tokens whose mass reaches this share of what
    /// is in play (nucleus sampling: Holtzman et al., "The Curious Case of Neural Text
    /// Degeneration", ICLR 2020).
    pub top_p: Option<f64>,
}

impl SamplingOptions {
    /// Checks the values.
    ///
    /// # Errors
    /// [`Error::Usage`] names the setting: a temperature that is negative or not finite, a top-k of
    /// zero, a top-p outside (0, 1].
    pub fn validate(&self) -> Result<()> {
        if !self.temperature.is_finite() || self.temperature < 0.0 {
            return Err(Error::Usage(format!(
                "temperature {}: give 0 (always the most likely character) or a positive number",
                self.temperature
            )));
        }
        if self.top_k == Some(0) {
            return Err(Error::Usage(
                "top-k 0: give at least 1, or leave it out to keep every character".into(),
            ));
        }
        match self.top_p {
            Some(p) if !(p > 0.0 && p <= 1.0) => Err(Error::Usage(format!(
                "top-p {p}: give a number above 0 and at most 1"
            ))),
            _ => Ok(()),
        }
    }
}

/// Draws tokens for one stream. Nothing is allocated after construction.
///
/// One random word is read for each token unless the temperature is 0.
#[derive(Clone, Debug)]
pub struct Sampler {
    options: SamplingOptions,
    random: Reader,
    mass: Vec<f64>,    // [V] by token, not normalised: the largest is 1
    order: Vec<usize>, // [V] tokens, the most likely first where a filter needs it
    never: Option<usize>,
}

impl Sampler {
    /// A sampler of `vocab` tokens whose draws depend on `seed` and the stream's number alone.
    ///
    /// # Errors
    /// As [`SamplingOptions::validate`].
    pub fn new(options: SamplingOptions, vocab: usize, seed: u64, stream: u32) -> Result<Sampler> {
        options.validate()?;
        Ok(Sampler {
            options,
            random: Stream::new(seed, Purpose::Sample, stream).reader(),
            mass: vec![0.0; vocab],
            order: (0..vocab).collect(),
            never: None,
        })
    }

    /// The same without this token: it is never drawn, and the others share its probability.
    pub fn never(self, token: Option<usize>) -> Self {
        Sampler {
            never: token,
            ..self
        }
    }

    /// The next token for finite `logits`, `[V]`. Ties go to the lowest index.
    pub fn sample(&mut self, logits: &[f32]) -> usize {
        let best = argmax(logits, self.never);
        if self.options.temperature == 0.0 {
            return best;
        }
        let top = f64::from(logits[best]);
        for (mass, &logit) in self.mass.iter_mut().zip(logits) {
            *mass = ((f64::from(logit) - top) / self.options.temperature).exp();
        }
        if let Some(never) = self.never {
            self.mass[never] = 0.0;
        }
        let (kept, total) = self.keep();
        let target = self.random.uniform() * total;
        let mut reached = 0.0;
        let mut chosen = best;
        for &token in &self.order[..kept] {
            // A token without mass is never drawn, even if rounding carries target to the end.
            if self.mass[token] > 0.0 {
                chosen = token;
                reached += self.mass[token];
                if reached > target {
                    break;
                }
            }
        }
        chosen
    }

    /// Orders the tokens if a filter needs it; how many of `order` are in play, and their mass.
    fn keep(&mut self) -> (usize, f64) {
        let SamplingOptions { top_k, top_p, .. } = self.options;
        let mass = &self.mass;
        if top_k.is_none() && top_p.is_none() {
            return (self.order.len(), mass.iter().sum());
        }
        self.order
            .sort_unstable_by(|&a, &b| mass[b].total_cmp(&mass[a]).then(a.cmp(&b)));
        let kept = top_k.unwrap_or(usize::MAX).min(self.order.len());
        let total: f64 = self.order[..kept].iter().map(|&t| mass[t]).sum();
        let Some(p) = top_p else {
            return (kept, total);
        };
        let mut reached = 0.0;
        for (n, &token) in self.order[..kept].iter().enumerate() {
            reached += mass[token];
            if reached >= p * total {
                return (n + 1, reached);
            }
        }
        (kept, total)
    }
}

/// The next token of each stream `ids` for logits `[streams, V]`: as [`Sampler::sample`] of each, on all
/// threads where there are several.
///
/// # Panics
/// If there are not as many samplers and rows of logits as ids, or V is above 2^16.
pub fn sample_all(samplers: &mut [Sampler], logits: &[f32], ids: &mut [u16]) {
    assert_eq!(samplers.len(), ids.len(), "a sampler for each stream");
    let vocab = logits.len() / ids.len();
    assert!(vocab <= 1 << 16, "tokens of 16 bits");
    match (ids, samplers) {
        ([id], [sampler]) => *id = sampler.sample(logits) as u16,
        (ids, samplers) => {
            let streams = ids.par_iter_mut().zip(samplers);
            streams
                .zip(logits.par_chunks_exact(vocab))
                .for_each(|((id, sampler), logits)| *id = sampler.sample(logits) as u16);
        }
    }
}

/// The index of the largest value but that of `never`, the lowest one of equals.
pub(in crate::programs::charlm) fn argmax(logits: &[f32], never: Option<usize>) -> usize {
    let mut best = usize::from(never == Some(0));
    for (i, value) in logits.iter().enumerate() {
        if *value > logits[best] && Some(i) != never {
            best = i;
        }
    }
    best
}
