//! The training text: the embedded corpus, or files and folders of the user's.
//!
//! The embedded corpus is CPython's standard library in Python; `data/README.md` tells its origin
//! and licence. build.rs compresses it into one raw deflate stream (RFC 1951). Inflated, all numbers u32
//! little-endian: the number of entries, then for each entry, sorted bytewise by path, the length
//! of its path, the path (UTF-8, `/` between folders), the length of its content, the content.
//! `PSF-LICENSE` is one of the entries and no part of the text.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use flate2::read::DeflateDecoder;

use super::charset::CharsetChoice;
pub use super::joining::{Corpus, TextFile};
use super::joining::{Joining, unreadable};
pub use super::report::CorpusReport;
use crate::log;
use crate::rng::{Purpose, Stream};
use crate::{Error, Result};

static ARCHIVE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/corpus.bin"));

/// Where the embedded corpus comes from.
pub const EMBEDDED_SOURCE: &str =
    "embedded: CPython's standard library, from the crate rustpython-pylib 0.6.0";

/// Which text to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorpusSpec {
    /// Text files, and folders whose .py files are read. Empty: the embedded corpus.
    pub paths: Vec<PathBuf>,
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
    /// .py files, or became shorter while it was read; or nothing is left after cleaning.
    /// [`Error::Usage`] for `max_chars` 0.
    pub fn load(spec: &CorpusSpec) -> Result<Self> {
        if spec.max_chars == 0 {
            return Err(Error::Usage("max-chars must be at least 1".into()));
        }
        let charset = spec.charset.settle(spec.paths.is_empty());
        let mut joining = Joining::new(charset, spec.max_chars);
        if spec.paths.is_empty() {
            let blob = inflate()?;
            let mut files = python_entries(&blob)?;
            Stream::new(spec.seed, Purpose::Corpus, 0)
                .reader()
                .shuffle(&mut files);
            for (name, content) in files {
                if joining.is_full() {
                    break;
                }
                let length = content.len() as u64;
                joining.add(content, length, Path::new(name), (name.to_owned(), 0))?;
            }
            return joining.finish(EMBEDDED_SOURCE.into());
        }
        let mut files = Vec::new();
        for (source, path) in spec.paths.iter().enumerate() {
            let found = expand(path)?.into_iter();
            files.extend(found.map(|file| (name_below(path, &file), source, file)));
        }
        for (name, source, path) in files {
            if joining.is_full() {
                break;
            }
            let opened = File::open(&path).and_then(|file| Ok((file.metadata()?.len(), file)));
            let (length, file) = opened.map_err(|e| unreadable(&path, &e))?;
            joining.add(file, length, &path, (name, source))?;
        }
        let names: Vec<String> = spec.paths.iter().map(|p| p.display().to_string()).collect();
        let mut corpus = joining.finish(names.join(", "))?;
        let is_used = |source: usize| corpus.files.iter().any(|file| file.source == source);
        let unused = names.into_iter().enumerate().filter(|&(n, _)| !is_used(n));
        corpus.report.unused = unused.map(|(_, name)| name).collect();
        Ok(corpus)
    }
}

/// The name of a file that `root` stands for, see [`TextFile::name`].
fn name_below(root: &Path, file: &Path) -> String {
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
fn expand(path: &Path) -> Result<Vec<PathBuf>> {
    let kind = fs::metadata(path).map_err(|e| unreadable(path, &e))?;
    if kind.is_file() {
        return Ok(vec![path.to_path_buf()]);
    }
    if !kind.is_dir() {
        return Err(Error::Data(format!(
            "corpus {}: neither a file nor a folder, and a pipe or a device cannot be read again \
             to go on with a run or to score it; save the text to a file and name that",
            path.display()
        )));
    }
    let found = python_files(path).map_err(|(path, e)| unreadable(&path, &e))?;
    if found.is_empty() {
        return Err(Error::Data(format!(
            "corpus {}: the folder holds no .py files (hidden entries, __pycache__ and links to \
             folders are passed over); name another folder, or name text files one by one",
            path.display()
        )));
    }
    Ok(found)
}

/// The .py files below `root`, sorted bytewise by their path below it with `/` between names.
/// Hidden entries and `__pycache__` are passed over, and so are links to folders: no loops. What is
/// no file, a link that leads nowhere or in a circle among them, is passed over with a note.
///
/// # Errors
/// The path that cannot be read, and what the system said.
pub(super) fn python_files(root: &Path) -> Result<Vec<PathBuf>, (PathBuf, io::Error)> {
    let (mut found, mut passed) = (Vec::new(), Vec::new());
    let mut folders = vec![(root.to_path_buf(), Vec::new())];
    while let Some((folder, prefix)) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(|e| (folder.clone(), e))? {
            let entry = entry.map_err(|e| (folder.clone(), e))?;
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.as_encoded_bytes();
            if name.starts_with(b".") || name == b"__pycache__" {
                continue;
            }
            let kind = entry.file_type().map_err(|e| (path.clone(), e))?;
            let mut key: Vec<u8> = prefix.clone();
            key.extend_from_slice(name);
            if kind.is_dir() {
                key.push(b'/');
                folders.push((path, key));
            } else if path.extension() == Some(OsStr::new("py")) {
                match fs::metadata(&path) {
                    Ok(target) if target.is_file() => found.push((key, path)),
                    Ok(target) if target.is_dir() => {}
                    Err(e) if !kind.is_symlink() || e.kind() == io::ErrorKind::PermissionDenied => {
                        return Err((path, e));
                    }
                    _ => passed.push(path),
                }
            }
        }
    }
    if let Some(first) = passed.iter().min() {
        log::line(&format!(
            "{}: passed over {} that {} no file: links that lead nowhere, pipes or devices; the \
             first is {}",
            root.display(),
            passed.len(),
            if passed.len() == 1 { "is" } else { "are" },
            first.display()
        ));
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}
