//! The programs: each is one folder with everything that only it knows, and one line in [`ALL`].

pub mod charlm;
pub mod orders;
pub mod program;
pub mod seq2seq;

use crate::report::RunData;
pub use program::{Ended, Program, Trainer};

/// Every program.
pub static ALL: [&dyn Program; 2] = [&charlm::CharLmProgram, &seq2seq::Seq2SeqProgram];

/// Draws the runs, all of one kind, on one HTML page that needs nothing but itself.
pub fn render(runs: &[RunData]) -> String {
    if runs.iter().any(RunData::is_seq2seq) {
        seq2seq::Seq2SeqProgram.page(runs)
    } else {
        charlm::CharLmProgram.page(runs)
    }
}
