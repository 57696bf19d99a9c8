//! The programs: each is one folder with everything that only it knows.

pub mod charlm;
pub mod seq2seq;

use crate::error::Result;
use crate::files::RunFolder;
use crate::report::RunData;

/// What the rest of rnnx asks of a program.
pub trait Program: Sync {
    /// What its runs' files call it, and the second half of its training command's name.
    fn kind(&self) -> &'static str;

    /// What messages call a model of it, with the article.
    fn model(&self) -> &'static str;

    /// The names of its models, in the order in which a page shows the runs of all of them.
    fn models(&self) -> Vec<String> {
        Vec::new()
    }

    /// Reads what of a run's folder its page alone shows.
    ///
    /// # Errors
    /// If a file is damaged or cannot be read.
    fn read(&self, _folder: &RunFolder, _run: &mut RunData) -> Result<()> {
        Ok(())
    }

    /// Draws its runs on one HTML page that needs nothing but itself.
    fn page(&self, runs: &[RunData]) -> String;
}

/// All programs. Runs that do not say their kind are of the first.
pub static ALL: [&dyn Program; 2] = [&charlm::CharLmProgram, &seq2seq::Seq2SeqProgram];

/// The program that a run is of.
pub fn of(run: &RunData) -> &'static dyn Program {
    let named = ALL
        .into_iter()
        .find(|p| run.setting("kind") == Some(p.kind()));
    named.unwrap_or(ALL[0])
}

/// Draws the runs, all of one kind, on one HTML page that needs nothing but itself.
pub fn render(runs: &[RunData]) -> String {
    runs.first().map_or(ALL[0], of).page(runs)
}
