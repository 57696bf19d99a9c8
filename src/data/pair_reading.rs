//! What the readers of all files of pairs share: which fields are meant, and what becomes of a pair.

use std::io;
use std::path::Path;

use super::input::Input;
use super::pairs::{Pair, source_tokens, target_tokens};
use super::python;
use crate::files::access::unreadable;
use crate::{Error, Result};

/// A longer line is refused: a small compressed file can hold one that fills the memory.
pub(super) const MAX_LINE: u64 = 64 << 20;

/// The field that holds a signature, where there is one.
pub(super) const SIGNATURE: &str = "signature";

/// How files of pairs are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairFormat {
    /// The field that holds the source; of CSV and TSV without a header the column, from 1.
    pub source_field: String,
    /// The field that holds the target, as `source_field`.
    pub target_field: String,
    /// A pair whose source is empty is an error; else it is skipped and counted.
    pub strict: bool,
}

impl Default for PairFormat {
    /// CodeSearchNet's fields; empty sources are skipped.
    fn default() -> Self {
        PairFormat {
            source_field: "docstring".into(),
            target_field: "code".into(),
            strict: false,
        }
    }
}

/// What a file of pairs holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PairFile {
    /// The pairs.
    pub pairs: Vec<Pair>,
    /// Lines, from 1, of the pairs that were skipped, because their source holds no token.
    pub skipped: Vec<u64>,
}

/// Pairs while a file is read.
pub(super) struct Reading<'a> {
    pub format: &'a PairFormat,
    /// What messages call the file.
    pub name: &'a str,
    pub read: PairFile,
}

impl Reading<'_> {
    /// Takes the pair that begins in a line. CodeSearchNet's code still holds the docstring: it is
    /// taken out where it can be found.
    pub fn take(
        &mut self,
        line: u64,
        (source, target): (&str, &str),
        signature: Option<String>,
    ) -> Result<()> {
        let PairFormat {
            source_field,
            target_field,
            strict,
        } = self.format;
        let code = python::without_docstring(target).unwrap_or_else(|| target.into());
        if target_tokens(&code).next().is_none() {
            let what = format!("{target_field:?} is empty: it holds no token");
            return Err(self.wrong(line, &what));
        }
        if source_tokens(source).next().is_some() {
            self.read.pairs.push(Pair {
                docstring: source.into(),
                code,
                signature,
            });
        } else if *strict {
            let what = format!("{source_field:?} is empty: it holds no token");
            return Err(self.wrong(line, &what));
        } else {
            self.read.skipped.push(line);
        }
        Ok(())
    }

    /// Says what is wrong with a line.
    pub fn wrong(&self, line: u64, what: &str) -> Error {
        Error::Data(format!(
            "{}:{line}: {what}; mend or remove the line",
            self.name
        ))
    }

    /// What an error in reading a line is.
    pub fn failed(&self, input: &Input, line: u64, e: io::Error) -> Error {
        let place = format!("{}:{line}", self.name);
        input.error(e, &place, |e| unreadable(Path::new(self.name), &e))
    }
}
