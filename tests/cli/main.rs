//! The program as users run it: what it prints, writes, refuses and returns.

mod accumulate;
mod average;
mod bad_input;
mod bench_gpu;
mod cells;
mod charset;
mod copying;
mod corpus_forms;
mod damage;
mod data_fetch;
mod data_fetch_trouble;
mod data_prepare;
mod data_stats;
mod divergence;
mod division;
mod eval;
mod eval_seq2seq;
mod eval_seq2seq_bad_input;
mod exchange;
mod explore;
mod flips;
mod folder;
mod generate;
mod gpu;
mod grammar;
mod init_from;
mod inspect;
#[cfg(unix)]
mod interrupt;
mod local_steps;
mod others;
mod pair_forms;
#[path = "../support/place.rs"]
mod place;
mod places;
mod pretraining;
#[cfg(unix)]
#[path = "../support/python.rs"]
#[expect(dead_code, reason = "TensorBoard is asked line by line")]
mod python;
mod ranks;
mod report;
mod resume;
mod sampling;
mod schedule;
mod score;
mod score_pairs;
mod selftest;
mod seq2seq;
mod seq2seq_bad_input;
mod seq2seq_layers;
mod seq2seq_resume;
mod seq2seq_transformer;
mod seq2seq_words;
mod stopping;
mod study;
mod study_baselines;
mod suite;
mod support;
#[cfg(unix)]
mod tensorboard;
mod terminal;
mod tied;
mod tokens;
mod train;
mod translate;
mod translate_bad_input;
mod translate_lines;
