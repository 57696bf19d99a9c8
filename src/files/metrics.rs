//! `metrics.jsonl`: one event a line, appended while a run trains.

mod events;

pub use events::{ChangeEvent, Changes, EpochEvent, Event, StepEvent, TestEvent, ValidEvent};

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::atomic::write_atomic;
use crate::error::{Error, Result};

// ---- writing -------------------------------------------------------------------------------

/// Appends events to `metrics.jsonl`, each with one write.
#[derive(Debug)]
pub struct MetricsWriter {
    path: PathBuf,
    file: File,
    /// Length of the whole lines, in bytes.
    length: u64,
}

impl MetricsWriter {
    /// Opens the file for appending, or creates it. A last line without its end, which a crash
    /// left, is cut off.
    ///
    /// # Errors
    /// [`Error::Io`] that names `path`.
    pub fn append(path: &Path) -> Result<Self> {
        let mut options = OpenOptions::new();
        let file = options
            .read(true)
            .append(true)
            .create(true)
            .open(path)
            .map_err(Error::io("open", path))?;
        let bytes = fs::read(path).map_err(Error::io("read", path))?;
        let length = bytes.iter().rposition(|&b| b == b'\n').map_or(0, |i| i + 1) as u64;
        if length < bytes.len() as u64 {
            file.set_len(length).map_err(Error::io("write", path))?;
        }
        Ok(Self {
            path: path.to_path_buf(),
            file,
            length,
        })
    }

    /// Writes one event; it is in the file when this returns.
    ///
    /// # Errors
    /// [`Error::Io`] that names the file, which then still ends with a whole line.
    pub fn write(&mut self, event: &Event) -> Result<()> {
        self.write_line(event.to_line(&self.path)?)
    }

    /// Writes an event as it stood in a line before, digit by digit.
    ///
    /// # Errors
    /// As [`MetricsWriter::write`].
    pub fn write_line(&mut self, mut line: String) -> Result<()> {
        line.push('\n');
        let written = self.file.write_all(line.as_bytes());
        if let Err(error) = written {
            // Half a line would make the file unreadable once more lines follow.
            let _ = self.file.set_len(self.length);
            return Err(Error::io("write", &self.path)(error));
        }
        self.length += line.len() as u64;
        Ok(())
    }

    /// What has been written, wherever the file is by now.
    ///
    /// # Errors
    /// [`Error::Io`] that names the file.
    pub fn content(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut file = &self.file;
        file.rewind()
            .and_then(|()| file.read_to_end(&mut bytes))
            .map_err(Error::io("read", &self.path))?;
        Ok(bytes)
    }
}

// ---- reading -------------------------------------------------------------------------------

/// Reads the events. A last line without its end is left out: it is being written, or a crash left
/// it.
///
/// # Errors
/// [`Error::Data`] with the line's number for one that is no event or does not match its checksum;
/// [`Error::Io`].
pub fn read(path: &Path) -> Result<Vec<Event>> {
    let bytes = fs::read(path).map_err(Error::io("read", path))?;
    let lines = parse(path, &bytes)?;
    Ok(lines.into_iter().map(|(_, event)| event).collect())
}

/// The last test event and its line as it stands; none where there is none, and no file.
///
/// # Errors
/// As [`read`].
pub fn read_test(path: &Path) -> Result<Option<(String, TestEvent)>> {
    let bytes = read_if_any(path)?;
    let tests = parse(path, &bytes)?.into_iter().rev();
    let mut tests = tests.filter_map(|(line, event)| match event {
        Event::Test(test) => Some((String::from_utf8_lossy(line).into_owned(), *test)),
        _ => None,
    });
    Ok(tests.next())
}

/// Whether the file has this event, digit by digit. A missing file has none.
///
/// # Errors
/// As [`read`].
pub fn holds(path: &Path, event: &Event) -> Result<bool> {
    let (bytes, wanted) = (read_if_any(path)?, event.to_line(path)?);
    let lines = parse(path, &bytes)?;
    Ok(lines.into_iter().any(|(line, _)| line == wanted.as_bytes()))
}

/// Cuts the file back to what a run had written when it stood at `step` with `epochs_done` epochs
/// finished, so that a resumed run's file equals that of a run never stopped. A missing file is
/// fine.
///
/// # Errors
/// As [`read`]; the file is replaced atomically.
pub fn truncate_after(path: &Path, step: u64, epochs_done: u64) -> Result<()> {
    let bytes = read_if_any(path)?;
    // The lines are kept as they stand: not one digit changes.
    let kept = parse(path, &bytes)?
        .into_iter()
        .filter(|(_, event)| event.is_before(step, epochs_done))
        .flat_map(|(line, _)| [line, b"\n"])
        .collect::<Vec<_>>()
        .concat();
    if kept == bytes {
        return Ok(());
    }
    write_atomic(path, |w| w.write_all(&kept))
}

fn read_if_any(path: &Path) -> Result<Vec<u8>> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other.map_err(Error::io("read", path)),
    }
}

/// Each whole line with its event; blank lines are skipped.
fn parse<'a>(path: &Path, bytes: &'a [u8]) -> Result<Vec<(&'a [u8], Event)>> {
    let mut events = Vec::new();
    for (i, line) in bytes.split_inclusive(|&b| b == b'\n').enumerate() {
        let (line, event) = match line.strip_suffix(b"\n") {
            Some(line) if line.trim_ascii().is_empty() => continue,
            Some(line) => (line, Event::from_line(line)),
            None if has_lost_its_end(line) => (line, Err("damaged at its end".into())),
            None => break,
        };
        let event = event.map_err(|why| {
            let (path, number) = (path.display(), i + 1);
            Error::Data(format!(
                "{path}:{number}: {why}. Mend or delete this line to go on with the rest (a line \
                 mended by hand needs no crc32)"
            ))
        })?;
        events.push((line, event));
    }
    Ok(events)
}

/// Whether a last line is whole but for its end. One that is being written stops earlier.
fn has_lost_its_end(line: &[u8]) -> bool {
    let whole = line.split_last().map(|(_, whole)| whole);
    whole.is_some_and(|whole| serde_json::from_slice::<Map<String, Value>>(whole).is_ok())
}
