//! Text and its way into batches: corpora, vocabulary, windows.
//!
//! bytes -> [`text`] (the text rule) -> [`corpus`] (files, order, cut) -> [`vocab`] (characters to
//! ids) -> [`batch`] (split, windows, batches).

pub mod batch;
pub mod corpus;
pub mod packing;
pub mod spans;
pub mod text;
pub mod vocab;
