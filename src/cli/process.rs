//! What a command does with the process: threads, standard output, errors.

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::sync::Arc;

use crate::data::input;
use crate::device::Gpu;
use crate::terminal::{self, visible};
use crate::train::progress::Progress;
use crate::{Error, Result, log};

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

/// Writes a result, a table or JSON, to stdout as it is [`visible`], which for JSON is the same JSON.
/// A reader that has gone away, as `head` does, is no failure.
///
/// # Errors
/// [`Error::Io`] if stdout cannot be written.
pub fn emit(text: &str) -> Result<()> {
    emit_text(&visible(text))
}

/// As [`emit`], of text that a model wrote: into files and pipes it goes as it is.
///
/// # Errors
/// As [`emit`].
pub fn emit_text(text: &str) -> Result<()> {
    emit_part(text).map(|_| ())
}

/// As [`emit_text`], of one part of a result; false if nobody reads any more.
///
/// # Errors
/// As [`emit`].
pub fn emit_part(text: &str) -> Result<bool> {
    let mut out = terminal::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(e) => Err(Error::io("write", "stdout")(e)),
    }
}

/// Says what a GPU has done otherwise than one would think.
pub fn tell_news(gpu: Option<&Arc<Gpu>>, progress: &Progress) {
    for news in gpu.into_iter().flat_map(|gpu| gpu.news()) {
        progress.line(&news);
    }
}

/// All of standard input; where somebody types it, a note says that `what` is read, unless `quiet`.
///
/// # Errors
/// As [`input::read_stdin`].
pub fn read_stdin(what: &str, quiet: bool) -> Result<Vec<u8>> {
    if io::stdin().is_terminal() && !quiet {
        log::line(&format!("{what}; end with Ctrl-D"));
    }
    input::read_stdin()
}
