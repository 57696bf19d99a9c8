//! Choosing the next token from logits: temperature, top-k, nucleus (top-p).
//!
//! [`Chooser`] makes one choice of a random number; a [`Sampler`] has numbers of its own.

use crate::rng::{Purpose, Reader, Stream};
use crate::{Error, Result};
use rayon::prelude::*;

/// The temperature where no other is given.
pub const TEMPERATURE: f64 = 0.7;

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
                "temperature {}: give 0 (always the likeliest) or a positive number",
                self.temperature
            )));
        }
        if self.top_k == Some(0) {
            return Err(Error::Usage(
                "top-k 0: give at least 1, or leave it out to keep all".into(),
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

/// Chooses tokens from logits. Its memory serves one choice after the other, of any model.
#[derive(Clone, Debug)]
pub struct Chooser {
    options: SamplingOptions,
    mass: Vec<f64>,    // by token, not normalised: the largest is 1
    order: Vec<usize>, // tokens in play, the most likely first where a filter needs it
}

impl Chooser {
    /// One that chooses so.
    ///
    /// # Errors
    /// As [`SamplingOptions::validate`].
    pub fn new(options: SamplingOptions) -> Result<Chooser> {
        options.validate()?;
        Ok(Chooser {
            options,
            mass: Vec::new(),
            order: Vec::new(),
        })
    }

    /// The token that a number of [0, 1) chooses for `logits`, `[V]`, among those that may be chosen:
    /// they share the probability of all, then the filters keep some of them. `draw` is asked for the
    /// number unless the temperature is 0. Ties go to the lowest index; of logits that are no numbers
    /// any token may come, and none where none may.
    pub fn choose(
        &mut self,
        logits: &[f32],
        may: impl Fn(usize) -> bool,
        draw: impl FnOnce() -> f64,
    ) -> Option<usize> {
        let Chooser { mass, order, .. } = self;
        order.clear();
        order.extend((0..logits.len()).filter(|&token| may(token)));
        let likelier = |best: usize, token: usize| match logits[token] > logits[best] {
            true => token,
            false => best,
        };
        let best = order.iter().copied().reduce(likelier)?;
        if self.options.temperature == 0.0 {
            return Some(best);
        }
        let top = f64::from(logits[best]);
        mass.resize(logits.len(), 0.0);
        for &token in &*order {
            mass[token] = ((f64::from(logits[token]) - top) / self.options.temperature).exp();
        }
        let (kept, total) = self.keep();
        let target = draw() * total;
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
        Some(chosen)
    }

    /// Orders the tokens if a filter needs it; how many of `order` are in play, and their mass.
    fn keep(&mut self) -> (usize, f64) {
        let SamplingOptions { top_k, top_p, .. } = self.options;
        let mass = &self.mass;
        if top_k.is_none() && top_p.is_none() {
            let all = self.order.iter().map(|&token| mass[token]);
            return (self.order.len(), all.sum());
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

/// Draws tokens for one stream. Nothing is allocated after construction.
///
/// One random word is read for each token unless the temperature is 0.
#[derive(Clone, Debug)]
pub struct Sampler {
    chooser: Chooser,
    random: Reader,
    never: Option<usize>,
}

impl Sampler {
    /// A sampler of `vocab` tokens whose draws depend on `seed` and the stream's number alone.
    ///
    /// # Errors
    /// As [`SamplingOptions::validate`].
    pub fn new(options: SamplingOptions, vocab: usize, seed: u64, stream: u32) -> Result<Sampler> {
        let mut chooser = Chooser::new(options)?;
        chooser.mass.reserve(vocab);
        chooser.order.reserve(vocab);
        Ok(Sampler {
            chooser,
            random: Stream::new(seed, Purpose::Sample, stream).reader(),
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
    ///
    /// # Panics
    /// If there is no token but the one that is never drawn.
    pub fn sample(&mut self, logits: &[f32]) -> usize {
        let Sampler {
            chooser,
            random,
            never,
        } = self;
        let token = chooser.choose(logits, |token| Some(token) != *never, || random.uniform());
        token.expect("a token that may be drawn")
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
