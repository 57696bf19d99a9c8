//! The header of a safetensors file, checked against the file's length.
//!
//! Layout (<https://github.com/huggingface/safetensors#format>): 8 bytes of little-endian header
//! length, a JSON header `{"__metadata__":{..},"name":{"dtype","shape","data_offsets"}}` padded
//! with spaces to 8 bytes, then the data, row-major, without holes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::text::sha256;
use crate::error::{Error, Result};

/// The header's entry that holds strings instead of a tensor.
pub(super) const METADATA: &str = "__metadata__";
/// The metadata key of the data section's SHA-256, in hexadecimal.
pub(super) const CHECKSUM: &str = "sha256";
/// The metadata key of the SHA-256 of names, types, shapes, places and the other metadata.
pub(super) const LAYOUT: &str = "header_sha256";
/// Longest header accepted, in bytes; the limit of the reference implementation.
const MAX_HEADER: u64 = 100_000_000;

/// The element types that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    /// 16-bit float of IEEE 754.
    F16,
    /// 16-bit brain float.
    BF16,
    /// 32-bit float.
    F32,
    /// 64-bit float.
    F64,
}

impl Dtype {
    /// The format's name of the type.
    pub fn name(self) -> &'static str {
        match self {
            Dtype::F16 => "F16",
            Dtype::BF16 => "BF16",
            Dtype::F32 => "F32",
            Dtype::F64 => "F64",
        }
    }

    /// Bytes an element.
    pub fn size(self) -> usize {
        match self {
            Dtype::F16 | Dtype::BF16 => 2,
            Dtype::F32 => 4,
            Dtype::F64 => 8,
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Dtype::F16, Dtype::BF16, Dtype::F32, Dtype::F64]
            .into_iter()
            .find(|dtype| dtype.name() == name)
    }
}

/// One tensor as the header describes it; checked against the file's length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name.
    pub name: String,
    /// The element type in the file.
    pub dtype: Dtype,
    /// The dimensions, outermost first.
    pub shape: Vec<usize>,
    /// Where its data begin and end, in bytes from the start of the data section.
    pub(super) offsets: [u64; 2],
}

impl TensorInfo {
    /// The number of values.
    pub fn parameters(&self) -> usize {
        self.shape.iter().product()
    }
}

/// The checked header of a safetensors file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The tensors in the order of their data.
    pub tensors: Vec<TensorInfo>,
    /// The metadata, with the checksum if the file has one.
    pub metadata: BTreeMap<String, String>,
}

/// A header entry as it stands in the JSON.
#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

impl Header {
    /// Reads and checks the header alone.
    ///
    /// # Errors
    /// As [`TensorFile::load`](super::TensorFile::load).
    pub fn load(path: &Path) -> Result<Self> {
        Ok(Self::open(path)?.0)
    }

    /// Whether the file carries the SHA-256 of its data.
    pub fn has_checksum(&self) -> bool {
        self.metadata.contains_key(CHECKSUM)
    }

    /// The header, and a reader that stands at the first byte of the data.
    pub(super) fn open(path: &Path) -> Result<(Self, BufReader<File>)> {
        let fault = |message: String| Error::checkpoint(path, message);
        let metadata = match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(fault("no such file".into()));
            }
            other => other.map_err(Error::io("read", path))?,
        };
        if !metadata.is_file() {
            return Err(fault("is not a file but a folder or a device".into()));
        }
        let mut reader = BufReader::new(File::open(path).map_err(Error::io("open", path))?);
        let rest = metadata.len().checked_sub(8).ok_or_else(|| {
            fault(format!(
                "is too short for a safetensors file ({} bytes, at least 8 needed): truncated, or \
                 another kind of file",
                metadata.len()
            ))
        })?;
        let mut length = [0; 8];
        reader
            .read_exact(&mut length)
            .map_err(Error::io("read", path))?;
        let length = u64::from_le_bytes(length);
        if length > rest || length > MAX_HEADER {
            return Err(fault(format!(
                "is truncated, or not a safetensors file: its first 8 bytes announce a header of \
                 {length} bytes, and {rest} follow (at most {MAX_HEADER} are taken); restore it from a \
                 copy, or name another"
            )));
        }
        let mut text = vec![0; length as usize];
        reader
            .read_exact(&mut text)
            .map_err(Error::io("read", path))?;
        let header = Self::parse(&text, rest - length).map_err(fault)?;
        Ok((header, reader))
    }

    /// Checks a header against the `data` bytes that follow it; the error is the message.
    fn parse(text: &[u8], data: u64) -> Result<Self, String> {
        let text = std::str::from_utf8(text)
            .map_err(|e| format!("its header is not UTF-8 ({e}): not a safetensors file"))?;
        let mut entries: Map<String, Value> = serde_json::from_str(text).map_err(|e| {
            format!("its header is not a JSON object ({e}): damaged, or not a safetensors file")
        })?;
        let metadata = match entries.remove(METADATA) {
            None => BTreeMap::new(),
            Some(value) => serde_json::from_value(value)
                .map_err(|e| format!("`{METADATA}` is not a map of strings ({e})"))?,
        };
        let mut tensors = Vec::with_capacity(entries.len());
        for (name, value) in entries {
            tensors.push(parse_entry(name, value)?);
        }
        tensors.sort_by_key(|info| info.offsets);
        check_layout(&tensors, data)?;
        let header = Self { tensors, metadata };
        match header.metadata.get(LAYOUT) {
            Some(expected) if *expected != header.sha256() => Err("its header does not match its \
                SHA-256: the file is damaged. Use another checkpoint, or copy the file again"
                .into()),
            _ => Ok(header),
        }
    }

    /// The SHA-256 of all that the header says, but for the checksums.
    pub(super) fn sha256(&self) -> String {
        // Empty tensors have no place of their own, so names are what they are sorted by.
        let mut tensors: Vec<&TensorInfo> = self.tensors.iter().collect();
        tensors.sort_by_key(|t| &t.name);
        let tensors = tensors
            .into_iter()
            .map(|t| json!([t.name, t.dtype.name(), t.shape, t.offsets]));
        let checksums = [CHECKSUM, LAYOUT];
        let metadata = self.metadata.iter();
        let metadata = metadata.filter(|(key, _)| !checksums.contains(&key.as_str()));
        let metadata = metadata.map(|(key, value)| json!([key, value]));
        let all = json!([tensors.collect::<Value>(), metadata.collect::<Value>()]);
        sha256(all.to_string().as_bytes())
    }
}

/// One entry: the type is known, and the shape fills the bytes between the offsets.
fn parse_entry(name: String, value: Value) -> Result<TensorInfo, String> {
    let entry: Entry = serde_json::from_value(value)
        .map_err(|e| format!("tensor `{name}`: its header entry is not valid ({e})"))?;
    let dtype = Dtype::parse(&entry.dtype).ok_or_else(|| {
        format!(
            "tensor `{name}` has the dtype `{}`; rnnx reads F32, F16, BF16 and F64: convert it",
            entry.dtype
        )
    })?;
    let [begin, end] = entry.data_offsets;
    // The count must fit in memory for each prefix too, so that no product overflows later on.
    let shape: Option<Vec<usize>> = entry.shape.iter().map(|&d| d.try_into().ok()).collect();
    let bytes = shape
        .as_ref()
        .and_then(|s| s.iter().try_fold(1, |n: usize, &d| n.checked_mul(d)))
        .and_then(|count| count.checked_mul(dtype.size()));
    match (shape, bytes, end.checked_sub(begin)) {
        (Some(shape), Some(bytes), Some(length)) if bytes as u64 == length => Ok(TensorInfo {
            name,
            dtype,
            shape,
            offsets: entry.data_offsets,
        }),
        _ => Err(format!(
            "tensor `{name}`: the shape {:?} of {} does not fill its data offsets {begin}..{end}",
            entry.shape, entry.dtype
        )),
    }
}

/// The tensors, sorted by offset, cover the data section: no overlap, no hole, nothing left.
fn check_layout(tensors: &[TensorInfo], data: u64) -> Result<(), String> {
    let mut expected = 0;
    for info in tensors {
        let ([begin, end], name) = (info.offsets, &info.name);
        if begin != expected {
            let what = if begin < expected {
                "overlap the tensor before it"
            } else {
                "leave a hole before it"
            };
            return Err(format!(
                "tensor `{name}`: its data offsets {begin}..{end} {what} (byte {expected} is due)"
            ));
        }
        if end > data {
            return Err(format!(
                "tensor `{name}`: its data end at byte {end}, but the file holds {data} bytes of \
                 data: the file is truncated; use another checkpoint or copy it again"
            ));
        }
        expected = end;
    }
    if expected != data {
        return Err(format!(
            "the tensors end at byte {expected}, but the file holds {data} bytes of data: damaged, \
             or cut from something else"
        ));
    }
    Ok(())
}
