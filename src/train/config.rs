//! The configuration of a character-LM run: its keys, their defaults and what each may be.
//!
//! [`KEYS`] is the one table of what a key is called, means and may hold. Flags, configuration
//! files, `--resume` and the `config.toml` of a run all go by it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::keys::KEYS;
use crate::{Error, Result};

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
    /// The keys that are set, with their values.
    ///
    /// A whole number that a TOML integer cannot hold becomes the largest one, which is outside
    /// every range of [`KEYS`].
    pub fn table(&self) -> Table {
        let paths = |p: &PathBuf| Value::String(p.to_string_lossy().into_owned());
        let pairs = [
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
        ];
        let set = pairs.into_iter().filter_map(|(k, v)| Some((k, v?)));
        set.map(|(k, v)| (k.to_owned(), v)).collect()
    }

    /// This configuration with the keys of `over` replaced.
    ///
    /// # Errors
    /// [`Error::Usage`] for an unknown key or a value of another type.
    pub fn with(&self, over: &Table) -> Result<Self> {
        let mut table = self.table();
        table.extend(over.clone());
        let merged = table.try_into();
        merged.map_err(|e: toml::de::Error| Error::Usage(format!("configuration: {}", e.message())))
    }

    /// Checks every key against its range in [`KEYS`].
    ///
    /// # Errors
    /// [`Error::Usage`] that names the flag, its value and what is allowed.
    pub fn validate(&self) -> Result<()> {
        let table = self.table();
        for key in KEYS {
            if let Some(value) = table.get(key.name)
                && !key.allowed.accepts(value)
            {
                return Err(Error::Usage(format!(
                    "{} cannot be used: --{} is {} ({})",
                    flag(key.name, value),
                    key.name,
                    key.allowed,
                    key.about
                )));
            }
        }
        Ok(())
    }

    /// Checks that this configuration continues the run that `saved` started: every key that
    /// changes the computation is the same.
    ///
    /// `auto` precision contradicts nothing: what it chose is the checkpoint's.
    ///
    /// # Errors
    /// [`Error::Usage`] that names the flag, both values and the way out.
    pub fn check_resume(&self, saved: &CharLmConfig) -> Result<()> {
        let (now, then) = (self.table(), saved.table());
        for key in KEYS.iter().filter(|k| k.fixed) {
            let (Some(a), Some(b)) = (now.get(key.name), then.get(key.name)) else {
                continue;
            };
            let auto = Value::String("auto".into());
            if a != b && *a != auto && *b != auto {
                return Err(Error::Usage(format!(
                    "--resume: {} contradicts the saved run, which has {}. Leave the flag out to \
                     continue that run, or start a new one from its weights: --init-from FILE \
                     with another --out",
                    flag(key.name, a),
                    flag(key.name, b),
                )));
            }
        }
        Ok(())
    }
}

fn whole<T: TryInto<i64>>(n: T) -> Value {
    Value::Integer(n.try_into().unwrap_or(i64::MAX))
}

/// The words on the command line that set `name` to `value`.
fn flag(name: &str, value: &Value) -> String {
    match value {
        Value::Boolean(true) => format!("--{name}"),
        Value::Boolean(false) => format!("--no-{name}"),
        Value::String(s) => format!("--{name} {s}"),
        Value::Array(a) if a.is_empty() => format!("no --{name} (the embedded one)"),
        Value::Array(a) => {
            let words = a.iter().map(|v| match v {
                Value::String(s) => format!("--{name} {s}"),
                other => format!("--{name} {other}"),
            });
            words.collect::<Vec<_>>().join(" ")
        }
        other => format!("--{name} {other}"),
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

/// Number format of a run's arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// fp16 on a GPU, fp32 on the CPU.
    Auto,
    /// 32-bit floats.
    Fp32,
    /// 16-bit storage with 32-bit arithmetic and master weights.
    Fp16,
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Precision::Auto => "auto",
            Precision::Fp32 => "fp32",
            Precision::Fp16 => "fp16",
        })
    }
}

/// The device a user asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeviceChoice {
    /// The fastest one found.
    Auto,
    /// The CPU.
    Cpu,
    /// The CUDA device with this number; `cuda` alone is number 0.
    Cuda(u32),
    /// The test instrument that runs GPU kernels on the CPU.
    Emulated,
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceChoice::Auto => f.write_str("auto"),
            DeviceChoice::Cpu => f.write_str("cpu"),
            DeviceChoice::Cuda(0) => f.write_str("cuda"),
            DeviceChoice::Cuda(n) => write!(f, "cuda:{n}"),
            DeviceChoice::Emulated => f.write_str("emulated"),
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let number = |n: &str| n.parse().ok().map(DeviceChoice::Cuda);
        match s {
            "auto" => Some(DeviceChoice::Auto),
            "cpu" => Some(DeviceChoice::Cpu),
            "cuda" => Some(DeviceChoice::Cuda(0)),
            "emulated" => Some(DeviceChoice::Emulated),
            _ => s.strip_prefix("cuda:").and_then(number),
        }
        .ok_or_else(|| "give auto, cpu, cuda, cuda:N or emulated".to_owned())
    }
}

impl TryFrom<String> for DeviceChoice {
    type Error = String;
    fn try_from(s: String) -> Result<Self, String> {
        s.parse()
    }
}

impl From<DeviceChoice> for String {
    fn from(d: DeviceChoice) -> String {
        d.to_string()
    }
}
