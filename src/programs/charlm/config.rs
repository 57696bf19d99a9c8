//! The settings of the character LM.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::division::{DivisionSpec, ValidSplit};
use super::model::{CharLm, CharLmSizes};
use crate::data::charset::CharsetChoice;
use crate::data::corpus::CorpusSpec;
use crate::nn::CellKind;
use crate::optim::{AdamConfig, Clip, ScheduleKind};
use crate::{Error, Result};

crate::settings! {
    /// Everything that decides what `rnnx train-charlm` computes, and how often it reports.
    ///
    /// The defaults are the published configuration. In files the keys are written in kebab-case.
    CharLmConfig {
        kind: "charlm",
        model: "a character LM",
        log_every: 50,
        optimizer: AdamConfig::keras(1.8e-4),
        together: CharLmConfig::together,
        presets: {
            // 300 epochs of large batches.
            "published": { epochs: 300, batch_size: 512, seq_length: 256, learning_rate: 1.8e-4 },
            // A text of about a megabyte.
            "small": {
                epochs: 6, batch_size: 12, seq_length: 256, learning_rate: 4e-3,
                schedule: ScheduleKind::Cosine, warmup_steps: 100, beta2: 0.99, l2: 0.0,
                valid_fraction: 0.1
            },
            // A few minutes on two CPU cores: smaller batches and a larger learning rate.
            "quick": { epochs: 2, batch_size: 64, seq_length: 128, learning_rate: 2e-3 },
        },
        before: { charset: CharsetChoice::Ascii, valid_split: ValidSplit::End },
    }
    "Data" {
        corpus: Vec<PathBuf> = Vec::new(), Paths, free, "text file, unpacked where it ends in .gz or .zst, or folder of files that are glob, or - for standard input; none is the embedded corpus";
        glob: Vec<String> = Vec::new(), Globs, free, "pattern of the files that are read of a folder, as *.txt or docs/**/*.md; *.py unless set";
        charset: CharsetChoice = CharsetChoice::Auto, OneOf(&CharsetChoice::NAMES), fixed, "what of the text is kept: printable ASCII, every character, or every byte; auto is ascii for the embedded corpus and unicode for a text of your own";
        min_char_count: usize = 1, Whole(1, 1_000_000_000_000), fixed, "times that a character must be in the text; rarer ones become one unknown token";
        max_chars: usize = 6_000_000, Whole(1, 100_000_000_000), fixed, "characters of the corpus that are used";
        valid_fraction: f64 = 0.05, Real(0.0, 0.9), fixed, "share of the text that validates";
        valid_split: ValidSplit = ValidSplit::Tail, OneOf(&ValidSplit::NAMES), fixed, "which part validates: the end of each corpus, whole files by the hash of their path, windows drawn by seed, or the end of the whole text";
        shuffle: bool = true, Switch, fixed, "shuffle the training windows each epoch";
    }
    "Model" {
        embedding_dim: usize = 64, UNITS, fixed, "numbers that stand for a character";
        tie_embeddings: bool = false, Switch, fixed, "the embedding is the output layer's weight, too; embedding-dim is hidden-size then";
        cell: CellKind = CellKind::Lstm, OneOf(&CellKind::NAMES), fixed, "recurrent cell: LSTM, GRU or tanh RNN";
        hidden_size: usize = 256, UNITS, fixed, "units of each layer";
        num_layers: usize = 2, Whole(1, 16), fixed, "recurrent layers";
        dropout: f64 = 0.1, DROPOUT, fixed, "share of values dropped in training";
        variational_dropout: bool = false, Switch, fixed, "drop the same values at every step of a window, on what each layer and the output layer read (the embedding, too), in place of others at each step between layers; recurrent connections keep all";
    }
    "Optimiser" {
        epochs: usize = 300, EPOCHS, end, "passes over the training text";
        batch_size: usize = 512, BATCH, fixed, "windows a step";
        seq_length: usize = 256, BATCH, fixed, "characters predicted in a window";
        clip_norm: f64 = 1.0, CLIP_NORM, fixed, "largest gradient norm that is not scaled down; 0 is no clipping";
        clip_mode: ClipMode = ClipMode::PerTensor, OneOf(&["per-tensor", "global"]), fixed, "what that norm is taken over: each tensor by itself, or all together";
        l2: f64 = 1e-4, Real(0.0, 1e3), fixed, "factor of the output kernel's sum of squares in the loss";
    }
}

impl CharLmConfig {
    /// What no range of a single row says.
    fn together(&self) -> Result<()> {
        let (dim, hidden) = (self.embedding_dim, self.hidden_size);
        if self.tie_embeddings && dim != hidden {
            return Err(Error::Usage(format!(
                "tie-embeddings with embedding-dim = {dim} and hidden-size = {hidden}: the output \
                 layer reads {hidden} numbers, so one weight for both needs the same of both; give \
                 embedding-dim = {hidden}, or leave tie-embeddings out"
            )));
        }
        if self.variational_dropout && self.dropout == 0.0 {
            return Err(Error::Usage(
                "variational-dropout with dropout = 0 drops nothing: give a dropout above 0, or leave \
                 variational-dropout out"
                    .into(),
            ));
        }
        Ok(())
    }

    /// The text; of standard input it has nothing yet.
    pub fn corpus(&self) -> CorpusSpec {
        CorpusSpec {
            paths: self.corpus.clone(),
            globs: self.glob.clone(),
            stdin: None,
            charset: self.charset,
            max_chars: self.max_chars,
            seed: self.seed,
        }
    }

    /// How it is divided.
    pub fn division(&self) -> DivisionSpec {
        DivisionSpec {
            valid_split: self.valid_split,
            valid_fraction: self.valid_fraction,
            seed: self.seed,
            seq_length: self.seq_length,
            batch_size: self.batch_size * self.accumulate,
        }
    }

    /// The sizes of the model for a vocabulary of this size.
    pub fn sizes(&self, vocab: usize) -> CharLmSizes {
        CharLmSizes {
            cell: self.cell,
            vocab,
            embedding: self.embedding_dim,
            hidden: self.hidden_size,
            layers: self.num_layers,
            tied: self.tie_embeddings,
        }
    }

    /// A model with initial values for a vocabulary of this size.
    pub fn model(&self, vocab: usize) -> CharLm {
        CharLm::new::<f32>(self.sizes(vocab), self.seed)
            .with_dropout(self.dropout)
            .with_variational_dropout(self.variational_dropout)
            .with_l2(self.l2)
    }

    /// Bytes of a training step in f32, for a vocabulary of this size: those of the model, and where
    /// dropout is variational the embeddings of the batch, as they are and dropped.
    pub fn step_bytes(&self, vocab: usize) -> u128 {
        let model = self
            .sizes(vocab)
            .step_bytes(self.batch_size, self.seq_length);
        let embedded = [self.batch_size, self.seq_length, self.embedding_dim];
        let embedded = embedded.into_iter().map(|n| n as u128).product::<u128>();
        model + 4 * 2 * u128::from(self.variational_dropout) * embedded
    }

    /// Gradient clipping.
    pub fn clip(&self) -> Clip {
        let max = self.clip_norm;
        match self.clip_mode {
            _ if max == 0.0 => Clip::Off,
            ClipMode::PerTensor => Clip::PerTensor { max },
            ClipMode::Global => Clip::Global { max, epsilon: 0.0 },
        }
    }
}

/// What the clipped gradient norm is taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClipMode {
    /// Each tensor by itself, as Keras's `clipnorm`.
    PerTensor,
    /// All tensors together, as torch's `clip_grad_norm_`.
    Global,
}
