//! How likely a model holds targets: log p(y | x) = sum_t log p(y_t | y_1 .. y_{t-1}, x), the end `<EOS>`
//! included.
//!
//! The decoder reads the true tokens and nothing is dropped out, as in the loss; of a model that copies p
//! is the mixture. What neither the vocabulary nor the source has is scored as `<UNK>`. Softmax and sums
//! are in f64; decoding's are in f32, so a greedy output has the log-probability that it was written with to
//! about 1e-6 a token.

use super::data::{Example, SeqData};
use super::model::{Seq2Seq, in_f32};
use crate::autograd::Tape;
use crate::data::split::Split;
use crate::data::words::UNK;
use crate::error::Result;
use crate::programs::position::Position;
use crate::train::model::Model;

/// The longest target that is scored, in tokens: each keeps a distribution over the vocabulary.
pub const MAX_TARGET: usize = 10_000;

/// Target tokens of a forward pass, where not a single target has more.
const CHUNK: usize = 2048;

/// How likely a model holds the targets of some pairs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Likelihood {
    /// Pairs.
    pub pairs: usize,
    /// Tokens of the targets, and the end of each.
    pub tokens: usize,
    /// -log p of the targets, in nats.
    pub nats: f64,
}

/// A target, and what a model holds likely at each of its places.
#[derive(Clone, Debug)]
pub struct Scored<'a> {
    /// The pair.
    pub example: &'a Example,
    /// Its target's tokens, `<EOS>` last. Ids are those of the extended vocabulary for a model that copies.
    pub positions: Vec<Position<'a>>,
}

impl Likelihood {
    /// Scores the pairs of a split. `each` gets every target, with the sums up to there, as long as it
    /// says true.
    ///
    /// # Errors
    /// If the device fails, and those of `each`.
    pub fn of(
        model: &Seq2Seq,
        data: &SeqData,
        split: Split,
        mut each: impl FnMut(&Likelihood, &Scored) -> Result<bool>,
    ) -> Result<Self> {
        let examples = data.examples(split);
        let mut sums = Likelihood::default();
        let mut first = 0;
        while first < examples.len() {
            let count = fitting(&examples[first..]);
            let numbers: Vec<u32> = (first..first + count).map(|n| n as u32).collect();
            let batch = data.batch(split, &numbers)?;
            let mut tape = Tape::inference();
            let params = model.params().bind(&mut tape);
            let found = model.logits(&mut tape, &params, &model.inputs(&batch)?)?;
            let logits = in_f32(found.logits.value())?;
            let (width, logits) = (logits.shape().last(), logits.data::<f32>()?);
            let mut rows = vec![0; count];
            for (row, &pair) in batch.order.iter().enumerate() {
                rows[pair] = row;
            }
            for (example, row) in examples[first..].iter().zip(rows) {
                let steps = 0..batch.packing.length(row);
                let places = steps.filter_map(|t| batch.packing.row(t, row));
                let classes =
                    data.target.len() + example.extended.as_ref().map_or(0, |e| e.unknown.len());
                let position =
                    |at: usize| Position::new(batch.targets[at], &logits[at * width..][..classes]);
                let scored = Scored {
                    example,
                    positions: places.map(position).collect(),
                };
                sums.pairs += 1;
                sums.tokens += scored.positions.len();
                sums.nats += scored.nats();
                if !each(&sums, &scored)? {
                    return Ok(sums);
                }
            }
            first += count;
        }
        Ok(sums)
    }

    /// Mean loss in nats a token.
    pub fn loss(&self) -> f64 {
        self.nats / self.tokens as f64
    }
}

impl Scored<'_> {
    /// -log p of the target, in nats.
    pub fn nats(&self) -> f64 {
        -self.positions.iter().map(Position::log_p).sum::<f64>()
    }

    /// Tokens that were scored as `<UNK>`.
    pub fn unknown(&self) -> usize {
        self.positions.iter().filter(|p| p.id == UNK).count()
    }
}

/// How many of the examples, at least one, are scored in one pass.
fn fitting(examples: &[Example]) -> usize {
    let mut tokens = 0;
    let fit = examples.iter().take_while(|example| {
        tokens += example.target_ids.len() + 1;
        tokens <= CHUNK
    });
    fit.count().max(1)
}
