//! One self-contained HTML page of one or several runs, drawn from the files in their folders.
//!
//! `run` and `read` hold what the files say; `charts`, `parts` and `shell` are what a program's page
//! is put together from; `attention` draws an alignment, also as a file of its own.

pub mod attention;
pub mod chart;
pub mod charts;
pub mod csv;
pub mod marks;
pub mod numbers;
pub mod parts;
pub mod read;
pub mod run;
pub mod scale;
pub mod shell;
pub mod svg;
pub mod text;

pub use attention::attention_svg;
pub use read::{Metrics, read_metrics, read_pairs};
pub use run::{Measured, MeasuredColumn, MeasuredLine, PairSample, RunData};
