//! A text that files are joined to: read a block at a time, cleaned, and cut.

use std::io::{self, Read};
use std::path::Path;

use super::charset::Charset;
use super::input::Input;
use super::report::{CorpusReport, most_dropped, named, way_out};
use super::text::Cleaned;
use crate::files::text::sha256;
use crate::log::counted;
use crate::{Error, Result};

/// Bytes of a file that are read at a time.
const BLOCK: usize = 1 << 20;

/// Cleaned text and what was met on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corpus {
    /// The text: ASCII, UTF-8 or any bytes, as the report's character set says.
    pub text: Vec<u8>,
    /// The files that it is made of, in order.
    pub files: Vec<TextFile>,
    /// What was read, kept and dropped.
    pub report: CorpusReport,
}

/// A file of a corpus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextFile {
    /// Its path below the folder that was given, with `/` between names; of a file that was given
    /// itself, its name.
    pub name: String,
    /// The number of the path that was given, from 0.
    pub source: usize,
    /// The first character of the text that is its own. The next file's first ends it.
    pub start: usize,
}

impl Corpus {
    /// Hands every token of the text to `f`; a byte of `bytes` as the character of its number.
    #[inline]
    pub fn for_each(&self, f: impl FnMut(char)) {
        match self.report.charset {
            Charset::Unicode => String::from_utf8_lossy(&self.text).chars().for_each(f),
            _ => self.text.iter().map(|&b| char::from(b)).for_each(f),
        }
    }
}

/// A corpus while files are added to it.
pub(super) struct Joining {
    charset: Charset,
    max_chars: usize,
    /// May hold more than `max_chars` characters: then there was text to leave behind.
    text: Vec<u8>,
    chars: usize,
    files: Vec<TextFile>,
    read: usize,
    cleaned: Cleaned,
}

impl Joining {
    pub(super) fn new(charset: Charset, max_chars: usize) -> Self {
        Joining {
            charset,
            max_chars,
            text: Vec::new(),
            chars: 0,
            files: Vec::new(),
            read: 0,
            cleaned: Cleaned::default(),
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.chars > self.max_chars
    }

    /// Adds the bytes of a file, a block at a time, as far as there is room. `path` is what messages
    /// call it.
    pub(super) fn add(
        &mut self,
        mut content: Input,
        path: &Path,
        (name, source): (String, usize),
    ) -> Result<()> {
        let before = (self.text.len(), self.chars);
        if self.charset != Charset::Bytes && self.text.last().is_some_and(|&b| b != b'\n') {
            self.text.push(b'\n');
            self.chars += 1;
        }
        let start = self.chars;
        let (mut block, mut read) = (Vec::new(), 0);
        let mut ended = content.length == Some(0);
        // The file that does not fit is read up to its first character, so that it is known.
        while !ended && (!self.is_full() || self.chars == start) {
            let held = block.len();
            let left = content.length.map_or(u64::MAX, |length| length - read);
            let wanted = left.min(BLOCK as u64);
            let no_memory = |e| {
                let path = path.display();
                Error::Data(format!(
                    "no memory for the bytes of {path} ({e}): lower max-chars"
                ))
            };
            block.try_reserve(wanted as usize).map_err(no_memory)?;
            let got = content.by_ref().take(wanted).read_to_end(&mut block);
            let got = got.map_err(|e| {
                let place = format!("corpus {}", path.display());
                content.error(e, &place, |e| unreadable(path, &e))
            })? as u64;
            read += got;
            if let Some(length) = content.length.filter(|_| got < wanted) {
                let path = path.display();
                return Err(Error::Data(format!(
                    "corpus {path}: became shorter while it was read ({read} of its {length} bytes \
                     were there); start again once nothing writes to it"
                )));
            }
            ended = got < wanted || content.length == Some(read);
            let end = match ended {
                true => Some(block.len()),
                false => self.charset.cut(&block, held),
            };
            // Without a place to cut, the block grows.
            let Some(end) = end else { continue };
            self.text.try_reserve(end + 1).map_err(no_memory)?;
            self.clean(&block[..end]);
            block.drain(..end);
        }
        if self.chars == start {
            (_, self.chars) = before; // an empty file needs no newline before it
            self.text.truncate(before.0);
        } else {
            self.files.push(TextFile {
                name,
                source,
                start,
            });
        }
        self.read += 1;
        Ok(())
    }

    fn clean(&mut self, piece: &[u8]) {
        let limit = self.max_chars.saturating_add(1);
        let room = limit.saturating_sub(self.chars).max(1);
        let counts = self.charset.clean_into(piece, &mut self.text, room);
        self.chars += counts.chars;
        self.cleaned.add(counts);
    }

    pub(super) fn finish(mut self, source: String) -> Result<Corpus> {
        let most_dropped = most_dropped(&self.cleaned);
        let Cleaned {
            bytes,
            dropped,
            invalid,
            ..
        } = self.cleaned;
        if self.chars == 0 {
            let (files, charset) = (counted(self.read, "file"), self.charset);
            let lost = match dropped {
                0 => String::new(),
                _ => format!(": {}; {}", named(&most_dropped), way_out(charset)),
            };
            return Err(Error::Data(format!(
                "corpus {source}: the corpus is empty: of {bytes} bytes in {files} nothing is \
                 left after cleaning (charset {charset}, {dropped} characters dropped{lost}); name a \
                 file with text, or leave corpus out to use the embedded corpus"
            )));
        }
        let truncated = self.is_full();
        self.cut();
        let newlines = self.text.iter().filter(|&&b| b == b'\n').count();
        let report = CorpusReport {
            source,
            charset: self.charset,
            files: self.read,
            bytes: bytes as u64,
            chars: self.chars,
            dropped,
            invalid_utf8: invalid,
            most_dropped,
            truncated,
            unused: Vec::new(),
            lines: newlines + usize::from(self.text.last() != Some(&b'\n')),
            sha256: sha256(&self.text),
        };
        Ok(Corpus {
            text: self.text,
            files: self.files,
            report,
        })
    }

    /// Takes the characters behind `max_chars` away.
    fn cut(&mut self) {
        let is_inside = |b: u8| self.charset == Charset::Unicode && b & 0xc0 == 0x80;
        while self.chars > self.max_chars {
            while self.text.pop().is_some_and(is_inside) {}
            self.chars -= 1;
        }
        let chars = self.chars;
        self.files.retain(|file| file.start < chars);
    }
}

/// Why a path cannot be read.
pub(super) fn unreadable(path: &Path, e: &io::Error) -> Error {
    let path = path.display();
    Error::Data(match e.kind() {
        io::ErrorKind::NotFound => format!(
            "corpus {path}: no such file or folder; check the path, or leave corpus out to use \
             the embedded corpus"
        ),
        _ => format!("corpus {path}: cannot be read ({e}); check the path and its permissions"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(content: &[u8], length: u64) -> Result<Corpus> {
        let mut joining = Joining::new(Charset::Unicode, 1000);
        let mut input = Input::bytes(content);
        input.length = Some(length);
        joining.add(input, Path::new("a.txt"), ("a.txt".into(), 0))?;
        joining.finish("a.txt".into())
    }

    #[test]
    fn a_file_that_becomes_shorter_while_it_is_read_is_an_error() -> Result<()> {
        let error = add(b"abc", 5).expect_err("cut short");
        assert_eq!(error.exit_code(), 3);
        let message = error.to_string();
        for part in ["a.txt", "became shorter", "3 of its 5 bytes"] {
            assert!(message.contains(part), "{message}");
        }
        // One that grows is read as long as it was.
        assert_eq!(add(b"abc", 2)?.text, b"ab");
        Ok(())
    }
}
