//! Pairs of sequences as ids, and batches of them without padding.
//!
//! A source is the first tokens of a docstring, a target those of its code; [`super::tokens`] says what
//! tokens are. The decoder reads `<SOS> tokens` and is asked for `tokens <EOS>`.

use super::tokens::{Limits, PairTokens, SeqVocab, TokenChoice, split_all};
use crate::data::packing::Packing;
use crate::data::pairs::{Pair, Splits};
use crate::data::spans::Spans;
use crate::data::split::Split;
use crate::data::tokens::Tokenizers;
use crate::data::words::{EOS, SOS, WordVocab};
use crate::programs::seq2seq::copying::{Extended, ExtendedVocab};
use crate::rng::{Purpose, Stream};
use crate::{Error, Result};

/// A pair, cut to the limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// The docstring as it stands in the data.
    pub docstring: String,
    /// The whole code as it stands in the data.
    pub code: String,
    /// Tokens of the source.
    pub source: Vec<String>,
    /// Tokens of the target.
    pub target: Vec<String>,
    /// Ids of the source's tokens, at least one.
    pub source_ids: Vec<u32>,
    /// Ids of the target's tokens, at least one, without `<SOS>` and `<EOS>`.
    pub target_ids: Vec<u32>,
    /// Ids in the extended vocabulary of the source, for a model that copies.
    pub extended: Option<Extended>,
}

/// How many pairs were longer than the limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// Pairs whose source was cut.
    pub sources: usize,
    /// Pairs whose target was cut.
    pub targets: usize,
}

/// The three splits as ids, with the vocabularies.
#[derive(Clone, Debug)]
pub struct SeqData {
    /// Which token a source id stands for.
    pub source: WordVocab,
    /// Which token a target id stands for.
    pub target: WordVocab,
    /// How text becomes tokens.
    pub tokenizers: Tokenizers,
    /// What the limits cut.
    pub cut: Cut,
    splits: [Vec<Example>; 3],
}

impl SeqData {
    /// The data with the tokenizers and vocabularies of its training split.
    ///
    /// # Errors
    /// [`Error::Data`] if no token is frequent enough to have an id.
    pub fn new(splits: &Splits, limits: Limits, choice: TokenChoice) -> Result<Self> {
        let tokenizers = choice.tokenizers(splits, limits.source)?;
        let tokens = split_all(splits, &tokenizers, limits);
        let vocab = SeqVocab::of(&tokens[0], &tokenizers, limits.min_frequency)?;
        Self::of_tokens(splits, tokens, vocab, limits)
    }

    /// The data with the tokenizers and vocabularies of a saved model.
    ///
    /// # Errors
    /// [`Error::Data`] for a pair without tokens.
    pub fn with_vocab(splits: &Splits, vocab: SeqVocab, limits: Limits) -> Result<Self> {
        let tokens = split_all(splits, &vocab.tokenizers, limits);
        Self::of_tokens(splits, tokens, vocab, limits)
    }

    fn of_tokens(
        splits: &Splits,
        tokens: [Vec<PairTokens>; 3],
        vocab: SeqVocab,
        limits: Limits,
    ) -> Result<Self> {
        let SeqVocab {
            source,
            target,
            tokenizers,
        } = vocab;
        let mut cut = Cut::default();
        let mut encode = |pairs: &[Pair], tokens: Vec<PairTokens>| -> Result<Vec<Example>> {
            let examples = pairs.iter().zip(tokens).map(|(pair, tokens)| {
                cut.sources += usize::from(tokens.cut.0);
                cut.targets += usize::from(tokens.cut.1);
                encode(pair, tokens, (&source, &target), limits.copy)
            });
            examples.collect()
        };
        let [train, valid, test] = tokens;
        let splits = [
            encode(&splits.train, train)?,
            encode(&splits.valid, valid)?,
            encode(&splits.test, test)?,
        ];
        Ok(SeqData {
            source,
            target,
            tokenizers,
            cut,
            splits,
        })
    }

    /// The vocabularies as a file has them.
    pub fn vocab(&self) -> SeqVocab {
        SeqVocab {
            source: self.source.clone(),
            target: self.target.clone(),
            tokenizers: self.tokenizers.clone(),
        }
    }

    /// The pairs of a split.
    pub fn examples(&self, split: Split) -> &[Example] {
        &self.splits[split as usize]
    }

    /// Training batches an epoch; the last one may be smaller.
    pub fn steps_per_epoch(&self, batch_size: usize) -> usize {
        self.examples(Split::Train).len().div_ceil(batch_size)
    }

    /// The batches of an epoch, as numbers of training pairs. With `pool` above 1, pairs of like
    /// length are put together within pools of that many batches, and the batches shuffled.
    pub fn epoch_batches(
        &self,
        (seed, epoch): (u64, u32),
        batch_size: usize,
        shuffle: bool,
        pool: usize,
    ) -> Vec<Vec<u32>> {
        let examples = self.examples(Split::Train);
        let mut order: Vec<u32> = (0..examples.len() as u32).collect();
        let mut random = Stream::new(seed, Purpose::Shuffle, epoch).reader();
        if shuffle {
            random.shuffle(&mut order);
        }
        if pool > 1 {
            for pool in order.chunks_mut(pool.saturating_mul(batch_size)) {
                let length = |&i: &u32| {
                    let example = &examples[i as usize];
                    (example.target_ids.len(), example.source_ids.len())
                };
                pool.sort_by_key(length);
            }
        }
        let mut batches: Vec<Vec<u32>> = order.chunks(batch_size).map(<[u32]>::to_vec).collect();
        if shuffle && pool > 1 {
            random.shuffle(&mut batches);
        }
        batches
    }

    /// All pairs of a split in their order, in batches.
    pub fn batches(&self, split: Split, batch_size: usize) -> Vec<Vec<u32>> {
        let numbers: Vec<u32> = (0..self.examples(split).len() as u32).collect();
        numbers.chunks(batch_size).map(<[u32]>::to_vec).collect()
    }

    /// The batch of some pairs of a split. Panics for a pair that is not there.
    ///
    /// # Errors
    /// [`Error::Op`] for no pairs.
    pub fn batch(&self, split: Split, pairs: &[u32]) -> Result<SeqBatch> {
        let examples = self.examples(split);
        let of = |&i: &u32| {
            let example = &examples[i as usize];
            (&example.source_ids[..], &example.target_ids[..])
        };
        let batch = SeqBatch::new(&pairs.iter().map(of).collect::<Vec<_>>())?;
        let extended = pairs
            .iter()
            .map(|&i| examples[i as usize].extended.as_ref());
        match extended.collect::<Option<Vec<_>>>() {
            Some(extended) => batch.with_copies(&extended),
            None => Ok(batch),
        }
    }
}

/// A pair with the ids of its tokens.
fn encode(
    pair: &Pair,
    tokens: PairTokens,
    (source, target): (&WordVocab, &WordVocab),
    copy: bool,
) -> Result<Example> {
    if tokens.source.is_empty() || tokens.target.is_empty() {
        return Err(Error::Data(format!(
            "a pair has no tokens: docstring {:?}, code {:?}",
            pair.docstring, pair.code
        )));
    }
    Ok(Example {
        docstring: pair.docstring.clone(),
        code: pair.code.clone(),
        source_ids: source.encode(tokens.source.iter().map(String::as_str)),
        target_ids: target.encode(tokens.target.iter().map(String::as_str)),
        extended: copy.then(|| ExtendedVocab::new(target, &tokens.source).pair(&tokens.target)),
        source: tokens.source,
        target: tokens.target,
    })
}

// ---- batches -------------------------------------------------------------------------------

/// Some pairs, packed. Encoder rows stand in the order of their sources' lengths, decoder rows in
/// that of their targets'; equal lengths keep the order of the pairs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeqBatch {
    /// The source side.
    pub source: SourceBatch,
    /// The pair of each decoder row: its place among those the batch was made from.
    pub order: Vec<usize>,
    /// Steps of the decoder.
    pub packing: Packing,
    /// Packed rows of the decoder's input: `<SOS>` and the target's tokens.
    pub inputs: Vec<u32>,
    /// Packed rows of what is asked for: the target's tokens and `<EOS>`.
    pub targets: Vec<u32>,
    /// The decoder row of each packed row.
    pub rows: Vec<u32>,
}

/// The source side of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceBatch {
    /// Steps of the encoder.
    pub packing: Packing,
    /// Packed rows of the source's tokens.
    pub ids: Vec<u32>,
    /// The packed rows when each source is read from its end.
    pub reversed: Vec<u32>,
    /// The encoder row of each decoder row.
    pub rows: Vec<u32>,
    /// The source positions of each decoder row.
    pub spans: Spans,
    /// The packed row of each position of the spans.
    pub positions: Vec<u32>,
    /// The same in the run that reads from the end.
    pub reversed_positions: Vec<u32>,
    /// The id of each position of the spans in the extended vocabulary of its source, for a model that
    /// copies.
    pub copies: Option<Vec<u32>>,
}

impl SeqBatch {
    /// The batch of pairs of source and target ids, none of them empty.
    ///
    /// # Errors
    /// [`Error::Op`] for no pairs, or an empty source.
    pub fn new(pairs: &[(&[u32], &[u32])]) -> Result<Self> {
        let targets: Vec<&[u32]> = pairs.iter().map(|p| p.1).collect();
        let order = by_length(&targets);
        let lengths: Vec<usize> = order.iter().map(|&i| targets[i].len() + 1).collect();
        let packing = Packing::new(&lengths)?;
        let (mut inputs, mut asked, mut rows) = (Vec::new(), Vec::new(), Vec::new());
        for t in 0..packing.steps() {
            for (row, &i) in order[..packing.active(t)].iter().enumerate() {
                inputs.push(if t == 0 { SOS } else { targets[i][t - 1] });
                asked.push(targets[i].get(t).copied().unwrap_or(EOS));
                rows.push(row as u32);
            }
        }
        let sources: Vec<&[u32]> = order.iter().map(|&i| pairs[i].0).collect();
        Ok(SeqBatch {
            source: SourceBatch::new(&sources)?,
            order,
            packing,
            inputs,
            targets: asked,
            rows,
        })
    }
}

impl SeqBatch {
    /// The same with the ids of each pair in the extended vocabulary of its source: the targets are
    /// extended ids then.
    ///
    /// # Errors
    /// [`Error::Op`] if they are not as many as the ids of the pairs.
    pub fn with_copies(self, extended: &[&Extended]) -> Result<Self> {
        let pairs: Vec<&Extended> = self.order.iter().map(|&i| extended[i]).collect();
        let sources: Vec<&[u32]> = pairs.iter().map(|pair| &pair.source[..]).collect();
        let (mut targets, packing) = (Vec::with_capacity(self.targets.len()), &self.packing);
        for t in 0..packing.steps() {
            let active = &pairs[..packing.active(t)];
            targets.extend(
                active
                    .iter()
                    .map(|p| p.target.get(t).copied().unwrap_or(EOS)),
            );
        }
        Ok(SeqBatch {
            source: self.source.with_copies(&sources)?,
            targets,
            ..self
        })
    }
}

impl SourceBatch {
    /// The same with the extended id of each token of each source.
    ///
    /// # Errors
    /// [`Error::Op`] if they are not as many as the tokens.
    pub fn with_copies(self, sources: &[&[u32]]) -> Result<Self> {
        let lengths = sources.iter().map(|ids| ids.len());
        let spans = &self.spans;
        if !lengths.eq((0..spans.rows()).map(|b| spans.len(b))) {
            let message = "the extended ids are not as many as the source's tokens";
            return Err(Error::op("seq2seq", message));
        }
        Ok(SourceBatch {
            copies: Some(sources.concat()),
            ..self
        })
    }

    /// The source side of a batch whose decoder rows are these sources, none of them empty.
    ///
    /// # Errors
    /// [`Error::Op`] for no sources, or an empty one.
    pub fn new(sources: &[&[u32]]) -> Result<Self> {
        let order = by_length(sources);
        let lengths: Vec<usize> = order.iter().map(|&i| sources[i].len()).collect();
        let packing = Packing::new(&lengths)?;
        let (mut ids, mut reversed) = (Vec::new(), Vec::new());
        for t in 0..packing.steps() {
            for (row, &i) in order[..packing.active(t)].iter().enumerate() {
                ids.push(sources[i][t]);
                let mirror = sources[i].len() - 1 - t;
                reversed.push((packing.offset(mirror) + row) as u32);
            }
        }
        let mut rows = vec![0; sources.len()];
        for (row, &i) in order.iter().enumerate() {
            rows[i] = row as u32;
        }
        let (mut positions, mut reversed_positions) = (Vec::new(), Vec::new());
        for (source, &row) in sources.iter().zip(&rows) {
            for t in 0..source.len() {
                let at = |t: usize| packing.offset(t) as u32 + row;
                positions.push(at(t));
                reversed_positions.push(at(source.len() - 1 - t));
            }
        }
        let lengths: Vec<usize> = sources.iter().map(|s| s.len()).collect();
        Ok(SourceBatch {
            packing,
            ids,
            reversed,
            rows,
            spans: Spans::new(&lengths)?,
            positions,
            reversed_positions,
            copies: None,
        })
    }
}

/// The order of the longest first.
fn by_length(sequences: &[&[u32]]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..sequences.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(sequences[i].len()));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_of_three_pairs() {
        let pairs: [(&[u32], &[u32]); 3] = [
            (&[10, 11], &[20]),
            (&[12, 13, 14], &[21, 22, 23]),
            (&[15], &[24, 25]),
        ];
        let batch = SeqBatch::new(&pairs).unwrap();
        assert_eq!(batch.order, [1, 2, 0]);
        assert_eq!(batch.packing, Packing::new(&[4, 3, 2]).unwrap());
        assert_eq!(batch.inputs, [SOS, SOS, SOS, 21, 24, 20, 22, 25, 23]);
        assert_eq!(batch.targets, [21, 24, 20, 22, 25, EOS, 23, EOS, EOS]);
        assert_eq!(batch.rows, [0, 1, 2, 0, 1, 2, 0, 1, 0]);
        let source = &batch.source;
        // Encoder rows: pairs 1, 0, 2; decoder rows: pairs 1, 2, 0.
        assert_eq!(source.ids, [12, 10, 15, 13, 11, 14]);
        let read_backwards: Vec<u32> = source
            .reversed
            .iter()
            .map(|&r| source.ids[r as usize])
            .collect();
        assert_eq!(read_backwards, [14, 11, 15, 13, 10, 12]);
        assert_eq!(source.rows, [0, 2, 1]);
        assert_eq!(source.spans, Spans::new(&[3, 1, 2]).unwrap());
        let at_positions: Vec<u32> = source
            .positions
            .iter()
            .map(|&r| source.ids[r as usize])
            .collect();
        assert_eq!(at_positions, [12, 13, 14, 15, 10, 11]);
        let backwards: Vec<u32> = source
            .reversed_positions
            .iter()
            .map(|&r| read_backwards[r as usize])
            .collect();
        assert_eq!(backwards, at_positions);
    }
}
