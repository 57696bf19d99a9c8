//! Rounds of steps that each rank takes by itself; see [`outer`](crate::train::outer).
//!
//! Adam's moments become their means over the ranks, which the paper leaves to each of them: so all ranks
//! are equal when a round ends, and what rank 0 saves then is all there is to go on from.

use super::Step;
use super::state::State;
use crate::error::{Error, Result};
use crate::files::state::{LossScaler, TrainState};
use crate::ranks::message::{Reader, Writer};
use crate::tensor::Tensor;
use crate::train::model::Model;
use crate::train::outer::{Local, mean};
use crate::train::scores::Scores;
use crate::train::shards::Shards;

impl<M: Model> Step<M> {
    /// Trains what comes next, and returns the figures of its steps: one step, as [`Step::train_rows`], or
    /// where ranks train by themselves a round of as many steps as there are `rates`, the learning rates.
    /// `rows` gives the batches of the n-th of them, as numbers of their rows, and the number of the random
    /// streams of the first one; `make` makes a batch in the memory of the model's device. `state` is where
    /// the run stands.
    ///
    /// # Errors
    /// As [`Step::train_rows`].
    pub fn train_next<'a>(
        &mut self,
        state: &TrainState,
        rates: &[f64],
        rows: impl Fn(usize) -> (Vec<&'a [u32]>, u64),
        make: impl Fn(&M, &[u32]) -> Result<M::Batch>,
    ) -> Result<Vec<Scores>> {
        let shards = self.shards.clone();
        let Some(local) = shards.local() else {
            self.set_rates(rates)?;
            let (batches, first) = rows(0);
            return Ok(vec![self.train_rows(&batches, first, make)?]);
        };
        if rates.is_empty() {
            return Err(Error::op("train", "no step to train"));
        }
        // Rank 0 takes the outer step from there.
        let base = match self.outer {
            Some(_) => self.weights()?,
            None => Vec::new(),
        };
        let (mut figures, mut scaler) = (Vec::new(), state.loss_scaler);
        for (step, rate) in rates.iter().enumerate() {
            self.set_rates(&[*rate])?;
            let (batches, first) = rows(step);
            let scores = self.train_own(&shards, &batches, first, &make)?;
            scaler = scores.and_then(|s| s.scaler).or(scaler);
            // It may have had no rows.
            let scores = scores.unwrap_or_default();
            figures.extend(Scores { scaler, ..scores }.figures());
        }
        let own = message(&figures, &self.state()?);
        let outer = self.outer.as_mut();
        let joined = shards
            .ranks()
            .settle(own, |all| join(local, base, outer, &all))?;
        self.end_round(state, (shards.count(), rates.len()), &joined)
    }

    /// A step of this rank by itself, on its rows of the batches; none where it has none.
    fn train_own(
        &mut self,
        shards: &Shards,
        batches: &[&[u32]],
        first: u64,
        make: &impl Fn(&M, &[u32]) -> Result<M::Batch>,
    ) -> Result<Option<Scores>> {
        // A call that failed may have left something.
        self.forget();
        let (rank, ranks) = (shards.ranks().rank(), shards.count() as u64);
        let mut parts = Vec::new();
        for (batch, rows) in (first..).zip(batches) {
            let rows = shards.rows(rows, rank);
            if !rows.is_empty() {
                let rows = make(&self.model, &rows)?;
                parts.push(self.add_scored(&rows, batch * ranks + rank as u64)?);
            }
        }
        match parts.is_empty() {
            true => Ok(None),
            false => self.finish_scored(&parts).map(Some),
        }
    }

    /// Takes on what the ranks have settled, and returns the figures of the round's steps.
    fn end_round(
        &mut self,
        state: &TrainState,
        (ranks, steps): (usize, usize),
        joined: &[u8],
    ) -> Result<Vec<Scores>> {
        let mut joined = Reader::new(joined);
        let figures: Vec<Scores> = Scores::of_figures(&joined.f64s()?).collect();
        let mut next = || joined.f32s();
        let settled = State {
            weights: next()?,
            m: next()?,
            v: next()?,
        };
        // Of each rank those of all steps.
        let of_ranks: Vec<&[Scores]> = figures.chunks_exact(steps).collect();
        if of_ranks.len() != ranks {
            return Err(Error::op("train", "figures of a rank are missing"));
        }
        let mut scaler = state.loss_scaler.filter(|_| self.is_mixed());
        let (mut updates, mut scores) = (state.adam_step, Vec::with_capacity(steps));
        for step in 0..steps {
            let of_step: Vec<Scores> = of_ranks.iter().map(|of| of[step]).collect();
            let s = of_all(&of_step, scaler)?;
            scaler = s.scaler.or(scaler);
            updates += u64::from(!s.skipped);
            scores.push(s);
        }
        self.put_state(&settled, updates, scaler)?;
        Ok(scores)
    }
}

/// The figures of a step over all ranks: means by token, and the largest norm. Where a rank has skipped it
/// for an overflow, it counts as skipped; the least loss scale is that of all.
fn of_all(ranks: &[Scores], before: Option<LossScaler>) -> Result<Scores> {
    let parts = ranks.iter().copied().filter(|s| s.tokens > 0.0);
    let parts: Vec<Scores> = parts.collect();
    let joined = Scores::joined(&parts);
    let joined = joined.ok_or_else(|| Error::op("train", "no batch to train on"))?;
    let skipped = parts.iter().any(|s| s.skipped);
    let norms = parts.iter().map(|s| s.grad_norm);
    let scalers = || ranks.iter().filter_map(|s| s.scaler);
    let scaler = before.map(|before| {
        let scales = scalers().map(|s| s.scale);
        let scale = scales.reduce(f64::min);
        let lacks = || Error::op("train", "no rank sends its loss scale");
        Ok(LossScaler {
            scale: scale.ok_or_else(lacks)?,
            good_steps: scalers().map(|s| s.good_steps).min().unwrap_or(0),
            skipped: before.skipped + u64::from(skipped),
        })
    });
    Ok(Scores {
        grad_norm: match norms.clone().all(f64::is_finite) {
            true => norms.fold(0.0, f64::max),
            false => f64::INFINITY,
        },
        scaler: scaler.transpose()?,
        skipped,
        ..joined
    })
}

fn message(figures: &[f64], state: &State) -> Vec<u8> {
    let mut message = Writer::default();
    message.f64s(figures);
    for list in [&state.weights, &state.m, &state.v] {
        message.f32s(list);
    }
    message.bytes()
}

/// At rank 0: the figures of all ranks, the weights after the outer step from `weights`, and the means of
/// the moments.
fn join(
    local: Local,
    mut weights: Vec<f32>,
    momentum: Option<&mut Tensor>,
    all: &[Vec<u8>],
) -> Result<Vec<u8>> {
    let mut figures = Vec::new();
    let mut lists: [Vec<Vec<f32>>; 3] = Default::default();
    for (rank, bytes) in all.iter().enumerate() {
        let mut message = Reader::new(bytes);
        figures.extend(message.f64s()?);
        for lists in &mut lists {
            let list = message.f32s()?;
            if list.len() != weights.len() {
                return Err(Error::Ranks(format!(
                    "rank {rank} has {} parameters, and rank 0 has {}: start every rank with the same \
                     command",
                    list.len(),
                    weights.len()
                )));
            }
            lists.push(list);
        }
    }
    let [w, m, v] = &lists;
    let differences = mean(all.len(), |rank| {
        let pairs = weights.iter().zip(&w[rank]);
        Ok(pairs.map(|(a, b)| f64::from(*a) - f64::from(*b)).collect())
    })?;
    let momentum = momentum.ok_or_else(|| Error::op("train", "rank 0 has no outer optimizer"))?;
    local.take(&mut weights, momentum.data_mut::<f32>()?, &differences);
    let of = |lists: &[Vec<f32>]| -> Result<Vec<f32>> {
        let mean = mean(all.len(), |rank| {
            Ok(lists[rank].iter().map(|x| f64::from(*x)).collect())
        })?;
        Ok(mean.into_iter().map(|x| x as f32).collect())
    };
    let (m, v) = (of(m)?, of(v)?);
    Ok(message(&figures, &State { weights, m, v }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(tokens: f64, norm: f64, scale: f64, skipped: bool) -> Scores {
        Scores {
            loss: tokens + 1.0,
            ce: tokens,
            correct: 2,
            tokens,
            grad_norm: norm,
            scaler: Some(LossScaler {
                scale,
                good_steps: scale as u32 / 2,
                skipped: 9,
            }),
            skipped,
        }
    }

    #[test]
    fn the_figures_of_a_step_are_those_of_all_ranks() {
        let ranks = [scores(1.0, 0.5, 8.0, false), scores(3.0, 0.25, 4.0, false)];
        let before = Some(LossScaler::FIRST);
        let s = of_all(&ranks, before).unwrap();
        // (1 * 1 + 3 * 3) / 4
        assert_eq!((s.ce, s.loss, s.correct, s.tokens), (2.5, 3.5, 4, 4.0));
        let scaler = s.scaler.unwrap();
        assert_eq!(
            (scaler.scale, scaler.good_steps, scaler.skipped),
            (4.0, 2, 0)
        );
        assert_eq!((s.grad_norm, s.skipped), (0.5, false));
        // One that had no rows says what its loss scale is, and nothing else.
        let idle = Scores {
            scaler: ranks[1].scaler,
            ..Scores::default()
        };
        let s = of_all(&[ranks[0], idle], before).unwrap();
        assert_eq!((s.ce, s.tokens, s.grad_norm), (1.0, 1.0, 0.5));
        assert_eq!(s.scaler.unwrap().scale, 4.0);
        assert_eq!(of_all(&ranks, None).unwrap().scaler, None);
        assert!(of_all(&[idle], None).is_err());
        let without = Scores {
            scaler: None,
            ..ranks[0]
        };
        let error = of_all(&[without], before).unwrap_err().to_string();
        assert!(error.contains("no rank sends its loss scale"), "{error}");
    }

    #[test]
    fn a_step_that_a_rank_has_skipped_counts_as_skipped() {
        let ranks = [
            scores(1.0, 0.5, 8.0, false),
            scores(1.0, f64::NAN, 4.0, true),
        ];
        let s = of_all(&ranks, Some(LossScaler::FIRST)).unwrap();
        assert!(s.skipped && !s.grad_norm.is_finite());
        assert_eq!(s.scaler.unwrap().skipped, 1);
    }
}
