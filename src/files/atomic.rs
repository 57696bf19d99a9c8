//! Replacing files, links and folders so that a reader sees the old one or the new one, whole.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Every name that is not finished yet starts with this.
const TEMP_PREFIX: &str = ".tmp-";
/// The folder that is being replaced waits under this prefix until the new one is in place.
const OLD_PREFIX: &str = ".tmp-old-";

// ---- files ---------------------------------------------------------------------------------

/// Replaces the file `path` by what `fill` writes.
///
/// The bytes go to a temporary file in the same folder, which is synced and then renamed, and the
/// folder is synced. On any error the temporary file is removed and the old file stays as it was.
///
/// # Errors
/// [`Error::Io`] that names `path`, with the system's reason or the one `fill` returned.
pub fn write_atomic(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    let temp = temp_name(path).map_err(Error::io("write", path))?;
    let result = fill_file(&temp, fill).and_then(|()| fs::rename(&temp, path));
    if result.is_err() {
        // The error that matters is the first one; there may be nothing to remove.
        let _ = fs::remove_file(&temp);
    }
    result
        .and_then(|()| sync_folder(parent(path)))
        .map_err(Error::io("write", path))
}

fn fill_file(temp: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut writer = BufWriter::new(File::create(temp)?);
    fill(&mut writer)?;
    let file = writer
        .into_inner()
        .map_err(io::IntoInnerError::into_error)?;
    file.sync_all()
}

// ---- links ---------------------------------------------------------------------------------

/// Makes `link` point to `target`, a path relative to the link's folder.
///
/// A symbolic link where the system has them, else a small text file that holds `target`;
/// [`read_link`] follows both.
///
/// # Errors
/// [`Error::Io`] that names `link`; the old link stays.
pub fn replace_link(link: &Path, target: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        let temp = temp_name(link).map_err(Error::io("write", link))?;
        // A process of the same id may have died here; its link is of no use to anybody.
        let _ = fs::remove_file(&temp);
        let result =
            std::os::unix::fs::symlink(target, &temp).and_then(|()| fs::rename(&temp, link));
        if result.is_err() {
            let _ = fs::remove_file(&temp);
        }
        result
            .and_then(|()| sync_folder(parent(link)))
            .map_err(Error::io("write", link))
    }
    #[cfg(not(unix))]
    {
        write_atomic(link, |w| writeln!(w, "{}", target.display()))
    }
}

/// Where `link` points to, joined to the link's folder; `None` when there is no such link.
///
/// The target need not exist. A text file is read as the link of a system without symbolic
/// links; a real folder (a run copied with its links followed) is its own target.
///
/// # Errors
/// [`Error::Io`] that names `link`.
pub fn read_link(link: &Path) -> Result<Option<PathBuf>> {
    let kind = match fs::symlink_metadata(link) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("read", link)(error)),
    };
    if kind.is_dir() {
        return Ok(Some(link.to_path_buf()));
    }
    let target = if kind.is_symlink() {
        fs::read_link(link).map_err(Error::io("read", link))?
    } else {
        let text = fs::read(link).map_err(Error::io("read", link))?;
        PathBuf::from(String::from_utf8_lossy(&text).trim())
    };
    Ok(Some(parent(link).join(target)))
}

// ---- folders -------------------------------------------------------------------------------

/// Replaces the folder `path` by what `fill` puts into the folder it is given.
///
/// `fill` gets `.tmp-NAME` beside `path`, which is then synced and renamed. An existing `path`
/// steps aside until the new one is in place, and comes back when that fails; after a crash in
/// between, [`clean_leftovers`] brings it back.
///
/// # Errors
/// What `fill` returns, or [`Error::Io`]; both name files by their final path. The temporary
/// folder is removed and an old `path` stays as it was.
pub fn write_folder(path: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let temp = sibling(path, TEMP_PREFIX).map_err(Error::io("write", path))?;
    if temp.is_dir() {
        remove_any(&temp).map_err(Error::io("remove", &temp))?;
    }
    fs::create_dir(&temp).map_err(Error::io("create", &temp))?;
    let result = fill(&temp)
        .map_err(|error| with_final_path(error, &temp, path))
        .and_then(|()| {
            sync_folder(&temp)
                .and_then(|()| swap_in(&temp, path))
                .and_then(|()| sync_folder(parent(path)))
                .map_err(Error::io("write", path))
        });
    if result.is_err() {
        let _ = remove_any(&temp);
    }
    result
}

/// Renames `temp` to `path`; an old `path` is set aside first and removed last.
fn swap_in(temp: &Path, path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path).is_err() {
        return fs::rename(temp, path);
    }
    let old = sibling(path, OLD_PREFIX)?;
    remove_any(&old)?;
    fs::rename(path, &old)?;
    if let Err(error) = fs::rename(temp, path) {
        fs::rename(&old, path)?;
        return Err(error);
    }
    // The new folder is in place: what is left of the old one is only clutter, which
    // `clean_leftovers` removes if this fails.
    let _ = remove_any(&old);
    Ok(())
}

/// The same error, with a path inside `temp` told as the path it was going to have.
fn with_final_path(error: Error, temp: &Path, path: &Path) -> Error {
    let renamed = |at: PathBuf| match at.strip_prefix(temp) {
        Ok(rest) => path.join(rest),
        Err(_) => at,
    };
    match error {
        Error::Io {
            action,
            path: at,
            source,
        } => Error::Io {
            action,
            path: renamed(at),
            source,
        },
        Error::Checkpoint { path: at, message } => Error::Checkpoint {
            path: renamed(at),
            message,
        },
        other => other,
    }
}

/// Removes the folder `path` so that no half of it is ever seen under its own name.
///
/// # Errors
/// [`Error::Io`] that names `path`.
pub fn remove_folder(path: &Path) -> Result<()> {
    let temp = sibling(path, TEMP_PREFIX).map_err(Error::io("remove", path))?;
    remove_any(&temp)
        .and_then(|()| fs::rename(path, &temp))
        .and_then(|()| remove_any(&temp))
        .map_err(Error::io("remove", path))
}

/// Clears what a crash left in `folder`: temporary files and folders are removed, and a folder
/// that had stepped aside for a new one comes back if the new one never arrived.
///
/// Only for the process that owns the folder: another one may be writing these files.
///
/// # Errors
/// [`Error::Io`] that names the entry. A missing `folder` is fine.
pub fn clean_leftovers(folder: &Path) -> Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io("read", folder)(error)),
    };
    for entry in entries {
        let entry = entry.map_err(Error::io("read", folder))?;
        let name = entry.file_name();
        if !is_temp_name(&name.to_string_lossy()) {
            continue;
        }
        let at = entry.path();
        let kept = name.to_string_lossy();
        let restored = kept
            .strip_prefix(OLD_PREFIX)
            .map(|name| folder.join(name))
            .filter(|path| fs::symlink_metadata(path).is_err());
        match restored {
            Some(path) => fs::rename(&at, &path).map_err(Error::io("restore", &path))?,
            None => remove_any(&at).map_err(Error::io("remove", &at))?,
        }
    }
    Ok(())
}

/// Whether `name` is one that this module gives to things that are not finished.
pub fn is_temp_name(name: &str) -> bool {
    name.starts_with(TEMP_PREFIX)
}

/// Removes a file, a link (not what it points to) or a folder; a missing one is fine.
///
/// # Errors
/// What the system said.
pub fn remove_any(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

// ---- names and syncing ---------------------------------------------------------------------

/// The folder of `path`; `.` for a bare name.
pub(super) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// `PREFIXname` beside `path`.
fn sibling(path: &Path, prefix: &str) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            "the path has no name at its end",
        )
    })?;
    let mut temp = OsString::from(prefix);
    temp.push(name);
    Ok(path.with_file_name(temp))
}

/// `.tmp-NAME-PID` beside `path`: two processes that write the same file do not mix their bytes.
pub(super) fn temp_name(path: &Path) -> io::Result<PathBuf> {
    let mut temp = sibling(path, TEMP_PREFIX)?.into_os_string();
    temp.push(format!("-{}", std::process::id()));
    Ok(PathBuf::from(temp))
}

/// Makes the folder's entries (a rename) durable.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    if !cfg!(unix) {
        // Other systems cannot open a folder as a file; their renames need no sync.
        return Ok(());
    }
    match File::open(folder)?.sync_all() {
        // Some network file systems cannot sync a folder; the rename has happened all the same.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
            ) =>
        {
            Ok(())
        }
        other => other,
    }
}
