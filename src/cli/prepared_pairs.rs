//! The pairs that `rnnx data prepare` and `rnnx data fetch` make: how many, in which files, and what is said
//! of them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::flags::between;
use crate::data::code::undescribed;
use crate::data::jsonl::{write_code, write_jsonl};
use crate::data::near::MEASURE;
use crate::data::prepare::{PrepareOptions, Prepared};
use crate::files::group::write_group;
use crate::log::thousands;
use crate::{Error, Result};

/// The files of a task of pairs, one a split.
const PAIR_FILES: [&str; 3] = ["train.jsonl.gz", "valid.jsonl.gz", "test.jsonl.gz"];
/// The file of code without descriptions.
const CODE_FILE: &str = "code.jsonl.gz";
/// Names of files that are shown; the JSON has all.
const SHOWN: usize = 3;

/// How many pairs are made and which; what is not given is as in [`PrepareOptions::default`].
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Pairs")]
pub struct PairArgs {
    /// Pairs that train
    #[arg(long, value_name = "N", help = about("Pairs that train", PrepareOptions::default().train_pairs), value_parser = size, allow_hyphen_values = true)]
    pub train_pairs: Option<usize>,
    /// Pairs that validate
    #[arg(long, value_name = "N", help = about("Pairs that validate", PrepareOptions::default().valid_pairs), value_parser = size, allow_hyphen_values = true)]
    pub valid_pairs: Option<usize>,
    /// Pairs that are tested on
    #[arg(long, value_name = "N", help = about("Pairs that are tested on", PrepareOptions::default().test_pairs), value_parser = size, allow_hyphen_values = true)]
    pub test_pairs: Option<usize>,
    /// Leave out pairs with more docstring tokens
    #[arg(long, value_name = "N", help = about("Leave out pairs with more docstring tokens", PrepareOptions::default().max_source), value_parser = size, allow_hyphen_values = true)]
    pub max_source: Option<usize>,
    /// Leave out pairs with more code tokens
    #[arg(long, value_name = "N", help = about("Leave out pairs with more code tokens", PrepareOptions::default().max_target), value_parser = size, allow_hyphen_values = true)]
    pub max_target: Option<usize>,
    /// Write code.jsonl.gz, too, for train-seq2seq --pretrain: every function of the files, described or
    /// not, that is no part of a pair that validates or is tested on
    #[arg(long)]
    pub code: bool,
}

/// A flag's help with its default, which clap does not see: whether the flag was given counts.
fn about(what: &str, default: usize) -> String {
    format!("{what} [default: {default}]")
}

fn size(text: &str) -> Result<usize, String> {
    let n = between(1, 100_000_000)(text)?;
    usize::try_from(n).map_err(|e| e.to_string())
}

impl PairArgs {
    /// These, dealt to the splits by `seed`.
    pub fn options(&self, seed: u64) -> PrepareOptions {
        let default = PrepareOptions::default();
        PrepareOptions {
            train_pairs: self.train_pairs.unwrap_or(default.train_pairs),
            valid_pairs: self.valid_pairs.unwrap_or(default.valid_pairs),
            test_pairs: self.test_pairs.unwrap_or(default.test_pairs),
            max_source: self.max_source.unwrap_or(default.max_source),
            max_target: self.max_target.unwrap_or(default.max_target),
            seed,
        }
    }

    /// The files that are written.
    pub fn files(&self) -> Vec<&'static str> {
        let code = self.code.then_some(CODE_FILE);
        PAIR_FILES.into_iter().chain(code).collect()
    }

    /// The code without descriptions of these files, if it is wanted.
    pub fn undescribed(
        &self,
        files: &[(String, Vec<u8>)],
        prepared: &Prepared,
        options: &PrepareOptions,
    ) -> Option<Vec<String>> {
        let (splits, max_target) = (&prepared.splits, options.max_target);
        self.code.then(|| undescribed(files, splits, max_target))
    }

    /// Refuses all of them.
    ///
    /// # Errors
    /// [`Error::Usage`] that names the first one that is given.
    pub fn refuse(&self) -> Result<()> {
        let flags = [
            ("--train-pairs", self.train_pairs.is_some()),
            ("--valid-pairs", self.valid_pairs.is_some()),
            ("--test-pairs", self.test_pairs.is_some()),
            ("--max-source", self.max_source.is_some()),
            ("--max-target", self.max_target.is_some()),
            ("--code", self.code),
        ];
        match flags.iter().find(|(_, given)| *given) {
            Some((flag, _)) => Err(Error::Usage(format!(
                "{flag} is about pairs, and --task text makes none: leave one of the two out"
            ))),
            None => Ok(()),
        }
    }
}

/// Pairs, and code without descriptions where it is wanted.
pub type Made<'a> = (&'a Prepared, Option<&'a [String]>);

/// Writes the files of pairs and code into the folder `out`, which is made where it is missing: all of
/// them, or none.
///
/// # Errors
/// [`Error::Io`] that names the folder or the file; old files stay as they were.
pub fn write_pairs((prepared, code): Made, out: &Path) -> Result<()> {
    let splits = &prepared.splits;
    let parts = [&splits.train, &splits.valid, &splits.test];
    write_group(out, |folder| {
        let mut files = PAIR_FILES.iter().zip(parts);
        files.try_for_each(|(name, pairs)| write_jsonl(&folder.join(name), pairs))?;
        code.map_or(Ok(()), |code| write_code(&folder.join(CODE_FILE), code))
    })
}

// ---- what is said of them --------------------------------------------------------------------

/// What became of the files, as JSON.
pub fn pairs_json((prepared, code): Made, paths: &[PathBuf]) -> String {
    let (splits, [valid, test]) = (&prepared.splits, prepared.near());
    let mut object = json!({ "source": splits.source });
    if let (Value::Object(all), Value::Object(report)) = (&mut object, json!(prepared.report)) {
        all.extend(report);
    }
    object["train"] = splits.train.len().into();
    object["valid"] = splits.valid.len().into();
    object["test"] = splits.test.len().into();
    if let Some(code) = code {
        object["code"] = code.len().into();
    }
    object["near"] = json!({ "measure": MEASURE, "valid": valid, "test": test });
    object["sha256"] = splits.sha256.clone().into();
    object["out"] = paths.iter().map(|p| p.display().to_string()).collect();
    format!("{object:#}\n")
}

/// What became of the files, for people.
pub fn pairs_table((prepared, code): Made, options: &PrepareOptions, paths: &[PathBuf]) -> String {
    let (report, splits) = (&prepared.report, &prepared.splits);
    let count = |n: usize| thousands(n as u64);
    let mut out = String::new();
    let mut row = |name: &str, value: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{name:<16} {value}");
    };
    row("source", splits.source.clone());
    row("files", count(report.files));
    row("not UTF-8", listed(&report.not_utf8));
    row("not parsed", listed(&report.not_parsed));
    let functions = count(report.functions);
    row(
        "functions",
        format!("{functions} with a docstring and a body"),
    );
    row(
        "no words",
        format!("{} docstrings, left out", count(report.empty)),
    );
    let (source, target) = (options.max_source, options.max_target);
    row(
        "too long",
        format!(
            "{} with over {source} docstring or {target} code tokens, left out",
            count(report.too_long)
        ),
    );
    row(
        "duplicates",
        format!(
            "{} with the tokens of an earlier one, left out",
            count(report.duplicates)
        ),
    );
    let pairs = count(report.pairs);
    row(
        "pairs",
        match report.pairs < report.wanted {
            true => format!(
                "{pairs}, fewer than the {} asked for: split in the same proportions",
                count(report.wanted)
            ),
            false => pairs,
        },
    );
    let sizes = [&splits.train, &splits.valid, &splits.test].map(Vec::len);
    for ((name, size), path) in ["train", "valid", "test"].iter().zip(sizes).zip(paths) {
        row(name, format!("{:<8} {}", count(size), path.display()));
    }
    if let Some((code, path)) = code.zip(paths.last()) {
        let size = count(code.len());
        row("code", format!("{size:<8} {}", path.display()));
    }
    for (name, near) in ["valid", "test"].iter().zip(prepared.near()) {
        row(
            &format!("{name} in train"),
            format!(
                "{} with nearly the same code ({MEASURE}), {} with the same docstring",
                count(near.near_code),
                count(near.same_docstring)
            ),
        );
    }
    row("sha256", splits.sha256.clone());
    out
}

/// How many files, and the first of them.
fn listed(names: &[String]) -> String {
    let count = thousands(names.len() as u64);
    if names.is_empty() {
        return count;
    }
    let more = if names.len() > SHOWN { ", ..." } else { "" };
    let shown = names[..names.len().min(SHOWN)].join(", ");
    format!("{count}, left out: {shown}{more}")
}
