//! The training text: the embedded corpus, or files and folders of the user's.
//!
//! The embedded corpus is CPython's standard library in Python; `data/README.md` tells its origin
//! and licence. build.rs compresses it into one raw deflate stream (RFC 1951). Inflated, all numbers u32
//! little-endian: the number of entries, then for each entry, sorted bytewise by path, the length
//! of its path, the path (UTF-8, `/` between folders), the length of its content, the content.
//! `PSF-LICENSE` is one of the entries and no part of the text.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use flate2::read::DeflateDecoder;
use memmap2::Mmap;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::text::clean_into;
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
    /// The text is cut after this many characters, counted after cleaning.
    pub max_chars: usize,
    /// Shuffles the files of the embedded corpus; files of `paths` keep their order.
    pub seed: u64,
}

/// Cleaned text (ASCII) and what was met on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corpus {
    /// The characters, one byte each.
    pub text: Vec<u8>,
    /// What was read, kept and dropped.
    pub report: CorpusReport,
}

/// What a corpus was made from. Its `Display` is one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CorpusReport {
    /// [`EMBEDDED_SOURCE`], or the paths that were given.
    pub source: String,
    /// Files read; where the text was cut, those behind the cut do not count.
    pub files: usize,
    /// Bytes of those files that were read.
    pub bytes: u64,
    /// Characters kept: the length of the text.
    pub chars: usize,
    /// Characters dropped, white space at the ends of lines not counted.
    pub dropped: u64,
    /// Those of `dropped` that were invalid UTF-8 sequences.
    pub invalid_utf8: u64,
    /// Whether text was left behind at `max_chars`.
    pub truncated: bool,
    /// Lines of the text; the last may lack its newline.
    pub lines: usize,
    /// SHA-256 of the text, in hexadecimal.
    pub sha256: String,
}

impl CorpusReport {
    /// What the user should know about the text that was dropped, in one line; `None` where
    /// nothing was.
    pub fn dropped_note(&self) -> Option<String> {
        let plural = |n: u64| if n == 1 { "" } else { "s" };
        let invalid = match self.invalid_utf8 {
            0 => String::new(),
            n => format!(" ({n} invalid UTF-8 sequence{})", plural(n)),
        };
        (self.dropped > 0).then(|| {
            format!(
                "dropped {} character{} outside printable ASCII{invalid}",
                self.dropped,
                plural(self.dropped)
            )
        })
    }
}

impl fmt::Display for CorpusReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} characters in {} lines of {} files ({}){}",
            self.chars,
            self.lines,
            self.files,
            self.source,
            if self.truncated { ", cut there" } else { "" }
        )
    }
}

impl Corpus {
    /// Reads, cleans, joins and cuts the text of `spec`. A newline is put between two files where
    /// the first does not end with one.
    ///
    /// # Errors
    /// [`Error::Data`] that names the path: it does not exist, cannot be read, is a folder without
    /// .py files; or nothing is left after cleaning. [`Error::Usage`] for `max_chars` 0.
    pub fn load(spec: &CorpusSpec) -> Result<Self> {
        if spec.max_chars == 0 {
            return Err(Error::Usage("max-chars must be at least 1".into()));
        }
        let mut builder = Builder::new(spec.max_chars);
        if spec.paths.is_empty() {
            let blob = inflate()?;
            let mut files = python_entries(&blob)?;
            Stream::new(spec.seed, Purpose::Corpus, 0)
                .reader()
                .shuffle(&mut files);
            for (name, content) in files {
                if builder.is_full() {
                    break;
                }
                builder.add(content, Path::new(name))?;
            }
            return builder.finish(EMBEDDED_SOURCE.into());
        }
        let mut files = Vec::new();
        for path in &spec.paths {
            expand(path, &mut files)?;
        }
        for path in &files {
            if builder.is_full() {
                break;
            }
            // The map lives only while its bytes are copied.
            match map(path).map_err(|e| unreadable(path, &e))? {
                Some(content) => builder.add(&content, path)?,
                None => builder.add(&[], path)?,
            }
        }
        let names: Vec<String> = spec.paths.iter().map(|p| p.display().to_string()).collect();
        builder.finish(names.join(", "))
    }
}

/// A corpus while files are added to it.
struct Builder {
    max_chars: usize,
    /// May hold one character more than `max_chars`: then there was text to leave behind.
    text: Vec<u8>,
    files: usize,
    bytes: u64,
    dropped: u64,
    invalid: u64,
}

impl Builder {
    fn new(max_chars: usize) -> Self {
        Builder {
            max_chars,
            text: Vec::new(),
            files: 0,
            bytes: 0,
            dropped: 0,
            invalid: 0,
        }
    }

    fn is_full(&self) -> bool {
        self.text.len() > self.max_chars
    }

    fn add(&mut self, content: &[u8], path: &Path) -> Result<()> {
        let limit = self.max_chars.saturating_add(1);
        let room = (content.len() + 1).min(limit - self.text.len());
        self.text.try_reserve(room).map_err(|e| {
            Error::Data(format!(
                "no memory for the {} bytes of {} ({e}): lower max-chars",
                content.len(),
                path.display()
            ))
        })?;
        let before = self.text.len();
        if self.text.last().is_some_and(|&b| b != b'\n') {
            self.text.push(b'\n');
        }
        let start = self.text.len();
        let counts = clean_into(content, &mut self.text, limit);
        if self.text.len() == start {
            self.text.truncate(before); // an empty file needs no newline before it
        }
        self.files += 1;
        self.bytes += counts.bytes as u64;
        self.dropped += counts.dropped;
        self.invalid += counts.invalid;
        Ok(())
    }

    fn finish(mut self, source: String) -> Result<Corpus> {
        if self.text.is_empty() {
            return Err(Error::Data(format!(
                "corpus {source}: the corpus is empty: of {} bytes in {} files nothing is left \
                 after cleaning ({} characters dropped); name a file with ASCII text, or leave \
                 corpus out to use the embedded corpus",
                self.bytes, self.files, self.dropped
            )));
        }
        let truncated = self.is_full();
        self.text.truncate(self.max_chars);
        let newlines = self.text.iter().filter(|&&b| b == b'\n').count();
        let report = CorpusReport {
            source,
            files: self.files,
            bytes: self.bytes,
            chars: self.text.len(),
            dropped: self.dropped,
            invalid_utf8: self.invalid,
            truncated,
            lines: newlines + usize::from(self.text.last() != Some(&b'\n')),
            sha256: format!("{:x}", Sha256::digest(&self.text)),
        };
        Ok(Corpus {
            text: self.text,
            report,
        })
    }
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

fn unreadable(path: &Path, e: &io::Error) -> Error {
    let path = path.display();
    Error::Data(match e.kind() {
        io::ErrorKind::NotFound => format!(
            "corpus {path}: no such file or folder; check the path, or leave corpus out to use \
             the embedded corpus"
        ),
        _ => format!("corpus {path}: cannot be read ({e}); check the path and its permissions"),
    })
}

/// Adds the files that a path of the user's stands for.
fn expand(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let kind = fs::metadata(path).map_err(|e| unreadable(path, &e))?;
    if kind.is_file() {
        files.push(path.to_path_buf());
        return Ok(());
    }
    if !kind.is_dir() {
        return Err(Error::Data(format!(
            "corpus {}: neither a file nor a folder, and a pipe or a device cannot be \
             memory-mapped; save the text to a file and name that",
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
    files.extend(found);
    Ok(())
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

/// Maps a file; `None` where it is empty, for an empty map is an error on some systems.
fn map(path: &Path) -> io::Result<Option<Mmap>> {
    let file = File::open(path)?;
    if file.metadata()?.len() == 0 {
        return Ok(None);
    }
    // SAFETY: the map is read-only and lives for one pass over its bytes. That pass assumes that
    // nobody writes to the file meanwhile; a training text is not written to while it is loaded.
    unsafe { Mmap::map(&file) }.map(Some)
}
