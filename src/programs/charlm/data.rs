//! Training and validation part, windows and batches of a character corpus.
//!
//! The first part of the text trains, the rest validates. Each part is cut into windows of
//! T + 1 characters that do not overlap: window w starts at w * (T + 1), its first T characters
//! are the input, its last T the target. An incomplete last window is dropped.

use crate::data::corpus::Corpus;
use crate::data::vocab::CharVocab;
use crate::device::Gpu;
use crate::rng::{Purpose, Stream};
use crate::tensor::Tensor;
use crate::{Error, Result};
use std::sync::Arc;

/// How many characters, windows and batches a text gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Division {
    /// Characters that train: floor(len * (1 - valid_fraction)) in f64, which is Python's
    /// `int(len * (1 - valid_fraction))`.
    pub train_chars: usize,
    /// The other characters.
    pub valid_chars: usize,
    /// Windows of the training part.
    pub train_windows: usize,
    /// Windows of the validation part.
    pub valid_windows: usize,
    /// Full training batches an epoch; an incomplete last one is dropped.
    pub steps_per_epoch: usize,
}

impl Division {
    /// The split of `chars` characters for windows of `seq_length` + 1.
    ///
    /// # Errors
    /// [`Error::Usage`] for a length or a batch of 0 and for a fraction outside [0, 1).
    pub fn new(
        chars: usize,
        valid_fraction: f64,
        seq_length: usize,
        batch_size: usize,
    ) -> Result<Self> {
        for (name, value) in [("seq-length", seq_length), ("batch-size", batch_size)] {
            if value == 0 {
                return Err(Error::Usage(format!("{name} must be at least 1")));
            }
        }
        if !(0.0..1.0).contains(&valid_fraction) {
            return Err(Error::Usage(format!(
                "valid-fraction {valid_fraction} must be at least 0 and below 1"
            )));
        }
        let train_chars = (chars as f64 * (1.0 - valid_fraction)).floor() as usize;
        let valid_chars = chars - train_chars;
        let window = seq_length.saturating_add(1);
        Ok(Division {
            train_chars,
            valid_chars,
            train_windows: train_chars / window,
            valid_windows: valid_chars / window,
            steps_per_epoch: train_chars / window / batch_size,
        })
    }
}

/// A character corpus as ids, with its split and windows.
#[derive(Clone, Debug)]
pub struct CharData {
    /// Which character an id stands for.
    pub vocab: CharVocab,
    /// How the text is divided.
    pub split: Division,
    ids: Vec<u8>,
    seq_length: usize,
    batch_size: usize,
}

impl CharData {
    /// The data of a corpus with the vocabulary of that corpus.
    ///
    /// # Errors
    /// [`Error::Data`] where the text is too short for one window, one training batch, or one
    /// validation window (a `valid_fraction` of 0 asks for none): it says which setting to lower.
    /// [`Error::Usage`] as [`Division::new`].
    pub fn new(
        corpus: &Corpus,
        valid_fraction: f64,
        seq_length: usize,
        batch_size: usize,
    ) -> Result<Self> {
        let vocab = CharVocab::from_text(&corpus.text)?;
        Self::with_vocab(corpus, vocab, valid_fraction, seq_length, batch_size)
    }

    /// The data of a corpus with the vocabulary of a saved model.
    ///
    /// # Errors
    /// As [`Self::new`], and where the vocabulary lacks a character of the corpus.
    pub fn with_vocab(
        corpus: &Corpus,
        vocab: CharVocab,
        valid_fraction: f64,
        seq_length: usize,
        batch_size: usize,
    ) -> Result<Self> {
        let chars = corpus.text.len();
        let split = Division::new(chars, valid_fraction, seq_length, batch_size)?;
        check(&split, valid_fraction, seq_length, batch_size)?;
        Ok(CharData {
            ids: vocab.encode_all(&corpus.text)?,
            vocab,
            split,
            seq_length,
            batch_size,
        })
    }

    /// The ids of the characters that train.
    pub fn train_ids(&self) -> &[u8] {
        &self.ids[..self.split.train_chars]
    }

    /// The ids of the characters that validate.
    pub fn valid_ids(&self) -> &[u8] {
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

/// Whether there is a window and a batch to train on and a window to validate on.
fn check(
    split: &Division,
    valid_fraction: f64,
    seq_length: usize,
    batch_size: usize,
) -> Result<()> {
    let Division {
        train_chars,
        valid_chars,
        train_windows,
        valid_windows,
        ..
    } = *split;
    let window = format!("a window of seq-length {seq_length} + 1 characters");
    let problem = if train_windows == 0 {
        format!(
            "the corpus is shorter than a window: {train_chars} characters train (of {}), and \
             {window} needs more; lower seq-length or use a longer corpus",
            train_chars + valid_chars
        )
    } else if train_windows < batch_size {
        format!(
            "the corpus is too short for one batch: its {train_chars} training characters give \
             {train_windows} windows, fewer than batch-size {batch_size}; lower batch-size to \
             at most {train_windows}, or lower seq-length, or use a longer corpus"
        )
    } else if valid_windows == 0 && valid_fraction > 0.0 {
        format!(
            "nothing to validate on: {valid_chars} characters validate, and {window} needs more; \
             raise valid-fraction (0 trains without validation) or lower seq-length"
        )
    } else if u32::try_from(train_windows.max(valid_windows)).is_err() {
        format!(
            "{train_windows} training windows are too many to number with 32 bits: raise seq-length \
             or lower max-chars"
        )
    } else {
        return Ok(());
    };
    Err(Error::Data(problem))
}

/// Windows of `ids` as two time-major matrices [T, B].
fn gather(ids: &[u8], t: usize, windows: &[u32]) -> Result<CharBatch> {
    let b = windows.len();
    let (mut inputs, mut targets) = (vec![0; t * b], vec![0; t * b]);
    // Step by step: the writes are then in order, and the bytes read stay in the cache.
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
