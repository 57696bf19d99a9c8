//! `rnnx explore RUN`: writes the page that runs a character LM in the browser.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;

use super::process::emit;
use crate::data::chars::CharVocab;
use crate::data::vocab::Vocab;
use crate::files::ValidEvent;
use crate::files::access;
use crate::files::atomic::write_atomic;
use crate::files::run::{MODEL, RunFolder};
use crate::files::text::sha256;
use crate::log::{self, thousands};
use crate::programs::charlm::explore::found::{self, HeldOut};
use crate::programs::charlm::explore::{
    Explored, SAMPLE_LENGTH, check_size, most_characters, render,
};
use crate::programs::charlm::generate::sample;
use crate::programs::charlm::generate::weights::CharLmWeights;
use crate::report::{Metrics, read_metrics};
use crate::{Error, Result};

/// Arguments of `rnnx explore`.
#[derive(Args, Clone, Debug)]
pub struct ExploreArgs {
    /// The run's folder (its best checkpoint), or one checkpoint's folder
    pub run: PathBuf,
    /// Where to write the page [default: explore.html in the run's folder]
    #[arg(long, short, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Text that the page shows at first, in UTF-8 [default: one that the model writes]
    #[arg(long, value_name = "FILE")]
    pub text: Option<PathBuf>,
    /// No notes on standard error
    #[arg(long, short)]
    pub quiet: bool,
}

/// Writes the page and prints its path.
///
/// # Errors
/// [`Error::Checkpoint`] for a run or checkpoint that cannot be read; [`Error::Data`] for a text that
/// cannot be read or is not UTF-8, and as [`render`]; [`Error::Io`] where writing fails.
pub fn run(args: &ExploreArgs) -> Result<()> {
    let (folder, checkpoint) = RunFolder::find(&args.run)?;
    let vocab = Vocab::read_chars(&folder)?;
    let model = checkpoint.join(MODEL);
    let weights = sample::of_checkpoint(&folder, &checkpoint)?;
    weights.check_vocab(vocab.len())?;
    let name = folder.name();
    check_size(&name, &weights)?; // before it writes a text
    let (step, valid_loss) = figures(&folder, &checkpoint)?;
    let text = match &args.text {
        Some(path) => read_text(path, most_text(&weights, &vocab), args.quiet)?,
        None => sample::text(&weights, &vocab, SAMPLE_LENGTH, 1)?,
    };
    let found = held_out(&folder, &model, &weights, args.quiet)?;
    let page = render(&Explored {
        name,
        weights: &weights,
        vocab: &vocab,
        text,
        step,
        valid_loss,
        found,
    })?;
    let out = args.out.clone().unwrap_or_else(|| folder.explorer_path());
    write_atomic(&out, |w| w.write_all(page.as_bytes()))?;
    if !args.quiet {
        log::line(&format!(
            "{:.1} MB; open it in a browser, it needs no network",
            page.len() as f64 / 1e6
        ));
    }
    emit(&format!("{}\n", out.display()))
}

/// The optimizer steps behind a checkpoint, and the validation loss that was recorded there.
fn figures(folder: &RunFolder, checkpoint: &Path) -> Result<(Option<u64>, Option<f64>)> {
    let Some(state) = RunFolder::state_of(checkpoint)? else {
        return Ok((None, None));
    };
    let metrics = match folder.metrics_path() {
        path if path.is_file() => read_metrics(&path)?,
        _ => Metrics::default(),
    };
    let is_here = |(step, loss): &(u64, f64)| *step == state.step && loss.is_finite();
    let of_step = |valid: &ValidEvent| (valid.step, valid.valid_loss);
    let here = if RunFolder::is_average(checkpoint) {
        metrics.average.as_ref().map(of_step).filter(is_here)
    } else {
        let ends = metrics.epochs.iter().rev();
        let of_epochs = ends.filter_map(|epoch| Some((epoch.step?, epoch.valid_loss?)));
        let inside = metrics.valids.iter().rev().map(of_step);
        of_epochs.chain(inside).find(is_here)
    };
    Ok((Some(state.step), here.map(|(_, loss)| loss)))
}

/// What the run's study, where there is one, found in these weights. The page is worth having without
/// it, so one that cannot be read is told and left out.
fn held_out(
    folder: &RunFolder,
    model: &Path,
    weights: &CharLmWeights,
    quiet: bool,
) -> Result<Option<HeldOut>> {
    let path = folder.study_path();
    if !path.exists() {
        return Ok(None);
    }
    let bytes = fs::read(model).map_err(Error::io("read", model))?;
    let found = found::read(&path, &sha256(&bytes), weights.sizes());
    Ok(found.unwrap_or_else(|e| {
        if !quiet {
            log::line(&format!("note: {e}; the page has no scores of the study"));
        }
        None
    }))
}

/// The most characters of a text: one may be up to four bytes to a model of bytes.
fn most_text(weights: &CharLmWeights, vocab: &CharVocab) -> usize {
    most_characters(weights.sizes()) / if vocab.is_of_bytes() { 4 } else { 1 }
}

/// The text of a file, cut where the page can hold no more of it.
fn read_text(path: &Path, most: usize, quiet: bool) -> Result<String> {
    let bytes = access::read(path)?;
    let text = String::from_utf8(bytes).map_err(|e| {
        Error::Data(format!(
            "--text {}: byte {} is not UTF-8: save the text as UTF-8",
            path.display(),
            e.utf8_error().valid_up_to() + 1
        ))
    })?;
    let Some((end, _)) = text.char_indices().nth(most) else {
        return Ok(text);
    };
    if !quiet {
        log::line(&format!(
            "note: {}: the page holds its first {} characters",
            path.display(),
            thousands(most as u64)
        ));
    }
    Ok(text[..end].to_owned())
}
