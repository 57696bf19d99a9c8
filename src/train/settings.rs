//! What the configurations of all programs have in common: a table of keys, and how values are set,
//! checked and compared by it.

use std::fmt;
use std::str::FromStr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::keys::Key;
use crate::{Error, Result};

/// What every configuration has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Common {
    /// Seed of every random stream.
    pub seed: u64,
    /// Where the model runs.
    pub device: DeviceChoice,
    /// Number format of the arithmetic.
    pub precision: Precision,
    /// CPU threads; unset is one for each logical CPU.
    pub threads: Option<usize>,
}

/// The configuration of a program. Flags, configuration files, `--resume` and the `config.toml` of
/// a run all go by its table of keys.
pub trait Config: Clone + Default + DeserializeOwned {
    /// What `kind` says in its files.
    const KIND: &'static str;
    /// Whose configuration it is, as `a character LM`.
    const MODEL: &'static str;
    /// The command that takes it.
    const COMMAND: &'static str;
    /// Every key, in the order in which files list them.
    const KEYS: &'static [Key];

    /// The keys that are set, with their values.
    ///
    /// A whole number that a TOML integer cannot hold becomes the largest one, which is outside
    /// every range.
    fn table(&self) -> Table;

    /// What every configuration has.
    fn common(&self) -> Common;

    /// Checks what no range of a single key can say.
    ///
    /// # Errors
    /// [`Error::Usage`] that names the flags.
    fn check_together(&self) -> Result<()> {
        Ok(())
    }

    /// This configuration with the keys of `over` replaced.
    ///
    /// # Errors
    /// [`Error::Usage`] for an unknown key or a value of another type.
    fn with(&self, over: &Table) -> Result<Self> {
        let mut table = self.table();
        table.extend(over.clone());
        let merged = table.try_into();
        merged.map_err(|e: toml::de::Error| Error::Usage(format!("configuration: {}", e.message())))
    }

    /// Checks every key against its range.
    ///
    /// # Errors
    /// [`Error::Usage`] that names the flag, its value and what is allowed.
    fn validate(&self) -> Result<()> {
        let table = self.table();
        for key in Self::KEYS {
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
        self.check_together()
    }

    /// Checks that this configuration continues the run that `saved` started: every key that
    /// changes the computation is the same.
    ///
    /// `auto` precision contradicts nothing: what it chose is the checkpoint's.
    ///
    /// # Errors
    /// [`Error::Usage`] that names the flag, both values and the way out.
    fn check_resume(&self, saved: &Self) -> Result<()> {
        let (now, then) = (self.table(), saved.table());
        for key in Self::KEYS.iter().filter(|k| k.fixed) {
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

/// The pairs whose value is set, as a table.
pub(crate) fn set_keys<const N: usize>(pairs: [(&str, Option<Value>); N]) -> Table {
    let set = pairs.into_iter().filter_map(|(k, v)| Some((k, v?)));
    set.map(|(k, v)| (k.to_owned(), v)).collect()
}

/// A whole number as TOML holds it, at most the largest.
pub(crate) fn whole<T: TryInto<i64>>(n: T) -> Value {
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
