//! Ctrl-C: the first one asks the run to save and stop, the second one ends the process.

use crate::error::{Error, Result};
use crate::log;
use std::sync::atomic::{AtomicBool, Ordering};

static ASKED: AtomicBool = AtomicBool::new(false);

/// Takes over Ctrl-C and the termination signal for the rest of the process.
///
/// # Errors
/// [`Error::Io`] if the system refuses a handler.
pub fn install() -> Result<()> {
    let handler = || {
        if ASKED.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
        log::line("\nsaving and stopping (once more to stop at once, without saving)");
    };
    ctrlc::set_handler(handler).map_err(|e| Error::Io {
        action: "watch for",
        path: "Ctrl-C".into(),
        source: std::io::Error::other(e),
    })
}

/// Whether the user has asked the run to stop.
pub fn asked() -> bool {
    ASKED.load(Ordering::SeqCst)
}
