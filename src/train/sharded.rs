//! A training step whose rows are divided among shards and ranks.

use super::exchange::{Devices, Given, added};
use super::model::Model;
use super::scores::Scores;
use super::shards::Shards;
use super::step::Step;
use crate::error::{Error, Result};
use crate::ranks::message::{Reader, Writer};
use crate::ranks::tree::{self, Known};
use crate::tensor::Tensor;
use std::ops::Range;

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
        let (mut figures, mut sums) = (Vec::new(), Vec::new());
        for node in shards.nodes(shards.ranks().rank()) {
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
        let (figures, sum) = match shards.devices() {
            // A process by itself has all nodes, which are one.
            _ if shards.ranks().is_alone() => (figures, sums.pop().flatten()),
            None => {
                let (figures, sum) = through_hosts(&shards, &figures, &sums, length)?;
                (figures, Some(self.place(&sum)?))
            }
            Some(devices) => through_devices(devices, &shards, &figures, sums, length)?,
        };
        let sum = sum.ok_or_else(|| Error::op("train", "no batch to train on"))?;
        let parts: Vec<Scores> = Scores::of_figures(&figures).collect();
        let tokens = parts.iter().map(|part| part.tokens as usize).sum();
        self.put_sum(sum, tokens);
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
    ) -> Result<Option<Tensor>> {
        self.forget();
        for (batch, rows) in (first..).zip(batches) {
            let rows = shards.rows(rows, shard);
            if rows.is_empty() {
                continue;
            }
            let rows = make(self.model(), &rows)?;
            let number = batch * shards.count() as u64 + shard as u64;
            figures.extend(self.add_scored(&rows, number)?.figures());
        }
        self.take_sum()
    }
}

// ---- through the hosts -----------------------------------------------------------------------

/// The figures of all ranks, and the sum of their nodes, which rank 0 adds.
fn through_hosts(
    shards: &Shards,
    figures: &[f64],
    sums: &[Option<Tensor>],
    length: usize,
) -> Result<(Vec<f64>, Tensor)> {
    let own = written(figures, sums)?;
    let joined = shards
        .ranks()
        .settle(own, |all| join(shards, &all, length))?;
    let mut joined = Reader::new(&joined);
    let figures = joined.f64s()?;
    let sum = joined.f32s()?;
    Ok((figures, Tensor::from_slice(&sum, [sum.len()])?))
}

/// What a rank sends: the figures of its batches, and the sums of its nodes, empty where there is none.
fn written(figures: &[f64], sums: &[Option<Tensor>]) -> Result<Vec<u8>> {
    let mut message = Writer::default();
    message.f64s(figures);
    for sum in sums {
        match sum {
            Some(sum) => message.f32s(sum.to_cpu()?.data()?),
            None => message.f32s(&[]),
        }
    }
    Ok(message.bytes())
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
            let sum = (!sum.is_empty()).then(|| Tensor::from_slice(&sum, [length]));
            nodes.push((node, sum.transpose()?));
        }
    }
    let mut nodes = nodes.into_iter().peekable();
    let given = &mut |node: &Range<usize>| {
        let next = nodes.next_if(|(given, _)| given == node);
        Ok::<_, Error>(next.map_or(Known::Parts, |(_, sum)| Known::Sum(sum)))
    };
    let sum = tree::sum(0..shards.count(), given, &added)?;
    let sum = sum.ok_or_else(|| Error::op("train", "no batch to train on"))?;
    written(&figures, &[Some(sum)])
}

// ---- from device to device -------------------------------------------------------------------

/// The figures of all ranks, which go through the hosts, and the sum of their nodes, which does not. None
/// where no shard has rows.
///
/// That the figures are here says that every rank has come this far: one that hangs is named before its
/// device is waited for.
fn through_devices(
    devices: &Devices,
    shards: &Shards,
    figures: &[f64],
    mut sums: Vec<Option<Tensor>>,
    length: usize,
) -> Result<(Vec<f64>, Option<Tensor>)> {
    let has_rows = |sum: &Option<Tensor>| f64::from(u8::from(sum.is_some()));
    let mut own = Writer::default();
    own.f64s(figures);
    own.f64s(&sums.iter().map(has_rows).collect::<Vec<_>>());
    let joined = shards.ranks().settle(own.bytes(), |all| {
        let (mut figures, mut has_rows) = (Vec::new(), Vec::new());
        for bytes in &all {
            let mut message = Reader::new(bytes);
            figures.extend(message.f64s()?);
            has_rows.extend(message.f64s()?);
        }
        let mut joined = Writer::default();
        joined.f64s(&figures);
        joined.f64s(&has_rows);
        Ok(joined.bytes())
    })?;
    let mut joined = Reader::new(&joined);
    let (figures, has_rows) = (joined.f64s()?, joined.f64s()?);
    let nodes = (0..shards.ranks().size()).flat_map(|rank| {
        let nodes = shards.nodes(rank).into_iter().enumerate();
        nodes.map(move |(slot, node)| (rank, slot, node))
    });
    let given = nodes.zip(&has_rows).map(|((rank, slot, node), has)| Given {
        rank,
        slot,
        node,
        has_rows: *has == 1.0,
    });
    let given: Vec<Given> = given.collect();
    let sum = match shards.is_fast() {
        // A rank is a shard.
        true => {
            let any = given.iter().any(|given| given.has_rows);
            let own = sums.pop().flatten();
            any.then(|| devices.reduced(own, length)).transpose()?
        }
        false => devices.sum((shards.count(), &given), &sums, length)?,
    };
    Ok((figures, sum))
}
