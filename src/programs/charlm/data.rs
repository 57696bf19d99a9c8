//! Windows and batches of a character corpus.
//!
//! Each part of the text (see [`division`](super::division)) is cut into windows of T + 1 characters
//! that do not overlap: window w starts at w * (T + 1), its first T characters are the input, its last
//! T the target. An incomplete last window is dropped.

use std::ops::Range;
use std::sync::Arc;

use super::division::{Division, DivisionSpec};
use crate::Result;
use crate::data::chars::CharVocab;
use crate::data::corpus::Corpus;
use crate::device::Gpu;
use crate::rng::{Purpose, Stream};
use crate::tensor::Tensor;

/// A text, and which of it validates.
#[derive(Clone, Debug)]
pub struct CharSource {
    /// The text.
    pub corpus: Corpus,
    /// How it is divided.
    pub spec: DivisionSpec,
    /// The stretches that validate, in characters, in order.
    pub held_out: Vec<Range<usize>>,
    /// Hash of the text and of what of it validates.
    pub sha256: String,
    /// What standard input gave of it, which is nowhere but here and in the run's folder, should that
    /// go. It is held as long as the run trains, beside the text that is made of it; a run that goes on
    /// reads its kept file a second time for it.
    pub stdin: Option<Arc<[u8]>>,
}

impl CharSource {
    /// Divides a text.
    ///
    /// # Errors
    /// As [`DivisionSpec::held_out`].
    pub fn new(corpus: Corpus, spec: DivisionSpec) -> Result<Self> {
        let held_out = spec.held_out(&corpus)?;
        Ok(CharSource {
            sha256: spec.sha256(&corpus, &held_out),
            corpus,
            spec,
            held_out,
            stdin: None,
        })
    }

    /// How many characters, windows and batches it gives.
    pub fn division(&self) -> Division {
        Division::new(&self.spec, self.corpus.report.chars, &self.held_out)
    }

    /// Says that it is not the text that a run began with.
    pub fn foreign(&self) -> String {
        format!(
            "the text of {} is not the one that the run began with, or another part of it would \
             validate (its SHA-256 is another): restore it",
            self.corpus.report.source
        )
    }
}

/// A character corpus as ids, with its split and windows.
#[derive(Clone, Debug)]
pub struct CharData {
    /// Which character an id stands for.
    pub vocab: CharVocab,
    /// How the text is divided.
    pub split: Division,
    /// Characters of the text that have no id of their own.
    pub unknown: usize,
    /// What standard input gave of the text.
    pub stdin: Option<Arc<[u8]>>,
    /// What trains, then what validates.
    ids: Vec<u16>,
    seq_length: usize,
    batch_size: usize,
}

impl CharData {
    /// The data of a text with this vocabulary.
    ///
    /// # Errors
    /// [`Error::Data`](crate::Error::Data) where the text is too short for one window, one training batch, or one
    /// validation window (a `valid_fraction` of 0 asks for none): it says which setting to lower;
    /// and where the vocabulary lacks a character of the text.
    pub fn new(source: &CharSource, vocab: CharVocab) -> Result<Self> {
        let split = source.division();
        split.check(&source.spec)?;
        let (ids, unknown) = vocab.encode_all(&source.corpus)?;
        Ok(CharData {
            ids: move_behind(ids, &source.held_out),
            vocab,
            split,
            unknown,
            stdin: source.stdin.clone(),
            seq_length: source.spec.seq_length,
            batch_size: source.spec.batch_size,
        })
    }

    /// The ids of the characters that train.
    pub fn train_ids(&self) -> &[u16] {
        &self.ids[..self.split.train_chars]
    }

    /// The ids of the characters that validate.
    pub fn valid_ids(&self) -> &[u16] {
        &self.ids[self.split.train_chars..]
    }

    /// The training windows in the order of an epoch: shuffled, or `0..train_windows`. Chunks of
    /// `batch_size` are its batches; the last chunk is no batch where it is incomplete.
    pub fn epoch_order(&self, seed: u64, epoch: u32, shuffle: bool) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.split.train_windows as u32).collect();
        if shuffle {
            Stream::new(seed, Purpose::Shuffle, epoch)
                .reader()
                .shuffle(&mut order);
        }
        order
    }

    /// All validation windows in text order. Every chunk of `batch_size` is a batch, the last
    /// one smaller where it is incomplete.
    pub fn valid_order(&self) -> Vec<u32> {
        (0..self.split.valid_windows as u32).collect()
    }

    /// Training batches an epoch.
    pub fn steps_per_epoch(&self) -> usize {
        self.split.steps_per_epoch
    }

    /// Training windows in a batch.
    pub fn batch_size(&self) -> usize {
        self.batch_size
    }

    /// A batch of training windows. Panics for a window that is not there.
    ///
    /// # Errors
    /// If there are no windows.
    pub fn train_batch(&self, windows: &[u32]) -> Result<CharBatch> {
        gather(self.train_ids(), self.seq_length, windows)
    }

    /// As [`Self::train_batch`], of validation windows.
    ///
    /// # Errors
    /// If there are no windows.
    pub fn valid_batch(&self, windows: &[u32]) -> Result<CharBatch> {
        gather(self.valid_ids(), self.seq_length, windows)
    }
}

/// A batch of windows.
#[derive(Clone, Debug)]
pub struct CharBatch {
    /// Characters that are read `[T, B]`.
    pub ids: Tensor,
    /// The character after each of them `[T, B]`.
    pub targets: Tensor,
}

impl CharBatch {
    /// The batch in a GPU's memory, or where it is.
    ///
    /// # Errors
    /// If the device fails or has not enough memory.
    pub fn to_device(self, gpu: Option<&Arc<Gpu>>) -> Result<Self> {
        match gpu {
            None => Ok(self),
            Some(gpu) => Ok(CharBatch {
                ids: self.ids.to_gpu(gpu)?,
                targets: self.targets.to_gpu(gpu)?,
            }),
        }
    }
}

/// Moves these stretches behind all others. The order within and without them stays.
fn move_behind(ids: Vec<u16>, stretches: &[Range<usize>]) -> Vec<u16> {
    if stretches.last().is_none_or(|last| last.end == ids.len()) && stretches.len() < 2 {
        return ids;
    }
    let (mut moved, mut at) = (Vec::with_capacity(ids.len()), 0);
    for Range { start, end } in stretches {
        moved.extend_from_slice(&ids[at..*start]);
        at = *end;
    }
    moved.extend_from_slice(&ids[at..]);
    for stretch in stretches {
        moved.extend_from_slice(&ids[stretch.clone()]);
    }
    moved
}

/// Windows of `ids` as two time-major matrices [T, B].
fn gather(ids: &[u16], t: usize, windows: &[u32]) -> Result<CharBatch> {
    let b = windows.len();
    let (mut inputs, mut targets) = (vec![0; t * b], vec![0; t * b]);
    // Step by step: the writes are then in order, and the ids read stay in the cache.
    let rows = inputs.chunks_exact_mut(b.max(1));
    for (step, (xs, ys)) in rows.zip(targets.chunks_exact_mut(b.max(1))).enumerate() {
        for ((x, y), &w) in xs.iter_mut().zip(ys).zip(windows) {
            let at = w as usize * (t + 1) + step;
            (*x, *y) = (u32::from(ids[at]), u32::from(ids[at + 1]));
        }
    }
    Ok(CharBatch {
        ids: Tensor::from_slice(&inputs, [t, b])?,
        targets: Tensor::from_slice(&targets, [t, b])?,
    })
}
