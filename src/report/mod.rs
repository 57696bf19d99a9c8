//! One self-contained HTML page of one or several runs, drawn from the files in their folders.
//!
//! `data` and `read` hold what the files say; `page` draws character LMs, `seq2seq` the docstring
//! to code models; `attention` draws an alignment, also as a file of its own.

pub mod attention;
pub mod charts;
pub mod data;
pub mod marks;
pub mod read;
pub mod scale;
pub mod shell;
pub mod svg;
pub mod text;

pub use attention::attention_svg;
pub use data::{EpochPoint, LengthPoint, NgramCounts, PairSample, RunData, StepPoint, TestPoint};
pub use read::{Metrics, read_metrics, read_pairs, read_vocabulary};
