//! Ctrl-C and the termination signal: the first one asks for an end, the second one ends the process.
//!
//! Training asks itself between two steps and saves ([`asked`]). Where there is nothing to save, the
//! first signal ends the process at once, whatever it is about to do ([`at_once`]). Without
//! [`install`] a signal does what it always does.

use crate::error::{Error, Result};
use crate::{log, terminal};
use std::process::exit;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

static ASKED: AtomicBool = AtomicBool::new(false);
/// What the first signal says while it ends the process.
static AT_ONCE: Mutex<Option<String>> = Mutex::new(None);

/// Takes over Ctrl-C, the termination signal and the end of the terminal for the rest of the process,
/// but not those that the process was started with to ignore (`nohup`, `&` in a script). `stopping` is
/// said after the first one.
///
/// # Errors
/// [`Error::Io`] if the system refuses a handler.
pub fn install(stopping: &'static str) -> Result<()> {
    let handler = move || {
        let at_once = state();
        if let Some(message) = at_once.as_ref() {
            end(message);
        }
        if ASKED.swap(true, Ordering::SeqCst) {
            exit(130);
        }
        log::line(&format!("\n{stopping}"));
    };
    let ignored = inherited::ignored();
    ctrlc::set_handler(handler).map_err(|e| Error::Io {
        action: "watch for",
        path: "Ctrl-C".into(),
        source: std::io::Error::other(e),
    })?;
    inherited::ignore(&ignored);
    Ok(())
}

/// Whether the user has asked for an end.
pub fn asked() -> bool {
    ASKED.load(Ordering::SeqCst)
}

/// Until this is dropped, the first signal ends the process.
#[derive(Debug)]
#[must_use = "dropped, it does nothing"]
pub struct AtOnce(());

/// Lets the first signal end the process, with this message and the exit code of
/// [`Error::Interrupted`], until what is returned is dropped. Only one such stretch at a time, and only
/// where nothing is lost.
///
/// # Errors
/// [`Error::Interrupted`] with the message, if the user has asked already.
pub fn at_once(message: impl Into<String>) -> Result<AtOnce> {
    let message = message.into();
    let mut state = state();
    if asked() {
        return Err(Error::Interrupted(message));
    }
    *state = Some(message);
    Ok(AtOnce(()))
}

impl Drop for AtOnce {
    fn drop(&mut self) {
        *state() = None;
    }
}

/// The handler holds it to its end, so that no stretch begins or ends meanwhile.
fn state() -> MutexGuard<'static, Option<String>> {
    AT_ONCE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn end(message: &str) -> ! {
    if terminal::draws() {
        // Behind the terminal's ^C.
        log::line("");
    }
    let error = Error::Interrupted(message.into());
    log::error(&error);
    exit(error.exit_code().into());
}

/// Signals that were ignored when the process began.
#[cfg(unix)]
mod inherited {
    use libc::{SIG_IGN, SIGHUP, SIGINT, SIGTERM};

    pub fn ignored() -> Vec<i32> {
        let is_ignored = |signal: &i32| {
            // SAFETY: zeros are a valid sigaction, and without a new one the call only fills it in.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                libc::sigaction(*signal, std::ptr::null(), &mut action) == 0
                    && action.sa_sigaction == SIG_IGN
            }
        };
        let signals = [SIGINT, SIGTERM, SIGHUP];
        signals.into_iter().filter(is_ignored).collect()
    }

    pub fn ignore(signals: &[i32]) {
        for signal in signals {
            // SAFETY: to ignore a signal runs no code.
            unsafe { libc::signal(*signal, SIG_IGN) };
        }
    }
}

#[cfg(not(unix))]
mod inherited {
    pub fn ignored() -> Vec<i32> {
        Vec::new()
    }

    pub fn ignore(_: &[i32]) {}
}
