//! A run's folder: its configuration, vocabulary, metrics and checkpoints.
//!
//! ```text
//! RUN/ config.toml  vocab.json  metrics.jsonl  report.html  samples/  samples/test.jsonl  .lock
//!      study.json  study-parts/  stdin.txt  tensorboard/
//!      checkpoints/step-N/ model.safetensors  optimizer.safetensors  state.json
//!      best -> checkpoints/step-N   last -> checkpoints/step-N
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::atomic::{read_link, write_atomic};
use super::lock::RunLock;
use super::state::TrainState;
use super::text;
use crate::error::{Error, Result};

/// The weights in a checkpoint's folder.
pub const MODEL: &str = "model.safetensors";
/// The optimizer's buffers in a checkpoint's folder.
pub const OPTIMIZER: &str = "optimizer.safetensors";
/// The training state in a checkpoint's folder.
pub const STATE: &str = "state.json";

/// What a study found, in a run's folder or in one of its own.
pub const STUDY: &str = "study.json";

pub(super) const CONFIG: &str = "config.toml";
pub(super) const VOCAB: &str = "vocab.json";
pub(super) const METRICS: &str = "metrics.jsonl";
pub(super) const REPORT: &str = "report.html";
pub(super) const EXPLORER: &str = "explore.html";
pub(super) const CHECKPOINTS: &str = "checkpoints";
/// What standard input gave a run; so it is called from the start.
pub const STDIN_COPY: &str = "stdin.txt";
const SAMPLES: &str = "samples";
const TENSORBOARD: &str = "tensorboard";
/// The test pairs in `samples/`.
pub(super) const PREDICTIONS: &str = "test.jsonl";

/// What stands before the checksum that ends `config.toml`, on a line of its own.
const SEAL: &str = "\n# SHA-256 of all above; delete this line to keep an edit by hand: ";

/// The folder of one training run. Two of them are equal if they have the same path.
#[derive(Debug, Clone)]
pub struct RunFolder {
    pub(super) path: PathBuf,
    /// Held by whoever trains, and by the clones.
    pub(super) lock: Option<Arc<RunLock>>,
}

impl PartialEq for RunFolder {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path
    }
}

impl Eq for RunFolder {}

impl RunFolder {
    // ---- opening ---------------------------------------------------------------------------

    /// Names a folder, whatever it holds, for the paths of its files.
    pub fn at(path: &Path) -> Self {
        Self {
            path: path.to_path_buf(),
            lock: None,
        }
    }

    /// Opens a run to read it. Nothing in the folder changes, so that a run in training can be
    /// looked at.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when there is no such folder or it is no run.
    pub fn open(path: &Path) -> Result<Self> {
        let run = Self::at(path);
        if !path.exists() {
            return Err(Error::checkpoint(
                path,
                "no such run: train one with --out, or check the path",
            ));
        }
        if path.is_file() {
            let message = "is a file, and not the folder of a run: name that";
            return Err(Error::checkpoint(path, message));
        }
        if !run.config_path().is_file() {
            let inside = names(path).unwrap_or_default();
            let mut runs: Vec<String> = inside
                .into_iter()
                .filter(|name| path.join(name).join(CONFIG).is_file())
                .collect();
            runs.sort_unstable();
            let hint = match runs.as_slice() {
                [] => String::new(),
                runs => format!(". It holds the runs {}: name one of them", runs.join(", ")),
            };
            let message = format!("is not the folder of a run: it has no {CONFIG}{hint}");
            return Err(Error::checkpoint(path, message));
        }
        Ok(run)
    }

    /// What the RUN argument of a command names: a run's folder (its `best` checkpoint, or its
    /// `last` when none is best yet) or one checkpoint's folder, whose run is its parent's parent.
    /// Returns the run and the checkpoint's folder.
    ///
    /// # Errors
    /// [`Error::Checkpoint`]: no such run, neither a run nor a checkpoint, no checkpoint yet, a link
    /// to a checkpoint that is gone, or a vocabulary that is not the checkpoint's.
    pub fn find(path: &Path) -> Result<(Self, PathBuf)> {
        // `RUN/best` may be a text file that stands for a link.
        let followed = match path.is_file() {
            true => read_link(path)?.filter(|target| target.is_dir()),
            false => None,
        };
        let path = followed.as_deref().unwrap_or(path);
        if path.join(CONFIG).is_file() || !path.join(MODEL).is_file() {
            let run = Self::open(path)?;
            let checkpoint = run.checkpoint()?;
            run.check_vocab(&checkpoint)?;
            return Ok((run, checkpoint));
        }
        let folder = fs::canonicalize(path).map_err(Error::io("read", path))?;
        let run = folder
            .parent()
            .and_then(Path::parent)
            .filter(|run| run.join(CONFIG).is_file())
            .ok_or_else(|| {
                let message = format!(
                    "is a checkpoint outside of its run: RUN/{CONFIG} and RUN/{VOCAB} are \
                     needed two folders above it"
                );
                Error::checkpoint(path, message)
            })?;
        let run = Self::open(run)?;
        run.check_vocab(path)?;
        Ok((run, path.to_path_buf()))
    }

    // ---- files -----------------------------------------------------------------------------

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The run's name: that of its folder or, where that has none, its path.
    pub fn name(&self) -> String {
        let real = self.path.canonicalize().ok();
        match real.as_deref().and_then(Path::file_name) {
            Some(name) => name.to_string_lossy().into_owned(),
            None => self.path.display().to_string(),
        }
    }

    /// `config.toml`: the resolved configuration.
    pub fn config_path(&self) -> PathBuf {
        self.path.join(CONFIG)
    }

    /// `vocab.json`.
    pub fn vocab_path(&self) -> PathBuf {
        self.path.join(VOCAB)
    }

    /// `metrics.jsonl`.
    pub fn metrics_path(&self) -> PathBuf {
        self.path.join(METRICS)
    }

    /// `stdin.txt`: the data that came on standard input, where a run has such.
    pub fn stdin_path(&self) -> PathBuf {
        self.path.join(STDIN_COPY)
    }

    /// `samples/`, the folder of texts generated during training; it may not exist yet.
    pub fn samples_path(&self) -> PathBuf {
        self.path.join(SAMPLES)
    }

    /// `samples/test.jsonl`: the test pairs and what the model made of them, where it has been
    /// tested on any.
    pub fn predictions_path(&self) -> PathBuf {
        self.samples_path().join(PREDICTIONS)
    }

    /// `tensorboard/`, the folder of event files; it may not exist.
    pub fn tensorboard_path(&self) -> PathBuf {
        self.path.join(TENSORBOARD)
    }

    /// `checkpoints/`.
    pub(super) fn checkpoints_path(&self) -> PathBuf {
        self.path.join(CHECKPOINTS)
    }

    /// `report.html`.
    pub fn report_path(&self) -> PathBuf {
        self.path.join(REPORT)
    }

    /// `study.json`: what a study of the run found; it may not exist.
    pub fn study_path(&self) -> PathBuf {
        self.path.join(STUDY)
    }

    /// `explore.html`, the page that runs the model in the browser, where it has been made.
    pub fn explorer_path(&self) -> PathBuf {
        self.path.join(EXPLORER)
    }

    /// Writes `config.toml` with its checksum. It makes the folder a run, so it is the first file to
    /// be written.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write_config(&self, text: &str) -> Result<()> {
        let sha256 = text::sha256(text.as_bytes());
        write_atomic(&self.config_path(), |w| writeln!(w, "{text}{SEAL}{sha256}"))
    }

    /// The text of `config.toml`, whose checksum matches if there is one.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when it is missing or damaged; [`Error::Io`].
    pub fn read_config(&self) -> Result<String> {
        let path = self.config_path();
        let text = text::read(&path, "is missing: is this the folder of a run?")?;
        match text::split(&text, SEAL, "") {
            Some((body, sha256)) if text::sha256(body.as_bytes()) != sha256 => {
                let message = "does not match its SHA-256: it is damaged, or was edited by hand. \
                               Restore it and give a setting that you want to change as a flag; to \
                               keep the file as it is, delete the line that begins `# SHA-256`";
                Err(Error::checkpoint(path, message))
            }
            _ => Ok(text),
        }
    }

    /// Writes `vocab.json`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write_vocab(&self, text: &str) -> Result<()> {
        write_atomic(&self.vocab_path(), |w| w.write_all(text.as_bytes()))
    }

    /// The text of `vocab.json`.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when it is missing or damaged; [`Error::Io`].
    pub fn read_vocab(&self) -> Result<String> {
        text::read(
            &self.vocab_path(),
            "is missing: the run is incomplete, train it again",
        )
    }

    /// Writes `stdin.txt`, as the bytes came.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write_stdin(&self, bytes: &[u8]) -> Result<()> {
        write_atomic(&self.stdin_path(), |w| w.write_all(bytes))
    }

    /// The SHA-256 of `vocab.json`, as a checkpoint holds it.
    ///
    /// # Errors
    /// As [`RunFolder::read_vocab`].
    pub fn vocab_sha256(&self) -> Result<String> {
        Ok(text::sha256(self.read_vocab()?.as_bytes()))
    }

    /// The training state of a checkpoint; none where it has none, as one with only weights.
    ///
    /// # Errors
    /// As [`TrainState::load`].
    pub fn state_of(checkpoint: &Path) -> Result<Option<TrainState>> {
        let path = checkpoint.join(STATE);
        match path.exists() {
            true => TrainState::load(&path).map(Some),
            false => Ok(None),
        }
    }

    /// Checks that `vocab.json` is the one that the checkpoint was trained with.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if it is not, and as [`RunFolder::read_vocab`] and
    /// [`RunFolder::state_of`].
    pub fn check_vocab(&self, checkpoint: &Path) -> Result<()> {
        let state = Self::state_of(checkpoint)?;
        let Some(expected) = state.and_then(|state| state.vocab_sha256) else {
            return Ok(());
        };
        if self.vocab_sha256()? == expected {
            return Ok(());
        }
        let message = format!(
            "is not the vocabulary that {} was trained with (its SHA-256 is another): it is damaged \
             or of another run; restore it",
            checkpoint.display()
        );
        Err(Error::checkpoint(self.vocab_path(), message))
    }
}

/// The names in `folder`; none when there is no such folder.
pub(super) fn names(folder: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(Error::io("read", folder))?,
    };
    entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<_>>()
        .map_err(Error::io("read", folder))
}
