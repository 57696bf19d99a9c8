//! What is measured: one file a measure, each a function of what a model said of the files.

pub mod classes;
pub mod closure;
pub mod context;
pub mod delimiters;
pub mod groups;
pub mod identifiers;
pub mod indentation;
pub mod reading;
pub mod snippets;
