//! The training text: the embedded corpus, or files and folders of the user's.
//!
//! The embedded corpus is CPython's standard library in Python; `data/README.md` tells its origin
//! and licence. build.rs compresses it into one raw deflate stream (RFC 1951). Inflated, all numbers u32
//! little-endian: the number of entries, then for each entry, sorted bytewise by path, the length
//! of its path, the path (UTF-8, `/` between folders), the length of its content, the content.
//! `PSF-LICENSE` is one of the entries and no part of the text.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::read::DeflateDecoder;

use super::charset::CharsetChoice;
use super::folders::{Folder, Patterns};
use super::input::{Input, STDIN};
pub use super::joining::{Corpus, TextFile};
use super::joining::{Joining, unreadable};
pub use super::report::CorpusReport;
use super::unpacking::Unpacking;
use crate::files::run::STDIN_COPY;
use crate::rng::{Purpose, Stream};
use crate::{Error, Result};

static ARCHIVE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/corpus.bin"));

/// Where the embedded corpus comes from.
pub const EMBEDDED_SOURCE: &str =
    "embedded: CPython's standard library, from the crate rustpython-pylib 0.6.0";

/// Patterns without anything that they could be of.
const NO_FOLDER: &str = "glob is about folders: name one as corpus, or leave glob out";

/// Which text to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorpusSpec {
    /// Text files, compressed by gzip or zstd or not, and folders; [`STDIN`] is `stdin`. Empty: the
    /// embedded corpus.
    pub paths: Vec<PathBuf>,
    /// Patterns of the files that are read of a folder; without one, its .py files.
    pub globs: Vec<String>,
    /// What standard input gave.
    pub stdin: Option<Arc<[u8]>>,
    /// What of the text is kept.
    pub charset: CharsetChoice,
    /// The text is cut after this many characters (of `bytes`: bytes), counted after cleaning.
    pub max_chars: usize,
    /// Shuffles the files of the embedded corpus; files of `paths` keep their order.
    pub seed: u64,
}

impl Corpus {
    /// Reads, cleans, joins and cuts the text of `spec`. A newline is put between two files where
    /// the first does not end with one, unless bytes are kept as they are.
    ///
    /// # Errors
    /// [`Error::Data`] that names the path: it does not exist, cannot be read, is a folder without
    /// such files, became shorter while it was read, or is damaged or holds too much where it is
    /// compressed; or nothing is left after cleaning. [`Error::Usage`] for `max_chars` 0, for a pattern
    /// that is none, and for patterns without paths.
    pub fn load(spec: &CorpusSpec) -> Result<Self> {
        if spec.max_chars == 0 {
            return Err(Error::Usage("max-chars must be at least 1".into()));
        }
        let charset = spec.charset.settle(spec.paths.is_empty());
        let mut joining = Joining::new(charset, spec.max_chars);
        if spec.paths.is_empty() {
            if !spec.globs.is_empty() {
                return Err(Error::Usage(NO_FOLDER.into()));
            }
            let blob = inflate()?;
            let mut files = python_entries(&blob)?;
            Stream::new(spec.seed, Purpose::Corpus, 0)
                .reader()
                .shuffle(&mut files);
            for (name, content) in files {
                if joining.is_full() {
                    break;
                }
                joining.add(Input::bytes(content), Path::new(name), (name.to_owned(), 0))?;
            }
            return joining.finish(EMBEDDED_SOURCE.into());
        }
        let patterns = Patterns::new(&spec.globs)?;
        let (mut files, mut unpacking) = (Vec::new(), Unpacking::default());
        for (source, path) in spec.paths.iter().enumerate() {
            let found = expand(path, &patterns, spec.stdin.is_some())?.into_iter();
            files.extend(found.map(|file| (name_below(path, &file), source, file)));
        }
        for (name, source, path) in files {
            if joining.is_full() {
                break;
            }
            let input = match &spec.stdin {
                Some(bytes) if path == Path::new(STDIN) => Input::piped(bytes, &mut unpacking),
                _ => Input::open(&path, &mut unpacking),
            };
            let input = input.map_err(|e| unreadable(&path, &e))?;
            joining.add(input, &path, (name, source))?;
        }
        let names: Vec<String> = spec.paths.iter().map(|p| p.display().to_string()).collect();
        let mut corpus = joining.finish(names.join(", "))?;
        let is_used = |source: usize| corpus.files.iter().any(|file| file.source == source);
        let unused = names.into_iter().enumerate().filter(|&(n, _)| !is_used(n));
        corpus.report.unused = unused.map(|(_, name)| name).collect();
        Ok(corpus)
    }
}

/// The name of a file that `root` stands for, see [`TextFile::name`]. Standard input has that of the copy
/// which a run keeps and goes on with.
fn name_below(root: &Path, file: &Path) -> String {
    if file == Path::new(STDIN) {
        return STDIN_COPY.into();
    }
    let below = match file.strip_prefix(root) {
        Ok(below) if !below.as_os_str().is_empty() => below,
        _ => Path::new(file.file_name().unwrap_or(file.as_os_str())),
    };
    let names = below.iter().map(|name| name.to_string_lossy());
    names.collect::<Vec<_>>().join("/")
}

/// The Python files of the embedded corpus: (path with `/`, raw content), sorted bytewise by path.
///
/// # Errors
/// The archive in this binary is damaged.
pub fn embedded_files() -> Result<Vec<(String, Vec<u8>)>> {
    let blob = inflate()?;
    let files = python_entries(&blob)?;
    Ok(files
        .into_iter()
        .map(|(name, content)| (name.to_owned(), content.to_vec()))
        .collect())
}

/// The licence of the embedded corpus.
///
/// # Errors
/// The archive in this binary is damaged.
pub fn embedded_license() -> Result<String> {
    let blob = inflate()?;
    let entries = entries(&blob).ok_or_else(damaged)?;
    let license = entries.iter().find(|(name, _)| *name == "PSF-LICENSE");
    let (_, text) = license.ok_or_else(damaged)?;
    Ok(String::from_utf8_lossy(text).into_owned())
}

fn damaged() -> Error {
    Error::Data("the corpus embedded in this program is damaged: build or install it again".into())
}

fn inflate() -> Result<Vec<u8>> {
    let mut blob = Vec::with_capacity(5 * ARCHIVE.len());
    DeflateDecoder::new(ARCHIVE)
        .read_to_end(&mut blob)
        .map_err(|_| damaged())?;
    Ok(blob)
}

fn python_entries(blob: &[u8]) -> Result<Vec<(&str, &[u8])>> {
    let mut entries = entries(blob).ok_or_else(damaged)?;
    entries.retain(|(name, _)| name.ends_with(".py"));
    Ok(entries)
}

/// All entries of the inflated archive; `None` where a length points past its end.
fn entries(mut blob: &[u8]) -> Option<Vec<(&str, &[u8])>> {
    let number = |blob: &mut &[u8]| -> Option<usize> {
        let bytes = blob.split_off(..4)?;
        usize::try_from(u32::from_le_bytes(bytes.try_into().ok()?)).ok()
    };
    let count = number(&mut blob)?;
    let mut entries = Vec::new();
    for _ in 0..count {
        let length = number(&mut blob)?;
        let name = std::str::from_utf8(blob.split_off(..length)?).ok()?;
        let length = number(&mut blob)?;
        entries.push((name, blob.split_off(..length)?));
    }
    blob.is_empty().then_some(entries)
}

/// The files that a path of the user's stands for.
fn expand(path: &Path, patterns: &Patterns, has_stdin: bool) -> Result<Vec<PathBuf>> {
    if has_stdin && path == Path::new(STDIN) {
        return Ok(vec![path.to_path_buf()]);
    }
    let kind = fs::metadata(path).map_err(|e| unreadable(path, &e))?;
    if kind.is_file() {
        return Ok(vec![path.to_path_buf()]);
    }
    if !kind.is_dir() {
        return Err(Error::Data(format!(
            "corpus {}: neither a file nor a folder, and a pipe or a device cannot be read again \
             to go on with a run or to score it; save the text to a file and name that, or give it on \
             standard input as {STDIN}",
            path.display()
        )));
    }
    let found = Folder::read(path, patterns).map_err(|(path, e)| unreadable(&path, &e))?;
    if found.files.is_empty() {
        return Err(Error::Data(format!(
            "corpus {}: the folder holds {}; {}name another folder, or name text files one by one",
            path.display(),
            found.nothing(patterns),
            found.advice(patterns)
        )));
    }
    Ok(found.files)
}
