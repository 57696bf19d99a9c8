//! Python files in wheels, which are zip archives.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use zip::ZipArchive;

use crate::{Error, Result};

/// No Python file that a person wrote is larger; a damaged or hostile archive can claim anything.
const MAX_FILE: u64 = 16 << 20;
/// All Python files of a wheel together.
const MAX_WHEEL: u64 = 1 << 30;

/// The .py files of a wheel or another zip archive: (name with `/`, raw content), sorted bytewise
/// by name.
///
/// # Errors
/// [`Error::Data`] that names the archive, and the member where there is one: it is missing, no
/// zip archive, damaged, compressed in a way other than deflate, or of an absurd size.
pub fn python_files(path: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let archive = path.display();
    let file = File::open(path).map_err(|e| {
        Error::Data(match e.kind() {
            io::ErrorKind::NotFound => format!("{archive}: no such file; check the path"),
            _ => format!("{archive}: cannot be read ({e}); check the path and its permissions"),
        })
    })?;
    let damaged = |what: String| {
        Error::Data(format!(
            "{archive}: not a whole zip archive ({what}); fetch it again or leave it out"
        ))
    };
    let broken = |e: zip::result::ZipError| damaged(e.to_string());
    let mut zip = ZipArchive::new(BufReader::new(file)).map_err(broken)?;
    let (mut files, mut room) = (Vec::new(), MAX_WHEEL);
    for index in 0..zip.len() {
        let member = zip.by_index(index).map_err(broken)?;
        let name = member.name().map_err(broken)?.into_owned();
        if !member.is_file() || !name.ends_with(".py") {
            continue;
        }
        let limit = room.min(MAX_FILE);
        let mut content = Vec::new();
        // The size in the archive's list is only a claim.
        let read = member.take(limit + 1).read_to_end(&mut content);
        let read = read.map_err(|e| damaged(format!("{name}: {e}")))? as u64;
        if read > limit {
            return Err(Error::Data(format!(
                "{archive}: {name} makes it more than {} MiB of Python in one file or {} MiB in \
                 all; leave the archive out",
                MAX_FILE >> 20,
                MAX_WHEEL >> 20
            )));
        }
        room -= read;
        files.push((name, content));
    }
    files.sort();
    Ok(files)
}
