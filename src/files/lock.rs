//! `.lock`: which process trains a run.
//!
//! The kernel takes the lock back when the process ends, however it ends, so a lock that a kill left
//! behind blocks nobody. The file stays; while it is locked it holds the process's id.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::error::{Error, Result};

/// The file's name in a run's folder.
pub(super) const LOCK: &str = ".lock";
/// How often a lock is tried: another start may look at it just now.
const TRIES: usize = 10;
/// How long to wait between two tries.
const PAUSE: Duration = Duration::from_millis(10);

/// A run's folder that belongs to this process.
#[derive(Debug)]
pub(super) struct RunLock {
    file: File,
    /// Keeps the folder's number from being given to another one. None where the system opens no
    /// folders.
    home: Option<File>,
    run: PathBuf,
    /// Why there is no lock, where the file system has none.
    refused: Option<io::Error>,
}

impl RunLock {
    /// Takes the lock of the run's folder, which is there.
    ///
    /// # Errors
    /// [`Error::Usage`] that names the process which has it; [`Error::Io`].
    pub(super) fn take(run: &Path) -> Result<Self> {
        let path = run.join(LOCK);
        if fs::symlink_metadata(&path).is_ok_and(|m| !m.is_file()) {
            let message = "is not a file of rnnx: remove it, it is where the run's lock has to be";
            return Err(Error::checkpoint(path, message));
        }
        let mut options = OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(Error::io("open", &path))?;
        let mut locked = file.try_lock();
        for _ in 1..TRIES {
            if !matches!(locked, Err(TryLockError::WouldBlock)) {
                break;
            }
            thread::sleep(PAUSE);
            locked = file.try_lock();
        }
        let refused = match locked {
            Ok(()) => None,
            Err(TryLockError::WouldBlock) => return Err(in_use(run)),
            Err(TryLockError::Error(e)) => Some(e),
        };
        // On a full disk the id is missing, and the lock holds all the same.
        let pid = format!("{}\n", std::process::id());
        let _ = file
            .set_len(0)
            .and_then(|()| (&file).write_all(pid.as_bytes()));
        Ok(RunLock {
            home: File::open(run).ok(),
            file,
            run: run.to_path_buf(),
            refused,
        })
    }

    /// Fails if a process trains in the folder, which need not be there.
    ///
    /// # Errors
    /// As [`RunLock::take`].
    pub(super) fn check_free(run: &Path) -> Result<()> {
        // What cannot be opened is told by whoever takes the lock.
        let Ok(file) = File::open(run.join(LOCK)) else {
            return Ok(());
        };
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => Err(in_use(run)),
            Ok(()) | Err(TryLockError::Error(_)) => Ok(()),
        }
    }

    /// Why the file system has not locked the file.
    pub(super) fn refused(&self) -> Option<&io::Error> {
        self.refused.as_ref()
    }

    /// Whether another folder, or none, stands where the run was.
    pub(super) fn is_elsewhere(&self) -> bool {
        let home = self.home.as_ref().and_then(|home| home.metadata().ok());
        match (fs::metadata(&self.run), home) {
            (Ok(now), Some(home)) => !is_same(&now, &home),
            _ => is_missing(&self.run),
        }
    }
}

/// Whether nothing is there. A file system that does not answer is no reason to think so.
pub(super) fn is_missing(path: &Path) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound};
    let missing = |e: io::Error| matches!(e.kind(), NotFound | NotADirectory);
    fs::metadata(path).is_err_and(missing)
}

impl Drop for RunLock {
    fn drop(&mut self) {
        // The lock is what counts, and it goes with the file.
        let _ = self.file.set_len(0);
    }
}

#[cfg(unix)]
fn is_same(a: &fs::Metadata, b: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

#[cfg(not(unix))]
fn is_same(_: &fs::Metadata, _: &fs::Metadata) -> bool {
    true
}

fn in_use(run: &Path) -> Error {
    let pid = fs::read_to_string(run.join(LOCK)).unwrap_or_default();
    let process = match pid.trim() {
        "" => "another process".to_owned(),
        pid => format!("process {pid}"),
    };
    Error::Usage(format!(
        "{}: {process} is training this run: let it end, stop it (Ctrl-C saves), or give another \
         folder with --out",
        run.display()
    ))
}
