//! What a session writes: checkpoints and samples, into the run's folder or, where that is gone
//! (deleted, moved or emptied while the run trained), into another one beside it.

use super::Session;
use crate::error::{Error, Result};
use crate::files::atomic::write_atomic;
use crate::files::tensors::TensorFile;
use crate::train::job::{Job, Sample};
use crate::train::model::Model;
use std::{fs, io};

impl<J: Job> Session<J> {
    /// Whether a checkpoint is due inside of an epoch; at its end one is saved anyway.
    pub(super) fn checkpoint_is_due(&self) -> bool {
        let s = &self.state;
        let due = |every: u64| s.step.is_multiple_of(every);
        s.step_in_epoch < self.plan.steps_per_epoch && self.plan.checkpoint_every.is_some_and(due)
    }

    /// Saves a checkpoint.
    pub(super) fn save(&mut self) -> Result<()> {
        if !self.writes() {
            return Ok(());
        }
        self.check_folder()?;
        self.note_progress();
        let (weights, moments) = self.tensors()?;
        self.folder
            .save_checkpoint(&weights, &moments, &self.state)?;
        Ok(())
    }

    /// Marks the checkpoint of a step as the best.
    pub(super) fn mark_best(&self, step: u64) -> Result<()> {
        match self.writes() {
            true => self.folder.mark_best(step),
            false => Ok(()),
        }
    }

    /// Brings the parts of the state that follow from the others up to date.
    fn note_progress(&mut self) {
        self.state.elapsed_seconds = self.elapsed();
        self.state.streams = self.plan.streams(&self.state);
    }

    /// The weights and the optimizer's moments.
    fn tensors(&self) -> Result<(TensorFile, TensorFile)> {
        let step = self.job.step();
        Ok((step.model().export()?, step.moments()?))
    }

    /// Old checkpoints that cannot be removed are in nobody's way.
    pub(super) fn prune(&self) {
        if !self.writes() {
            return;
        }
        if let Err(e) = self.folder.prune(self.plan.keep, &self.state.averaged) {
            self.progress
                .line(&format!("note: old checkpoints are kept: {e}"));
        }
    }

    /// Something to look at of the last epoch's model; none of weights that it cannot be made of.
    fn sample(&self) -> Result<Option<Sample>> {
        let epoch = self.state.epoch;
        let sample = self.job.sample(epoch)?;
        Ok(sample.map_or_else(
            |e| {
                let note = format!("note: no sample of epoch {epoch}: {e}");
                self.progress.line(&note);
                None
            },
            Some,
        ))
    }

    /// Keeps the sample beside the curves; with `mend` only if it is not there.
    pub(super) fn write_sample(&self, mend: bool) -> Result<()> {
        if !self.writes() {
            return Ok(());
        }
        let samples = self.folder.samples_path();
        let Some(sample) = self.sample()? else {
            return Ok(());
        };
        let path = samples.join(sample.file);
        if mend && path.exists() {
            return Ok(());
        }
        fs::create_dir_all(&samples).map_err(Error::io("create", &samples))?;
        write_atomic(&path, |w| w.write_all(sample.text.as_bytes()))
    }

    // ---- a folder that is gone -----------------------------------------------------------------

    /// Fails if the run's folder is gone, so that nothing is written where it was.
    pub(super) fn check_folder(&self) -> Result<()> {
        match self.writes() && self.folder.is_gone() {
            true => Err(self.gone("nothing can be saved there")),
            false => Ok(()),
        }
    }

    /// Whether the run's folder is gone, or going: a file that was to be written had no place.
    pub(super) fn is_cut_off(&self, ended: &Result<()>) -> bool {
        match ended {
            _ if !self.writes() => false,
            Err(Error::Diverged(_)) => false,
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => true,
            _ => self.folder.is_gone(),
        }
    }

    /// Saves the run in a folder beside the one that is gone, and says where.
    pub(super) fn rescue(&mut self) -> Error {
        let step = self.state.step;
        let what = match self.save_beside() {
            Ok(place) => format!(
                "step {step} is saved in {place}, with the records so far: go on with --resume --out \
                 {place}"
            ),
            Err(e) => format!("step {step} is lost, as it cannot be saved beside it: {e}"),
        };
        self.gone(&what)
    }

    fn gone(&self, what: &str) -> Error {
        let why = format!("the folder was deleted or moved while the run trained; {what}");
        let why = io::Error::new(io::ErrorKind::NotFound, why);
        Error::io("save to", self.folder.path())(why)
    }

    fn save_beside(&mut self) -> Result<String> {
        let folder = self.folder.beside()?;
        folder.write_config(&self.config_text)?;
        folder.write_vocab(&self.job.vocab_text())?;
        if let Some(bytes) = self.job.only_copy() {
            folder.write_stdin(bytes)?;
        }
        if let Some(metrics) = &self.metrics {
            let records = metrics.content()?;
            write_atomic(&folder.metrics_path(), |w| w.write_all(&records))?;
        }
        self.note_progress();
        let mut state = self.state.clone();
        state.vocab_sha256 = Some(folder.vocab_sha256()?);
        // Another checkpoint that was the best is gone, and its score with it.
        state.best = state.best.filter(|best| best.step == state.step);
        // So are those of an average.
        state.averaged.retain(|&step| step == state.step);
        let (weights, moments) = self.tensors()?;
        folder.save_checkpoint(&weights, &moments, &state)?;
        if state.best.is_some() {
            folder.mark_best(state.step)?;
        }
        Ok(folder.path().display().to_string())
    }
}
