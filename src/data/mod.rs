//! Text and pairs of texts: where they come from, and what counts as a token.
//!
//! [`folders`], [`input`] (files, compressed or not) -> bytes -> [`charset`] (what is kept; [`text`] is the published rule) -> [`corpus`] (files, order,
//! cut; joining, report) -> [`chars`] (characters to ids; [`vocab`] on disk). What a trained model is
//! given goes through [`encoding`].
//!
//! Python files ([`corpus`], [`wheels`] of [`packages`]) -> [`python`] (functions) -> [`prepare`]
//! (filters, split, [`near`] duplicates) -> [`pairs`] ([`pair_files`] on disk: [`jsonl`], CSV, TSV)
//! -> [`tokens`] -> [`words`] (tokens to ids; [`syntax`]: which of them may follow). [`code`] has no
//! descriptions. A [`split`] is a part of the data. [`unpacking`] bounds what compressed files
//! hold. [`packing`] and [`spans`] lay sequences of different lengths out.

pub mod chars;
pub mod charset;
pub mod code;
pub mod corpus;
mod delimited;
pub mod encoding;
pub mod folders;
pub mod input;
mod joining;
pub mod jsonl;
pub mod near;
pub mod packages;
pub mod packing;
pub mod pair_files;
mod pair_reading;
pub mod pairs;
pub mod prepare;
pub mod python;
mod report;
pub mod spans;
pub mod split;
pub mod syntax;
pub mod text;
pub mod tokens;
pub mod unpacking;
pub mod vocab;
pub mod wheels;
pub mod words;
