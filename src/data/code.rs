//! Code without descriptions, which a decoder learns to write before it reads sources.
//!
//! What validates or is tested on is never in it.

use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::near::Codes;
use super::pair_files::{PairFormat, read_pairs};
use super::pairs::{Pair, Splits, target_tokens, update};
use super::python;
use crate::{Error, Result};

// ---- from Python files -----------------------------------------------------------------------

/// Every function of Python files (name, raw content), described or not, that has at most `max_target`
/// target tokens: in the order of the files, of those with the same tokens the first. What validates or
/// is tested on is left out, with the functions that it stands in or that stand in it.
pub fn undescribed(files: &[(String, Vec<u8>)], splits: &Splits, max_target: usize) -> Vec<String> {
    let held_out = held_out(splits);
    let held_out: HashSet<Vec<&str>> = held_out.map(|pair| tokens(&pair.code)).collect();
    let of_file = |(_, content): &(String, Vec<u8>)| {
        let text = std::str::from_utf8(content).ok();
        let bodies = text.and_then(|text| python::bodies(text, max_target));
        let bodies = bodies.unwrap_or_default();
        let is_held_out = |body: &&python::Body| {
            let code = body.code.as_deref();
            code.is_some_and(|code| held_out.contains(&tokens(code)))
        };
        let places = bodies.iter().filter(is_held_out);
        let places: Vec<Range<usize>> = places.map(|body| body.place.clone()).collect();
        let apart = |body: &python::Body| {
            let (start, end) = (body.place.start, body.place.end);
            !places.iter().any(|p| p.start < end && start < p.end)
        };
        let apart = bodies.into_iter().filter(apart);
        apart.filter_map(|body| body.code).collect::<Vec<_>>()
    };
    let found: Vec<Vec<String>> = files.par_iter().map(of_file).collect();
    let mut seen = HashSet::new();
    let mut code: Vec<String> = found.into_iter().flatten().collect();
    code.retain(|code| seen.insert(key(code)));
    code
}

// ---- beside pairs ----------------------------------------------------------------------------

impl Splits {
    /// Adds the targets of a file to the training pairs, as pairs whose source is empty. It is read as
    /// files of pairs are, but for the field of the source, which it need not have. Of targets with the
    /// same tokens, those of the training pairs among them, one is there. Those whose code is, or nearly
    /// is (see [`near`](super::near::near)), that of a pair that validates or is tested on are left out.
    ///
    /// # Errors
    /// As [`read_pairs`]; [`Error::Data`] where all are left out.
    pub fn with_code(self, path: &Path, format: &PairFormat) -> Result<Self> {
        let of_targets = PairFormat {
            source_field: format.target_field.clone(),
            ..format.clone()
        };
        let all = read_pairs(path, &of_targets)?.pairs;
        let allowed: Vec<bool> = {
            let exact: HashSet<Vec<&str>> = held_out(&self).map(|p| tokens(&p.code)).collect();
            let codes = Codes::of(held_out(&self));
            let allowed =
                |pair: &Pair| !exact.contains(&tokens(&pair.code)) && !codes.have_like(&pair.code);
            all.par_iter().map(allowed).collect()
        };
        let left_out = allowed.iter().filter(|allowed| !**allowed).count();
        let (name, functions) = (path.display(), all.len());
        if left_out == functions {
            return Err(Error::Data(format!(
                "{name}: all of its {functions} targets are left out: their code is that of a pair that \
                 validates or is tested on, or nearly (4 of 5 words shared); give the code that \
                 `rnnx data prepare --code` or `rnnx data fetch --code` writes, or other code"
            )));
        }
        let mut seen: HashSet<String> = self.train.iter().map(|pair| key(&pair.code)).collect();
        let new = all.into_iter().zip(allowed).filter(|(_, allowed)| *allowed);
        let new: Vec<Pair> = new
            .filter(|(pair, _)| seen.insert(key(&pair.code)))
            .map(|(pair, _)| Pair {
                docstring: String::new(),
                signature: None,
                ..pair
            })
            .collect();
        let mut hash = Sha256::new();
        update(&mut hash, &[&self.sha256, "code"]);
        new.iter().for_each(|pair| update(&mut hash, &[&pair.code]));
        let source = format!(
            "{}; {} of the {functions} targets of {name} are new ({left_out} left out: their code is, or \
             nearly is, that of a pair that validates or is tested on)",
            self.source,
            new.len()
        );
        let mut splits = self;
        splits.train.extend(new);
        splits.sha256 = format!("{:x}", hash.finalize());
        splits.source = source;
        Ok(splits)
    }
}

/// The pairs that nothing is learned of.
fn held_out(splits: &Splits) -> impl Iterator<Item = &Pair> {
    splits.valid.iter().chain(&splits.test)
}

fn tokens(code: &str) -> Vec<&str> {
    target_tokens(code).collect()
}

/// The same as one text.
fn key(code: &str) -> String {
    tokens(code).join(" ")
}
