//! Python files in wheels, which are zip archives.

use std::io::{self, BufReader, Read};
use std::path::Path;

use zip::ZipArchive;

use super::unpacking::Unpacking;
use crate::files::access;
use crate::{Error, Result};

/// No Python file that a person wrote is larger; a damaged or hostile archive can claim anything.
const MAX_FILE: u64 = 16 << 20;

/// The .py files of a wheel or another zip archive: (name with `/`, raw content), sorted bytewise
/// by name; `unpacking` counts what they hold.
///
/// # Errors
/// [`Error::Data`] that names the archive, and the member where there is one: it is missing, no
/// zip archive, damaged, compressed in a way other than deflate, or of an absurd size.
pub fn python_files(path: &Path, unpacking: &mut Unpacking) -> Result<Vec<(String, Vec<u8>)>> {
    let archive = path.display();
    let unreadable = |e: io::Error| access::unreadable(path, &e);
    let file = access::open(path).map_err(unreadable)?;
    unpacking.open(file.metadata().map_err(unreadable)?.len());
    let damaged = |what: String| {
        Error::Data(format!(
            "{archive}: not a whole zip archive ({what}); fetch it again or leave it out"
        ))
    };
    let broken = |e: zip::result::ZipError| damaged(e.to_string());
    let mut zip = ZipArchive::new(BufReader::new(file)).map_err(broken)?;
    let mut files = Vec::new();
    for index in 0..zip.len() {
        let member = zip.by_index(index).map_err(broken)?;
        let name = member.name().map_err(broken)?.into_owned();
        if !member.is_file() || !name.ends_with(".py") {
            continue;
        }
        let limit = unpacking.room().min(MAX_FILE);
        let mut content = Vec::new();
        // The size in the archive's list is only a claim.
        let read = member.take(limit + 1).read_to_end(&mut content);
        let read = read.map_err(|e| damaged(format!("{name}: {e}")))? as u64;
        if read > MAX_FILE {
            return Err(Error::Data(format!(
                "{archive}: {name} is more than {} MiB of Python; leave the archive out, or unpack \
                 it and name the files that you want",
                MAX_FILE >> 20
            )));
        }
        unpacking.take(read, path)?;
        files.push((name, content));
    }
    files.sort();
    Ok(files)
}
