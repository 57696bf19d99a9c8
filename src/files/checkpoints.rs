//! The checkpoints of a run: saved, marked, found and pruned.
//!
//! `checkpoints/` may hold what is not rnnx's. A checkpoint is a real folder `step-N` with weights in
//! it; links and everything else are left alone.

use std::fs;
use std::path::{Path, PathBuf};

use super::atomic::{
    is_temp_name, read_link, remove_any, remove_folder, replace_link, write_folder,
};
use super::run::{CHECKPOINTS, MODEL, OPTIMIZER, RunFolder, STATE, names};
use super::state::TrainState;
use super::tensors::TensorFile;
use crate::error::{Error, Result};

pub(super) const BEST: &str = "best";
pub(super) const LAST: &str = "last";
/// The folder of an average of checkpoints.
const AVERAGE: &str = "average";
/// The files of a checkpoint. The weights go first: without them a folder is no checkpoint.
const FILES: [&str; 3] = [MODEL, OPTIMIZER, STATE];

impl RunFolder {
    // ---- finding ---------------------------------------------------------------------------

    /// The checkpoint that speaks for the run: `best`, or `last` when none is best yet.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when there is none yet, or the link leads nowhere or out of the run.
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
                self.path(),
                "this run has no checkpoint yet: let it train to its first one, or start it again \
                 with --force",
            )
        })
    }

    /// The best checkpoint, if one has been marked.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when the link leads nowhere or out of the run.
    pub fn best(&self) -> Result<Option<PathBuf>> {
        self.linked(BEST)
    }

    /// Where the link `name` leads, if there is one.
    fn linked(&self, name: &str) -> Result<Option<PathBuf>> {
        let link = self.path().join(name);
        let Some(target) = read_link(&link)? else {
            return Ok(None);
        };
        if target.is_dir() {
            self.check_inside(&link, &target)?;
            return Ok(Some(target));
        }
        let there = match self.saved()?.as_slice() {
            [] => "there is no checkpoint left".to_string(),
            saved => {
                let names: Vec<&str> = saved.iter().map(|(_, name)| name.as_str()).collect();
                format!(
                    "{CHECKPOINTS}/ holds {}: give one of these folders instead",
                    names.join(", ")
                )
            }
        };
        let message = format!("points to {}, which is gone; {there}", target.display());
        Err(Error::checkpoint(link, message))
    }

    /// Fails if `folder`, which `link` leads to, is not in the run.
    fn check_inside(&self, link: &Path, folder: &Path) -> Result<()> {
        let real = |path: &Path| fs::canonicalize(path).map_err(Error::io("read", path));
        let folder = real(folder)?;
        if folder.starts_with(real(self.path())?) {
            return Ok(());
        }
        let message = format!(
            "leads out of the run, to {}: links out of a run are not followed. Move that folder to \
             where the link is, or name it itself",
            folder.display()
        );
        Err(Error::checkpoint(link, message))
    }

    // ---- saving ----------------------------------------------------------------------------

    /// Saves a checkpoint as `checkpoints/step-N` and moves `last` to it. Returns its folder. Where
    /// something foreign has this name, it is `step-N-2`, or the next number that is free.
    ///
    /// # Errors
    /// [`Error::Io`] that names the file; [`Error::Checkpoint`] where `checkpoints` leads out of
    /// the run. Earlier checkpoints and the links stay as they were.
    pub fn save_checkpoint(
        &self,
        model: &TensorFile,
        optimizer: &TensorFile,
        state: &TrainState,
    ) -> Result<PathBuf> {
        let all = self.checkpoints_path();
        fs::create_dir_all(&all).map_err(Error::io("create", &all))?;
        self.check_inside(&all, &all)?;
        let plain = format!("step-{}", state.step);
        let others = (2..).map(|n| format!("{plain}-{n}"));
        let mut names = [plain.clone()].into_iter().chain(others);
        let free = |path: &PathBuf| fs::symlink_metadata(path).is_err() || is_checkpoint(path);
        let folder = names.find_map(|name| Some(all.join(name)).filter(free));
        let folder = folder.unwrap_or_else(|| all.join(&plain));
        write_folder(&folder, |temp| {
            model.save(&temp.join(MODEL))?;
            optimizer.save(&temp.join(OPTIMIZER))?;
            state.save(&temp.join(STATE))
        })?;
        self.link(LAST, &folder)?;
        Ok(folder)
    }

    /// Saves an average of checkpoints as `checkpoints/average`, with the state of the last of them
    /// but nothing of the optimizer's: it is nothing to go on from. Returns its folder.
    ///
    /// # Errors
    /// [`Error::Io`] that names the file; [`Error::Checkpoint`] where something foreign has this name.
    pub fn save_average(&self, model: &TensorFile, state: &TrainState) -> Result<PathBuf> {
        let folder = self.checkpoints_path().join(AVERAGE);
        if fs::symlink_metadata(&folder).is_ok() && !is_checkpoint(&folder) {
            let message = "is no checkpoint of rnnx, and has the name of an average: move it away";
            return Err(Error::checkpoint(folder, message));
        }
        write_folder(&folder, |temp| {
            model.save(&temp.join(MODEL))?;
            state.save(&temp.join(STATE))
        })?;
        Ok(folder)
    }

    /// Whether a checkpoint's folder, or the one that a link leads to, holds an average.
    pub fn is_average(checkpoint: &Path) -> bool {
        let folder = fs::canonicalize(checkpoint);
        folder.is_ok_and(|folder| folder.file_name().is_some_and(|name| name == AVERAGE))
    }

    /// The folder of the checkpoint of `step`.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when there is no such checkpoint.
    pub fn at_step(&self, step: u64) -> Result<PathBuf> {
        let all = self.checkpoints_path();
        let saved = self.saved()?.into_iter().find(|(at, _)| *at == step);
        let (_, name) = saved.ok_or_else(|| {
            Error::checkpoint(all.join(format!("step-{step}")), "no such checkpoint")
        })?;
        Ok(all.join(name))
    }

    /// Makes the saved checkpoint of `step` the best one.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when there is no such checkpoint; [`Error::Io`]: `best` stays.
    pub fn mark_best(&self, step: u64) -> Result<()> {
        self.link(BEST, &self.at_step(step)?)
    }

    /// Makes the average the best checkpoint.
    ///
    /// # Errors
    /// [`Error::Io`]: `best` stays.
    pub fn mark_average_best(&self) -> Result<()> {
        self.link(BEST, &self.checkpoints_path().join(AVERAGE))
    }

    fn link(&self, name: &str, checkpoint: &Path) -> Result<()> {
        let checkpoint = checkpoint.file_name().unwrap_or_default();
        replace_link(
            &self.path().join(name),
            &Path::new(CHECKPOINTS).join(checkpoint),
        )
    }

    // ---- removing --------------------------------------------------------------------------

    /// Deletes old checkpoints: the `keep` most recent up to `last` stay, those that `best` and
    /// `last` point to, and those of the steps `others`.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Checkpoint`] when a link leads nowhere or out of the run: then
    /// nothing is deleted.
    pub fn prune(&self, keep: usize, others: &[u64]) -> Result<()> {
        let name = |folder: &PathBuf| Some(folder.file_name()?.to_str()?.to_owned());
        let last = name(&self.last()?);
        let best = self.best()?.as_ref().and_then(name);
        let newest = last.as_deref().and_then(step_of).unwrap_or(u64::MAX);
        let mut saved = self.saved()?;
        // What lies after `last` is of a run that was taken back to it.
        saved.retain(|(step, _)| *step <= newest);
        let old = saved.iter().rev().skip(keep);
        for (_, name) in old.filter(|(step, _)| !others.contains(step)) {
            if last.as_ref() != Some(name) && best.as_ref() != Some(name) {
                remove_checkpoint(&self.checkpoints_path().join(name))?;
            }
        }
        Ok(())
    }

    /// Deletes every checkpoint and the links to them. What is not rnnx's stays.
    pub(super) fn clear_checkpoints(&self) -> Result<()> {
        for link in [BEST, LAST].map(|name| self.path().join(name)) {
            let kind = fs::symlink_metadata(&link).map(|m| m.file_type());
            if is_checkpoint(&link) {
                remove_checkpoint(&link)?;
            } else if kind.is_ok_and(|kind| !kind.is_dir()) {
                remove_any(&link).map_err(Error::io("remove", &link))?;
            }
        }
        let all = self.checkpoints_path();
        if fs::symlink_metadata(&all).is_ok_and(|m| m.is_symlink()) {
            return remove_any(&all).map_err(Error::io("remove", &all));
        }
        let saved = self.saved()?.into_iter().map(|(_, name)| all.join(name));
        let average = [all.join(AVERAGE)].into_iter().filter(|a| is_checkpoint(a));
        for folder in saved.chain(average) {
            remove_checkpoint(&folder)?;
        }
        remove_if_empty(&all)
    }

    /// The checkpoints that rnnx wrote, by rising step, and their names.
    fn saved(&self) -> Result<Vec<(u64, String)>> {
        let all = self.checkpoints_path();
        let names = names(&all)?.into_iter();
        let mut saved: Vec<(u64, String)> = names
            .filter(|name| is_checkpoint(&all.join(name)))
            .filter_map(|name| Some((step_of(&name)?, name)))
            .collect();
        saved.sort_unstable();
        Ok(saved)
    }
}

/// The step of a checkpoint's name, `step-N` or `step-N-2`.
fn step_of(name: &str) -> Option<u64> {
    let numbers = name.strip_prefix("step-")?;
    let (step, other) = numbers.split_once('-').unwrap_or((numbers, "0"));
    other.parse::<u64>().ok()?;
    step.parse().ok()
}

/// Whether `path` is a real folder with weights in it.
fn is_checkpoint(path: &Path) -> bool {
    let kind = |path: &Path| fs::symlink_metadata(path).map(|m| m.file_type());
    kind(path).is_ok_and(|kind| kind.is_dir()) && kind(&path.join(MODEL)).is_ok_and(|k| k.is_file())
}

/// Removes a checkpoint; its folder stays if it holds what is not rnnx's.
fn remove_checkpoint(path: &Path) -> Result<()> {
    let own = |name: &String| FILES.contains(&name.as_str()) || is_temp_name(name);
    if names(path)?.iter().all(own) {
        return remove_folder(path);
    }
    for file in FILES.map(|name| path.join(name)) {
        remove_any(&file).map_err(Error::io("remove", &file))?;
    }
    Ok(())
}

/// Removes a folder that nothing is left in; a link to one is left alone.
pub(super) fn remove_if_empty(folder: &Path) -> Result<()> {
    match fs::symlink_metadata(folder).is_ok_and(|m| m.is_dir()) && names(folder)?.is_empty() {
        true => fs::remove_dir(folder).map_err(Error::io("remove", folder)),
        false => Ok(()),
    }
}
