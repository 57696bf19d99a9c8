//! The character language model.

pub mod config;
pub mod data;
pub mod generate;
pub mod gpu_loop;
pub mod model;
pub mod page;
pub mod step;
pub mod train;

use crate::programs::Program;
use crate::report::RunData;

/// The character language model as one of the programs.
pub struct CharLmProgram;

impl Program for CharLmProgram {
    fn kind(&self) -> &'static str {
        "charlm"
    }

    fn model(&self) -> &'static str {
        "a character LM"
    }

    fn page(&self, runs: &[RunData]) -> String {
        page::render(runs)
    }
}
