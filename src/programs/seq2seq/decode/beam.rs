//! Beam search (Graves 2012; Sutskever et al. 2014) with length normalisation: the best hypothesis
//! is that of the largest mean log-probability a token.
//!
//! At each step the `beam` likeliest continuations of a source's hypotheses are taken. Those that
//! end leave the beam; the rest of it is filled with the next likeliest that go on. The search of a
//! source ends with `beam` ended hypotheses of which one is better than all that go on, or at the
//! largest length.

use super::run::{Hypothesis, Partial, Run, Seen, row_of};
use crate::data::words::EOS;
use crate::error::Result;
use crate::ops::likeliest::log_sum;
use crate::programs::seq2seq::model::{allowed, in_f32};
use crate::tensor::Tensor;
use rayon::prelude::*;
use std::cmp::Ordering;

/// The hypotheses of one source.
#[derive(Clone, Debug)]
struct Beam {
    /// Those that go on, the likeliest first; fewer than the beam's width at the start.
    open: Vec<Partial>,
    ended: Vec<Hypothesis>,
}

/// A hypothesis continued with a token.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    log_probability: f64,
    parent: usize,
    token: u32,
    gain: f64,
}

impl Candidate {
    /// The likelier first; then the lower hypothesis, then the lower token.
    fn order(&self, other: &Self) -> Ordering {
        let likelier = other.log_probability.total_cmp(&self.log_probability);
        likelier.then((self.parent, self.token).cmp(&(other.parent, other.token)))
    }
}

impl Run<'_> {
    pub(super) fn beams(&mut self, sources: usize, width: usize) -> Result<Vec<Hypothesis>> {
        let start = Beam {
            open: vec![Partial::start()],
            ended: Vec::new(),
        };
        let mut beams = vec![start; sources];
        for _ in 0..self.options.max_length {
            if beams.iter().all(|b| b.open.is_empty()) {
                break;
            }
            let last = |i: usize| {
                beams[i / width]
                    .open
                    .get(i % width)
                    .map_or(EOS, Partial::last)
            };
            let tokens: Vec<u32> = (0..sources * width).map(last).collect();
            let out = self.step(&self.model.tokens(&tokens)?)?;
            let (logits, seen) = (in_f32(out.logits.value())?, Seen::of(&out)?);
            let mut parents: Vec<u32> = (0..(sources * width) as u32).collect();
            for (source, beam) in beams.iter_mut().enumerate() {
                let first = source * width;
                let chosen = self.advance(beam, first, &logits, &seen)?;
                for (row, parent) in chosen.into_iter().enumerate() {
                    parents[first + row] = (first + parent) as u32;
                }
            }
            self.reorder(&parents)?;
        }
        Ok(beams.into_iter().map(Beam::best).collect())
    }

    /// Takes one step of a beam whose rows begin at `first`, and says which hypothesis each of the
    /// new ones continues.
    fn advance(
        &self,
        beam: &mut Beam,
        first: usize,
        logits: &Tensor,
        seen: &Seen,
    ) -> Result<Vec<usize>> {
        let width = self.options.search.width();
        let candidates = self.candidates(beam, first, logits)?;
        let (mut open, mut parents) = (Vec::new(), Vec::new());
        for (rank, candidate) in candidates.iter().enumerate() {
            let parent = &beam.open[candidate.parent];
            let ends = candidate.token == EOS;
            if (ends && rank >= width) || (!ends && open.len() == width) {
                continue;
            }
            let row = first + candidate.parent;
            let read = self.read(seen, row)?;
            let longer = parent.extended(candidate.token, candidate.gain, read);
            if ends {
                beam.ended.push(longer.finish());
            } else {
                open.push(longer);
                parents.push(candidate.parent);
            }
        }
        let full = open
            .first()
            .is_some_and(|o| o.len() == self.options.max_length);
        if full {
            beam.ended.extend(open.drain(..).map(Partial::finish));
        }
        let best = beam
            .ended
            .iter()
            .map(|e| e.score)
            .fold(f64::NEG_INFINITY, f64::max);
        if beam.ended.len() >= width && open.iter().all(|o| o.score() <= best) {
            open.clear();
        }
        parents.truncate(open.len());
        beam.open = open;
        Ok(parents)
    }

    /// The likeliest continuations, at least as many as can be taken.
    fn candidates(&self, beam: &Beam, first: usize, logits: &Tensor) -> Result<Vec<Candidate>> {
        // Each row has one way to end, so `beam` that go on are among these.
        let most = 2 * self.options.search.width();
        let rows: Result<Vec<Vec<Candidate>>> = beam
            .open
            .par_iter()
            .enumerate()
            .map(|(parent, hypothesis)| {
                let row = row_of(logits, first + parent)?;
                let total = log_sum(row);
                let tokens = row.iter().enumerate();
                let tokens = tokens.filter(|(token, _)| allowed(*token, self.options.no_unk));
                let mut all: Vec<Candidate> = tokens
                    .map(|(token, &x)| {
                        let gain = f64::from(x) - total;
                        Candidate {
                            log_probability: hypothesis.log_probability + gain,
                            parent,
                            token: token as u32,
                            gain,
                        }
                    })
                    .collect();
                if all.len() > most {
                    all.select_nth_unstable_by(most, Candidate::order);
                    all.truncate(most);
                }
                Ok(all)
            })
            .collect();
        let mut all = rows?.concat();
        all.sort_by(Candidate::order);
        all.truncate(most);
        Ok(all)
    }
}

impl Beam {
    /// The hypothesis of the largest score; of equal ones the first that ended.
    fn best(self) -> Hypothesis {
        let open = self.open.into_iter().map(Partial::finish);
        let all = self.ended.into_iter().chain(open);
        let best = all.reduce(|best, next| match next.score > best.score {
            true => next,
            false => best,
        });
        best.unwrap_or_else(|| Partial::start().finish())
    }
}
