//! Beam search (Graves 2012; Sutskever et al. 2014) with length normalisation: the best hypothesis
//! is that of the largest log-probability divided by a power of its length.
//!
//! At each step the `beam` likeliest continuations of a source's hypotheses are taken. Those that
//! end leave the beam; the rest of it is filled with the next likeliest that go on. The search of a
//! source ends at the largest length, or as soon as `beam` hypotheses have ended and none that goes
//! on has a larger score now than the last of those asked for. One that goes on could still pass
//! them, as a mean can rise: to wait for that would be to search on to the largest length always.

use super::run::{
    DecodeOptions, Grammar, Hypothesis, Partial, Run, Seen, log_total, row_of, worth_moving,
};
use crate::data::words::EOS;
use crate::error::Result;
use crate::programs::seq2seq::model::in_f32;
use crate::tensor::Tensor;
use rayon::prelude::*;
use std::cmp::Ordering;
use std::iter::repeat_n;

/// The hypotheses of one source.
#[derive(Clone, Debug)]
struct Beam {
    /// Those that go on, the likeliest first; fewer than the beam's width at the start.
    open: Vec<Partial>,
    /// Those that have ended, the best first; of equal ones that which ended first.
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
    /// The `n` best hypotheses of each source, at least one, the best first.
    pub(super) fn beams(&mut self, width: usize, n: usize) -> Result<Vec<Vec<Hypothesis>>> {
        let sources = self.sources.len();
        let start = Beam {
            open: vec![Partial::start(&self.grammar)],
            ended: Vec::new(),
        };
        let mut beams = vec![start; sources];
        // Each of them has as many rows of the batch as a beam has hypotheses.
        let mut in_batch: Vec<usize> = (0..sources).collect();
        let rows = in_batch
            .iter()
            .flat_map(|&source| repeat_n(source as u32, width));
        self.from.select(&rows.collect::<Vec<_>>())?;
        for _ in 0..self.options.max_length {
            let rows = in_batch.iter().flat_map(|&source| {
                let open = &beams[source].open;
                (0..width).map(|i| open.get(i).map_or(EOS, Partial::last))
            });
            let out = self.step(&self.model.tokens(&rows.collect::<Vec<_>>())?)?;
            let (logits, seen) = (in_f32(out.logits.value())?, Seen::of(&out)?);
            let mut parents: Vec<u32> = (0..(in_batch.len() * width) as u32).collect();
            for (group, &source) in in_batch.iter().enumerate() {
                let first = group * width;
                let place = (source, first);
                let chosen = self.advance(&mut beams[source], place, (&logits, &seen), n)?;
                for (row, parent) in chosen.into_iter().enumerate() {
                    parents[first + row] = (first + parent) as u32;
                }
            }
            let goes_on = |group: &usize| !beams[in_batch[*group]].open.is_empty();
            let going: Vec<usize> = (0..in_batch.len()).filter(goes_on).collect();
            if going.is_empty() {
                break;
            }
            self.from.reorder(&parents)?;
            if worth_moving(going.len(), in_batch.len()) {
                let rows = going.iter().flat_map(|g| g * width..(g + 1) * width);
                self.from
                    .select(&rows.map(|row| row as u32).collect::<Vec<_>>())?;
                in_batch = going.into_iter().map(|group| in_batch[group]).collect();
            }
        }
        let best = |beam: Beam| {
            let mut found = beam.ended;
            let open = beam.open.into_iter();
            open.for_each(|o| insert(&mut found, o.finish(&self.options)));
            found.truncate(n);
            found
        };
        Ok(beams.into_iter().map(best).collect())
    }

    /// Takes one step of the beam of `source`, whose rows begin at `first`, and says which hypothesis
    /// each of the new ones continues.
    fn advance(
        &self,
        beam: &mut Beam,
        (source, first): (usize, usize),
        (logits, seen): (&Tensor, &Seen),
        n: usize,
    ) -> Result<Vec<usize>> {
        let width = self.options.search.width();
        let candidates = candidates(
            beam,
            (source, first),
            (logits, self.model.copies()),
            (&self.options, &self.grammar),
        )?;
        let (mut open, mut parents) = (Vec::new(), Vec::new());
        for (rank, candidate) in candidates.iter().enumerate() {
            let ends = candidate.token == EOS;
            if (ends && rank >= width) || (!ends && open.len() == width) {
                continue;
            }
            let read = self.read(seen, first + candidate.parent, source)?;
            let mut longer = beam.open[candidate.parent].clone();
            longer.push(
                (candidate.token, candidate.gain),
                read,
                &self.grammar,
                source,
            );
            if ends {
                insert(&mut beam.ended, longer.finish(&self.options));
            } else {
                open.push(longer);
                parents.push(candidate.parent);
            }
        }
        let full = |o: &Partial| o.len() == self.options.max_length;
        if open.first().is_some_and(full) {
            for partial in open.drain(..) {
                insert(&mut beam.ended, partial.finish(&self.options));
            }
        }
        let enough = beam.ended.len() >= width.max(n);
        if enough {
            let last = beam.ended[n - 1].score;
            if open.iter().all(|o| o.score(&self.options) <= last) {
                open.clear();
            }
        }
        parents.truncate(open.len());
        beam.open = open;
        Ok(parents)
    }
}

/// The likeliest continuations, at least as many as can be taken.
fn candidates(
    beam: &Beam,
    (source, first): (usize, usize),
    (logits, copies): (&Tensor, bool),
    (options, grammar): (&DecodeOptions, &Option<Grammar>),
) -> Result<Vec<Candidate>> {
    // Each row has one way to end, so `beam` that go on are among these.
    let most = 2 * options.search.width();
    let rows = beam.open.par_iter().enumerate();
    let rows: Result<Vec<Vec<Candidate>>> = rows
        .map(|(parent, hypothesis)| {
            let row = row_of(logits, first + parent)?;
            let total = log_total(row, copies);
            let candidate = |(token, x): (u32, f32)| {
                let gain = f64::from(x) - total;
                Candidate {
                    log_probability: hypothesis.log_probability + gain,
                    parent,
                    token,
                    gain,
                }
            };
            let tokens = likeliest(row, most, hypothesis.may(options, grammar, source));
            Ok(tokens.into_iter().map(candidate).collect())
        })
        .collect();
    let mut all = rows?.concat();
    all.sort_by(Candidate::order);
    all.truncate(most);
    Ok(all)
}

/// The `most` largest of those that may be chosen, the lower of equal ones, in any order. What is minus
/// infinity cannot be: no token of the source has such an id. Neither can what is not a number.
pub(super) fn likeliest(row: &[f32], most: usize, may: impl Fn(usize) -> bool) -> Vec<(u32, f32)> {
    let mut best: Vec<(u32, f32)> = Vec::with_capacity(2 * most);
    let mut least = f32::NEG_INFINITY;
    for (token, &x) in row.iter().enumerate() {
        if x > least && may(token) {
            best.push((token as u32, x));
            if best.len() == 2 * most {
                keep(&mut best, most);
                least = best[most - 1].1;
            }
        }
    }
    keep(&mut best, most);
    best
}

fn keep(best: &mut Vec<(u32, f32)>, most: usize) {
    best.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    best.truncate(most);
}

/// Puts a hypothesis behind those that are as good as it.
fn insert(found: &mut Vec<Hypothesis>, hypothesis: Hypothesis) {
    let at = found.partition_point(|other| other.score >= hypothesis.score);
    found.insert(at, hypothesis);
}

#[cfg(test)]
mod tests {
    use super::likeliest;

    #[test]
    fn what_is_no_number_or_impossible_is_not_found() {
        let row = [f32::NAN, 1.0, f32::NEG_INFINITY, 3.0, f32::NAN, 2.0, 3.0];
        assert_eq!(likeliest(&row, 2, |_| true), [(3, 3.0), (6, 3.0)]);
        assert_eq!(likeliest(&row, 1, |token| token != 3), [(6, 3.0)]);
        let all = likeliest(&row, 9, |token| token != 5);
        assert_eq!(all, [(3, 3.0), (6, 3.0), (1, 1.0)]);
        assert_eq!(likeliest(&[f32::NAN, f32::NEG_INFINITY], 3, |_| true), []);
    }
}
