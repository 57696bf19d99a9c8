//! A temporary folder that goes with its process, or when the next one comes.

use std::env;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::process;

use crate::{Error, Result};

/// What the names of such folders start with.
const PREFIX: &str = "rnnx-fetch-";
/// The file in it that is locked for as long as its process lives, however that ends.
const LOCK: &str = "lock";

/// A temporary folder that only this user can read; it goes when this is dropped.
pub(super) struct Scratch {
    path: PathBuf,
    /// Held, not read: see [`LOCK`].
    _lock: File,
}

impl Scratch {
    /// Makes one in [`base`], and removes those that processes of this user left there when they were
    /// killed.
    ///
    /// # Errors
    /// [`Error::Io`] that names the folder; see [`told_full`].
    pub(super) fn new() -> Result<Self> {
        let base = base()?;
        let mut number = 0;
        let scratch = loop {
            let path = base.join(format!("{PREFIX}{}-{number}", process::id()));
            match locked(&path).map_err(told_full("create", &path))? {
                Some(lock) => break Scratch { path, _lock: lock },
                // Of a process that was killed, or somebody else's.
                None => number += 1,
            }
        };
        remove_abandoned(&base, &scratch.path);
        Ok(scratch)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing depends on it, what went wrong before is what the user should read, and the
        // next start removes it.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Where temporary files go: TMPDIR, or what the system has for it.
fn base() -> Result<PathBuf> {
    let base = env::temp_dir();
    std::path::absolute(&base).map_err(Error::io("find", &base))
}

/// An [`Error::Io`] from its parts, for use in `map_err`; a full disk or quota is told as that of the
/// folder for temporary files.
pub(super) fn told_full(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |e| match e.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => full(""),
        _ => Error::io(action, path)(e),
    }
}

/// The folder for temporary files is full; `said` is what pip had to say.
pub(super) fn full(said: &str) -> Error {
    Error::Io {
        action: "download into",
        path: env::temp_dir(),
        source: io::Error::new(
            ErrorKind::StorageFull,
            format!(
                "no space is left there, and a download takes twice the size of the wheels until \
                 it ends, 120 MB for the list that is built in; make room, or set TMPDIR to a \
                 folder that has it{said}"
            ),
        ),
    }
}

/// Makes the folder and locks it; `None` where the name is taken.
fn locked(path: &Path) -> io::Result<Option<File>> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => return Ok(None),
        made => made?,
    }
    let file = path.join(LOCK);
    let lock = File::create_new(&file).and_then(|lock| match lock.try_lock() {
        Err(TryLockError::WouldBlock) => Err(ErrorKind::NotFound.into()),
        // Where files cannot be locked, nobody takes this one for abandoned.
        Err(TryLockError::Error(_)) | Ok(()) => fs::metadata(&file).map(|_| lock),
    });
    match lock {
        Ok(lock) => Ok(Some(lock)),
        // Somebody took it for abandoned before it was locked. Who removes one locks it, too, so that
        // what is there with our lock stays.
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => {
            let _ = fs::remove_dir_all(path);
            Err(e)
        }
    }
}

/// Removes the folders beside `mine` whose processes are gone. What cannot be listed or removed is no
/// reason not to start: others may be at it as well.
fn remove_abandoned(base: &Path, mine: &Path) {
    let entries = fs::read_dir(base).into_iter().flatten();
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !name.starts_with(PREFIX) || path == mine || !have_same_owner(&path, mine) {
            continue;
        }
        let _ = match File::open(path.join(LOCK)) {
            Ok(lock) if lock.try_lock().is_ok() => fs::remove_dir_all(&path),
            Ok(_) => Ok(()),
            // Its process was killed, or is about to lock it. Then it makes another one.
            Err(_) => fs::remove_dir(&path),
        };
    }
}

/// Whether both are folders of the same user: everybody may write to a folder for temporary files.
fn have_same_owner(a: &Path, b: &Path) -> bool {
    let folder = |path| fs::symlink_metadata(path).ok().filter(fs::Metadata::is_dir);
    let (Some(a), Some(b)) = (folder(a), folder(b)) else {
        return false;
    };
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        a.uid() == b.uid()
    }
    #[cfg(not(unix))]
    {
        // There, every user has a folder for temporary files.
        let _ = (a, b);
        true
    }
}
