//! Files of pairs: one JSON object a line, with CodeSearchNet's fields `docstring` and `code`, and perhaps
//! `signature`.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;

use flate2::{Compression, GzBuilder, bufread::MultiGzDecoder};
use serde_json::{Value, json};

use super::pairs::{Pair, Splits, source_tokens, target_tokens};
use super::python;
use super::unpacking::Unpacking;
use crate::files::atomic::write_atomic;
use crate::files::{access, group};
use crate::{Error, Result};

/// A longer line is refused: a small compressed file can hold one that fills the memory.
const MAX_LINE: u64 = 64 << 20;

/// What a file of pairs holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PairFile {
    /// The pairs.
    pub pairs: Vec<Pair>,
    /// Lines, from 1, of the pairs that were skipped, because their source holds no token.
    pub skipped: Vec<u64>,
}

/// Reads the pairs of a file, compressed by gzip or not.
///
/// The field `signature` may be there; others besides `docstring` and `code` are ignored, blank lines are passed over. CodeSearchNet's
/// code still holds the docstring: it is taken out where it can be found. A pair whose docstring
/// holds no token is skipped; if `strict`, it is an error as any other line that is no pair.
///
/// # Errors
/// [`Error::Data`] that names the file, and the line where it has one: the file cannot be read or
/// decompressed, a line is no JSON or not UTF-8, a field is missing, no string or holds no token; the
/// file holds no pairs, or compressed more than [`Unpacking`] allows.
pub fn read_jsonl(path: &Path, strict: bool) -> Result<PairFile> {
    read_with(path, strict, &mut Unpacking::default())
}

/// As [`read_jsonl`]; `unpacking` counts what the compressed files of the command hold.
fn read_with(path: &Path, strict: bool, unpacking: &mut Unpacking) -> Result<PairFile> {
    let name = path.display();
    let unreadable = |e: io::Error| {
        Error::Data(match e.kind() {
            io::ErrorKind::NotFound => format!("{name}: no such file; check the path"),
            _ => format!("{name}: cannot be read ({e}); check the path and its permissions"),
        })
    };
    let file = access::open(&group::current(path)).map_err(unreadable)?;
    let size = file.metadata().map_err(unreadable)?.len();
    let mut file = BufReader::new(file);
    let magic = file
        .fill_buf()
        .map_err(unreadable)?
        .starts_with(b"\x1f\x8b");
    let compressed = magic || has_gz_name(path);
    if compressed {
        unpacking.open(size);
    }
    let mut reader: Box<dyn BufRead> = match compressed {
        true => Box::new(BufReader::new(MultiGzDecoder::new(file))),
        false => Box::new(file),
    };
    let (mut read, mut line) = (PairFile::default(), Vec::new());
    for number in 1u64.. {
        line.clear();
        let bytes = reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line);
        let bytes = bytes.map_err(|e| match compressed {
            true => Error::Data(format!(
                "{name}:{number}: the gzip data is cut off or damaged ({e}); fetch or write the \
                 file again"
            )),
            false => unreadable(e),
        })?;
        if bytes == 0 {
            break;
        }
        if compressed {
            unpacking.take(bytes as u64, path)?;
        }
        let wrong = |what| Error::Data(format!("{name}:{number}: {what}; mend or remove the line"));
        if bytes as u64 == MAX_LINE && line.last() != Some(&b'\n') {
            return Err(wrong(format!("the line is longer than {MAX_LINE} bytes")));
        }
        match parse_line(&line).map_err(wrong)? {
            Line::Blank => {}
            Line::Pair(pair) => read.pairs.push(pair),
            Line::NoSource if strict => return Err(wrong(NO_SOURCE.into())),
            Line::NoSource => read.skipped.push(number),
        }
    }
    if read.pairs.is_empty() {
        let skipped = match read.skipped.len() {
            0 => String::new(),
            n => format!(" but {n} whose \"docstring\" is empty"),
        };
        return Err(Error::Data(format!(
            "{name}: an empty split: the file holds no pairs{skipped}; name one with a JSON object a \
             line"
        )));
    }
    Ok(read)
}

/// Says which pairs of these files were skipped, in one line; `None` where none was.
pub fn skipped_note<'a>(files: impl IntoIterator<Item = (&'a Path, &'a [u64])>) -> Option<String> {
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
            "skipped pairs whose source (docstring) is empty: {}; with strict they are an error",
            parts.join("; ")
        )
    })
}

impl Splits {
    /// Reads three files as [`read_jsonl`] does.
    ///
    /// # Errors
    /// As [`read_jsonl`]; each split needs a pair.
    pub fn read(files: [&Path; 3], strict: bool) -> Result<Self> {
        let names = files.map(|path| path.display().to_string());
        let mut unpacking = Unpacking::default();
        let [train, valid, test] = files.map(|path| read_with(path, strict, &mut unpacking));
        let (train, valid, test) = (train?, valid?, test?);
        let skipped = [&train, &valid, &test].map(|file| &file.skipped[..]);
        let note = skipped_note(files.into_iter().zip(skipped));
        let splits = Splits::new(train.pairs, valid.pairs, test.pairs, names.join(", "));
        Ok(Splits {
            skipped: note,
            ..splits
        })
    }
}

/// What a line holds.
enum Line {
    Blank,
    Pair(Pair),
    /// A pair whose source holds no token.
    NoSource,
}

const NO_SOURCE: &str = "\"docstring\" is empty: it holds no token";

/// What a line holds, or what is wrong with it.
fn parse_line(line: &[u8]) -> Result<Line, String> {
    let line = line.trim_ascii_end();
    if line.is_empty() {
        return Ok(Line::Blank);
    }
    let line = std::str::from_utf8(line)
        .map_err(|e| format!("byte {} is not UTF-8", e.valid_up_to() + 1))?;
    let value: Value = serde_json::from_str(line).map_err(|e| {
        let message = e.to_string();
        let what = message.split(" at line ").next().unwrap_or_default();
        format!("broken JSON at column {}: {what}", e.column())
    })?;
    let object = value.as_object().ok_or("not a JSON object")?;
    let field = |name| match object.get(name) {
        Some(Value::String(text)) => Ok(text.as_str()),
        Some(_) => Err(format!("\"{name}\" is not a string")),
        None => Err(format!("no field \"{name}\"")),
    };
    let (docstring, code) = (field("docstring")?, field("code")?);
    let signature = match object.get("signature") {
        None | Some(Value::Null) => None,
        Some(_) => Some(field("signature")?.to_owned()),
    };
    let code = python::without_docstring(code).unwrap_or_else(|| code.into());
    if target_tokens(&code).next().is_none() {
        return Err("\"code\" is empty: it holds no token".into());
    }
    if source_tokens(docstring).next().is_none() {
        return Ok(Line::NoSource);
    }
    Ok(Line::Pair(Pair {
        docstring: docstring.into(),
        code,
        signature,
    }))
}

/// Writes pairs so that [`read_jsonl`] reads the same; compressed by gzip where the name ends in
/// `.gz`. The same pairs give the same bytes.
///
/// # Errors
/// [`Error::Io`] that names the file; an old file stays as it was.
pub fn write_jsonl(path: &Path, pairs: &[Pair]) -> Result<()> {
    let lines = |out: &mut dyn Write| -> io::Result<()> {
        for pair in pairs {
            let mut line = json!({ "docstring": pair.docstring, "code": pair.code });
            if let Some(signature) = &pair.signature {
                line["signature"] = json!(signature);
            }
            // Whole: a compressor takes its time for each of many small parts.
            out.write_all(format!("{line}\n").as_bytes())?;
        }
        Ok(())
    };
    write_atomic(path, |out| match has_gz_name(path) {
        true => {
            // No time and no name in the header.
            let mut gzip = GzBuilder::new().write(out, Compression::default());
            lines(&mut gzip)?;
            gzip.finish().map(|_| ())
        }
        false => lines(out),
    })
}

fn has_gz_name(path: &Path) -> bool {
    path.extension() == Some(OsStr::new("gz"))
}
