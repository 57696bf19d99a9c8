//! The programs: each is one folder with everything that only it knows, and one line in [`ALL`].

pub mod charlm;
pub mod orders;
pub mod program;
pub mod seq2seq;

use crate::report::RunData;
pub use program::{Ended, Program, Trainer};

/// Every program.
pub static ALL: [&dyn Program; 2] = [&charlm::CharLmProgram, &seq2seq::Seq2SeqProgram];

/// The program that a run is of; one that does not say its kind is of the first.
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
