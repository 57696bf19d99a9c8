//! Compiled kernels, kept from one start to the next.
//!
//! A file in the user's cache folder holds the machine code of all kernels, under a name that is the
//! hash of everything that it was made from: sources, compiler, options, architecture. A file that is
//! missing, cut or changed is made again; where none can be written, every start compiles.

use super::cubin::Cubin;
use crate::device::nvrtc::{HEADERS, Nvrtc, OPTIONS, SOURCES};
use crate::error::{Error, Result};
use crate::files::atomic::write_atomic;
use crate::files::text::sha256;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// Characters of a SHA-256 as text.
const HASH: usize = 64;

/// A file of kernels, as the head of the cache's file lists it.
#[derive(Serialize, Deserialize)]
struct Entry {
    file: String,
    bytes: usize,
}

/// What `compile` gives, or what it gave when it made `file`.
///
/// # Errors
/// What `compile` returns.
pub fn cached(
    file: Option<&Path>,
    compile: impl FnOnce() -> Result<Vec<Cubin>>,
) -> Result<Vec<Cubin>> {
    let Some(file) = file else {
        return compile();
    };
    if let Some(cubins) = fs::read(file).ok().and_then(|bytes| unpack(&bytes)) {
        return Ok(cubins);
    }
    let cubins = compile()?;
    // Where nothing can be kept, the next start compiles again: that is all.
    if let (Some(folder), Some(bytes)) = (file.parent(), pack(&cubins)) {
        let _ = fs::create_dir_all(folder)
            .map_err(Error::io("make", folder))
            .and_then(|()| write_atomic(file, |to| to.write_all(&bytes)));
    }
    Ok(cubins)
}

/// The hash of the rest; a line of JSON that lists the files; their machine code.
fn pack(cubins: &[Cubin]) -> Option<Vec<u8>> {
    let entry = |c: &Cubin| Entry {
        file: c.file.clone(),
        bytes: c.image.len(),
    };
    let entries: Vec<Entry> = cubins.iter().map(entry).collect();
    let mut rest = serde_json::to_vec(&entries).ok()?;
    rest.push(b'\n');
    cubins.iter().for_each(|c| rest.extend(&c.image));
    Some([sha256(&rest).as_bytes(), &rest].concat())
}

fn unpack(bytes: &[u8]) -> Option<Vec<Cubin>> {
    let (hash, rest) = bytes.split_at_checked(HASH)?;
    if sha256(rest).as_bytes() != hash {
        return None;
    }
    let head = rest.iter().position(|&b| b == b'\n')?;
    let entries: Vec<Entry> = serde_json::from_slice(&rest[..head]).ok()?;
    let mut images = &rest[head + 1..];
    entries
        .into_iter()
        .map(|Entry { file, bytes }| {
            let (image, others) = images.split_at_checked(bytes)?;
            images = others;
            let image = image.to_vec();
            Some(Cubin { file, image })
        })
        .collect()
}

/// The file for this compiler (its version and the library's file) and architecture, below `folder`.
/// None where the library is not a file that can be looked at: its name alone says too little.
pub fn file_in(folder: &Path, nvrtc: &Nvrtc, architecture: &str) -> Option<PathBuf> {
    let library = fs::metadata(nvrtc.path()).ok()?;
    let changed = library.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    let mut made_from = format!(
        "rnnx {} for {architecture} with {OPTIONS:?} by NVRTC {:?}, {}, {} bytes of {} ns",
        env!("CARGO_PKG_VERSION"),
        nvrtc.version(),
        nvrtc.path().display(),
        library.len(),
        changed.as_nanos(),
    );
    for (file, source) in HEADERS.iter().chain(SOURCES) {
        made_from += &format!("\n{file}\n{source}");
    }
    Some(folder.join(format!("kernels-{}", sha256(made_from.as_bytes()))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn cubins() -> Vec<Cubin> {
        let cubin = |file: &str, image: &[u8]| Cubin {
            file: file.into(),
            image: image.to_vec(),
        };
        vec![
            cubin("a.cu", b"\x7fELF\n\0first"),
            cubin("b.cu", b""),
            cubin("c.cu", b"third"),
        ]
    }

    #[test]
    fn kernels_are_compiled_once_and_again_where_the_file_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("below").join("kernels");
        let compiled = Cell::new(0);
        let get = |file: Option<&Path>| {
            let got = cached(file, || {
                compiled.set(compiled.get() + 1);
                Ok(cubins())
            });
            let got: Vec<_> = got
                .unwrap()
                .into_iter()
                .map(|c| (c.file, c.image))
                .collect();
            let want: Vec<_> = cubins().into_iter().map(|c| (c.file, c.image)).collect();
            assert_eq!(got, want);
            compiled.replace(0)
        };
        assert_eq!((get(Some(&file)), get(Some(&file))), (1, 0));
        let whole = fs::read(&file).unwrap();
        for at in (0..whole.len()).step_by(7) {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            fs::write(&file, &flipped).unwrap();
            assert_eq!((get(Some(&file)), get(Some(&file))), (1, 0), "byte {at}");
            fs::write(&file, &whole[..at]).unwrap();
            assert_eq!((get(Some(&file)), get(Some(&file))), (1, 0), "cut at {at}");
        }
        // A folder that cannot be made, and none at all.
        let below = file.join("kernels");
        assert_eq!((get(Some(&below)), get(Some(&below))), (1, 1));
        assert_eq!((get(None), get(None)), (1, 1));
        let refused = cached(Some(&folder.path().join("other")), || {
            Err(Error::Device("no compiler".into()))
        });
        assert!(refused.unwrap_err().to_string().contains("no compiler"));
        assert!(!folder.path().join("other").exists());
    }
}
