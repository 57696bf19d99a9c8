//! From Python files to corpora: pairs for the seq2seq models, text for the character LM.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Serialize;

use super::charset::Charset;
use super::corpus::Corpus;
use super::folders::{Folder, Patterns};
use super::input::{self, Input, STDIN};
use super::joining::Joining;
use super::near::{NearReport, near};
use super::pairs::{Pair, Splits, source_tokens};
use super::unpacking::Unpacking;
use super::{corpus, python, wheels};
use crate::rng::{Purpose, Stream};
use crate::{Error, Result};

/// The number of pairs and what is kept of them. The default is the published protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrepareOptions {
    /// Pairs that train, at most; where there are not enough for the three splits, these numbers
    /// are the proportions. At least 1, as the next two.
    pub train_pairs: usize,
    /// Pairs that validate, at most.
    pub valid_pairs: usize,
    /// Pairs that are tested on, at most.
    pub test_pairs: usize,
    /// Pairs with more source tokens are left out.
    pub max_source: usize,
    /// Pairs with more target tokens are left out.
    pub max_target: usize,
    /// Seed of the shuffle that deals the pairs to the splits.
    pub seed: u64,
}

impl Default for PrepareOptions {
    fn default() -> Self {
        PrepareOptions {
            train_pairs: 5000,
            valid_pairs: 1000,
            test_pairs: 1000,
            max_source: 30,
            max_target: 50,
            seed: 1,
        }
    }
}

/// Pairs in splits, and how they came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// The pairs.
    pub splits: Splits,
    /// What was read, kept and left out.
    pub report: PrepareReport,
}

/// What became of the files and functions. Functions = empty + too_long + duplicates + pairs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PrepareReport {
    /// Files read.
    pub files: usize,
    /// Names of the files that are not UTF-8: left out.
    pub not_utf8: Vec<String>,
    /// Names of the files that do not parse: left out.
    pub not_parsed: Vec<String>,
    /// Functions with a docstring and a body besides.
    pub functions: usize,
    /// Those whose docstring holds no token: left out.
    pub empty: usize,
    /// Those with too many tokens: left out.
    pub too_long: usize,
    /// Those with the tokens of an earlier one, on both sides: left out.
    pub duplicates: usize,
    /// Those that are left.
    pub pairs: usize,
    /// Pairs that were asked for.
    pub wanted: usize,
}

/// Makes pairs of Python files (name, raw content): finds the functions, leaves out those that the
/// options exclude and exact duplicates (the first one stays), shuffles, and deals them out.
///
/// Where fewer pairs are left than asked for, the splits have the proportions asked for, those of
/// validation and test rounded down to at least one pair. `source` says where the files are from.
///
/// # Errors
/// [`Error::Data`] where fewer than three pairs are left.
pub fn prepare(
    files: &[(String, Vec<u8>)],
    source: &str,
    options: &PrepareOptions,
) -> Result<Prepared> {
    let mut report = PrepareReport {
        files: files.len(),
        wanted: options.train_pairs + options.valid_pairs + options.test_pairs,
        ..PrepareReport::default()
    };
    let mut pairs = distinct_pairs(files, options, &mut report);
    if pairs.len() < 3 {
        return Err(Error::Data(format!(
            "{source}: {} pairs are left for three splits: of {} files {} are not UTF-8 and {} do \
             not parse; of {} functions with a docstring {} are longer than {} and {} tokens; \
             give more Python files, or raise max-source and max-target",
            pairs.len(),
            report.files,
            report.not_utf8.len(),
            report.not_parsed.len(),
            report.functions,
            report.too_long,
            options.max_source,
            options.max_target,
        )));
    }
    // Step 0 of this purpose orders the files of the embedded text.
    let stream = Stream::new(options.seed, Purpose::Corpus, 1);
    stream.reader().shuffle(&mut pairs);
    let [train, valid, _] = sizes(pairs.len(), options);
    pairs.truncate(report.wanted);
    let test = pairs.split_off(train + valid);
    let valid = pairs.split_off(train);
    Ok(Prepared {
        splits: Splits::new(pairs, valid, test, source.to_owned()),
        report,
    })
}

impl Splits {
    /// The pairs of the embedded corpus: what `rnnx data prepare` writes where no path and no
    /// option is given. They do not depend on the seed of a training run, so runs with different
    /// seeds can be compared.
    ///
    /// # Errors
    /// The archive in this binary is damaged.
    pub fn embedded() -> Result<Self> {
        let files = corpus::embedded_files()?;
        let options = PrepareOptions::default();
        Ok(prepare(&files, corpus::EMBEDDED_SOURCE, &options)?.splits)
    }
}

/// The functions of the files as pairs, without what is too long or there already.
fn distinct_pairs(
    files: &[(String, Vec<u8>)],
    options: &PrepareOptions,
    report: &mut PrepareReport,
) -> Vec<Pair> {
    let read = |(_, content): &(String, Vec<u8>)| {
        let text = std::str::from_utf8(content);
        text.map(|text| python::functions(text, options.max_target))
    };
    let found: Vec<_> = files.par_iter().map(read).collect();
    let (mut pairs, mut seen) = (Vec::new(), HashSet::new());
    for ((name, _), functions) in files.iter().zip(found) {
        let functions = match functions {
            Ok(Some(functions)) => functions,
            Ok(None) => {
                report.not_parsed.push(name.clone());
                continue;
            }
            Err(_) => {
                report.not_utf8.push(name.clone());
                continue;
            }
        };
        for python::Function {
            docstring,
            signature,
            code,
        } in functions
        {
            report.functions += 1;
            let source = source_tokens(&docstring).count();
            if source == 0 {
                report.empty += 1;
                continue;
            }
            let Some(code) = code.filter(|_| source <= options.max_source) else {
                report.too_long += 1;
                continue;
            };
            let pair = Pair {
                docstring,
                code,
                signature: Some(signature),
            };
            if seen.insert(pair.key()) {
                pairs.push(pair);
            } else {
                report.duplicates += 1;
            }
        }
    }
    report.pairs = pairs.len();
    pairs
}

/// Pairs of training, validation and test, of `n` pairs, at least 3.
fn sizes(n: usize, options: &PrepareOptions) -> [usize; 3] {
    let wanted = [options.train_pairs, options.valid_pairs, options.test_pairs];
    let total: usize = wanted.iter().sum();
    if n >= total {
        return wanted;
    }
    let part = |wanted: usize| (n as u128 * wanted as u128 / total as u128) as usize;
    let test = part(options.test_pairs).clamp(1, n - 2);
    let valid = part(options.valid_pairs).clamp(1, n - 1 - test);
    [n - valid - test, valid, test]
}

impl Prepared {
    /// Validation's and test's pairs that resemble a training pair.
    pub fn near(&self) -> [NearReport; 2] {
        let splits = &self.splits;
        [&splits.valid, &splits.test].map(|other| near(&splits.train, other))
    }
}

// ---- text ------------------------------------------------------------------------------------

/// Text for the character LM: the files cleaned and joined as [`Corpus::load`] does it. `source` is
/// what messages call them.
///
/// # Errors
/// [`Error::Data`] where nothing is left.
pub fn text(files: &[(String, Vec<u8>)], charset: Charset, source: String) -> Result<Corpus> {
    let mut joining = Joining::new(charset, usize::MAX);
    for (name, content) in files {
        let path = Path::new(name);
        joining.add(Input::bytes(content), path, (name.clone(), 0))?;
    }
    joining.finish(source)
}

// ---- files -----------------------------------------------------------------------------------

/// The files that paths of the user's stand for: (name, raw content). A folder stands for its files
/// at any depth that the patterns name, sorted bytewise by path; a name in `.whl` or `.zip` for the
/// Python files in the archive; [`STDIN`] for standard input, any other name for that file, both
/// unpacked where they are compressed by gzip or zstd.
///
/// # Errors
/// [`Error::Usage`] for standard input that is there twice.
/// [`Error::Data`] that names the path: it does not exist, cannot be read, or is a folder or an
/// archive without such files, or what is compressed is damaged or holds more than [`Unpacking`]
/// allows.
pub fn gather(paths: &[PathBuf], patterns: &Patterns) -> Result<Vec<(String, Vec<u8>)>> {
    let (mut files, mut unpacking) = (Vec::new(), Unpacking::default());
    let stdin = input::stdin_of(paths)?.unwrap_or_default();
    for path in paths {
        if path == Path::new(STDIN) {
            let content = input::unpacked(&stdin, &mut unpacking)?;
            files.push(("standard input".into(), content));
            continue;
        }
        let archive = [OsStr::new("whl"), OsStr::new("zip")].map(Some);
        let is_folder = fs::metadata(path)
            .map_err(|e| unreadable(path, &e))?
            .is_dir();
        let found = if is_folder {
            let found = Folder::read(path, patterns).map_err(|(path, e)| unreadable(&path, &e))?;
            if found.files.is_empty() {
                let (nothing, advice) = (found.nothing(patterns), found.advice(patterns));
                return Err(Error::Data(format!(
                    "{}: there are {nothing}; {advice}name another folder or archive, or files one by one",
                    path.display()
                )));
            }
            let files = found.files.iter();
            let files = files.map(|name| read(name, &mut unpacking));
            files.collect::<Result<_>>()?
        } else if archive.contains(&path.extension()) {
            let members = wheels::python_files(path, &mut unpacking)?;
            let full = |(name, content)| (format!("{}/{name}", path.display()), content);
            members.into_iter().map(full).collect()
        } else {
            vec![read(path, &mut unpacking)?]
        };
        if found.is_empty() {
            return Err(Error::Data(format!(
                "{}: there are no .py files in it; name another folder or archive, or files one by one",
                path.display()
            )));
        }
        files.extend(found);
    }
    Ok(files)
}

fn read(path: &Path, unpacking: &mut Unpacking) -> Result<(String, Vec<u8>)> {
    let content = input::read_with(path, unpacking, |e| unreadable(path, &e))?;
    Ok((path.display().to_string(), content))
}

fn unreadable(path: &Path, e: &io::Error) -> Error {
    let path = path.display();
    Error::Data(match e.kind() {
        io::ErrorKind::NotFound => format!(
            "{path}: no such file or folder; check the path, or give none to use the embedded \
             corpus"
        ),
        _ => format!("{path}: cannot be read ({e}); check the path and its permissions"),
    })
}
