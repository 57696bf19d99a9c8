//! Small text files: how they are read, and the checksums that they carry.
//!
//! A file that a program reads back says what it held when it was written, so that a digit that
//! changed on the disk is noticed. The checksum stands at the end, over the bytes before it; a file
//! of an older rnnx has none.

use std::fs;
use std::io;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// The SHA-256 of `bytes` in lower-case hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hex(Sha256::new_with_prefix(bytes))
}

/// The digest in lower-case hexadecimal.
pub(super) fn hex(hash: Sha256) -> String {
    format!("{:x}", hash.finalize())
}

/// The text of a file of a run; `missing` says what to do where there is none.
///
/// # Errors
/// [`Error::Checkpoint`] when it is missing, a folder, or not UTF-8; [`Error::Io`].
pub fn read(path: &Path, missing: &str) -> Result<String> {
    fs::read_to_string(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Error::checkpoint(path, missing),
        io::ErrorKind::InvalidData => Error::checkpoint(
            path,
            "is damaged: it is not UTF-8 text; restore it from a copy",
        ),
        io::ErrorKind::IsADirectory => Error::checkpoint(path, "is a folder, not a file"),
        _ => Error::io("read", path)(error),
    })
}

/// What stands before `mark`, and the checksum behind it up to `end`; none where there is no mark.
/// White space at the end does not count.
pub(super) fn split<'a>(text: &'a str, mark: &str, end: &str) -> Option<(&'a str, &'a str)> {
    let (body, checksum) = text.rsplit_once(mark)?;
    Some((body, checksum.trim_end().strip_suffix(end)?))
}
