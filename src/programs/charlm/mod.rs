//! The character language model.

pub mod bench;
pub mod config;
pub mod data;
pub mod eval;
pub mod feed;
pub mod generate;
pub mod model;
pub mod page;
pub mod train;

use super::Program;
use super::orders::{Bench, EvalOrder, Evaluated};
use crate::Result;

/// The character language model.
#[derive(Debug)]
pub struct CharLmProgram;

impl Program for CharLmProgram {
    fn kind(&self) -> &'static str {
        "charlm"
    }

    fn vocab_kind(&self) -> &'static str {
        "char"
    }

    fn benches(&self) -> &'static [Bench] {
        &[
            Bench {
                name: "charlm",
                run: bench::step,
            },
            Bench {
                name: "generate",
                run: bench::generate,
            },
        ]
    }

    fn eval(&self, order: &EvalOrder) -> Result<Evaluated> {
        eval::run(order)
    }
}
