//! A training step whose rows are divided among shards and ranks.

use super::model::Model;
use super::scores::Scores;
use super::shards::Shards;
use super::step::Step;
use crate::error::{Error, Result};
use crate::ranks::message::{Reader, Writer};
use crate::ranks::tree::{self, Known};
use std::ops::Range;

/// The figures that a rank sends of a batch.
const FIGURES: usize = 4;

impl<M: Model> Step<M> {
    /// Trains one step on several batches, given as the numbers of their rows, of which `make` makes a
    /// batch in the memory of the model's device. `first` numbers the random streams of the first one,
    /// as if each had but one shard.
    ///
    /// With one shard it is [`Step::train_all`]. With more, a rank takes the rows of its own ones, shard
    /// by shard, each in all batches, and the ranks exchange what they have added up: all of them then
    /// take the same step.
    ///
    /// # Errors
    /// Those of `make`; if there is no row, the device fails, or a rank is lost.
    pub fn train_rows(
        &mut self,
        batches: &[&[u32]],
        first: u64,
        make: impl Fn(&M, &[u32]) -> Result<M::Batch>,
    ) -> Result<Scores> {
        if self.shards().is_whole() {
            let made = batches.iter().map(|rows| make(self.model(), rows));
            let made = made.collect::<Result<Vec<_>>>()?;
            return self.train_all(&made, first);
        }
        let shards = self.shards().clone();
        let ranks = shards.ranks().clone();
        let (mut figures, mut sums) = (Vec::new(), Vec::new());
        for node in shards.nodes(ranks.rank()) {
            let shard = &mut |node: &Range<usize>| match node.len() {
                1 => {
                    let numbers = (first, node.start);
                    let sum = self.shard(&shards, batches, numbers, &make, &mut figures)?;
                    Ok::<_, Error>(Known::Sum(sum))
                }
                _ => Ok(Known::Parts),
            };
            sums.push(tree::sum(node, shard, &added)?);
        }
        let length = self.layout().len();
        let own = written(&figures, &sums);
        let joined = ranks.settle(own, |all| join(&shards, &all, length))?;
        let mut joined = Reader::new(&joined);
        let figures = joined.f64s()?;
        let parts: Vec<Scores> = figures.chunks_exact(FIGURES).map(scores).collect();
        let tokens = parts.iter().map(|part| part.tokens as usize).sum();
        self.put_sum(&joined.f32s()?, tokens)?;
        self.finish_scored(&parts)
    }

    /// The gradient of a shard's rows in all batches, times tokens; none without rows.
    fn shard(
        &mut self,
        shards: &Shards,
        batches: &[&[u32]],
        (first, shard): (u64, usize),
        make: &impl Fn(&M, &[u32]) -> Result<M::Batch>,
        figures: &mut Vec<f64>,
    ) -> Result<Option<Vec<f32>>> {
        self.forget();
        for (batch, rows) in (first..).zip(batches) {
            let rows = shards.rows(rows, shard);
            if rows.is_empty() {
                continue;
            }
            let rows = make(self.model(), &rows)?;
            let number = batch * shards.count() as u64 + shard as u64;
            let s = self.add_scored(&rows, number)?;
            figures.extend([s.loss, s.ce, s.correct as f64, s.tokens]);
        }
        self.take_sum()
    }
}

fn added(mut sum: Vec<f32>, more: Vec<f32>) -> Vec<f32> {
    sum.iter_mut()
        .zip(more)
        .for_each(|(sum, more)| *sum += more);
    sum
}

fn scores(figures: &[f64]) -> Scores {
    Scores {
        loss: figures[0],
        ce: figures[1],
        correct: figures[2] as usize,
        tokens: figures[3],
        grad_norm: 0.0,
        scaler: None,
        skipped: false,
    }
}

/// What a rank sends: the figures of its batches, and the sums of its nodes, empty where there is none.
fn written(figures: &[f64], sums: &[Option<Vec<f32>>]) -> Vec<u8> {
    let mut message = Writer::default();
    message.f64s(figures);
    for sum in sums {
        message.f32s(sum.as_deref().unwrap_or_default());
    }
    message.bytes()
}

/// At rank 0: all figures in the order of the shards, and the whole sum.
fn join(shards: &Shards, all: &[Vec<u8>], length: usize) -> Result<Vec<u8>> {
    let (mut figures, mut nodes) = (Vec::new(), Vec::new());
    for (rank, bytes) in all.iter().enumerate() {
        let mut message = Reader::new(bytes);
        figures.extend(message.f64s()?);
        for node in shards.nodes(rank) {
            let sum = message.f32s()?;
            if ![0, length].contains(&sum.len()) {
                return Err(Error::Ranks(format!(
                    "rank {rank} has {} parameters, and rank 0 has {length}: start every rank with the \
                     same command",
                    sum.len()
                )));
            }
            nodes.push((node, (!sum.is_empty()).then_some(sum)));
        }
    }
    let mut nodes = nodes.into_iter().peekable();
    let given = &mut |node: &Range<usize>| {
        let next = nodes.next_if(|(given, _)| given == node);
        Ok::<_, Error>(next.map_or(Known::Parts, |(_, sum)| Known::Sum(sum)))
    };
    let sum = tree::sum(0..shards.count(), given, &added)?;
    let sum = sum.ok_or_else(|| Error::op("train", "no batch to train on"))?;
    Ok(written(&figures, &[Some(sum)]))
}
