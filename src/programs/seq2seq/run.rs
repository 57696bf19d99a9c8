//! A whole run of a docstring-to-code model: training, then the figures of its best checkpoint on the
//! test pairs.

use super::config::Seq2SeqConfig;
use super::decode::DecodeOptions;
use super::score::{ROWS, Written, forced, prediction, write};
use super::train::Seq2SeqJob;
use crate::data::pairs::Splits;
use crate::data::split::Split;
use crate::error::{Error, Result};
use crate::files::atomic::write_atomic;
use crate::files::metrics::{self, EpochEvent, Event, MetricsWriter, TestEvent};
use crate::files::run::{MODEL, RunFolder, STATE};
use crate::files::state::TrainState;
use crate::files::tensors::TensorFile;
use crate::interrupt;
use crate::log;
use crate::programs::seq2seq::model::Seq2Seq;
use crate::ranks::Ranks;
use crate::train::job::{Begin, Job, Request};
use crate::train::model::Model;
use crate::train::scores::Means;
use crate::train::session::{self, Summary};
use std::path::Path;
use std::sync::Arc;

/// What a run left.
#[derive(Clone, Debug)]
pub struct Done {
    /// How its training ended.
    pub summary: Summary,
    /// The test event of its metrics; none of a language model, which writes nothing for a source, and at
    /// another rank than 0, which alone tests.
    pub test: Option<TestEvent>,
}

/// Trains one model and tests it. Ctrl-C (see [`interrupt`]) saves and returns
/// [`Error::Interrupted`].
///
/// # Errors
/// Every [`Error`] there is; what had been saved stays.
pub fn run(request: Request<Seq2SeqConfig>, splits: &Arc<Splits>) -> Result<Done> {
    let (out, quiet) = (request.out.clone(), request.quiet);
    let tests = request.ranks.is_first();
    let resume_out = request.resume_out.clone();
    let earlier = match request.begin {
        Begin::Resume if tests => metrics::read_test(&RunFolder::at(&out).metrics_path())?,
        _ => None,
    };
    let (summary, job) = session::run::<Seq2SeqJob>(request, |_| Ok(splits.clone()))?;
    if !tests || job.config.pretrain.is_some() {
        return Ok(Done {
            summary,
            test: None,
        });
    }
    let folder = RunFolder::open(&out)?;
    let checkpoint = folder.checkpoint()?;
    let state = TrainState::load(&checkpoint.join(STATE))?;
    let same = |(_, test): &(String, TestEvent)| {
        let config = &job.config;
        let penalty = test.length_penalty.unwrap_or(1.0);
        // An average has the step of the last checkpoint that it is made of.
        summary.trained == 0
            && !RunFolder::is_average(&checkpoint)
            && test.step == Some(state.step)
            && test.beam == Some(config.beam as u64)
            // Greedy search chooses nothing by it.
            && (config.beam == 1 || penalty == config.length_penalty)
            && folder.predictions_path().is_file()
    };
    let mut metrics = MetricsWriter::append(&folder.metrics_path())?;
    let test = match earlier.filter(same) {
        Some((line, test)) => {
            metrics.write_line(line)?;
            test
        }
        None => {
            if !quiet {
                tell(&job, &checkpoint);
            }
            let testing = interrupt::at_once(format!(
                "interrupted in the test of {out}; everything is saved but the test: `rnnx eval {out}` \
                 makes it, or go on with --resume --out {}",
                resume_out.display(),
                out = out.display()
            ))?;
            let model = job.with_weights(&TensorFile::load(&checkpoint.join(MODEL))?)?;
            let figures = score(&job, &model)?;
            drop(testing);
            let test = Box::new(keep(&job, &folder, &state, &summary, figures)?);
            metrics.write(&Event::Test(test.clone()))?;
            *test
        }
    };
    if interrupt::asked() {
        return Err(Error::Interrupted(format!(
            "interrupted after the test of {}; everything is saved: go on with --resume --out {}",
            out.display(),
            resume_out.display()
        )));
    }
    Ok(Done {
        summary,
        test: Some(test),
    })
}

fn tell(job: &Seq2SeqJob, checkpoint: &Path) {
    let how = match job.config.beam {
        1 => "greedily".to_owned(),
        n => format!("with a beam of {n}"),
    };
    log::line(&format!(
        "testing {} on {} pairs, decoded {how}",
        checkpoint.display(),
        log::thousands(job.data.examples(Split::Test).len() as u64)
    ));
}

/// Scores the test pairs.
fn score(job: &Seq2SeqJob, model: &Seq2Seq) -> Result<(Written, Option<Means>)> {
    let config = &job.config;
    let options = DecodeOptions {
        syntax: job.syntax.as_ref(),
        ..config.decoding()
    };
    let how = (options, config.target_language);
    let written = write(model, &job.data, Split::Test, ROWS, how)?;
    let batch = config.batch_size;
    let forced = forced(model, &job.data, (Split::Test, batch), &Ranks::alone())?;
    Ok((written, forced))
}

/// Keeps what the model wrote for the test pairs, and returns its figures.
fn keep(
    job: &Seq2SeqJob,
    folder: &RunFolder,
    state: &TrainState,
    summary: &Summary,
    (written, forced): (Written, Option<Means>),
) -> Result<TestEvent> {
    let config = &job.config;
    let samples = folder.samples_path();
    std::fs::create_dir_all(&samples).map_err(Error::io("create", &samples))?;
    write_atomic(&folder.predictions_path(), |w| {
        let examples = job.data.examples(Split::Test);
        for (example, output) in examples.iter().zip(&written.outputs) {
            writeln!(w, "{}", prediction(example, output))?;
        }
        Ok(())
    })?;
    let last = last_epoch(folder)?;
    Ok(TestEvent {
        step: Some(state.step),
        epoch: Some(state.epoch),
        epochs: Some(summary.epoch),
        model: Some(config.model.to_string()),
        seed: Some(config.seed),
        beam: Some(config.beam as u64),
        length_penalty: Some(config.length_penalty),
        parameters: Some(job.step.model().params().layout().parameters() as u64),
        train_loss: last.map(|e| e.train_loss),
        valid_loss: last.and_then(|e| e.valid_loss),
        best_valid_loss: summary.best,
        loss: forced.map(|f| f.loss),
        accuracy: forced.map(|f| f.accuracy),
        scores: written.scores.figures(),
        copied_rate: written.copied_rate,
        decode_seconds: Some(written.seconds),
        train_seconds: Some(summary.elapsed.as_secs_f64()),
    })
}

/// The last epoch of a run's metrics.
fn last_epoch(folder: &RunFolder) -> Result<Option<EpochEvent>> {
    let events = metrics::read(&folder.metrics_path())?;
    let mut epochs = events.into_iter().filter_map(|event| match event {
        Event::Epoch(epoch) => Some(epoch),
        _ => None,
    });
    Ok(epochs.next_back())
}
