//! Training: the configuration of a run, and the loop that carries it out.

pub mod config;
pub mod keys;
