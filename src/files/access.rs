//! Whether what a user names can be used: files to read, folders to write to.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use super::atomic::{parent, temp_name};
use crate::error::{Error, Result};

/// Opens a file for reading. What is neither a file nor a folder is refused and not even opened:
/// a pipe waits for somebody at its other end, and a device need have no end.
///
/// # Errors
/// What the system says, or [`ErrorKind::InvalidInput`] with the way out.
pub fn open(path: &Path) -> io::Result<File> {
    let kind = fs::metadata(path)?.file_type();
    if !kind.is_file() && !kind.is_dir() {
        return Err(io::Error::new(
            ErrorKind::InvalidInput,
            "it is a pipe, a socket or a device: save what it gives to a file and name that",
        ));
    }
    File::open(path)
}

/// The whole content of a file that a user names.
///
/// # Errors
/// As [`unreadable`] has it.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = open(path).and_then(|mut file| file.read_to_end(&mut bytes));
    read.map_err(|error| unreadable(path, &error))?;
    Ok(bytes)
}

/// What to say of a file that a user names and that cannot be read: [`Error::Data`] with the way out.
pub fn unreadable(path: &Path, error: &io::Error) -> Error {
    let name = path.display();
    Error::Data(match error.kind() {
        ErrorKind::NotFound => format!("{name}: no such file; check the path"),
        ErrorKind::IsADirectory => format!("{name}: is a folder; name a file"),
        _ => format!("{name}: cannot be read ({error}); check the path and its permissions"),
    })
}

/// Makes sure that `folder` can be written to or, where it is missing, made; for this a file is made
/// and removed in the nearest folder that is there. It does not make `folder`.
///
/// # Errors
/// [`Error::Io`] that names `folder`, with what is in the way.
pub fn check_writable(folder: &Path) -> Result<()> {
    let mut there = folder;
    // A link is there, even one that leads nowhere.
    while fs::symlink_metadata(there).is_err_and(|e| e.kind() == ErrorKind::NotFound)
        && there != Path::new(".")
    {
        there = parent(there);
    }
    let usable = || match fs::metadata(there)?.is_dir() {
        true => Ok(()),
        false => Err(io::Error::new(
            ErrorKind::NotADirectory,
            format!("{} is no folder; name another one", there.display()),
        )),
    };
    usable().map_err(Error::io("create", folder))?;
    let probe = || {
        let file = temp_name(&there.join("probe"))?;
        File::create(&file)?;
        fs::remove_file(&file)
    };
    let action = match there == folder {
        true => "write to",
        false => "create",
    };
    probe().map_err(Error::io(action, folder))
}
