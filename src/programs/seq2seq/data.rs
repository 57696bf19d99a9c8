//! Pairs of sequences as ids, and batches of them without padding.
//!
//! A source is the first tokens of a docstring, a target those of its code; [`super::tokens`] says what
//! tokens are. The decoder reads `<SOS> tokens` and is asked for `tokens <EOS>`.

mod batch;

use super::copying::Extended;
use super::tokens::{Limits, PairTokens, SeqVocab, SourceText, TokenChoice, split_all};
use crate::data::pairs::{Pair, Splits};
use crate::data::split::Split;
use crate::data::tokens::Tokenizers;
use crate::data::words::{EOS, SPECIALS, UNK, WordVocab};
use crate::rng::{Purpose, Stream};
use crate::{Error, Result};

pub use batch::{SeqBatch, SourceBatch};

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

impl Example {
    /// The token of an id that a model writes for it; `words` is the target vocabulary. Panics for one
    /// that no token has.
    pub fn token<'a>(&'a self, words: &'a WordVocab, id: u32) -> &'a str {
        match &self.extended {
            Some(extended) => extended.token(words, id),
            None => words.token(id),
        }
    }

    /// The tokens of ids, likewise.
    pub fn tokens(&self, words: &WordVocab, ids: &[u32]) -> Vec<String> {
        let ids = ids.iter();
        ids.map(|&id| self.token(words, id).to_owned()).collect()
    }
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
                encode(pair, tokens, (&source, &target), limits)
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
    mut tokens: PairTokens,
    (source, target): (&WordVocab, &WordVocab),
    limits: Limits,
) -> Result<Example> {
    if !limits.reads {
        // It has one position all the same, of which nothing is read.
        tokens.source = vec![SPECIALS[EOS as usize].to_owned()];
    }
    if tokens.source.is_empty() && limits.source == SourceText::Signature {
        return Err(Error::Data(format!(
            "a pair has no signature, which source = \"signature\" reads: docstring {:?}; give it one, \
             remove it, or train with --source both",
            pair.docstring
        )));
    }
    if tokens.source.is_empty() || tokens.target.is_empty() {
        return Err(Error::Data(format!(
            "a pair has no tokens: docstring {:?}, code {:?}",
            pair.docstring, pair.code
        )));
    }
    let extended = limits
        .copy
        .then(|| Extended::new(target, &tokens.source, &tokens.target));
    let target_ids = match &extended {
        // As decoding feeds them: a string that is spaced otherwise than a word is that word.
        Some(extended) => {
            let word = |&id: &u32| {
                if (id as usize) < target.len() {
                    id
                } else {
                    UNK
                }
            };
            extended.target.iter().map(word).collect()
        }
        None => target.encode(tokens.target.iter().map(String::as_str)),
    };
    Ok(Example {
        docstring: pair.docstring.clone(),
        code: pair.code.clone(),
        source_ids: match limits.reads {
            true => source.encode(tokens.source.iter().map(String::as_str)),
            false => vec![EOS],
        },
        target_ids,
        extended: extended.filter(|_| limits.reads),
        source: tokens.source,
        target: tokens.target,
    })
}
