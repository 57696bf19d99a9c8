//! Beam search (Graves 2012; Sutskever et al. 2014) with length normalisation: the best hypothesis
//! is that of the largest log-probability divided by a power of its length.
//!
//! At each step the `beam` likeliest continuations of a source's hypotheses are taken. Those that
//! end leave the beam; the rest of it is filled with the next likeliest that go on. The search of a
//! source ends at the largest length, or as soon as `beam` hypotheses have ended and none that goes
//! on has a larger score now than the last of those asked for. One that goes on could still pass
//! them, as a mean can rise: to wait for that would be to search on to the largest length always.

use super::likeliest::Descending;
use super::run::{Hypothesis, Partial, Request, Run, Seen, log_total, row_of, worth_moving};
use crate::data::words::EOS;
use crate::error::Result;
use crate::programs::seq2seq::model::in_f32;
use crate::tensor::Tensor;
use rayon::prelude::*;
use std::cmp::Ordering;
use std::iter::repeat_n;
use std::mem::take;

/// The hypotheses of one source.
#[derive(Clone, Debug, Default)]
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
        let sources = self.request.sources.len();
        let start = Beam {
            open: vec![Partial::start(&self.request)],
            ended: Vec::new(),
        };
        let mut beams = vec![start; sources];
        // Each of them has as many rows of the batch as a beam has hypotheses.
        let mut in_batch: Vec<usize> = (0..sources).collect();
        let rows = in_batch
            .iter()
            .flat_map(|&source| repeat_n(source as u32, width));
        self.from.select(&rows.collect::<Vec<_>>())?;
        for _ in 0..self.request.options.max_length {
            let rows = in_batch.iter().flat_map(|&source| {
                let open = &beams[source].open;
                (0..width).map(|i| open.get(i).map_or(EOS, Partial::last))
            });
            let out = self.step(&self.model.tokens(&rows.collect::<Vec<_>>())?)?;
            let (logits, seen) = (in_f32(out.logits.value())?, Seen::of(&out)?);
            let mut parents: Vec<u32> = (0..(in_batch.len() * width) as u32).collect();
            let (request, copies) = (&self.request, self.model.copies());
            let read = (&logits, copies, &seen);
            let groups = parents.par_chunks_mut(width).zip(&in_batch).enumerate();
            let taken: Vec<Beam> = in_batch.iter().map(|&s| take(&mut beams[s])).collect();
            let advanced = groups
                .zip(taken)
                .map(|((group, (parents, &source)), mut beam)| {
                    let first = group * width;
                    let chosen = beam.advance(request, (source, first), read, n)?;
                    for (parent, chosen) in parents.iter_mut().zip(chosen) {
                        *parent = (first + chosen) as u32;
                    }
                    Ok((source, beam))
                });
            for (source, beam) in advanced.collect::<Result<Vec<_>>>()? {
                beams[source] = beam;
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
            open.for_each(|o| insert(&mut found, o.finish(&self.request.options)));
            found.truncate(n);
            found
        };
        Ok(beams.into_iter().map(best).collect())
    }
}

impl Beam {
    /// Takes one step of the beam of `source`, whose rows begin at `first`, and says which hypothesis
    /// each of the new ones continues.
    fn advance(
        &mut self,
        request: &Request,
        (source, first): (usize, usize),
        (logits, copies, seen): (&Tensor, bool, &Seen),
        n: usize,
    ) -> Result<Vec<usize>> {
        let options = &request.options;
        let width = options.search.width();
        let candidates = candidates(self, (source, first), (logits, copies), request)?;
        let (mut open, mut parents) = (Vec::new(), Vec::new());
        for (rank, candidate) in candidates.iter().enumerate() {
            let ends = candidate.token == EOS;
            if (ends && rank >= width) || (!ends && open.len() == width) {
                continue;
            }
            let read = request.read(seen, first + candidate.parent, source)?;
            let mut longer = self.open[candidate.parent].clone();
            longer.push((candidate.token, candidate.gain), read, request, source);
            if ends {
                insert(&mut self.ended, longer.finish(options));
            } else {
                open.push(longer);
                parents.push(candidate.parent);
            }
        }
        let full = |o: &Partial| o.len() == options.max_length;
        if open.first().is_some_and(full) {
            for partial in open.drain(..) {
                insert(&mut self.ended, partial.finish(options));
            }
        }
        let enough = self.ended.len() >= width.max(n);
        if enough {
            let last = self.ended[n - 1].score;
            if open.iter().all(|o| o.score(options) <= last) {
                open.clear();
            }
        }
        parents.truncate(open.len());
        self.open = open;
        Ok(parents)
    }
}

/// The likeliest continuations, the likeliest first: all that can be taken, which are `beam` that go on and those
/// that end among the first `beam`. Of one hypothesis those of larger logits come first.
fn candidates(
    beam: &Beam,
    (source, first): (usize, usize),
    (logits, copies): (&Tensor, bool),
    request: &Request,
) -> Result<Vec<Candidate>> {
    let width = request.options.search.width();
    let rows = (0..beam.open.len()).into_par_iter();
    let totals = rows.map(|parent| Ok(log_total(row_of(logits, first + parent)?, copies)));
    let totals = totals.collect::<Result<Vec<f64>>>()?;
    let mut ways = Vec::with_capacity(beam.open.len());
    for (parent, (hypothesis, total)) in beam.open.iter().zip(totals).enumerate() {
        let row = row_of(logits, first + parent)?;
        let candidate = move |(token, x): (u32, f32)| {
            let gain = f64::from(x) - total;
            Candidate {
                log_probability: hypothesis.log_probability + gain,
                parent,
                token,
                gain,
            }
        };
        let tokens = Descending::of(row, width, hypothesis.may(request, source));
        ways.push(tokens.map(candidate).peekable());
    }
    let (mut found, mut going) = (Vec::with_capacity(2 * width), 0);
    while going < width {
        let heads = ways.iter_mut().enumerate();
        let heads = heads.filter_map(|(way, tokens)| Some((*tokens.peek()?, way)));
        let Some((head, way)) = heads.min_by(|(a, _), (b, _)| a.order(b)) else {
            break;
        };
        ways[way].next();
        going += usize::from(head.token != EOS);
        found.push(head);
    }
    Ok(found)
}

/// Puts a hypothesis behind those that are as good as it.
fn insert(found: &mut Vec<Hypothesis>, hypothesis: Hypothesis) {
    let at = found.partition_point(|other| other.score >= hypothesis.score);
    found.insert(at, hypothesis);
}
