//! How far does a character LM remember? Measures of long-range dependencies in Python source.
//!
//! A study reads the files that a run did not train on ([`held_out`]), each from a fresh state, with
//! one or more models ([`predictor`]), and asks at places that a lexer finds ([`lexer`], [`source`])
//! how likely the models hold what stands there.

pub mod baselines;
pub mod bins;
pub mod causes;
pub mod dump;
pub mod duplicates;
pub mod estimate;
pub mod format;
pub mod grid;
pub mod held_out;
pub mod lexer;
pub mod measures;
pub mod models;
pub mod ngram;
pub mod page;
pub mod parts;
pub mod predictor;
pub mod recipe;
pub mod rows;
pub mod run;
pub mod source;
mod strings;
pub mod subject;
pub mod syntax;
pub mod tables;
