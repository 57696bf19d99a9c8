//! The programs: each is one folder with everything that only it knows.

pub mod charlm;
pub mod seq2seq;

use crate::report::RunData;

/// Draws the runs, all of one kind, on one HTML page that needs nothing but itself.
pub fn render(runs: &[RunData]) -> String {
    if runs.iter().any(RunData::is_seq2seq) {
        seq2seq::page::render(runs)
    } else {
        charlm::page::render(runs)
    }
}
