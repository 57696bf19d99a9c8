//! Docstring to code: three sequence-to-sequence models.

pub mod bench;
pub mod config;
pub mod cost;
pub mod data;
pub mod decode;
pub mod eval;
pub mod model;
pub mod page;
pub mod run;
pub mod score;
pub mod train;

use super::Program;
use super::orders::{Bench, EvalOrder, Evaluated};
use crate::Result;

/// Docstring to code.
#[derive(Debug)]
pub struct Seq2SeqProgram;

impl Program for Seq2SeqProgram {
    fn kind(&self) -> &'static str {
        "seq2seq"
    }

    fn vocab_kind(&self) -> &'static str {
        "words"
    }

    fn benches(&self) -> &'static [Bench] {
        &[Bench {
            name: "seq2seq",
            run: bench::steps,
        }]
    }

    fn eval(&self, order: &EvalOrder) -> Result<Evaluated> {
        eval::run(order)
    }
}
