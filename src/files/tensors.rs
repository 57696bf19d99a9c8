//! The safetensors format, read with full validation and written as f32.
//!
//! The layout is described in [`super::header`]. A file written here carries the SHA-256 of its data
//! and of its header in the metadata, so that a damaged one is noticed; a file from elsewhere need not
//! have them.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::atomic::write_atomic;
use super::header::{CHECKSUM, Dtype, Header, LAYOUT, METADATA, TensorInfo};
use super::text::hex;
use crate::error::{Error, Result};

/// Elements converted at a time when a file is not f32.
const CHUNK: usize = 1 << 14;

// The bytes of f32 and f64 slices are used as they lie in memory.
const _: () = assert!(
    cfg!(target_endian = "little"),
    "safetensors files are little-endian; this machine is not"
);

/// A dense row-major tensor in host memory.
#[derive(Debug, Clone, PartialEq)]
pub struct HostTensor {
    /// The dimensions, outermost first; empty for a scalar.
    pub shape: Vec<usize>,
    /// The values; as many as the product of `shape`.
    pub data: Vec<f32>,
}

/// Named tensors and string metadata: the content of one safetensors file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TensorFile {
    /// The tensors by name.
    pub tensors: BTreeMap<String, HostTensor>,
    /// Free strings; the checksum is kept apart and never stands here.
    pub metadata: BTreeMap<String, String>,
    /// The file it was loaded from, for error messages.
    source: PathBuf,
}

impl TensorFile {
    /// An empty file, to be filled and saved.
    pub fn new() -> Self {
        Self::default()
    }

    /// The tensor `name`, which must have the shape `expected`.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when it is missing (with the names that are there) or has another
    /// shape (with both).
    pub fn get(&self, name: &str, expected: &[usize]) -> Result<&HostTensor> {
        let tensor = self.tensors.get(name).ok_or_else(|| {
            let message = format!(
                "tensor `{name}` is missing; the file holds {}. It is of another model, or not \
                 exported with these names",
                list(self.tensors.keys())
            );
            Error::checkpoint(&self.source, message)
        })?;
        if tensor.shape != expected {
            let message = format!(
                "tensor `{name}` has the shape {:?}, but this model needs {expected:?}. Use the \
                 settings (sizes, layers, vocabulary) that the file was made with",
                tensor.shape
            );
            return Err(Error::checkpoint(&self.source, message));
        }
        Ok(tensor)
    }

    /// Checks that the file holds no tensor outside `names`.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] with the unexpected names.
    pub fn expect_only<S: AsRef<str>>(&self, names: &[S]) -> Result<()> {
        let unexpected = self
            .tensors
            .keys()
            .filter(|key| !names.iter().any(|name| name.as_ref() == key.as_str()));
        let unexpected: Vec<&String> = unexpected.collect();
        if unexpected.is_empty() {
            return Ok(());
        }
        let message = format!(
            "holds tensors that this model does not have: {}. It is of a larger or another model",
            list(unexpected.into_iter())
        );
        Err(Error::checkpoint(&self.source, message))
    }

    /// Checks that the tensor `copy`, if it is there, has the values of the tensor `of`.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] with both names.
    pub fn expect_same(&self, copy: &str, of: &str) -> Result<()> {
        match self.tensors.get(copy) {
            Some(tensor) if self.tensors.get(of) != Some(tensor) => {
                let message = format!(
                    "tensor `{copy}` is not the same as `{of}`, and in this model they are one (tied). \
                     The file is of a model in which they are two"
                );
                Err(Error::checkpoint(&self.source, message))
            }
            _ => Ok(()),
        }
    }

    // ---- saving ----------------------------------------------------------------------------

    /// Writes the file atomically, tensors in the order of their names, as f32.
    ///
    /// # Errors
    /// [`Error::Io`] that names `path` (the old file stays); [`Error::Op`] for a tensor whose
    /// shape and data disagree or whose name the format reserves.
    pub fn save(&self, path: &Path) -> Result<()> {
        let header = self.header()?;
        write_atomic(path, |w| {
            w.write_all(&(header.len() as u64).to_le_bytes())?;
            w.write_all(header.as_bytes())?;
            for tensor in self.tensors.values() {
                w.write_all(bytemuck::cast_slice(&tensor.data))?;
            }
            Ok(())
        })
    }

    /// The JSON header, padded with spaces to a multiple of 8 bytes.
    fn header(&self) -> Result<String> {
        let mut hash = Sha256::new();
        let mut tensors = Vec::new();
        let mut offset = 0;
        for (name, tensor) in &self.tensors {
            let count = tensor
                .shape
                .iter()
                .try_fold(1, |n: usize, &d| n.checked_mul(d));
            if count != Some(tensor.data.len()) || name == METADATA {
                let message = format!(
                    "tensor `{name}` of shape {:?} with {} values cannot be saved",
                    tensor.shape,
                    tensor.data.len()
                );
                return Err(Error::op("safetensors", message));
            }
            let bytes: &[u8] = bytemuck::cast_slice(&tensor.data);
            hash.update(bytes);
            let end = offset + bytes.len();
            tensors.push(TensorInfo {
                name: name.clone(),
                dtype: Dtype::F32,
                shape: tensor.shape.clone(),
                offsets: [offset as u64, end as u64],
            });
            offset = end;
        }
        let metadata = self.metadata.clone();
        let mut header = Header { tensors, metadata };
        let layout = header.sha256();
        header.metadata.insert(CHECKSUM.into(), hex(hash));
        header.metadata.insert(LAYOUT.into(), layout);
        let mut entries = Map::new();
        entries.insert(METADATA.into(), json!(header.metadata));
        for t in header.tensors {
            let (dtype, shape, offsets) = (t.dtype.name(), t.shape, t.offsets);
            let entry = json!({"dtype": dtype, "shape": shape, "data_offsets": offsets});
            entries.insert(t.name, entry);
        }
        let mut text = Value::Object(entries).to_string();
        text.push_str(&" ".repeat(text.len().next_multiple_of(8) - text.len()));
        Ok(text)
    }

    // ---- loading ---------------------------------------------------------------------------

    /// Reads a safetensors file; F16, BF16 and F64 become f32, NaN and infinities are kept.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] that names the file, the tensor and the fault, for anything that is
    /// not a whole, valid file; [`Error::Io`] when it cannot be read.
    pub fn load(path: &Path) -> Result<Self> {
        let (header, mut reader) = Header::open(path)?;
        let mut hash = Sha256::new();
        let mut tensors = BTreeMap::new();
        // The tensors follow one another without holes, so one pass reads and hashes them all.
        for info in &header.tensors {
            let mut data = Vec::new();
            read_values(&mut reader, info, &mut hash, &mut data)
                .map_err(|error| read_error(path, &info.name, error))?;
            let shape = info.shape.clone();
            tensors.insert(info.name.clone(), HostTensor { shape, data });
        }
        let mut metadata = header.metadata;
        metadata.remove(LAYOUT);
        if let Some(expected) = metadata.remove(CHECKSUM)
            && expected != hex(hash)
        {
            return Err(Error::checkpoint(
                path,
                "the data do not match their SHA-256: the file is damaged. Use the run's other \
                 checkpoint (`best`, `last`, or another folder under checkpoints/), or copy the \
                 file again",
            ));
        }
        Ok(Self {
            tensors,
            metadata,
            source: path.to_path_buf(),
        })
    }
}

/// Appends the values of one tensor to `data`, as f32, and its bytes to `hash`.
fn read_values(
    reader: &mut impl Read,
    info: &TensorInfo,
    hash: &mut Sha256,
    data: &mut Vec<f32>,
) -> io::Result<()> {
    let count = info.parameters();
    // The header was checked against the file's length, but the memory may still not be there.
    data.try_reserve_exact(count)
        .map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
    data.resize(count, 0.0);
    if info.dtype == Dtype::F32 {
        let bytes = bytemuck::cast_slice_mut(data);
        reader.read_exact(bytes)?;
        hash.update(bytes);
        return Ok(());
    }
    let mut buffer = vec![0_u64; CHUNK];
    for values in data.chunks_mut(CHUNK) {
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut buffer);
        let bytes = &mut bytes[..values.len() * info.dtype.size()];
        reader.read_exact(bytes)?;
        hash.update(&*bytes);
        match info.dtype {
            Dtype::F16 => bytemuck::cast_slice::<u8, f16>(bytes).convert_to_f32_slice(values),
            Dtype::BF16 => bytemuck::cast_slice::<u8, bf16>(bytes).convert_to_f32_slice(values),
            Dtype::F64 | Dtype::F32 => {
                for (value, &wide) in values
                    .iter_mut()
                    .zip(bytemuck::cast_slice::<u8, f64>(bytes))
                {
                    // Rounds to nearest; beyond the range of f32 it becomes an infinity.
                    *value = wide as f32;
                }
            }
        }
    }
    Ok(())
}

fn read_error(path: &Path, name: &str, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Error::checkpoint(
            path,
            format!("tensor `{name}`: the file ends within its data"),
        ),
        io::ErrorKind::OutOfMemory => {
            Error::checkpoint(path, format!("tensor `{name}` does not fit into memory"))
        }
        _ => Error::io("read", path)(error),
    }
}

/// At most 20 names, quoted, with the number of those left out.
fn list<'a>(names: impl ExactSizeIterator<Item = &'a String>) -> String {
    const SHOWN: usize = 20;
    let total = names.len();
    if total == 0 {
        return "no tensors".into();
    }
    let shown: Vec<String> = names.take(SHOWN).map(|n| format!("`{n}`")).collect();
    let more = match total.saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    shown.join(", ") + &more
}
