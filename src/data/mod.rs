//! Text and its way into batches: corpora, pairs, vocabularies, windows.
//!
//! bytes -> [`text`] (the text rule) -> [`corpus`] (files, order, cut) -> [`vocab`] (characters to
//! ids) -> a program's own split, windows and batches.
//!
//! Python files ([`corpus`], [`wheels`] of [`packages`]) -> [`python`] (functions) -> [`prepare`] (filters, split)
//! -> [`pairs`] (tokens; [`jsonl`] on disk) -> [`words`] (tokens to ids) -> a
//! program's own batches, laid out by [`packing`].

pub mod corpus;
pub mod jsonl;
pub mod near;
pub mod packages;
pub mod packing;
pub mod pairs;
pub mod prepare;
pub mod python;
pub mod spans;
pub mod text;
pub mod vocab;
pub mod wheels;
pub mod words;
