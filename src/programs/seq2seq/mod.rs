//! Docstring to code: three sequence-to-sequence models.

pub mod comparison;
pub mod config;
pub mod data;
pub mod decode;
pub mod model;
pub mod page;
pub mod run;
pub mod score;
pub mod step;
pub mod train;

use crate::data::vocab::Vocab;
use crate::error::Result;
use crate::files::RunFolder;
use crate::programs::Program;
use crate::report::{RunData, read_pairs};

/// Docstring to code as one of the programs.
pub struct Seq2SeqProgram;

impl Program for Seq2SeqProgram {
    fn kind(&self) -> &'static str {
        "seq2seq"
    }

    fn model(&self) -> &'static str {
        "a seq2seq model"
    }

    fn models(&self) -> Vec<String> {
        model::ModelKind::ALL.map(|kind| kind.to_string()).to_vec()
    }

    fn read(&self, folder: &RunFolder, run: &mut RunData) -> Result<()> {
        if folder.predictions_path().is_file() {
            run.pairs = read_pairs(&folder.predictions_path())?;
        }
        if folder.vocab_path().is_file() {
            run.vocabulary = match Vocab::read(folder)? {
                Vocab::Words { source, target } => Some((source.len(), target.len())),
                Vocab::Char { .. } => None,
            };
        }
        Ok(())
    }

    fn page(&self, runs: &[RunData]) -> String {
        page::render(runs)
    }
}
