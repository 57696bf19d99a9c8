//! The average of the last checkpoints' weights, made where a run ends (checkpoint averaging as in
//! Vaswani et al. 2017, section 6.1).
//!
//! Of the checkpoints those count that a schedule saves, at the ends of epochs and every
//! checkpoint-every steps, and where training ends: so a run that was interrupted has the same average
//! as one that was not.

use super::Session;
use crate::error::Result;
use crate::files::run::MODEL;
use crate::files::tensors::TensorFile;
use crate::nn::torch_names;
use crate::ranks::Ranks;
use crate::train::init::load_weights;
use crate::train::job::Job;
use crate::train::model::Model;

impl<J: Job> Session<J> {
    /// Lists the checkpoint that is about to be saved among those of the average.
    pub(super) fn list_for_average(&mut self) {
        let (step, listed) = (self.state.step, &mut self.state.averaged);
        let Some(n) = self.plan.average else {
            return listed.clear();
        };
        if listed.last() != Some(&step) {
            listed.push(step);
        }
        listed.drain(..listed.len().saturating_sub(n));
    }

    /// Lists the checkpoint that is due inside of an epoch, if one is.
    pub(super) fn list_if_due(&mut self) {
        if self.checkpoint_is_due() {
            self.list_for_average();
        }
    }

    /// Averages the last checkpoints, validates and saves the average, and marks it if it is the best.
    /// The state stays: a run that goes on from here is one that never stopped.
    pub(super) fn average(&mut self) -> Result<()> {
        let Some(n) = self.plan.average.filter(|_| self.writes()) else {
            return Ok(());
        };
        let mut steps = self.state.averaged.clone();
        if steps.last() != Some(&self.state.step) {
            steps.push(self.state.step);
        }
        steps.drain(..steps.len().saturating_sub(n));
        let Some(mean) = self.mean_of(&steps)? else {
            return Ok(());
        };
        // The other ranks have ended.
        let (model, alone) = (self.job.with_weights(&mean)?, Ranks::alone());
        let valid = self.validated(self.job.validate(&model, &alone))?;
        let folder = self.folder.save_average(&mean, &self.state)?;
        let Some(valid) = valid else {
            self.progress.line(&format!(
                "the average of {} checkpoints is {}; nothing validates, so it is not known to be the \
                 best",
                steps.len(),
                folder.display()
            ));
            return Ok(());
        };
        self.record_valid(valid, true, Some(steps.len() as u64))?;
        if valid.loss < self.closing.unwrap_or(self.best()) {
            self.folder.mark_average_best()?;
            self.closing = Some(valid.loss);
        }
        Ok(())
    }

    /// The mean of the weights that the checkpoints of these steps have, in f64; none, with a note,
    /// where there are not two.
    fn mean_of(&self, steps: &[u64]) -> Result<Option<TensorFile>> {
        let none = |why: &str| {
            self.progress.line(&format!("note: no average: {why}"));
            Ok(None)
        };
        let [first, others @ ..] = steps else {
            return none("there is no checkpoint");
        };
        if others.is_empty() {
            return none("training ended with one checkpoint of those that it is made of");
        }
        let layout = self.job.step().model().params().layout();
        let load = |step: &u64| {
            let file = load_weights(&self.folder.at_step(*step)?.join(MODEL))?;
            torch_names::check(layout, &file, &[]).map(|()| file)
        };
        let mut mean = match load(first) {
            Ok(file) => file,
            Err(e) => return none(&e.to_string()),
        };
        let mut sums: Vec<Vec<f64>> = mean
            .tensors
            .values()
            .map(|tensor| tensor.data.iter().map(|&x| x.into()).collect())
            .collect();
        for step in others {
            let file = match load(step) {
                Ok(file) => file,
                Err(e) => return none(&e.to_string()),
            };
            // All of them are of one layout, so they have the same tensors in the same order.
            for (tensor, sum) in file.tensors.values().zip(&mut sums) {
                sum.iter_mut()
                    .zip(&tensor.data)
                    .for_each(|(sum, &x)| *sum += f64::from(x));
            }
        }
        let n = steps.len() as f64;
        for (tensor, sum) in mean.tensors.values_mut().zip(sums) {
            tensor.data = sum.into_iter().map(|x| (x / n) as f32).collect();
        }
        Ok(Some(mean))
    }
}
