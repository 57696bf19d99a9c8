//! Replacing several files of a folder together: a reader that asks [`current`] sees all of the
//! old ones or all of the new ones, also after a crash in between.
//!
//! The new files are made whole in a folder of their own inside the folder. From the moment in
//! which that one has its name, its files count; then the old ones step aside into it, the
//! new ones take their places, and it goes. A crash leaves it where it is: [`finish_group`] goes on
//! from there.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::atomic::{parent, remove_any, remove_folder, sync_folder, write_folder};
use crate::error::{Error, Result};

/// The folder of files that are whole and count, but are not in their places yet.
const NEW: &str = ".rnnx-new";
/// In it, what was in the place of a new file.
const OLD_PREFIX: &str = ".old-";

/// Replaces files of `folder`, which is made where it is missing, by those that `fill` writes into
/// the folder that it is given. Other files stay.
///
/// # Errors
/// What `fill` returns, or [`Error::Io`]; all old files stay as they were.
pub fn write_group(folder: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    finish_group(folder)?;
    write_folder(&folder.join(NEW), fill)?;
    finish_group(folder)
}

/// Ends what a crash interrupted: where [`write_group`] had made its files, they take their places.
///
/// # Errors
/// [`Error::Io`] that names the file whose place cannot be taken; all old files stay, and the new
/// ones go.
pub fn finish_group(folder: &Path) -> Result<()> {
    let new = folder.join(NEW);
    let names = match names(&new) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        names => names.map_err(Error::io("read", &new))?,
    };
    let aside = |name: &OsString| {
        let path = folder.join(name);
        step_aside(&path, &new.join(old(name))).map_err(Error::io("replace", &path))
    };
    if let Err(error) = names.iter().try_for_each(aside) {
        put_back(folder, &new).map_err(Error::io("restore the files of", folder))?;
        remove_folder(&new)?;
        return Err(error);
    }
    let ended = || {
        for name in &names {
            fs::rename(new.join(name), folder.join(name))?;
        }
        sync_folder(folder)?;
        remove_any(&new)
    };
    ended().map_err(Error::io("move files out of", &new))
}

/// Where the file `path` is to be read: in its place, or where it waits for it.
pub fn current(path: &Path) -> PathBuf {
    let waits = path
        .file_name()
        .map(|name| parent(path).join(NEW).join(name));
    match waits {
        Some(waits) if waits.is_file() => waits,
        _ => path.to_path_buf(),
    }
}

/// The files that wait for their places.
fn names(new: &Path) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(new)? {
        let name = entry?.file_name();
        if !name.to_string_lossy().starts_with(OLD_PREFIX) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// The name of an old file while it is aside.
fn old(name: &OsStr) -> OsString {
    let mut old = OsString::from(OLD_PREFIX);
    old.push(name);
    old
}

/// Moves what is at `path`, if there is something, to `aside`.
fn step_aside(path: &Path, aside: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Ok(metadata) if metadata.is_dir() => Err(io::Error::new(
            ErrorKind::IsADirectory,
            "it is a folder: move it away, or name another folder for the files",
        )),
        Ok(_) => fs::rename(path, aside),
        Err(e) => Err(e),
    }
}

/// Puts the old files back in their places.
fn put_back(folder: &Path, new: &Path) -> io::Result<()> {
    for entry in fs::read_dir(new)? {
        let entry = entry?;
        if let Some(name) = entry.file_name().to_string_lossy().strip_prefix(OLD_PREFIX) {
            fs::rename(entry.path(), folder.join(name))?;
        }
    }
    Ok(())
}
