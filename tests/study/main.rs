//! The study of a character LM: its lexer, its measures and its command.

mod causes;
mod closers;
mod estimate;
mod lexer;
mod measures;
mod parts;
mod predictor;
mod support;
#[path = "../generate/support.rs"]
mod weights;
