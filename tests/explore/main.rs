//! The explorer's page in a browser; skipped, with a word, where there is none.
#![cfg(unix)]

mod browser;
mod numbers;
mod support;
mod usage;
