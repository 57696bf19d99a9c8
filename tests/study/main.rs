//! The study of a character LM: its lexer, its measures and its command.

mod baselines;
mod cache;
mod duplicates;
mod kneser_ney;
mod lexer;
