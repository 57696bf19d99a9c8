//! A run's folder: its configuration, vocabulary, metrics and checkpoints.
//!
//! ```text
//! RUN/ config.toml  vocab.json  metrics.jsonl  report.html  samples/  samples/test.jsonl
//!      checkpoints/step-N/ model.safetensors  optimizer.safetensors  state.json
//!      best -> checkpoints/step-N   last -> checkpoints/step-N
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::atomic::{
    clean_leftovers, is_temp_name, read_link, remove_any, remove_folder, replace_link,
    write_atomic, write_folder,
};
use super::state::TrainState;
use super::tensors::TensorFile;
use crate::error::{Error, Result};

/// The weights in a checkpoint's folder.
pub const MODEL: &str = "model.safetensors";
/// The optimizer's buffers in a checkpoint's folder.
pub const OPTIMIZER: &str = "optimizer.safetensors";
/// The training state in a checkpoint's folder.
pub const STATE: &str = "state.json";

const CONFIG: &str = "config.toml";
const VOCAB: &str = "vocab.json";
const METRICS: &str = "metrics.jsonl";
const REPORT: &str = "report.html";
const SAMPLES: &str = "samples";
const CHECKPOINTS: &str = "checkpoints";
const BEST: &str = "best";
const LAST: &str = "last";
/// What `--force` deletes. The configuration goes last: as long as it is there, the folder is
/// known as a run and another `--force` can finish the work.
const OWN_FILES: [&str; 8] = [
    BEST,
    LAST,
    CHECKPOINTS,
    SAMPLES,
    REPORT,
    METRICS,
    VOCAB,
    CONFIG,
];

/// The folder of one training run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    // ---- opening ---------------------------------------------------------------------------

    /// Names a folder, whatever it holds, for the paths of its files.
    pub fn at(path: &Path) -> Self {
        Self {
            path: path.to_path_buf(),
        }
    }

    /// Makes the folder of a new run; an empty one that exists will do.
    ///
    /// With `force` an existing run gives way: rnnx's own files in it are deleted, others stay.
    ///
    /// # Errors
    /// [`Error::Usage`] for a folder in use without `force`, and for one that is no run;
    /// [`Error::Io`].
    pub fn create(path: &Path, force: bool) -> Result<Self> {
        Self::check_new(path, force)?;
        fs::create_dir_all(path).map_err(Error::io("create", path))?;
        if is_in_use(path)? {
            clean_leftovers(path)?;
            for own in OWN_FILES.map(|name| path.join(name)) {
                remove_any(&own).map_err(Error::io("remove", &own))?;
            }
        }
        Ok(Self::at(path))
    }

    /// Checks that [`RunFolder::create`] may make or replace the folder, and changes nothing.
    ///
    /// # Errors
    /// As [`RunFolder::create`].
    pub fn check_new(path: &Path, force: bool) -> Result<()> {
        let shown = path.display();
        if path.exists() && !path.is_dir() {
            return Err(Error::Usage(format!(
                "{shown} is a file: give another folder with --out"
            )));
        }
        if !is_in_use(path)? {
            return Ok(());
        }
        if !path.join(CONFIG).is_file() {
            return Err(Error::Usage(format!(
                "{shown} holds files but no {CONFIG}: it is not a run of rnnx, so neither --resume \
                 nor --force applies. Give another folder with --out"
            )));
        }
        if !force {
            return Err(Error::Usage(format!(
                "{shown} already holds a run: continue it with --resume, replace it with --force, \
                 or give another folder with --out"
            )));
        }
        Ok(())
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

    /// Opens a run to train on: as [`RunFolder::open`], and what a crash left half-written is
    /// cleared away.
    ///
    /// # Errors
    /// As [`RunFolder::open`]; [`Error::Io`].
    pub fn resume(path: &Path) -> Result<Self> {
        let run = Self::open(path)?;
        clean_leftovers(&run.path)?;
        clean_leftovers(&run.path.join(CHECKPOINTS))?;
        clean_leftovers(&run.samples_path())?;
        Ok(run)
    }

    /// What the RUN argument of a command names: a run's folder (its `best` checkpoint, or its
    /// `last` when none is best yet) or one checkpoint's folder, whose run is its parent's parent.
    /// Returns the run and the checkpoint's folder.
    ///
    /// # Errors
    /// [`Error::Checkpoint`]: no such run, neither a run nor a checkpoint, no checkpoint yet, or
    /// a link to a checkpoint that is gone.
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
        Ok((Self::open(run)?, path.to_path_buf()))
    }

    // ---- files -----------------------------------------------------------------------------

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
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

    /// `samples/`, the folder of texts generated during training; it may not exist yet.
    pub fn samples_path(&self) -> PathBuf {
        self.path.join(SAMPLES)
    }

    /// `samples/test.jsonl`: the test pairs and what the model made of them, where it has been
    /// tested on any.
    pub fn predictions_path(&self) -> PathBuf {
        self.samples_path().join("test.jsonl")
    }

    /// `report.html`.
    pub fn report_path(&self) -> PathBuf {
        self.path.join(REPORT)
    }

    /// Writes `config.toml`. It makes the folder a run, so it is the first file to be written.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write_config(&self, text: &str) -> Result<()> {
        write_atomic(&self.config_path(), |w| w.write_all(text.as_bytes()))
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
        let path = self.vocab_path();
        fs::read_to_string(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                Error::checkpoint(path, "is missing: the run is incomplete, train it again")
            }
            io::ErrorKind::InvalidData => {
                Error::checkpoint(path, "is damaged: it is not UTF-8 text")
            }
            _ => Error::io("read", path)(error),
        })
    }

    // ---- checkpoints -----------------------------------------------------------------------

    /// The checkpoint that speaks for the run: `best`, or `last` when none is best yet.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when there is none yet or the link leads nowhere.
    pub fn checkpoint(&self) -> Result<PathBuf> {
        match self.linked(BEST)? {
            Some(best) => Ok(best),
            None => self.last(),
        }
    }

    /// The checkpoint to resume from.
    ///
    /// # Errors
    /// As [`RunFolder::checkpoint`].
    pub fn last(&self) -> Result<PathBuf> {
        self.linked(LAST)?.ok_or_else(|| {
            Error::checkpoint(
                &self.path,
                "this run has no checkpoint yet: let it train to its first one, or start it again \
                 with --force",
            )
        })
    }

    /// The best checkpoint, if one has been marked.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when the link leads nowhere.
    pub fn best(&self) -> Result<Option<PathBuf>> {
        self.linked(BEST)
    }

    /// Where the link `name` leads, if there is one.
    fn linked(&self, name: &str) -> Result<Option<PathBuf>> {
        let link = self.path.join(name);
        let Some(target) = read_link(&link)? else {
            return Ok(None);
        };
        if target.is_dir() {
            return Ok(Some(target));
        }
        let there = match self.steps()?.as_slice() {
            [] => "there is no checkpoint left".to_string(),
            steps => {
                let names: Vec<String> = steps.iter().map(|s| format!("step-{s}")).collect();
                format!(
                    "{CHECKPOINTS}/ holds {}: give one of these folders instead",
                    names.join(", ")
                )
            }
        };
        let message = format!("points to {}, which is gone; {there}", target.display());
        Err(Error::checkpoint(link, message))
    }

    /// Saves a checkpoint as `checkpoints/step-N` and moves `last` to it. Returns its folder.
    ///
    /// # Errors
    /// [`Error::Io`] that names the file. Earlier checkpoints and the links stay as they were.
    pub fn save_checkpoint(
        &self,
        model: &TensorFile,
        optimizer: &TensorFile,
        state: &TrainState,
    ) -> Result<PathBuf> {
        let all = self.path.join(CHECKPOINTS);
        fs::create_dir_all(&all).map_err(Error::io("create", &all))?;
        let folder = all.join(format!("step-{}", state.step));
        write_folder(&folder, |temp| {
            model.save(&temp.join(MODEL))?;
            optimizer.save(&temp.join(OPTIMIZER))?;
            state.save(&temp.join(STATE))
        })?;
        self.link(LAST, state.step)?;
        Ok(folder)
    }

    /// Makes the saved checkpoint of `step` the best one.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when there is no such checkpoint; [`Error::Io`]: `best` stays.
    pub fn mark_best(&self, step: u64) -> Result<()> {
        self.link(BEST, step)
    }

    fn link(&self, name: &str, step: u64) -> Result<()> {
        let target = Path::new(CHECKPOINTS).join(format!("step-{step}"));
        let folder = self.path.join(&target);
        if !folder.is_dir() {
            return Err(Error::checkpoint(folder, "no such checkpoint"));
        }
        replace_link(&self.path.join(name), &target)
    }

    /// Deletes the checkpoints that neither `best` nor `last` points to.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Checkpoint`] when a link leads nowhere: then nothing is deleted.
    pub fn prune(&self) -> Result<()> {
        let kept = [self.best()?, Some(self.last()?)].map(|folder| {
            folder.and_then(|folder| Some(folder.file_name()?.to_string_lossy().into_owned()))
        });
        for step in self.steps()? {
            let name = format!("step-{step}");
            if !kept.iter().flatten().any(|kept| *kept == name) {
                remove_folder(&self.path.join(CHECKPOINTS).join(name))?;
            }
        }
        Ok(())
    }

    /// The steps of all checkpoints, by rising step.
    fn steps(&self) -> Result<Vec<u64>> {
        let names = names(&self.path.join(CHECKPOINTS))?.into_iter();
        let steps = names.filter_map(|name| name.strip_prefix("step-")?.parse().ok());
        let mut steps: Vec<u64> = steps.collect();
        steps.sort_unstable();
        Ok(steps)
    }
}

/// Whether `folder` holds anything but temporary files of a start that failed.
fn is_in_use(folder: &Path) -> Result<bool> {
    Ok(names(folder)?.iter().any(|name| !is_temp_name(name)))
}

/// The names in `folder`; none when there is no such folder.
fn names(folder: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(Error::io("read", folder))?,
    };
    entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<_>>()
        .map_err(Error::io("read", folder))
}
