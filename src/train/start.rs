//! How a run starts, whatever the model: data, weights, saved state, and only then its folder.

mod saved;

use super::config_file::{self, to_toml};
use super::device::Chosen;
use super::exchange;
use super::init::{self, load_weights};
use super::job::{Begin, InitFrom, Job, Plan, Request};
use super::make::{Weights, make};
use super::model::Model;
use super::places::{open_resumed, paths_of};
use super::progress::Progress;
use super::settings::Config;
use super::shards::Shards;
use crate::data::vocab::Vocab;
use crate::device::Level;
use crate::error::{Error, Result};
use crate::files::metrics::{self, ChangeEvent, Event, MetricsWriter};
use crate::files::run::{MODEL, OPTIMIZER, RunFolder};
use crate::files::state::{LossScaler, TrainState};
use crate::files::tensorboard::EventFile;
use crate::files::tensors::TensorFile;
use crate::interrupt::AtOnce;
use saved::{check_ranks, check_state, keep_precision, load_state};
use sha2::{Digest, Sha256};

/// A run whose data, model and folder are there.
pub(super) struct Started<J> {
    pub(super) job: J,
    pub(super) plan: Plan,
    pub(super) folder: RunFolder,
    pub(super) state: TrainState,
    /// At rank 0, which alone writes.
    pub(super) metrics: Option<MetricsWriter>,
    /// TensorBoard's event file, where one is wanted.
    pub(super) events: Option<EventFile>,
    /// Whether there was a checkpoint to start from.
    pub(super) resumed: bool,
    /// Training time of the finished epochs.
    pub(super) epochs_took: f64,
    /// The text of `config.toml`.
    pub(super) config_text: String,
}

/// Reads and checks everything, takes the device's memory, and only then makes or changes the run's
/// folder. Until then, in `starting`, an interrupt ends the process.
pub(super) fn start<J: Job>(
    request: &Request<J::Config>,
    progress: &Progress,
    chosen: Chosen,
    starting: AtOnce,
    load: impl FnOnce(&Progress) -> Result<J::Source>,
) -> Result<Started<J>> {
    let common = request.config.common();
    let shards = match common.local() {
        Some(local) => Shards::of_each(&request.ranks, local),
        None => Shards::new(&request.ranks, common.virtual_shards, common.reduce)?,
    };
    let writes = request.ranks.is_first();
    match &request.begin {
        Begin::New { force, init_from } => {
            if writes {
                RunFolder::check_new(&request.out, *force)?;
            }
            if *force {
                check_data_stays(request)?;
            }
            let init = init_from.as_ref();
            let started = new_run(request, init, (&chosen, shards), progress, load)?;
            create(started, *force, starting, request, progress)
        }
        Begin::Resume => {
            if writes {
                RunFolder::check_free(&request.out)?;
            }
            resumed_run(request, progress, (chosen, shards), starting, load)
        }
    }
}

/// Fails where the run that gives way to a new one holds data of that, as the text that it kept of
/// standard input.
fn check_data_stays<C: Config>(request: &Request<C>) -> Result<()> {
    let paths = paths_of(C::settings(), &request.config.table()?);
    match paths
        .iter()
        .find(|path| RunFolder::gives_way(&request.out, path))
    {
        None => Ok(()),
        Some(path) => Err(Error::Usage(format!(
            "{} is of the run that --force replaces, and would be gone with it: copy it elsewhere and \
             name that",
            path.display()
        ))),
    }
}

/// Makes a new run, of which nothing is written yet.
fn new_run<J: Job>(
    request: &Request<J::Config>,
    init_from: Option<&InitFrom>,
    (chosen, shards): (&Chosen, Shards),
    progress: &Progress,
    load: impl FnOnce(&Progress) -> Result<J::Source>,
) -> Result<(J, TrainState)> {
    progress.line(&chosen.line());
    let source = load(progress)?;
    let shards = exchanging(request, shards, chosen, progress)?;
    let seed = request.config.common().seed;
    let mut state = TrainState::new(J::PROGRAM, seed, J::sha256(&source).to_owned());
    let (weights, vocab) = match init_from {
        Some(from) => {
            let init = init::load::<J>(from, &request.config, &source, progress)?;
            state.init_sha256 = Some(init.sha256);
            (init.weights, Some(init.vocab))
        }
        None => (Weights::Fresh, None),
    };
    state.loss_scaler = chosen.mixed.then_some(LossScaler::FIRST);
    state.ranks = shards.local().map(|_| request.ranks.size() as u64);
    let device = (chosen, state.loss_scaler);
    let config = &request.config;
    let job: J = make(config, &source, vocab, &weights, device, shards, progress)?;
    agree(request, chosen, &job, &state)?;
    Ok((job, state))
}

/// Settles how the ranks exchange, with all of them, once it is known that they have the same settings.
fn exchanging<C: Config>(
    request: &Request<C>,
    shards: Shards,
    chosen: &Chosen,
    progress: &Progress,
) -> Result<Shards> {
    let table = request.config.table()?;
    request
        .ranks
        .agree(&config_file::alike(C::settings(), &table))?;
    if shards.local().is_some() {
        return Ok(shards); // an outer step goes through the hosts
    }
    let wish = request.config.common().exchange;
    let (devices, line) = exchange::choose(&request.ranks, chosen.gpu.as_ref(), wish)?;
    if let Some(line) = line {
        progress.line(&line);
    }
    Ok(shards.with_devices(devices))
}

/// Makes the folder of a new run.
fn create<J: Job>(
    (job, state): (J, TrainState),
    force: bool,
    starting: AtOnce,
    request: &Request<J::Config>,
    progress: &Progress,
) -> Result<Started<J>> {
    drop(starting);
    if !request.ranks.is_first() {
        return join(job, RunFolder::at(&request.out), state, request, progress);
    }
    let folder = RunFolder::create(&request.out, force)?;
    folder.write_config(&config_text(request)?)?;
    folder.write_vocab(&job.vocab_text())?;
    if let Some(bytes) = job.only_copy() {
        folder.write_stdin(bytes)?;
    }
    join(job, folder, state, request, progress)
}

/// Fails where the ranks have not begun on the same data, weights and kind of device.
fn agree<J: Job>(
    request: &Request<J::Config>,
    chosen: &Chosen,
    job: &J,
    state: &TrainState,
) -> Result<()> {
    if request.ranks.is_alone() {
        return Ok(());
    }
    let sha256 = |bytes: &[u8]| format!("{:x}", Sha256::digest(bytes));
    let weights = job.step().model().params().values().to_cpu()?;
    let device = match &chosen.gpu {
        Some(gpu) => gpu.driver().description(),
        None => format!("cpu, {:?} vectors", Level::current()),
    };
    let facts = [
        ("program", J::PROGRAM.to_owned()),
        ("rnnx-version", env!("CARGO_PKG_VERSION").to_owned()),
        ("data-sha256", state.data_sha256.clone()),
        ("vocabulary-sha256", sha256(job.vocab_text().as_bytes())),
        ("step", state.step.to_string()),
        (
            "weights-sha256",
            sha256(bytemuck::cast_slice(weights.data::<f32>()?)),
        ),
        ("runs-on", device),
        ("fp16", chosen.mixed.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value));
    request.ranks.agree(&facts.into())
}

fn resumed_run<J: Job>(
    request: &Request<J::Config>,
    progress: &Progress,
    (mut chosen, shards): (Chosen, Shards),
    starting: AtOnce,
    load: impl FnOnce(&Progress) -> Result<J::Source>,
) -> Result<Started<J>> {
    let source = load(progress)?;
    let writes = request.ranks.is_first();
    let folder = open_resumed(&request.out, &request.ranks)?;
    let last = folder.last()?;
    let state = load_state::<J>(&last, &source)?;
    check_ranks(&state, &request.ranks)?;
    folder.check_vocab(&last)?;
    let change = change(request, &state, &folder)?;
    keep_precision(request.config.common().precision, &state, &mut chosen)?;
    progress.line(&chosen.line());
    let shards = exchanging(request, shards, &chosen, progress)?;
    let vocab = Some(J::vocab(Vocab::read(&folder)?, &folder.vocab_path())?);
    let weights = Weights::Saved {
        model: load_weights(&last.join(MODEL))?,
        moments: TensorFile::load(&last.join(OPTIMIZER))?,
        adam_step: state.adam_step,
    };
    let device = (&chosen, state.loss_scaler.filter(|_| chosen.mixed));
    let config = &request.config;
    let job: J = make(config, &source, vocab, &weights, device, shards, progress)?;
    check_state(&last, &state, &job)?;
    agree(request, &chosen, &job, &state)?;
    // All is read and fits: only now the folder changes.
    drop(starting);
    if !writes {
        return join(job, folder, state, request, progress);
    }
    folder.write_config(&config_text(request)?)?;
    metrics::truncate_after(&folder.metrics_path(), state.step, state.epoch)?;
    if let Some(change) = change {
        progress.line(&format!(
            "changed from step {step} on: {change}",
            step = change.step
        ));
        let event = Event::Change(change);
        if !metrics::holds(&folder.metrics_path(), &event)? {
            MetricsWriter::append(&folder.metrics_path())?.write(&event)?;
        }
    }
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

/// What the run goes on with that its checkpoint was not trained with, and may: if it is told to, or
/// has been and died before it saved.
fn change<C: Config>(
    request: &Request<C>,
    state: &TrainState,
    folder: &RunFolder,
) -> Result<Option<ChangeEvent>> {
    let (settings, now) = (C::settings(), request.config.table()?);
    let changes = settings.changes(&now, &config_file::behind(settings, state, folder)?)?;
    let change = ChangeEvent {
        step: state.step,
        changes,
    };
    let begun = || metrics::holds(&folder.metrics_path(), &Event::Change(change.clone()));
    let may = request.change || begun()?;
    config_file::check_trained(settings, &now, state, folder, may)?;
    Ok((!change.changes.is_empty()).then_some(change))
}

/// The content of `config.toml`.
fn config_text<C: Config>(request: &Request<C>) -> Result<String> {
    let settings = to_toml(C::settings(), &request.config.table()?);
    Ok(settings + &request.origin.to_toml())
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
    state.settings = config_file::deciding(J::Config::settings(), &request.config.table()?);
    let writes = request.ranks.is_first();
    let records = folder.metrics_path();
    let metrics = writes.then(|| MetricsWriter::append(&records));
    let events = (writes && request.config.common().tensorboard).then(|| EventFile::begin(&folder));
    if writes {
        state.vocab_sha256 = Some(folder.vocab_sha256()?);
    }
    Ok(Started {
        plan: job.plan(),
        resumed: request.begin == Begin::Resume,
        job,
        config_text: config_text(request)?,
        metrics: metrics.transpose()?,
        events: events.transpose()?,
        epochs_took: match writes {
            true => epochs_took(&folder)?,
            false => 0.0,
        },
        folder,
        state,
    })
}

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
