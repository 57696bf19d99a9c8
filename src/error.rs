//! The one error type of the crate and the exit codes it maps to.

use std::fmt;
use std::path::{Path, PathBuf};

/// Result of every fallible function in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, where, and what to do about it.
///
/// Messages name the thing (file, line, tensor, flag) and the way out; [`Error::exit_code`] is
/// what the program returns to the shell.
#[derive(Debug)]
pub enum Error {
    /// A flag or a configuration value that cannot be used. Exit code 2.
    Usage(String),
    /// A corpus, a prompt or another input that cannot be used. Exit code 3.
    Data(String),
    /// A checkpoint or safetensors file that is damaged, foreign, or of another model. Exit code 3.
    Checkpoint {
        /// The file at fault.
        path: PathBuf,
        /// What is wrong with it and what to do.
        message: String,
    },
    /// The device is not there, or was lost. Exit code 4.
    Device(String),
    /// The loss or a gradient stopped being a number. Exit code 5.
    Diverged(String),
    /// A process that trains the same model is missing, gone or another than it should be. Exit code 1.
    Ranks(String),
    /// The user interrupted; it says what is saved. Exit code 130.
    Interrupted(String),
    /// The operating system refused a file operation. Exit code 1.
    Io {
        /// What was being done, for example `write`.
        action: &'static str,
        /// The file or folder it was done to.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Shapes, data types or arguments that an operation cannot take. Exit code 1.
    Op {
        /// The operation, for example `matmul`.
        op: &'static str,
        /// The shapes or values at fault.
        message: String,
    },
}

impl Error {
    /// An [`Error::Op`] from its parts.
    pub fn op(op: &'static str, message: impl Into<String>) -> Self {
        Error::Op {
            op,
            message: message.into(),
        }
    }

    /// An [`Error::Io`] from its parts, for use in `map_err`.
    pub fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Error::Io {
            action,
            path,
            source,
        }
    }

    /// An [`Error::Checkpoint`] from its parts.
    pub fn checkpoint(path: impl AsRef<Path>, message: impl Into<String>) -> Self {
        Error::Checkpoint {
            path: path.as_ref().to_path_buf(),
            message: message.into(),
        }
    }

    /// The exit code of the program for this error.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Io { .. } | Error::Op { .. } | Error::Ranks(_) => 1,
            Error::Usage(_) => 2,
            Error::Data(_) | Error::Checkpoint { .. } => 3,
            Error::Device(_) => 4,
            Error::Diverged(_) => 5,
            Error::Interrupted(_) => 130,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Usage(m)
            | Error::Data(m)
            | Error::Device(m)
            | Error::Diverged(m)
            | Error::Ranks(m)
            | Error::Interrupted(m) => f.write_str(m),
            Error::Checkpoint { path, message } => write!(f, "{}: {message}", path.display()),
            Error::Io {
                action,
                path,
                source,
            } => write!(f, "cannot {action} {}: {source}", path.display()),
            Error::Op { op, message } => write!(f, "{op}: {message}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
