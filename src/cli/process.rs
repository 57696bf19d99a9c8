//! What a command does with the process: threads, standard output, errors.

use std::io::{ErrorKind, IsTerminal, Write};

use crate::{Error, Result};

/// Sets the number of CPU threads for the rest of the process.
///
/// # Errors
/// [`Error::Usage`] if the system cannot start them.
pub fn use_threads(threads: Option<usize>) -> Result<()> {
    let Some(n) = threads else { return Ok(()) };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(n);
    let failed = |e| Error::Usage(format!("--threads {n}: {e}"));
    pool.build_global().map_err(failed)
}

/// Writes a result to stdout. A reader that has gone away, as `head` does, is no failure.
///
/// # Errors
/// [`Error::Io`] if stdout cannot be written.
pub fn emit(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(Error::io("write", "stdout")(e)),
        _ => Ok(()),
    }
}

/// Writes an error to stderr, its label in red on a terminal unless `NO_COLOR` is set.
pub fn complain(error: &Error) {
    let mut err = std::io::stderr().lock();
    let colour = err.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let label = if colour {
        "\x1b[1;31merror:\x1b[0m"
    } else {
        "error:"
    };
    // With stderr closed nobody is left to tell.
    let _ = writeln!(err, "{label} {error}");
}
