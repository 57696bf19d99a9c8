//! How much the compressed files of a command may become: 2 MB can hold 10 GB.

use std::path::Path;

use crate::Error;

/// Times its size that a file may become. The wheels of data/packages.txt hold up to 5 times their
/// size in Python; deflate makes up to 1,000 bytes of one.
const RATIO: u64 = 64;
/// What few and small files may become: any machine has room for it.
const LEAST: u64 = 256 << 20;
/// What all files together may become: 10 kB for each of the 412,178 pairs that train in
/// CodeSearchNet's Python.
const MOST: u64 = 4 << 30;

/// What the compressed files of one command hold so far.
#[derive(Debug, Default)]
pub struct Unpacking {
    packed: u64,
    unpacked: u64,
}

impl Unpacking {
    /// Another compressed file, of `bytes`, is going to be read.
    pub fn open(&mut self, bytes: u64) {
        self.packed = self.packed.saturating_add(bytes);
    }

    /// Bytes that may still come out.
    pub fn room(&self) -> u64 {
        self.limit().saturating_sub(self.unpacked)
    }

    /// `bytes` came out of `file`.
    ///
    /// # Errors
    /// [`Error::Data`] that names the file, where this is more than there was room for.
    pub fn take(&mut self, bytes: u64, file: &Path) -> Result<(), Error> {
        self.unpacked = self.unpacked.saturating_add(bytes);
        if self.unpacked <= self.limit() {
            return Ok(());
        }
        Err(Error::Data(format!(
            "{}: here the compressed files hold more than {} MiB, and no more is read (it is \
             {RATIO} times their size, but at least {} and at most {} MiB); if the file is not \
             damaged, unpack it and name what is in it, else leave it out",
            file.display(),
            self.limit() >> 20,
            LEAST >> 20,
            MOST >> 20
        )))
    }

    fn limit(&self) -> u64 {
        self.packed.saturating_mul(RATIO).clamp(LEAST, MOST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_a_command_share_the_room() {
        let file = Path::new("a.gz");
        let mut all = Unpacking::default();
        all.open(1);
        assert_eq!(all.room(), LEAST);
        all.open(LEAST / RATIO);
        assert_eq!(all.room(), LEAST + RATIO);
        all.take(LEAST, file).unwrap();
        assert_eq!(all.room(), RATIO);
        all.open(1);
        all.take(2 * RATIO, file).unwrap();
        assert_eq!(all.room(), 0);
        let error = all.take(1, file).unwrap_err();
        assert_eq!(error.exit_code(), 3);
        assert!(error.to_string().starts_with("a.gz: "), "{error}");
        all.open(u64::MAX);
        assert_eq!(all.room(), MOST - LEAST - 2 * RATIO - 1);
    }
}
