//! `rnnx data prepare`: corpora from files, folders, wheels or the embedded corpus.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::flags::between;
use super::process::emit;
use crate::data::charset::CharsetChoice;
use crate::data::code::undescribed;
use crate::data::corpus::{Corpus, CorpusSpec, EMBEDDED_SOURCE, embedded_files};
use crate::data::folders::Patterns;
use crate::data::jsonl::{write_code, write_jsonl};
use crate::data::near::MEASURE;
use crate::data::prepare::{PrepareOptions, Prepared, gather, prepare, text};
use crate::files::access::check_writable;
use crate::files::atomic::write_atomic;
use crate::files::group::{finish_group, write_group};
use crate::log::thousands;
use crate::{Error, Result};

/// The files of a task of pairs, one a split.
const PAIR_FILES: [&str; 3] = ["train.jsonl.gz", "valid.jsonl.gz", "test.jsonl.gz"];
/// The file of code without descriptions.
const CODE_FILE: &str = "code.jsonl.gz";
/// The file of a task of text.
const TEXT_FILE: &str = "text.txt";
/// Names of files that are shown; the JSON has all.
const SHOWN: usize = 3;

/// Arguments of `rnnx data prepare`.
#[derive(Args, Clone, Debug)]
pub struct DataPrepareArgs {
    /// Python file, folder of .py files, or wheel; of --task text any text file (.gz and .zst are
    /// unpacked), or - for standard input [default: the embedded corpus]
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// The folder that the files are written to
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Pairs for train-seq2seq, or text for train-charlm
    #[arg(long, value_enum, value_name = "TASK", default_value_t = Task::Pairs)]
    pub task: Task,
    /// Files that --task text reads of a folder, as *.txt; may be given several times [default: *.py]
    #[arg(long, value_name = "PATTERN")]
    pub glob: Vec<String>,
    /// What --task text keeps, as train-charlm does: auto, ascii, unicode or bytes [default: auto]
    #[arg(long, value_name = "WORD")]
    pub charset: Option<CharsetChoice>,
    /// Seed of the shuffle: of the pairs, or of the embedded corpus's files
    #[arg(long, value_name = "N", default_value_t = PrepareOptions::default().seed, value_parser = between(0, i64::MAX - 1), allow_hyphen_values = true)]
    pub seed: u64,
    /// Replace files that are there
    #[arg(long)]
    pub force: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub pairs: PairArgs,
}

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

/// What a corpus is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Task {
    /// Docstrings and code
    Pairs,
    /// One text
    Text,
}

fn size(text: &str) -> Result<usize, String> {
    let n = between(1, 100_000_000)(text)?;
    usize::try_from(n).map_err(|e| e.to_string())
}

impl PairArgs {
    /// These, dealt to the splits by `seed`.
    pub(super) fn options(&self, seed: u64) -> PrepareOptions {
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
    pub(super) fn files(&self) -> Vec<&'static str> {
        let code = self.code.then_some(CODE_FILE);
        PAIR_FILES.into_iter().chain(code).collect()
    }

    /// The code without descriptions of these files, if it is wanted.
    pub(super) fn undescribed(
        &self,
        files: &[(String, Vec<u8>)],
        prepared: &Prepared,
        options: &PrepareOptions,
    ) -> Option<Vec<String>> {
        let (splits, max_target) = (&prepared.splits, options.max_target);
        self.code.then(|| undescribed(files, splits, max_target))
    }

    /// Refuses all of them.
    fn refuse(&self) -> Result<()> {
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

impl DataPrepareArgs {
    /// Where the files are from, for people.
    fn source(&self) -> String {
        let names = self.paths.iter().map(|p| p.display().to_string());
        match self.paths.is_empty() {
            true => EMBEDDED_SOURCE.into(),
            false => names.collect::<Vec<_>>().join(", "),
        }
    }
}

/// Runs `rnnx data prepare`.
///
/// # Errors
/// [`Error::Usage`] where a file would be overwritten and for options of pairs where text is made;
/// as [`gather`], [`prepare`] and
/// [`write_jsonl`].
pub fn run(args: &DataPrepareArgs) -> Result<()> {
    let names: Vec<&str> = match args.task {
        Task::Pairs if args.charset.is_some() => {
            let message = "--charset is about text: add --task text, or leave it out";
            return Err(Error::Usage(message.into()));
        }
        Task::Pairs if !args.glob.is_empty() => {
            let message = "--glob is about text: pairs are made of .py files; add --task text, or leave \
                           it out";
            return Err(Error::Usage(message.into()));
        }
        Task::Pairs => args.pairs.files(),
        Task::Text => {
            args.pairs.refuse()?;
            vec![TEXT_FILE]
        }
    };
    let paths = free_paths(&args.out, &names, args.force)?;
    let summary = match args.task {
        Task::Pairs => {
            let files = match args.paths.is_empty() {
                true => embedded_files()?,
                false => gather(&args.paths, &Patterns::python()?)?,
            };
            let options = args.pairs.options(args.seed);
            let prepared = prepare(&files, &args.source(), &options)?;
            let code = args.pairs.undescribed(&files, &prepared, &options);
            let made = (&prepared, code.as_deref());
            write_pairs(made, &args.out)?;
            match args.json {
                true => pairs_json(made, &paths),
                false => pairs_table(made, &options, &paths),
            }
        }
        Task::Text => write_text(args, &paths[0])?,
    };
    emit(&summary)
}

/// The files `names` of the folder `out`, none of which is there unless `force` allows it. `out` can
/// be written to.
///
/// # Errors
/// [`Error::Usage`] that names the file that would be overwritten; [`Error::Io`] that names a folder
/// that cannot be written to.
pub(super) fn free_paths(out: &Path, names: &[&str], force: bool) -> Result<Vec<PathBuf>> {
    check_writable(out)?;
    finish_group(out)?;
    let paths: Vec<PathBuf> = names.iter().map(|name| out.join(name)).collect();
    for path in &paths {
        let (there, message) = match fs::symlink_metadata(path) {
            Err(_) => continue,
            Ok(there) if there.is_dir() => (path, "a folder: give another --out, or move it away"),
            Ok(_) if force => continue,
            Ok(_) => (
                path,
                "there already: give another --out, or --force to replace it",
            ),
        };
        let there = there.display();
        return Err(Error::Usage(format!("{there} is {message}")));
    }
    Ok(paths)
}

/// Pairs, and code without descriptions where it is wanted.
pub(super) type Made<'a> = (&'a Prepared, Option<&'a [String]>);

/// Writes the files of pairs and code into the folder `out`, which is made where it is missing: all of
/// them, or none.
///
/// # Errors
/// [`Error::Io`] that names the folder or the file; old files stay as they were.
pub(super) fn write_pairs((prepared, code): Made, out: &Path) -> Result<()> {
    let splits = &prepared.splits;
    let parts = [&splits.train, &splits.valid, &splits.test];
    write_group(out, |folder| {
        let mut files = PAIR_FILES.iter().zip(parts);
        files.try_for_each(|(name, pairs)| write_jsonl(&folder.join(name), pairs))?;
        code.map_or(Ok(()), |code| write_code(&folder.join(CODE_FILE), code))
    })
}

// ---- pairs -----------------------------------------------------------------------------------

/// What became of the files, as JSON.
pub(super) fn pairs_json((prepared, code): Made, paths: &[PathBuf]) -> String {
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
pub(super) fn pairs_table(
    (prepared, code): Made,
    options: &PrepareOptions,
    paths: &[PathBuf],
) -> String {
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

// ---- text ------------------------------------------------------------------------------------

/// Writes the text and returns the summary.
fn write_text(args: &DataPrepareArgs, path: &Path) -> Result<String> {
    let choice = args.charset.unwrap_or(CharsetChoice::Auto);
    let corpus = if args.paths.is_empty() {
        Corpus::load(&CorpusSpec {
            paths: Vec::new(),
            globs: args.glob.clone(),
            stdin: None,
            charset: choice,
            max_chars: usize::MAX,
            seed: args.seed,
        })?
    } else {
        let files = gather(&args.paths, &Patterns::new(&args.glob)?)?;
        let corpus = text(&files, choice.settle(false), args.source())?;
        corpus.report.check_dropped()?;
        corpus
    };
    fs::create_dir_all(&args.out).map_err(Error::io("create", &args.out))?;
    write_atomic(path, |out| out.write_all(&corpus.text))?;
    let (report, source) = (&corpus.report, args.source());
    Ok(match args.json {
        true => {
            let object = json!({
                "source": source,
                "charset": report.charset,
                "chars": report.chars,
                "dropped": report.dropped,
                "out": [path.display().to_string()],
            });
            format!("{object:#}\n")
        }
        false => {
            let dropped = report.dropped_note().unwrap_or("dropped nothing".into());
            let rows = [
                ("source", source),
                ("charset", report.charset.to_string()),
                ("characters", thousands(report.chars as u64)),
                ("dropped", dropped.replacen("dropped ", "", 1)),
                ("text", path.display().to_string()),
            ];
            let row = |(name, value): (&str, String)| format!("{name:<16} {value}\n");
            rows.into_iter().map(row).collect()
        }
    })
}
