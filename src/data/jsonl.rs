//! Pairs as JSON lines: an object a line, usually with CodeSearchNet's fields `docstring` and `code`, and
//! perhaps `signature`.

use std::ffi::OsStr;
use std::io::{self, BufRead, Read, Write};
use std::path::Path;

use flate2::{Compression, GzBuilder};
use serde_json::{Map, Value, json};

use super::input::Input;
use super::pair_reading::{MAX_LINE, Reading, SIGNATURE};
use super::pairs::Pair;
use crate::Result;
use crate::files::atomic::write_atomic;

/// Reads the pairs of JSON lines.
pub(super) fn read(mut input: Input, reading: &mut Reading) -> Result<()> {
    let mut line = Vec::new();
    for number in 1u64.. {
        line.clear();
        let bytes = input.by_ref().take(MAX_LINE).read_until(b'\n', &mut line);
        let bytes = bytes.map_err(|e| reading.failed(&input, number, e))?;
        if bytes == 0 {
            break;
        }
        if bytes as u64 == MAX_LINE && line.last() != Some(&b'\n') {
            let what = format!("the line is longer than {MAX_LINE} bytes");
            return Err(reading.wrong(number, &what));
        }
        let line = line.trim_ascii_end();
        if line.is_empty() {
            continue;
        }
        let format = reading.format;
        let found = object(line).and_then(|object| {
            let source = field(&object, &format.source_field, "source-field")?;
            let target = field(&object, &format.target_field, "target-field")?;
            let signature = object.get(SIGNATURE).and_then(Value::as_str);
            Ok((source, target, signature.map(str::to_owned)))
        });
        let (source, target, signature) = found.map_err(|what| reading.wrong(number, &what))?;
        reading.take(number, (&source, &target), signature)?;
    }
    Ok(())
}

/// The object that a line holds, or what is wrong with it.
fn object(line: &[u8]) -> Result<Map<String, Value>, String> {
    let line = std::str::from_utf8(line)
        .map_err(|e| format!("byte {} is not UTF-8", e.valid_up_to() + 1))?;
    let value: Value = serde_json::from_str(line).map_err(|e| {
        let message = e.to_string();
        let what = message.split(" at line ").next().unwrap_or_default();
        format!("broken JSON at column {}: {what}", e.column())
    })?;
    match value {
        Value::Object(object) => Ok(object),
        _ => Err("not a JSON object".into()),
    }
}

/// The text of a field, or what is wrong with it.
fn field(object: &Map<String, Value>, name: &str, setting: &str) -> Result<String, String> {
    match object.get(name) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(format!("\"{name}\" is not a string")),
        None => Err(format!("no field \"{name}\" ({setting} names another)")),
    }
}

/// Writes pairs so that [`read_pairs`](super::pair_files::read_pairs) reads the same; compressed by gzip
/// where the name ends in `.gz`. The same pairs give the same bytes.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io) that names the file; an old file stays as it was.
pub fn write_jsonl(path: &Path, pairs: &[Pair]) -> Result<()> {
    let line = |pair: &Pair| {
        let mut line = json!({ "docstring": pair.docstring, "code": pair.code });
        if let Some(signature) = &pair.signature {
            line[SIGNATURE] = json!(signature);
        }
        line
    };
    write(path, pairs.iter().map(line))
}

/// Writes code without descriptions, as [`write_jsonl`] writes pairs.
///
/// # Errors
/// As [`write_jsonl`].
pub fn write_code(path: &Path, code: &[String]) -> Result<()> {
    write(path, code.iter().map(|code| json!({ "code": code })))
}

/// Writes a line for each value.
fn write(path: &Path, values: impl Iterator<Item = Value>) -> Result<()> {
    let lines = |out: &mut dyn Write| -> io::Result<()> {
        for line in values {
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
