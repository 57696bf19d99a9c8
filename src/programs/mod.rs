//! The programs: each is one folder with everything that only it knows, and one line in [`ALL`].

pub mod charlm;
pub mod orders;
pub mod position;
pub mod program;
pub mod seq2seq;
pub mod suite;

use crate::data::vocab::Vocab;
use crate::error::{Error, Result};
use crate::files::RunFolder;
use crate::report::RunData;
pub use orders::Ended;
pub use program::{Program, Trainer};

/// Every program.
pub static ALL: [&dyn Program; 2] = [&charlm::CharLmProgram, &seq2seq::Seq2SeqProgram];

/// The program that a run is of; one that does not say its kind is of the first.
pub fn of(run: &RunData) -> &'static dyn Program {
    let named = ALL
        .into_iter()
        .find(|p| run.setting("kind") == Some(p.kind()));
    named.unwrap_or(ALL[0])
}

/// The program that trained the model of a run, by the run's vocabulary.
///
/// # Errors
/// [`Error::Checkpoint`] if the vocabulary cannot be read, or is of no program.
pub fn trained(folder: &RunFolder) -> Result<&'static dyn Program> {
    let kind = Vocab::read(folder)?.kind();
    let program = ALL.into_iter().find(|p| p.vocab_kind() == kind);
    program.ok_or_else(|| {
        let message = format!("no program has a vocabulary of the kind {kind}");
        Error::checkpoint(folder.vocab_path(), message)
    })
}

/// Draws the runs, all of one kind, on one HTML page that needs nothing but itself.
pub fn render(runs: &[RunData]) -> String {
    runs.first().map_or(ALL[0], of).page(runs)
}
