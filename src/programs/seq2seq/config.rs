//! The configuration of a seq2seq run: its keys and their defaults.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, de};
use toml::{Table, Value};

use crate::data::pairs::Splits;
use crate::optim::Clip;
use crate::programs::seq2seq::data::Limits;
use crate::programs::seq2seq::model::{ModelKind, Seq2SeqSizes};
use crate::train::keys::{Key, SEQ2SEQ_KEYS};
use crate::train::settings::{Common, Config, DeviceChoice, Precision, set_keys, whole};
use crate::{Error, Result};

/// Everything that decides what a run of `rnnx train-seq2seq` computes, and how often it reports.
///
/// In files the keys are written in kebab-case.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Seq2SeqConfig {
    /// Files of training pairs; none of the three means the embedded corpus.
    pub train: Option<PathBuf>,
    /// Validation pairs.
    pub valid: Option<PathBuf>,
    /// Test pairs.
    pub test: Option<PathBuf>,
    /// Tokens of a docstring that are read.
    pub max_source: usize,
    /// Tokens of the code that are learned.
    pub max_target: usize,
    /// Occurrences in the training pairs from which a token is in the vocabulary.
    pub min_frequency: usize,
    /// Whether the training pairs are shuffled each epoch.
    pub shuffle: bool,
    /// Batches in a pool within which pairs of like length are put together.
    pub bucket_batches: usize,
    /// Which model.
    #[serde(deserialize_with = "model_kind")]
    pub model: ModelKind,
    /// Numbers that stand for a token.
    pub embedding_dim: usize,
    /// Units of a layer, each way.
    pub hidden_size: usize,
    /// Layers of encoder and decoder.
    pub num_layers: usize,
    /// Share of the embeddings' values dropped in training.
    pub dropout: f64,
    /// Passes over the training pairs.
    pub epochs: usize,
    /// Optimizer steps after which training ends, whatever the epoch.
    pub max_steps: Option<usize>,
    /// Pairs a step.
    pub batch_size: usize,
    /// Adam's step size.
    pub learning_rate: f64,
    /// Largest norm of all gradients that is not scaled down; 0 is no clipping.
    pub clip_norm: f64,
    /// Share of tokens before which the decoder reads the true one.
    pub teacher_forcing: f64,
    /// Hypotheses kept when the test pairs are decoded.
    pub beam: usize,
    /// Seed of every random stream.
    pub seed: u64,
    /// Steps between two step records.
    pub log_every: usize,
    /// Steps between two checkpoints within an epoch.
    pub checkpoint_every: Option<usize>,
    /// Where the model runs.
    pub device: DeviceChoice,
    /// Number format of the arithmetic.
    pub precision: Precision,
    /// CPU threads; unset is one for each logical CPU.
    pub threads: Option<usize>,
}

impl Default for Seq2SeqConfig {
    fn default() -> Self {
        Self {
            train: None,
            valid: None,
            test: None,
            max_source: 30,
            max_target: 50,
            min_frequency: 2,
            shuffle: true,
            bucket_batches: 1,
            model: ModelKind::Attention,
            embedding_dim: 256,
            hidden_size: 256,
            num_layers: 1,
            dropout: 0.3,
            epochs: 20,
            max_steps: None,
            batch_size: 128,
            learning_rate: 1e-3,
            clip_norm: 5.0,
            teacher_forcing: 1.0,
            beam: 1,
            seed: 1,
            log_every: 10,
            checkpoint_every: None,
            device: DeviceChoice::Auto,
            precision: Precision::Auto,
            threads: None,
        }
    }
}

impl Seq2SeqConfig {
    /// How pairs become ids.
    pub fn limits(&self) -> Limits {
        Limits {
            max_source: self.max_source,
            max_target: self.max_target,
            min_frequency: self.min_frequency,
        }
    }

    /// The sizes of the model for vocabularies of these sizes.
    pub fn sizes(&self, source_vocab: usize, target_vocab: usize) -> Seq2SeqSizes {
        Seq2SeqSizes {
            source_vocab,
            target_vocab,
            embedding: self.embedding_dim,
            hidden: self.hidden_size,
        }
    }

    /// Clipping as torch's `clip_grad_norm_` does it.
    pub fn clip(&self) -> Clip {
        match self.clip_norm {
            0.0 => Clip::Off,
            max => Clip::Global { max, epsilon: 1e-6 },
        }
    }

    /// Reads the pairs.
    ///
    /// # Errors
    /// [`Error::Usage`] if one of three files is not named, else as [`Splits::read`].
    pub fn splits(&self) -> Result<Splits> {
        match self.files()? {
            Some([train, valid, test]) => Splits::read(train, valid, test),
            None => Splits::embedded(),
        }
    }

    /// The three files; none of them is the embedded corpus.
    fn files(&self) -> Result<Option<[&Path; 3]>> {
        let all = [
            ("train", &self.train),
            ("valid", &self.valid),
            ("test", &self.test),
        ];
        match all.map(|(_, path)| path.as_deref()) {
            [None, None, None] => Ok(None),
            [Some(train), Some(valid), Some(test)] => Ok(Some([train, valid, test])),
            _ => {
                let names = |given: bool| {
                    let of = all.iter().filter(|(_, path)| path.is_some() == given);
                    let names: Vec<_> = of.map(|(name, _)| format!("--{name}")).collect();
                    names.join(" and ")
                };
                Err(Error::Usage(format!(
                    "{} without {}: the pairs come from three files, one for each split; give all \
                     three, or none for the pairs of the embedded corpus",
                    names(true),
                    names(false)
                )))
            }
        }
    }
}

impl Config for Seq2SeqConfig {
    const KIND: &'static str = "seq2seq";
    const MODEL: &'static str = "a seq2seq model";
    const COMMAND: &'static str = "train-seq2seq";
    const KEYS: &'static [Key] = SEQ2SEQ_KEYS;

    fn table(&self) -> Table {
        let path =
            |p: &Option<PathBuf>| Some(Value::String(p.as_ref()?.to_string_lossy().into_owned()));
        set_keys([
            ("train", path(&self.train)),
            ("valid", path(&self.valid)),
            ("test", path(&self.test)),
            ("max-source", Some(whole(self.max_source))),
            ("max-target", Some(whole(self.max_target))),
            ("min-frequency", Some(whole(self.min_frequency))),
            ("shuffle", Some(Value::Boolean(self.shuffle))),
            ("bucket-batches", Some(whole(self.bucket_batches))),
            ("model", Some(Value::String(self.model.to_string()))),
            ("embedding-dim", Some(whole(self.embedding_dim))),
            ("hidden-size", Some(whole(self.hidden_size))),
            ("num-layers", Some(whole(self.num_layers))),
            ("dropout", Some(Value::Float(self.dropout))),
            ("epochs", Some(whole(self.epochs))),
            ("max-steps", self.max_steps.map(whole)),
            ("batch-size", Some(whole(self.batch_size))),
            ("learning-rate", Some(Value::Float(self.learning_rate))),
            ("clip-norm", Some(Value::Float(self.clip_norm))),
            ("teacher-forcing", Some(Value::Float(self.teacher_forcing))),
            ("beam", Some(whole(self.beam))),
            ("seed", Some(whole(self.seed))),
            ("log-every", Some(whole(self.log_every))),
            ("checkpoint-every", self.checkpoint_every.map(whole)),
            ("device", Some(Value::String(self.device.to_string()))),
            ("precision", Some(Value::String(self.precision.to_string()))),
            ("threads", self.threads.map(whole)),
        ])
    }

    fn common(&self) -> Common {
        Common {
            seed: self.seed,
            device: self.device,
            precision: self.precision,
            threads: self.threads,
        }
    }

    fn check_together(&self) -> Result<()> {
        self.files().map(|_| ())
    }
}

fn model_kind<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ModelKind, D::Error> {
    let name = String::deserialize(deserializer)?;
    name.parse().map_err(de::Error::custom)
}
