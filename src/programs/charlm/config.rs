//! The configuration of a character-LM run: its keys, their defaults and what each may be.
//!
//! [`KEYS`] is the one table of what a key is called, means and may hold.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::model::CharLstmSizes;
use crate::optim::Clip;

use crate::train::keys::{KEYS, Key};
use crate::train::settings::{Common, Config, set_keys, whole};

pub use crate::train::settings::{DeviceChoice, Precision};

/// Everything that decides what `rnnx train-charlm` computes, and how often it reports.
///
/// The defaults are the published configuration. In files the keys are written in kebab-case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct CharLmConfig {
    /// Text files and folders of Python files; empty means the embedded corpus.
    pub corpus: Vec<PathBuf>,
    /// Characters of the corpus that are used.
    pub max_chars: usize,
    /// Share of the text's end that validates.
    pub valid_fraction: f64,
    /// Whether the training windows are shuffled each epoch.
    pub shuffle: bool,
    /// Passes over the training text.
    pub epochs: usize,
    /// Optimizer steps after which training ends, whatever the epoch.
    pub max_steps: Option<usize>,
    /// Windows a step.
    pub batch_size: usize,
    /// Characters predicted in a window.
    pub seq_length: usize,
    /// Numbers that stand for a character.
    pub embedding_dim: usize,
    /// Units of each LSTM layer.
    pub hidden_size: usize,
    /// LSTM layers.
    pub num_layers: usize,
    /// Share of values dropped in training.
    pub dropout: f64,
    /// Adam's step size.
    pub learning_rate: f64,
    /// Largest gradient norm that is not scaled down; 0 is no clipping.
    pub clip_norm: f64,
    /// What that norm is taken over.
    pub clip_mode: ClipMode,
    /// Factor of the output kernel's sum of squares in the loss.
    pub l2: f64,
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

impl Default for CharLmConfig {
    fn default() -> Self {
        Self {
            corpus: Vec::new(),
            max_chars: 6_000_000,
            valid_fraction: 0.05,
            shuffle: true,
            epochs: 300,
            max_steps: None,
            batch_size: 512,
            seq_length: 256,
            embedding_dim: 64,
            hidden_size: 256,
            num_layers: 2,
            dropout: 0.1,
            learning_rate: 1.8e-4,
            clip_norm: 1.0,
            clip_mode: ClipMode::PerTensor,
            l2: 1e-4,
            seed: 1,
            log_every: 50,
            checkpoint_every: None,
            device: DeviceChoice::Auto,
            precision: Precision::Auto,
            threads: None,
        }
    }
}

impl CharLmConfig {
    /// The sizes of the model for a vocabulary of this size.
    pub fn sizes(&self, vocab: usize) -> CharLstmSizes {
        CharLstmSizes {
            vocab,
            embedding: self.embedding_dim,
            hidden: self.hidden_size,
            layers: self.num_layers,
        }
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

impl Config for CharLmConfig {
    const KIND: &'static str = "charlm";
    const MODEL: &'static str = "a character LM";
    const COMMAND: &'static str = "train-charlm";
    const KEYS: &'static [Key] = KEYS;

    fn table(&self) -> Table {
        let paths = |p: &PathBuf| Value::String(p.to_string_lossy().into_owned());
        set_keys([
            (
                "corpus",
                Some(Value::Array(self.corpus.iter().map(paths).collect())),
            ),
            ("max-chars", Some(whole(self.max_chars))),
            ("valid-fraction", Some(Value::Float(self.valid_fraction))),
            ("shuffle", Some(Value::Boolean(self.shuffle))),
            ("epochs", Some(whole(self.epochs))),
            ("max-steps", self.max_steps.map(whole)),
            ("batch-size", Some(whole(self.batch_size))),
            ("seq-length", Some(whole(self.seq_length))),
            ("embedding-dim", Some(whole(self.embedding_dim))),
            ("hidden-size", Some(whole(self.hidden_size))),
            ("num-layers", Some(whole(self.num_layers))),
            ("dropout", Some(Value::Float(self.dropout))),
            ("learning-rate", Some(Value::Float(self.learning_rate))),
            ("clip-norm", Some(Value::Float(self.clip_norm))),
            ("clip-mode", Some(Value::String(self.clip_mode.to_string()))),
            ("l2", Some(Value::Float(self.l2))),
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
}

/// A named set of values that `--preset` puts below the flags and the configuration file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// The published configuration: 300 epochs of large batches.
    Published,
    /// A few minutes on two CPU cores: smaller batches and a larger learning rate.
    Quick,
}

impl Preset {
    /// Every preset's name.
    pub const NAMES: [&str; 2] = ["published", "quick"];

    /// The keys that presets set, with this one's values.
    pub fn table(self) -> Table {
        let mut c = CharLmConfig::default();
        if self == Preset::Quick {
            c.epochs = 2;
            c.batch_size = 64;
            c.seq_length = 128;
            c.learning_rate = 2e-3;
        }
        let mut table = c.table();
        table.retain(|k, _| matches!(k, "epochs" | "batch-size" | "seq-length" | "learning-rate"));
        table
    }
}

impl FromStr for Preset {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "published" => Ok(Preset::Published),
            "quick" => Ok(Preset::Quick),
            _ => Err(format!("no such preset: {}", Self::NAMES.join(" or "))),
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

impl fmt::Display for ClipMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ClipMode::PerTensor => "per-tensor",
            ClipMode::Global => "global",
        })
    }
}
