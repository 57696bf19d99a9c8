//! The programs: each is one folder with everything that only it knows.

pub mod charlm;
pub mod orders;
pub mod seq2seq;

use crate::Result;
use crate::report::RunData;
use orders::{Bench, EvalOrder, Evaluated};

/// Draws the runs, all of one kind, on one HTML page that needs nothing but itself.
pub fn render(runs: &[RunData]) -> String {
    if runs.iter().any(RunData::is_seq2seq) {
        seq2seq::page::render(runs)
    } else {
        charlm::page::render(runs)
    }
}

/// Every program.
pub static ALL: [&dyn Program; 2] = [&charlm::CharLmProgram, &seq2seq::Seq2SeqProgram];

/// What is trained, scored and drawn: a kind of model with its data.
pub trait Program: Sync {
    /// What its files call it, and the second half of its command's name.
    fn kind(&self) -> &'static str;

    /// The kind of its vocabularies.
    fn vocab_kind(&self) -> &'static str;

    /// What of it can be timed.
    fn benches(&self) -> &'static [Bench];

    /// Scores a trained model.
    ///
    /// # Errors
    /// For what is not for its models, for data that is not the run's, for weights that cannot be
    /// used, or if the device fails.
    fn eval(&self, order: &EvalOrder) -> Result<Evaluated>;
}
