//! The study of a character LM: its lexer, its measures and its command.

mod baselines;
mod cache;
mod causes;
mod closers;
mod duplicates;
mod estimate;
mod kneser_ney;
mod lexer;
mod measures;
mod parts;
mod predictor;
mod support;
#[path = "../generate/support.rs"]
mod weights;
