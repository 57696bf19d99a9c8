//! Every reader of bytes from outside, on damaged and on arbitrary input: no panic, no memory beyond
//! a bound, and what is accepted survives writing and reading.
//!
//! `RNNX_FUZZ_MS` is the time of a test in milliseconds (1000). A failure prints a seed, and
//! `ARBTEST_SEED=0x... cargo test --test fuzz NAME` repeats it. `-- --nocapture` prints how many
//! inputs there were.

mod data;
mod keras;
mod memory;
mod mutate;
mod runs;
mod settings;
mod tensors;

use std::fs;
use std::path::{Path, PathBuf};

use arbtest::arbtest;
use tempfile::TempDir;

/// The random bytes that an input is made from, at most.
const ENTROPY: u32 = 4096;

/// Runs `check` on inputs made from `valid` ones until the time is over.
#[track_caller]
fn fuzz(name: &str, valid: &[&[u8]], mut check: impl FnMut(&[u8])) {
    // The inputs are good ones to begin with: a check that refuses them all would prove nothing.
    valid.iter().for_each(|bytes| check(bytes));
    let budget = match std::env::var("RNNX_FUZZ_MS") {
        Ok(ms) => ms.parse().expect("RNNX_FUZZ_MS is a number"),
        Err(_) => 1000,
    };
    let mut inputs = 0u64;
    arbtest(|u| {
        let bytes = mutate::input(u, valid)?;
        inputs += 1;
        let shown = Shown(&bytes);
        memory::bounded(|| check(&bytes));
        std::mem::forget(shown);
        Ok(())
    })
    .size_max(ENTROPY)
    .budget_ms(budget)
    .run();
    eprintln!("{name}: {inputs} inputs");
}

/// Shows an input if the check of it panics.
struct Shown<'a>(&'a [u8]);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        eprintln!("input: {}", self.0.escape_ascii());
    }
}

/// A folder with one file that is written again and again.
struct Slot {
    folder: TempDir,
    name: &'static str,
}

impl Slot {
    fn new(name: &'static str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Slot { folder, name }
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn path(&self) -> PathBuf {
        self.folder().join(self.name)
    }

    fn put(&self, bytes: &[u8]) -> PathBuf {
        fs::write(self.path(), bytes).expect("room for a small file");
        self.path()
    }
}

/// What a reader made of an input: nothing, or a message for people.
#[track_caller]
fn accepted<T>(result: rnnx::Result<T>) -> Option<T> {
    result
        .inspect_err(|error| assert!(!error.to_string().is_empty()))
        .ok()
}

/// What was accepted, written and read again, is the same. Values are told apart by their debug
/// form: a NaN is equal to itself there.
#[track_caller]
fn assert_survives<T: std::fmt::Debug>(first: &T, again: rnnx::Result<T>) {
    let again = again.expect("what was written can be read");
    assert_eq!(format!("{again:?}"), format!("{first:?}"));
}
