//! Where data are read from: a file, compressed or not, or standard input.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::unpacking::Unpacking;
use crate::files::access;
use crate::{Error, Result};

/// The path that stands for standard input.
pub const STDIN: &str = "-";
/// Bytes of standard input that are read at most: it is held in memory.
const MOST: u64 = 4 << 30;

/// A way to compress a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packed {
    Gzip,
    Zstd,
}

impl Packed {
    /// By the first bytes of a file, or by its name: then it is to be a whole file of its kind.
    fn of(path: &Path, begin: &[u8]) -> Option<Self> {
        let named = |ending| path.extension() == Some(OsStr::new(ending));
        if begin.starts_with(b"\x1f\x8b") || named("gz") {
            return Some(Packed::Gzip);
        }
        let zstd = begin.starts_with(b"\x28\xb5\x2f\xfd") || named("zst");
        zstd.then_some(Packed::Zstd)
    }

    fn name(self) -> &'static str {
        match self {
            Packed::Gzip => "gzip",
            Packed::Zstd => "zstd",
        }
    }
}

/// Bytes of a file, unpacked where it is compressed.
pub struct Input<'a> {
    reader: Box<dyn BufRead + 'a>,
    packed: Option<Packed>,
    /// Bytes that there are; unknown where they are compressed.
    pub length: Option<u64>,
}

impl<'a> Input<'a> {
    /// Opens a file; `unpacking` counts what comes out of a compressed one.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(path: &Path, unpacking: &'a mut Unpacking) -> io::Result<Self> {
        Self::of(access::open(path)?, path, unpacking)
    }

    /// As [`Input::open`], of a file that is open.
    ///
    /// # Errors
    /// What the system says.
    pub fn of(file: File, path: &Path, unpacking: &'a mut Unpacking) -> io::Result<Self> {
        let size = file.metadata()?.len();
        Self::known(BufReader::new(file), size, path, unpacking)
    }

    /// As [`Input::open`], of what standard input gave.
    ///
    /// # Errors
    /// None: bytes in memory can be read.
    pub fn piped(bytes: &'a [u8], unpacking: &'a mut Unpacking) -> io::Result<Self> {
        Self::known(bytes, bytes.len() as u64, Path::new(STDIN), unpacking)
    }

    /// `size` bytes, compressed if they begin so or have such a name.
    fn known(
        mut bytes: impl BufRead + 'a,
        size: u64,
        path: &Path,
        unpacking: &'a mut Unpacking,
    ) -> io::Result<Self> {
        let packed = Packed::of(path, bytes.fill_buf()?);
        let reader: Box<dyn Read + 'a> = match packed {
            None => {
                return Ok(Input {
                    reader: Box::new(bytes),
                    packed,
                    length: Some(size),
                });
            }
            Some(Packed::Gzip) => Box::new(MultiGzDecoder::new(bytes)),
            Some(Packed::Zstd) => Box::new(Frames::new(bytes)),
        };
        unpacking.open(size);
        let counted = Counted {
            reader,
            unpacking,
            path: path.to_path_buf(),
        };
        Ok(Input {
            reader: Box::new(BufReader::new(counted)),
            packed,
            length: None,
        })
    }

    /// Bytes in memory.
    pub fn bytes(bytes: &'a [u8]) -> Self {
        Input {
            reader: Box::new(bytes),
            packed: None,
            length: Some(bytes.len() as u64),
        }
    }

    /// What an error in reading is, where `place` is the file, or a line of it; `unreadable` says it of
    /// a file that is not compressed.
    pub fn error(
        &self,
        e: io::Error,
        place: &str,
        unreadable: impl FnOnce(io::Error) -> Error,
    ) -> Error {
        match (e.downcast::<Error>(), self.packed) {
            (Ok(limit), _) => limit,
            (Err(e), None) => unreadable(e),
            (Err(e), Some(packed)) => Error::Data(format!(
                "{place}: the {} data is cut off or damaged ({e}); fetch or write the file again",
                packed.name()
            )),
        }
    }
}

impl Read for Input<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        self.reader.read(to)
    }
}

impl BufRead for Input<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.reader.fill_buf()
    }

    fn consume(&mut self, n: usize) {
        self.reader.consume(n);
    }
}

/// All bytes of a file, or of [`STDIN`] what standard input gives, unpacked where they are compressed.
///
/// # Errors
/// [`Error::Data`] that names it: it is not there, cannot be read, is damaged, or holds too much.
pub fn read_all(path: &Path) -> Result<Vec<u8>> {
    let mut unpacking = Unpacking::default();
    if path == Path::new(STDIN) {
        return unpacked(&read_stdin()?, &mut unpacking);
    }
    read_with(path, &mut unpacking, |e| access::unreadable(path, &e))
}

/// All bytes of a file, unpacked where it is compressed; `unpacking` counts what comes out of it, and
/// `unreadable` says what it is that it cannot be opened or read.
///
/// # Errors
/// `unreadable`; [`Error::Data`] where it is damaged, or holds too much.
pub fn read_with(
    path: &Path,
    unpacking: &mut Unpacking,
    unreadable: impl Fn(io::Error) -> Error,
) -> Result<Vec<u8>> {
    let name = path.display().to_string();
    rest(Input::open(path, unpacking), &name, unreadable)
}

/// The same of what standard input gave.
///
/// # Errors
/// [`Error::Data`] where it is damaged, or holds too much.
pub fn unpacked(stdin: &[u8], unpacking: &mut Unpacking) -> Result<Vec<u8>> {
    let unreadable = |e| access::unreadable(Path::new(STDIN), &e);
    rest(Input::piped(stdin, unpacking), "standard input", unreadable)
}

fn rest(
    input: io::Result<Input>,
    name: &str,
    unreadable: impl Fn(io::Error) -> Error,
) -> Result<Vec<u8>> {
    let mut input = input.map_err(&unreadable)?;
    let mut bytes = Vec::new();
    match input.read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(e) => Err(input.error(e, name, unreadable)),
    }
}

// ---- standard input --------------------------------------------------------------------------

/// What standard input gives, if [`STDIN`] is among these paths.
///
/// # Errors
/// [`Error::Usage`] where it is twice; as [`read_stdin`].
pub fn stdin_of(paths: &[PathBuf]) -> Result<Option<Arc<[u8]>>> {
    match paths.iter().filter(|p| **p == Path::new(STDIN)).count() {
        0 => Ok(None),
        1 => Ok(Some(read_stdin()?.into())),
        n => Err(Error::Usage(format!(
            "{STDIN} {n} times: standard input can be read once; leave the others out"
        ))),
    }
}

/// What standard input gives, to its end.
///
/// # Errors
/// [`Error::Io`]; [`Error::Data`] for more than can be held.
pub fn read_stdin() -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut input = io::stdin().lock().take(MOST + 1);
    let read = input.read_to_end(&mut bytes);
    read.map_err(Error::io("read", "standard input"))?;
    if bytes.len() as u64 > MOST {
        return Err(Error::Data(format!(
            "standard input gives more than {} MiB, and is held in memory: save it to a file and name \
             that",
            MOST >> 20
        )));
    }
    Ok(bytes)
}

// ---- compressed files --------------------------------------------------------------------------

/// Counts what comes out of a compressed file.
struct Counted<'a> {
    reader: Box<dyn Read + 'a>,
    unpacking: &'a mut Unpacking,
    path: PathBuf,
}

impl Read for Counted<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let n = self.reader.read(to)?;
        let room = self.unpacking.take(n as u64, &self.path);
        room.map_err(io::Error::other)?;
        Ok(n)
    }
}

/// Zstandard frames, one after the other (RFC 8878); those to be skipped are.
struct Frames<R> {
    source: R,
    decoder: FrameDecoder,
    /// Whether a frame has begun that has not ended.
    inside: bool,
}

impl<R: BufRead> Frames<R> {
    fn new(source: R) -> Self {
        Frames {
            source,
            decoder: FrameDecoder::new(),
            inside: false,
        }
    }

    /// Begins the next frame; false where there is none.
    fn begin(&mut self) -> io::Result<bool> {
        use FrameDecoderError::ReadFrameHeaderError as Header;
        while !self.source.fill_buf()?.is_empty() {
            match self.decoder.reset(&mut self.source) {
                Ok(()) => return Ok(true),
                Err(Header(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                    let mut skipped = self.source.by_ref().take(length.into());
                    if io::copy(&mut skipped, &mut io::sink())? < u64::from(length) {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(e) => return Err(io::Error::other(e)),
            }
        }
        Ok(false)
    }
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        while self.inside || self.begin()? {
            let decoder = &mut self.decoder;
            while decoder.can_collect() == 0 && !decoder.is_finished() {
                let blocks = BlockDecodingStrategy::UptoBlocks(1);
                let decoded = decoder.decode_blocks(&mut self.source, blocks);
                decoded.map_err(io::Error::other)?;
            }
            let n = decoder.read(to)?;
            self.inside = n > 0 || to.is_empty();
            if self.inside {
                return Ok(n);
            }
            let sums = [
                decoder.get_checksum_from_data(),
                decoder.get_calculated_checksum(),
            ];
            if sums[0].is_some() && sums[0] != sums[1] {
                return Err(io::Error::other("a checksum does not match"));
            }
        }
        Ok(0)
    }
}
