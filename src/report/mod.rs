//! One self-contained HTML page of one or several runs, drawn from the files in their folders.
//!
//! `data` and `read` hold what the files say; `page` draws character LMs, `seq2seq` the docstring
//! to code models; `attention` draws an alignment, also as a file of its own.

mod attention;
mod charts;
mod data;
mod marks;
mod page;
mod read;
mod scale;
mod seq2seq;
mod shell;
mod svg;
mod text;

pub use attention::attention_svg;
pub use data::{EpochPoint, LengthPoint, NgramCounts, PairSample, RunData, StepPoint, TestPoint};
pub use read::{Metrics, read_metrics, read_pairs, read_vocabulary};

/// Draws the runs, all of one kind, on one HTML page that needs nothing but itself.
pub fn render(runs: &[RunData]) -> String {
    if runs.iter().any(RunData::is_seq2seq) {
        seq2seq::render(runs)
    } else {
        page::render(runs)
    }
}
