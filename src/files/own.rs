//! A run's folder in the hands of the process that trains it: made, replaced, resumed, lost.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::atomic::{clean_leftovers, is_temp_name, remove_any};
use super::checkpoints::remove_if_empty;
use super::lock::{LOCK, RunLock, is_missing};
use super::run::{
    CONFIG, EXPLORER, METRICS, PREDICTIONS, REPORT, RunFolder, STDIN_COPY, STUDY, VOCAB, names,
};
use crate::error::{Error, Result};

/// How `config.toml` shows that rnnx wrote it: one of its lines begins so.
const OWN: [&str; 2] = ["# Configuration of an rnnx run", "rnnx-version ="];

/// How the names of rnnx's event files begin, before a number.
pub(super) const EVENTS_START: &str = "events.out.tfevents.";
/// How they end.
pub(super) const EVENTS_END: &str = ".rnnx";

/// Files that give way to those of a new run.
const GIVE_WAY: [&str; 6] = [REPORT, EXPLORER, METRICS, VOCAB, STUDY, STDIN_COPY];

impl RunFolder {
    /// Makes the folder of a new run, which is this process's as long as the value or a clone of it
    /// lives; an empty folder that exists will do.
    ///
    /// With `force` an existing run gives way: rnnx's own files in it are deleted, others stay. Its
    /// configuration stays until [`RunFolder::write_config`] replaces it: so the folder is known as
    /// a run at any time, and another start with `force` can finish the work.
    ///
    /// # Errors
    /// [`Error::Usage`] for a folder in use without `force`, for one that is no run, and for one
    /// that another process trains in; [`Error::Io`].
    pub fn create(path: &Path, force: bool) -> Result<Self> {
        check_use(path, force)?;
        fs::create_dir_all(path).map_err(Error::io("create", path))?;
        let run = Self::locked(path)?;
        // Another process may have been here in between.
        check_use(path, force)?;
        run.clean()?;
        run.clear_checkpoints()?;
        run.clear_samples()?;
        run.clear_events()?;
        for own in GIVE_WAY.map(|name| path.join(name)) {
            if !own.is_dir() {
                remove_any(&own).map_err(Error::io("remove", &own))?;
            }
        }
        Ok(run)
    }

    /// Whether `file` is one that [`RunFolder::create`] deletes, with `force`, of the run in `path`: one
    /// of the files in its folder, or a sample; or a folder that is the run's or lies in it, whose files
    /// may be such. What is not there does not give way.
    pub fn gives_way(path: &Path, file: &Path) -> bool {
        let (Ok(run), Ok(file)) = (path.canonicalize(), file.canonicalize()) else {
            return false;
        };
        if file.is_dir() {
            return file.starts_with(&run);
        }
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        match file.parent() {
            Some(folder) if folder == run => GIVE_WAY.contains(&&*name),
            Some(folder) => folder == Self::at(&run).samples_path() && is_sample(&name),
            None => false,
        }
    }

    /// Checks that [`RunFolder::create`] may make or replace the folder, and changes nothing.
    ///
    /// # Errors
    /// As [`RunFolder::create`].
    pub fn check_new(path: &Path, force: bool) -> Result<()> {
        Self::check_free(path)?;
        check_use(path, force)
    }

    /// Checks that no process trains in the folder, if there is one.
    ///
    /// # Errors
    /// [`Error::Usage`] that names the process.
    pub fn check_free(path: &Path) -> Result<()> {
        RunLock::check_free(path)
    }

    fn locked(path: &Path) -> Result<Self> {
        Ok(Self {
            path: path.to_path_buf(),
            lock: Some(Arc::new(RunLock::take(path)?)),
        })
    }

    /// Opens a run to train on, as [`RunFolder::open`]: it is this process's as long as the value or
    /// a clone of it lives, and what a crash left half-written is cleared away.
    ///
    /// # Errors
    /// As [`RunFolder::open`]; [`Error::Usage`] if another process trains in it; [`Error::Io`].
    pub fn resume(path: &Path) -> Result<Self> {
        Self::open(path)?;
        let run = Self::locked(path)?;
        run.clean()?;
        Ok(run)
    }

    /// A new folder beside this one, `RUN.rescued` or the next number that is free, for a run whose
    /// own folder is gone.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn beside(&self) -> Result<Self> {
        let name = self
            .path()
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        let plain = format!("{name}.rescued");
        let others = (2..).map(|n| format!("{plain}-{n}"));
        let mut names = [plain.clone()].into_iter().chain(others);
        let free = |path: &PathBuf| fs::symlink_metadata(path).is_err();
        let path = names.find_map(|name| Some(self.path().with_file_name(name)).filter(free));
        Self::create(&path.unwrap_or(self.path().with_file_name(plain)), false)
    }

    /// Why the run could not be locked, where the file system has no locks.
    pub fn unlocked(&self) -> Option<String> {
        let refused = self.lock.as_ref()?.refused()?;
        Some(refused.to_string())
    }

    /// Whether the run of a process that trains it is no longer in its place: the folder was
    /// deleted, emptied, moved or replaced.
    pub fn is_gone(&self) -> bool {
        let elsewhere = self.lock.as_ref().is_some_and(|lock| lock.is_elsewhere());
        elsewhere || is_missing(&self.config_path())
    }

    /// Clears away what a crash left half-written.
    fn clean(&self) -> Result<()> {
        clean_leftovers(self.path())?;
        for folder in [
            self.checkpoints_path(),
            self.samples_path(),
            self.tensorboard_path(),
        ] {
            if !fs::symlink_metadata(&folder).is_ok_and(|m| m.is_symlink()) {
                clean_leftovers(&folder)?;
            }
        }
        Ok(())
    }

    /// Deletes the samples that rnnx wrote.
    fn clear_samples(&self) -> Result<()> {
        let samples = self.samples_path();
        if fs::symlink_metadata(&samples).is_ok_and(|m| m.is_dir()) {
            for name in names(&samples)?.iter().filter(|name| is_sample(name)) {
                let sample = samples.join(name);
                remove_any(&sample).map_err(Error::io("remove", &sample))?;
            }
        }
        remove_if_empty(&samples)
    }

    /// The event files that rnnx wrote, the oldest first.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn event_files(&self) -> Result<Vec<PathBuf>> {
        let folder = self.tensorboard_path();
        if !fs::symlink_metadata(&folder).is_ok_and(|m| m.is_dir()) {
            return Ok(Vec::new());
        }
        let own = |name: &String| name.starts_with(EVENTS_START) && name.ends_with(EVENTS_END);
        let mut own: Vec<String> = names(&folder)?.into_iter().filter(own).collect();
        own.sort_unstable();
        Ok(own.into_iter().map(|name| folder.join(name)).collect())
    }

    /// Deletes those event files.
    fn clear_events(&self) -> Result<()> {
        for path in self.event_files()? {
            remove_any(&path).map_err(Error::io("remove", &path))?;
        }
        remove_if_empty(&self.tensorboard_path())
    }
}

/// Whether `path` can be the folder of a new run; see [`RunFolder::create`].
fn check_use(path: &Path, force: bool) -> Result<()> {
    let shown = path.display();
    if path.exists() && !path.is_dir() {
        return Err(Error::Usage(format!(
            "{shown} is a file: give another folder with --out"
        )));
    }
    if !is_in_use(path)? {
        return Ok(());
    }
    let config = path.join(CONFIG);
    if !config.is_file() {
        return Err(Error::Usage(format!(
            "{shown} holds files but no {CONFIG}: it is not a run of rnnx, so neither --resume nor \
             --force applies. Give another folder with --out"
        )));
    }
    if !is_own(&config)? {
        return Err(Error::Usage(format!(
            "{shown} is not a run of rnnx: its {CONFIG} was not written by rnnx, so neither --resume \
             nor --force applies. Give another folder with --out"
        )));
    }
    if !force {
        return Err(Error::Usage(format!(
            "{shown} already holds a run: continue it with --resume, replace it with --force, or \
             give another folder with --out"
        )));
    }
    Ok(())
}

/// Whether rnnx wrote this configuration, whatever has happened to it since.
fn is_own(config: &Path) -> Result<bool> {
    let bytes = fs::read(config).map_err(Error::io("read", config))?;
    let text = String::from_utf8_lossy(&bytes);
    let own = |line: &str| OWN.iter().any(|start| line.starts_with(start));
    Ok(text.lines().any(own))
}

/// Whether rnnx gives this name to a file in `samples/`.
fn is_sample(name: &str) -> bool {
    let epoch = name
        .strip_prefix("epoch-")
        .and_then(|n| n.strip_suffix(".txt"));
    name == PREDICTIONS || epoch.is_some_and(|n| n.parse::<u64>().is_ok())
}

/// Whether `folder` holds anything but what a start that failed leaves.
fn is_in_use(folder: &Path) -> Result<bool> {
    let left = |name: &String| is_temp_name(name) || name == LOCK;
    Ok(!names(folder)?.iter().all(left))
}
