//! Lines on standard error.

use std::io::Write;

/// Writes a line for the user to standard error. One that cannot be written (the reader has gone, the
/// disk is full) must not end the work.
pub fn line(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
