//! n-gram models of characters, the baselines of the study.
//!
//! Hellendoorn & Devanbu, "Are Deep Neural Networks the Best Choice for Modeling Source Code?" (2017):
//! n-grams that are tuned, and that learn from the file they read, can do better on code than LSTMs.

mod building;
mod cache;
mod contexts;
mod kneser_ney;
mod trie;

pub use cache::{Cached, LONGEST_MATCH};
pub use contexts::Contexts;
pub use kneser_ney::KneserNey;
