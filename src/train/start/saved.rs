//! What a run goes on from, and whether it can.

use crate::error::{Error, Result};
use crate::files::run::STATE;
use crate::files::state::TrainState;
use crate::ranks::Ranks;
use crate::train::device::Chosen;
use crate::train::job::Job;
use crate::train::settings::Precision;
use std::path::Path;

/// The state of a checkpoint, which is of this data.
pub(super) fn load_state<J: Job>(checkpoint: &Path, source: &J::Source) -> Result<TrainState> {
    let path = checkpoint.join(STATE);
    let state = TrainState::load(&path)?;
    state.require_program(&path, J::PROGRAM)?;
    if state.data_sha256 != J::sha256(source) {
        return Err(Error::Data(format!(
            "--resume: {}, or start a new run from these weights with --init-from {} --out ANOTHER",
            J::foreign(source),
            checkpoint.display()
        )));
    }
    Ok(state)
}

/// Checks that there are as many ranks as the run has, where each trains by itself.
pub(super) fn check_ranks(state: &TrainState, ranks: &Ranks) -> Result<()> {
    let now = ranks.size();
    match state.ranks.filter(|&n| n != now as u64) {
        None => Ok(()),
        Some(n) => Err(Error::Usage(format!(
            "--resume: the run has local-steps and was begun by {n} ranks, each of which has rows of its \
             own, and this is a start of {now}: start {n}, or begin a new run from its weights: \
             --init-from FILE with another --out"
        ))),
    }
}

/// Checks that the counters of a state fit one another and the run: a digit that changed on the
/// disk would otherwise go unnoticed.
pub(super) fn check_state<J: Job>(checkpoint: &Path, state: &TrainState, job: &J) -> Result<()> {
    let plan = job.plan();
    let per_epoch = plan.steps_per_epoch;
    let done = state.epoch.checked_mul(per_epoch);
    let skipped = state.loss_scaler.map_or(0, |s| s.skipped);
    let fits = state.step_in_epoch <= per_epoch
        && done.and_then(|n| n.checked_add(state.step_in_epoch)) == Some(state.step)
        && state.adam_step.checked_add(skipped) == Some(state.step)
        && state.seed == plan.seed
        && (0.0..1e12).contains(&state.elapsed_seconds)
        && state.streams == plan.streams(state);
    if fits {
        return Ok(());
    }
    let message = format!(
        "its counters contradict one another (step {}, epoch {}, step_in_epoch {}, adam_step {}, \
         seed {}; an epoch has {per_epoch} steps): the file is damaged. Make `last` point to \
         another folder under checkpoints/, or start a new run with --init-from {} --out ANOTHER",
        state.step,
        state.epoch,
        state.step_in_epoch,
        state.adam_step,
        state.seed,
        checkpoint.display()
    );
    Err(Error::checkpoint(checkpoint.join(STATE), message))
}

/// A run goes on in the precision it has: mixed if its checkpoint holds a loss scale. The CPU, which
/// has fp32 alone, takes over either.
pub(super) fn keep_precision(
    precision: Precision,
    state: &TrainState,
    chosen: &mut Chosen,
) -> Result<()> {
    let mixed = state.loss_scaler.is_some();
    let (has, wrong) = match mixed {
        true => ("fp16", Precision::Fp32),
        false => ("fp32", Precision::Fp16),
    };
    if precision == wrong {
        return Err(Error::Usage(format!(
            "--resume: precision = \"{wrong}\" contradicts the saved run, which has {has:?}. Leave \
             it out to continue that run, or start a new one from its weights: --init-from FILE \
             with another --out"
        )));
    }
    if chosen.gpu.is_some() {
        if chosen.mixed && !mixed {
            chosen.why += " (the run began in fp32 and stays so; fp16 needs a new run)";
        }
        chosen.mixed = mixed;
    } else if mixed {
        chosen.why += "; the run began in fp16, which the CPU has not";
    }
    Ok(())
}
