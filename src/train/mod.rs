//! Training: the configuration of a run, and the loop that carries it out.

pub mod charlm;
pub mod checkpoint;
pub mod config;
pub mod device;
pub mod gpu_loop;
pub mod interrupt;
pub mod job;
pub mod keys;
pub mod memory;
pub mod progress;
pub mod sample;
pub mod seq2seq;
pub mod seq2seq_config;
pub mod seq2seq_eval;
pub mod seq2seq_run;
pub mod seq2seq_step;
pub mod session;
pub mod settings;
pub mod start;
pub mod step;
mod updater;
