//! How a run starts, whatever the model: data, weights, saved state, and only then its folder.

use super::config_file;
use super::device::Chosen;
use super::job::{Begin, Job, Plan, Request, Weights, make};
use super::progress::Progress;
use super::settings::{Config, Precision};
use crate::error::{Error, Result};
use crate::files::metrics::{self, Event, MetricsWriter};
use crate::files::run::{MODEL, OPTIMIZER, RunFolder, STATE};
use crate::files::state::{LossScaler, TrainState};
use crate::files::tensors::TensorFile;
use std::path::Path;

/// A run whose data, model and folder are there.
pub(super) struct Started<J> {
    pub(super) job: J,
    pub(super) plan: Plan,
    pub(super) folder: RunFolder,
    pub(super) state: TrainState,
    pub(super) metrics: MetricsWriter,
    /// Training time of the finished epochs.
    pub(super) epochs_took: f64,
    /// The text of `config.toml`.
    pub(super) config_text: String,
}

/// Reads and checks everything, takes the device's memory, and only then makes or changes the run's
/// folder.
pub(super) fn start<J: Job>(
    request: &Request<J::Config>,
    progress: &Progress,
    chosen: Chosen,
    load: impl FnOnce(&Progress) -> Result<J::Source>,
) -> Result<Started<J>> {
    match &request.begin {
        Begin::New { force, init_from } => {
            RunFolder::check_new(&request.out, *force)?;
            let init = init_from.as_deref();
            new_run(request, *force, init, progress, &chosen, load)
        }
        Begin::Resume => {
            RunFolder::check_free(&request.out)?;
            resumed_run(request, progress, chosen, load)
        }
    }
}

fn new_run<J: Job>(
    request: &Request<J::Config>,
    force: bool,
    init_from: Option<&Path>,
    progress: &Progress,
    chosen: &Chosen,
    load: impl FnOnce(&Progress) -> Result<J::Source>,
) -> Result<Started<J>> {
    progress.line(&chosen.line());
    let source = load(progress)?;
    let (weights, vocab) = match init_from {
        Some(path) => init::<J>(path)?,
        None => (Weights::Fresh, None),
    };
    let seed = request.config.common().seed;
    let mut state = TrainState::new(J::PROGRAM, seed, J::sha256(&source).to_owned());
    state.loss_scaler = chosen.mixed.then_some(LossScaler::FIRST);
    let device = (chosen, state.loss_scaler);
    let job: J = make(&request.config, &source, vocab, &weights, device, progress)?;
    let folder = RunFolder::create(&request.out, force)?;
    folder.write_config(&request.config_text)?;
    folder.write_vocab(&job.vocab_text())?;
    join(job, folder, state, request, progress)
}

fn resumed_run<J: Job>(
    request: &Request<J::Config>,
    progress: &Progress,
    mut chosen: Chosen,
    load: impl FnOnce(&Progress) -> Result<J::Source>,
) -> Result<Started<J>> {
    let source = load(progress)?;
    let folder = RunFolder::resume(&request.out)?;
    let last = folder.last()?;
    let state = load_state::<J>(&last, &source)?;
    folder.check_vocab(&last)?;
    let settings = J::Config::settings();
    config_file::check_trained(settings, &request.config.table()?, &state, &folder)?;
    keep_precision(request.config.common().precision, &state, &mut chosen)?;
    progress.line(&chosen.line());
    let vocab = Some(J::read_vocab(&folder)?);
    let weights = Weights::Saved {
        model: load_weights(&last.join(MODEL))?,
        moments: TensorFile::load(&last.join(OPTIMIZER))?,
        adam_step: state.adam_step,
    };
    let device = (&chosen, state.loss_scaler.filter(|_| chosen.mixed));
    let job: J = make(&request.config, &source, vocab, &weights, device, progress)?;
    check_state(&last, &state, &job)?;
    // All is read and fits: only now the folder changes.
    folder.write_config(&request.config_text)?;
    metrics::truncate_after(&folder.metrics_path(), state.step, state.epoch)?;
    // The run may have died between saving its best checkpoint and marking it.
    if state.best.as_ref().is_some_and(|b| b.step == state.step) {
        folder.mark_best(state.step)?;
    }
    let out = request.out.display();
    let (step, epoch) = (state.step, state.epoch);
    progress.line(&format!(
        "resuming {out} at step {step} ({epoch} epochs done)"
    ));
    join(job, folder, state, request, progress)
}

fn join<J: Job>(
    job: J,
    folder: RunFolder,
    mut state: TrainState,
    request: &Request<J::Config>,
    progress: &Progress,
) -> Result<Started<J>> {
    if let Some(why) = folder.unlocked() {
        progress.line(&format!(
            "note: the file system of {} has no locks ({why}): see to it that no other process \
             trains this run",
            folder.path().display()
        ));
    }
    state.vocab_sha256 = Some(folder.vocab_sha256()?);
    state.settings = config_file::fixed(J::Config::settings(), &request.config.table()?);
    Ok(Started {
        plan: job.plan(),
        job,
        config_text: request.config_text.clone(),
        metrics: MetricsWriter::append(&folder.metrics_path())?,
        epochs_took: epochs_took(&folder)?,
        folder,
        state,
    })
}

/// A run goes on in the precision it has: mixed if its checkpoint holds a loss scale. The CPU, which
/// has fp32 alone, takes over either.
fn keep_precision(precision: Precision, state: &TrainState, chosen: &mut Chosen) -> Result<()> {
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

// ---- parts of the start --------------------------------------------------------------------

/// Seconds of the epochs that metrics.jsonl holds.
fn epochs_took(folder: &RunFolder) -> Result<f64> {
    let path = folder.metrics_path();
    if !path.exists() {
        return Ok(0.0);
    }
    let seconds = metrics::read(&path)?.into_iter().map(|event| match event {
        Event::Epoch(e) if (0.0..1e12).contains(&e.seconds) => e.seconds,
        _ => 0.0,
    });
    Ok(seconds.sum())
}

fn load_state<J: Job>(checkpoint: &Path, source: &J::Source) -> Result<TrainState> {
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

/// Checks that the counters of a state fit one another and the run: a digit that changed on the
/// disk would otherwise go unnoticed.
fn check_state<J: Job>(checkpoint: &Path, state: &TrainState, job: &J) -> Result<()> {
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

/// The weights of a file; all of them are numbers that training can start from.
///
/// # Errors
/// [`Error::Checkpoint`] for a damaged file and for a value that is not finite.
pub fn load_weights(path: &Path) -> Result<TensorFile> {
    let file = TensorFile::load(path)?;
    for (name, tensor) in &file.tensors {
        if let Some(at) = tensor.data.iter().position(|x| !x.is_finite()) {
            let message = format!(
                "tensor `{name}` holds {} at index {at}: its training had diverged; use weights \
                 from before that",
                tensor.data[at]
            );
            return Err(Error::checkpoint(path, message));
        }
    }
    Ok(file)
}

/// Weights of a file, a run or a checkpoint to start from, and the vocabulary where there is one.
fn init<J: Job>(path: &Path) -> Result<(Weights, Option<J::Vocab>)> {
    if !path.exists() {
        return Err(Error::checkpoint(path, "--init-from: no such file or run"));
    }
    if path.is_file() {
        return Ok((Weights::Given(load_weights(path)?), None));
    }
    let (folder, checkpoint) = RunFolder::find(path)?;
    let weights = load_weights(&checkpoint.join(MODEL))?;
    Ok((Weights::Given(weights), Some(J::read_vocab(&folder)?)))
}
