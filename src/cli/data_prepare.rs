//! `rnnx data prepare`: corpora from files, folders, wheels or the embedded corpus.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::json;

use super::flags::between;
use super::prepared_pairs::{PairArgs, pairs_json, pairs_table, write_pairs};
use super::process::emit;
use crate::data::charset::CharsetChoice;
use crate::data::corpus::{Corpus, CorpusSpec, EMBEDDED_SOURCE, embedded_files};
use crate::data::folders::Patterns;
use crate::data::prepare::{PrepareOptions, gather, prepare, text};
use crate::files::access::check_writable;
use crate::files::atomic::write_atomic;
use crate::files::group::finish_group;
use crate::log::thousands;
use crate::{Error, Result};

/// The file of a task of text.
const TEXT_FILE: &str = "text.txt";

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

/// What a corpus is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Task {
    /// Docstrings and code
    Pairs,
    /// One text
    Text,
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
/// as [`gather`], [`prepare`] and [`write_pairs`].
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
