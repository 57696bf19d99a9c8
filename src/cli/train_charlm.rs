//! `rnnx train-charlm`: flags to a run, and what is said when it has ended.

use super::args::TrainCharlmArgs;
use super::{config_file, emit, report, use_threads};
use crate::data::vocab::Vocab;
use crate::files::run::{MODEL, RunFolder};
use crate::files::tensors::TensorFile;
use crate::log;
use crate::programs::charlm::{generate::sample, train as charlm};
use crate::train::interrupt;
use crate::train::job::Request;
use crate::train::progress::{clock, thousands};
use crate::train::session::Summary;
use crate::{Error, Result};
use std::path::Path;

/// Characters of the text that is printed after training.
const SAMPLE_LENGTH: usize = 500;

/// Trains, writes the report and prints a sample.
///
/// # Errors
/// As [`charlm::run`], and for flags that contradict each other.
pub fn run(args: &TrainCharlmArgs) -> Result<()> {
    let out = &args.out;
    let saved = match args.run.resume {
        true => Some(config_file::saved(out)?),
        false => None,
    };
    let config = config_file::resolve(args, saved.as_ref())?;
    use_threads(config.threads)?;
    interrupt::install()?;
    let summary = charlm::run(Request {
        config_text: config_file::to_toml(&config),
        config,
        out: out.clone(),
        resume_out: out.clone(),
        begin: args.run.begin(),
        quiet: args.run.quiet,
    })?;
    // A run that ended before its first record has nothing to draw.
    let page = match report::write_page(out) {
        Ok(page) => format!("; curves: {}", page.display()),
        Err(Error::Data(_)) => String::new(),
        Err(e) => return Err(e),
    };
    if !args.run.quiet {
        tell(&summary, out, &page);
    }
    print_sample(out, args.run.quiet)
}

fn tell(summary: &Summary, out: &Path, page: &str) {
    let best = summary.best.map_or(String::new(), |loss| {
        format!("; best validation loss {loss:.4} nats a character")
    });
    // A run that had nothing left to do has no rate.
    let rate = match summary.rate {
        0.0 => String::new(),
        rate => format!(", {} characters/s", thousands(rate)),
    };
    log::line(&format!(
        "done: {} steps in {}{rate}{best}\nrun: {}{page}\ngenerate more: rnnx generate {}",
        thousands(summary.step as f64),
        clock(summary.elapsed),
        out.display(),
        out.display()
    ));
}

/// A text of the best model on stdout.
fn print_sample(out: &Path, quiet: bool) -> Result<()> {
    let (run, checkpoint) = RunFolder::find(out)?;
    let vocab = Vocab::read_chars(&run)?;
    let file = TensorFile::load(&checkpoint.join(MODEL))?;
    let text = sample::weights(&file).and_then(|w| sample::text(&w, &vocab, SAMPLE_LENGTH, 1));
    let text = match text {
        Ok(text) => text,
        // The training itself is done and saved.
        Err(e) => {
            if !quiet {
                log::line(&format!("note: no sample: {e}"));
            }
            return Ok(());
        }
    };
    if !quiet {
        log::line(&format!("a sample at temperature {}:", sample::TEMPERATURE));
    }
    emit(&format!("{text}\n"))
}
