//! `state.json`: where a training run stands, beside its weights and its optimizer.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::atomic::write_atomic;
use super::text;
use crate::error::{Error, Result};

/// The layout of `state.json` that this version writes, and the newest it reads.
pub const FORMAT_VERSION: u32 = 2;
/// The first layout that ends with a checksum of what stands before it.
const CHECKED: u32 = 2;
/// What stands between the other fields and the checksum, and after it.
const MARK: (&str, &str) = (",\n  \"sha256\": \"", "\"\n}");

/// All that a run needs, with its weights and optimizer, to go on with the same bits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainState {
    /// The layout of this file; [`FORMAT_VERSION`].
    pub format_version: u32,
    /// The version of rnnx that wrote it.
    pub rnnx_version: String,
    /// What was trained: `charlm` or `seq2seq`.
    pub program: String,
    /// Optimizer steps done.
    pub step: u64,
    /// Epochs finished.
    pub epoch: u64,
    /// Steps done in the unfinished epoch: the data cursor.
    pub step_in_epoch: u64,
    /// SHA-256 of the training data, in hexadecimal.
    pub data_sha256: String,
    /// The seed of every random stream.
    pub seed: u64,
    /// Running sums of the unfinished epoch.
    pub epoch_sums: EpochSums,
    /// Adam's step count, for its bias correction.
    pub adam_step: u64,
    /// The dynamic loss scale; none in f32.
    #[serde(deserialize_with = "Option::deserialize")]
    pub loss_scaler: Option<LossScaler>,
    /// The best checkpoint so far; none before the first validation.
    #[serde(deserialize_with = "Option::deserialize")]
    pub best: Option<Best>,
    /// Training time so far, over all resumptions.
    pub elapsed_seconds: f64,
    /// The counter of every random stream, by name.
    pub streams: BTreeMap<String, u64>,
    /// SHA-256 of the run's `vocab.json`; none in older files.
    #[serde(default)]
    pub vocab_sha256: Option<String>,
    /// SHA-256 of the weights that the run began with, where it was given some; none in older files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_sha256: Option<String>,
    /// How often the plateau schedule has halved the learning rate.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rate_cuts: u32,
    /// Validations since the best one, where training is to end after so many.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub stale: u64,
    /// The step of the last validation inside of the unfinished epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_step: Option<u64>,
    /// Steps of the last checkpoints of which an average is made when training ends.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub averaged: Vec<u64>,
    /// Ranks that train by themselves, of which each has rows of its own; none where they do not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ranks: Option<u64>,
    /// The settings that change the computation, as `config.toml` has their values; none in older
    /// files.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
}

/// Running sums of an unfinished epoch, kept to the bit. Older files hold more of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct EpochSums {
    /// Loss with regularisation, in nats, each step's weighted by its tokens.
    #[serde(with = "exact")]
    pub loss: f64,
    /// Tokens predicted right.
    #[serde(rename = "accuracy", with = "exact")]
    pub correct: f64,
    /// Tokens.
    #[serde(with = "exact")]
    pub tokens: f64,
}

/// The state of the dynamic loss scale.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LossScaler {
    /// The factor on the loss.
    #[serde(with = "exact")]
    pub scale: f64,
    /// Steps without overflow since the scale last changed.
    pub good_steps: u32,
    /// Steps skipped for an overflow since the run began.
    pub skipped: u64,
}

impl LossScaler {
    /// The loss scale of a new run in mixed precision.
    pub const FIRST: LossScaler = LossScaler {
        scale: 65_536.0,
        good_steps: 0,
        skipped: 0,
    };
}

/// The best checkpoint of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// Its score.
    #[serde(with = "exact")]
    pub score: f64,
    /// What the score is, for example `valid_loss`.
    pub metric: String,
    /// Which scores are better.
    pub direction: Direction,
    /// The step it was saved at.
    pub step: u64,
}

/// Which of two scores is better. Every score so far is a loss; a file says so in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// The lower one.
    Min,
}

impl Direction {
    /// The name in `state.json`.
    pub fn name(self) -> &'static str {
        match self {
            Direction::Min => "min",
        }
    }
}

/// What every version of the file has, read before anything else.
#[derive(Deserialize)]
struct Version {
    format_version: u32,
    rnnx_version: Option<String>,
}

impl TrainState {
    /// Whether it is of a model that was trained elsewhere and imported: it has no data of its own.
    pub fn is_imported(&self) -> bool {
        self.data_sha256.is_empty()
    }

    /// The state of a run that has not taken a step.
    pub fn new(program: &str, seed: u64, data_sha256: String) -> Self {
        Self {
            format_version: FORMAT_VERSION,
            rnnx_version: env!("CARGO_PKG_VERSION").into(),
            program: program.into(),
            step: 0,
            epoch: 0,
            step_in_epoch: 0,
            data_sha256,
            seed,
            epoch_sums: EpochSums::default(),
            adam_step: 0,
            loss_scaler: None,
            best: None,
            elapsed_seconds: 0.0,
            streams: BTreeMap::new(),
            vocab_sha256: None,
            init_sha256: None,
            rate_cuts: 0,
            stale: 0,
            valid_step: None,
            averaged: Vec::new(),
            ranks: None,
            settings: BTreeMap::new(),
        }
    }

    /// Writes the state atomically, in this version's layout.
    ///
    /// # Errors
    /// [`Error::Io`] that names `path`.
    pub fn save(&self, path: &Path) -> Result<()> {
        let state = TrainState {
            format_version: FORMAT_VERSION,
            rnnx_version: env!("CARGO_PKG_VERSION").into(),
            ..self.clone()
        };
        let text =
            serde_json::to_string_pretty(&state).map_err(|e| Error::io("write", path)(e.into()))?;
        let body = text.strip_suffix("\n}").unwrap_or(&text);
        let (mark, end) = MARK;
        write_atomic(path, |w| {
            writeln!(w, "{body}{mark}{}{end}", text::sha256(body.as_bytes()))
        })
    }

    /// Reads a state of any program.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] that names the file and the field: not JSON, a field missing,
    /// unknown or of another type, a checksum that does not match, or a format newer than this
    /// program's.
    pub fn load(path: &Path) -> Result<Self> {
        let mut text = text::read(path, "no such file")?;
        let fault = |error: String| {
            let advice = "is damaged or foreign; use the run's other checkpoint";
            Error::checkpoint(path, format!("{error}: the file {advice}"))
        };
        let version: Version = serde_json::from_str(&text).map_err(|e| fault(e.to_string()))?;
        if version.format_version > FORMAT_VERSION {
            let writer = version.rnnx_version.map_or_else(
                || "a newer rnnx".to_string(),
                |version| format!("rnnx {version} or newer"),
            );
            let message = format!(
                "has the format version {}, but this is rnnx {}, which reads up to {FORMAT_VERSION}: \
                 use {writer}",
                version.format_version,
                env!("CARGO_PKG_VERSION"),
            );
            return Err(Error::checkpoint(path, message));
        }
        if version.format_version >= CHECKED {
            text = checked(&text).map_err(fault)?;
        }
        serde_json::from_str(&text).map_err(|e| fault(e.to_string()))
    }

    /// Checks that the state, read from `path`, is one of `program`.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] that names both programs.
    pub fn require_program(&self, path: &Path, program: &str) -> Result<()> {
        if self.program == program {
            return Ok(());
        }
        let message = format!(
            "is a checkpoint of `{}`, not of `{program}`: give another run, or use `rnnx train-{}`",
            self.program, self.program
        );
        Err(Error::checkpoint(path, message))
    }
}

/// A count that has not begun stands in no file: versions that do not know it read the file, too.
fn is_zero<T: Default + PartialEq>(count: &T) -> bool {
    *count == T::default()
}

/// The text without its checksum, which must match.
fn checked(text: &str) -> Result<String, String> {
    let (mark, end) = MARK;
    let (body, sha256) = text::split(text, mark, end).ok_or("it does not end with its checksum")?;
    match text::sha256(body.as_bytes()) == sha256 {
        true => Ok(format!("{body}\n}}")),
        false => Err("its fields do not match its SHA-256".into()),
    }
}

/// f64 as the shortest decimal string that gives back the same bits, NaN and infinities too.
///
/// A string, because JSON has no infinities and because serde_json's reading of a plain number
/// may be off in the last bit.
mod exact {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse()
            .map_err(|_| D::Error::custom(format!("`{text}` is not a number")))
    }
}
