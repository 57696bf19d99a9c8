//! Pairs whose sources and targets have tokens that are no words, for models that copy.

use super::{batch, random_pairs};
use rnnx::data::words::UNK;
use rnnx::programs::seq2seq::copying::Extended;
use rnnx::programs::seq2seq::data::SeqBatch;
use rnnx::programs::seq2seq::decode::SourceIds;
use rnnx::programs::seq2seq::model::Seq2SeqSizes;

/// A pair with the extended ids of both sides.
pub struct Pair {
    pub source: Vec<u32>,
    /// As the decoder reads it.
    pub target: Vec<u32>,
    pub extended: Extended,
}

impl Pair {
    /// Of a target vocabulary of so many words.
    pub fn new(source: Vec<u32>, extended: Extended, words: u32) -> Self {
        let known = extended.target.iter();
        Pair {
            target: known.map(|&id| if id < words { id } else { UNK }).collect(),
            source,
            extended,
        }
    }

    pub fn source(&self) -> SourceIds<'_> {
        SourceIds {
            ids: &self.source,
            extended: Some(&self.extended),
        }
    }
}

/// Random pairs. Of the target's tokens every other one stands in its source, a third of which is
/// unknown.
pub fn pairs(sizes: Seq2SeqSizes, count: usize) -> Vec<Pair> {
    let v = sizes.target_vocab as u32;
    let pair = |(source, target): (Vec<u32>, Vec<u32>)| {
        let place = |(j, &id): (usize, &u32)| match j % 3 {
            0 => v + (id % 4),
            _ => 4 + id % (v - 4),
        };
        let held: Vec<u32> = source.iter().enumerate().map(place).collect();
        let asked = target.iter().enumerate().map(|(i, &id)| match i % 2 {
            0 => held[i % held.len()],
            _ => [id, UNK][usize::from(id == 5)],
        });
        let extended = Extended {
            target: asked.collect(),
            source: held,
            unknown: ["p", "q", "r", "s"].map(str::to_owned).to_vec(),
        };
        Pair::new(source, extended, v)
    };
    let plain = random_pairs(sizes, count, 6).into_iter();
    plain.map(pair).collect()
}

pub fn batch_of(pairs: &[Pair]) -> SeqBatch {
    let plain = pairs.iter().map(|p| (p.source.clone(), p.target.clone()));
    let extended: Vec<&Extended> = pairs.iter().map(|p| &p.extended).collect();
    let batch = batch(&plain.collect::<Vec<_>>());
    batch.with_copies(&extended).unwrap()
}

pub fn sources(pairs: &[Pair]) -> Vec<SourceIds<'_>> {
    pairs.iter().map(Pair::source).collect()
}
