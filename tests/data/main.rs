//! The data floor: text rule, corpora, pairs, vocabularies, windows and batches. One file here for
//! each file of `src/data`.

use std::fs;
use std::path::{Path, PathBuf};

use rnnx::Result;
use rnnx::data::charset::CharsetChoice;
use rnnx::data::corpus::CorpusSpec;
use rnnx::data::folders::Patterns;
use rnnx::data::pair_files::{PairFile, PairFormat, read_pairs};

mod batch;
mod charset;
mod code;
mod corpus;
mod division;
mod folders;
mod grammar;
mod input;
mod jsonl;
mod pair_files;
mod pairs;
mod prepare;
mod python;
mod python_limits;
mod split;
mod text;
mod tokens;
mod vocab;
mod wheels;
mod words;

/// The message of an error with the given exit code; every word of `parts` must be in it.
#[track_caller]
fn assert_fails<T: std::fmt::Debug>(result: Result<T>, exit_code: u8, parts: &[&str]) {
    let error = result.expect_err("this must be refused");
    let message = error.to_string();
    assert_eq!(error.exit_code(), exit_code, "{message}");
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
}

fn spec(paths: &[&Path]) -> CorpusSpec {
    CorpusSpec {
        paths: paths.iter().map(PathBuf::from).collect(),
        globs: vec![],
        stdin: None,
        charset: CharsetChoice::Auto,
        max_chars: 6_000_000,
        seed: 0,
    }
}

/// Pairs with CodeSearchNet's fields.
fn read_jsonl(path: &Path, strict: bool) -> Result<PairFile> {
    let format = PairFormat {
        strict,
        ..PairFormat::default()
    };
    read_pairs(path, &format)
}

/// The Python files of these paths.
fn gather(paths: &[PathBuf]) -> Result<Vec<(String, Vec<u8>)>> {
    rnnx::data::prepare::gather(paths, &Patterns::new(&[])?)
}

/// A folder with these files.
fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for (name, content) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, content).expect("a file");
    }
    dir
}
