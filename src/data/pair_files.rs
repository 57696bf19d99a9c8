//! Files of pairs: JSON lines, CSV or TSV by their name, each compressed by gzip or zstd or not; and
//! one file divided into splits.

use std::ffi::OsStr;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::input::Input;
use super::pair_reading::Reading;
use super::pairs::{Pair, Splits, update};
use super::split::Split;
use super::unpacking::Unpacking;
use super::{delimited, jsonl};
use crate::files::{access, group};
use crate::{Error, Result};

pub use super::pair_reading::{PairFile, PairFormat};

/// Reads the pairs of a file: of `.csv` fields between commas, quoted by `"` where they hold commas,
/// quotes or lines (RFC 4180); of `.tsv` fields between tabs, where a quote is a character as any
/// other; of any other name a JSON object a line. `.gz` or `.zst` may follow, and a compressed file is
/// known without it.
///
/// Other fields are ignored, blank lines are passed over.
///
/// # Errors
/// [`Error::Data`] that names the file, and the line where it has one: the file cannot be read or
/// decompressed, a line cannot be read or is not UTF-8, a field is missing, no string or holds no
/// token; the file holds no pairs, or compressed more than [`Unpacking`] allows. [`Error::Usage`] for
/// the fields of CSV and TSV where one is a name and one a number.
pub fn read_pairs(path: &Path, format: &PairFormat) -> Result<PairFile> {
    read_with(path, format, &mut Unpacking::default())
}

/// As [`read_pairs`]; `unpacking` counts what the compressed files of the command hold.
fn read_with(path: &Path, format: &PairFormat, unpacking: &mut Unpacking) -> Result<PairFile> {
    let name = path.display().to_string();
    let opened = access::open(&group::current(path)).and_then(|f| Input::of(f, path, unpacking));
    let input = opened.map_err(|e| access::unreadable(path, &e))?;
    let mut reading = Reading {
        format,
        name: &name,
        read: PairFile::default(),
    };
    match delimiter(path) {
        Some(delimiter) => delimited::read(input, delimiter, &mut reading)?,
        None => jsonl::read(input, &mut reading)?,
    }
    let read = reading.read;
    if read.pairs.is_empty() {
        let skipped = match read.skipped.len() {
            0 => String::new(),
            n => format!(" but {n} whose {:?} is empty", format.source_field),
        };
        return Err(Error::Data(format!(
            "{name}: an empty split: the file holds no pairs{skipped}; name one with a JSON object a \
             line, or a .csv or .tsv file"
        )));
    }
    Ok(read)
}

/// What stands between the fields of a file of this name; none in JSON lines.
fn delimiter(path: &Path) -> Option<u8> {
    let packed = ["gz", "zst"].map(|ending| Some(OsStr::new(ending)));
    let stem = match packed.contains(&path.extension()) {
        true => Path::new(path.file_stem()?),
        false => path,
    };
    match stem.extension()?.to_str()? {
        "csv" => Some(b','),
        "tsv" => Some(b'\t'),
        _ => None,
    }
}

/// Says which pairs of these files were skipped, in one line; `None` where none was.
pub fn skipped_note<'a>(
    field: &str,
    files: impl IntoIterator<Item = (&'a Path, &'a [u64])>,
) -> Option<String> {
    let some = |(path, lines): (&Path, &[u64])| {
        let (first, n) = (lines.first()?, lines.len());
        Some(format!(
            "{n} of {}, the first in line {first}",
            path.display()
        ))
    };
    let parts: Vec<String> = files.into_iter().filter_map(some).collect();
    (!parts.is_empty()).then(|| {
        format!(
            "skipped pairs whose source ({field}) is empty: {}; with strict they are an error",
            parts.join("; ")
        )
    })
}

impl Splits {
    /// Reads three files as [`read_pairs`] does.
    ///
    /// # Errors
    /// As [`read_pairs`]; each split needs a pair.
    pub fn read(files: [&Path; 3], format: &PairFormat) -> Result<Self> {
        let names = files.map(|path| path.display().to_string());
        let mut unpacking = Unpacking::default();
        let [train, valid, test] = files.map(|path| read_with(path, format, &mut unpacking));
        let (train, valid, test) = (train?, valid?, test?);
        let skipped = [&train, &valid, &test].map(|file| &file.skipped[..]);
        let note = skipped_note(&format.source_field, files.into_iter().zip(skipped));
        let splits = Splits::new(train.pairs, valid.pairs, test.pairs, names.join(", "));
        Ok(Splits {
            skipped: note,
            ..splits
        })
    }

    /// Reads one file as [`read_pairs`] does and divides it by the hash of each pair: a pair stays in
    /// its split while others are added or taken away, and the same pair twice is in one split.
    ///
    /// The first 64 bits of the hash, a fraction of 2^64, are below `test` for a pair that is tested
    /// on, below `test + valid` for one that validates; the others train.
    ///
    /// # Errors
    /// As [`read_pairs`]; [`Error::Data`] where a split has no pair.
    pub fn divide(path: &Path, format: &PairFormat, [valid, test]: [f64; 2]) -> Result<Self> {
        let file = read_pairs(path, format)?;
        let (name, all) = (path.display(), file.pairs.len());
        let mut parts = [const { Vec::new() }; 3];
        for pair in file.pairs {
            let place = place(&pair);
            let split = match place {
                _ if place < test => Split::Test,
                _ if place < test + valid => Split::Valid,
                _ => Split::Train,
            };
            parts[split as usize].push(pair);
        }
        for (split, part) in Split::ALL.into_iter().zip(&parts) {
            if part.is_empty() {
                return Err(Error::Data(format!(
                    "{name}: of its {all} pairs none is for {split}: they are divided by their hash, \
                     with valid-fraction {valid} and test-fraction {test}; give more pairs, or other \
                     fractions"
                )));
            }
        }
        let [train, valid_part, test_part] = parts;
        let source =
            format!("{name}, divided by hash: valid-fraction {valid}, test-fraction {test}");
        let note = skipped_note(&format.source_field, [(path, &file.skipped[..])]);
        Ok(Splits {
            skipped: note,
            ..Splits::new(train, valid_part, test_part, source)
        })
    }
}

/// The place of a pair between 0 and 1, by the hash of both texts.
fn place(pair: &Pair) -> f64 {
    let mut hash = Sha256::new();
    update(&mut hash, &pair.texts());
    let digest = hash.finalize();
    let bits = digest
        .iter()
        .take(8)
        .fold(0u64, |n, &b| n << 8 | u64::from(b));
    bits as f64 / 2f64.powi(64)
}
