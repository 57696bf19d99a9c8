//! Machine code for a GPU: compiling the embedded kernels, and reading which kernels are in it.

use crate::device::nvrtc::{Nvrtc, SOURCES};
use crate::error::{Error, Result};
use std::thread;

/// Stack of a compiling thread: the compiler recurses deeply.
const STACK: usize = 16 << 20;

/// A file of kernels, compiled.
#[derive(Clone, Debug)]
pub struct Cubin {
    /// File name of the source.
    pub file: String,
    /// An ELF file.
    pub image: Vec<u8>,
}

/// What NVRTC calls a GPU. The `a` variants have the instructions that no other GPU has.
pub fn architecture(capability: (u32, u32)) -> String {
    let (major, minor) = capability;
    let specific = matches!(capability, (9, 0) | (10, 0));
    format!("sm_{major}{minor}{}", if specific { "a" } else { "" })
}

/// Compiles all kernels, each file in a thread of its own.
///
/// # Errors
/// [`Error::Device`] with the compiler's log.
pub fn compile(nvrtc: &Nvrtc, capability: (u32, u32)) -> Result<Vec<Cubin>> {
    let architecture = &architecture(capability);
    let one = |file: &str, source: &str| {
        let image = nvrtc.compile(file, source, architecture).map_err(|e| {
            Error::Device(format!(
                "{e}\nIf the compiler does not know {architecture}, take a newer one: `pip \
                 install --upgrade nvidia-cuda-nvrtc` (nvidia-cuda-nvrtc-cu12 for a driver of \
                 CUDA 12)"
            ))
        })?;
        let file = file.to_string();
        Ok(Cubin { file, image })
    };
    let one = &one;
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for &(file, source) in SOURCES {
            let builder = thread::Builder::new().stack_size(STACK);
            let thread = builder.spawn_scoped(scope, move || one(file, source));
            threads.push((file, thread.map_err(|e| no_thread(file, &e))?));
        }
        let join = |(file, thread): (&str, thread::ScopedJoinHandle<Result<Cubin>>)| {
            let stopped = |_| Error::Device(format!("compiling {file} ended in a panic"));
            thread.join().map_err(stopped)?
        };
        threads.into_iter().map(join).collect()
    })
}

fn no_thread(file: &str, error: &std::io::Error) -> Error {
    Error::Device(format!("no thread to compile {file} with: {error}"))
}

impl Cubin {
    /// The names of its kernels.
    ///
    /// A kernel has a section `.nv.constant0.NAME`, which its arguments lie in. (The driver lists
    /// kernels only since CUDA 12.4.)
    ///
    /// # Errors
    /// [`Error::Device`] if it is not a whole ELF file of 64 bits.
    pub fn kernels(&self) -> Result<Vec<String>> {
        let names = section_names(&self.image).ok_or_else(|| {
            Error::Device(format!(
                "NVRTC compiled {} to {} bytes that are no ELF file",
                self.file,
                self.image.len()
            ))
        })?;
        let kernel = |name: String| Some(name.strip_prefix(".nv.constant0.")?.to_string());
        Ok(names.into_iter().filter_map(kernel).collect())
    }
}

/// The names of an ELF file's sections; `None` if it is damaged. Offsets are those of `Elf64_Ehdr`
/// and `Elf64_Shdr`.
fn section_names(elf: &[u8]) -> Option<Vec<String>> {
    if !elf.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let table = number(elf, 0x28, 8)?;
    let size = number(elf, 0x3A, 2)?;
    let count = number(elf, 0x3C, 2)?;
    let header = |i: usize| elf.get(table.checked_add(i.checked_mul(size)?)?..);
    let strings = number(header(number(elf, 0x3E, 2)?)?, 0x18, 8)?;
    (0..count)
        .map(|i| {
            let name = strings.checked_add(number(header(i)?, 0, 4)?)?;
            let bytes = elf.get(name..)?.split(|&b| b == 0).next()?;
            Some(String::from_utf8_lossy(bytes).into_owned())
        })
        .collect()
}

/// A little-endian number of `len` bytes.
fn number(bytes: &[u8], at: usize, len: usize) -> Option<usize> {
    let field = bytes.get(at..at.checked_add(len)?)?;
    let mut value = [0; 8];
    value[..len].copy_from_slice(field);
    usize::try_from(u64::from_le_bytes(value)).ok()
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// An ELF file that has nothing but section names.
    pub fn elf(names: &[&str]) -> Vec<u8> {
        let (mut strings, mut headers) = (vec![0u8], vec![0u8; 64]);
        for name in names.iter().chain(&[".shstrtab"]) {
            let mut header = [0u8; 64];
            header[..4].copy_from_slice(&(strings.len() as u32).to_le_bytes());
            header[0x18..0x20].copy_from_slice(&64u64.to_le_bytes());
            headers.extend(header);
            strings.extend(name.as_bytes());
            strings.push(0);
        }
        let mut out = vec![0u8; 64];
        out[..6].copy_from_slice(b"\x7fELF\x02\x01");
        out[0x28..0x30].copy_from_slice(&(64 + strings.len() as u64).to_le_bytes());
        out[0x3A..0x3C].copy_from_slice(&64u16.to_le_bytes());
        out[0x3C..0x3E].copy_from_slice(&(names.len() as u16 + 2).to_le_bytes());
        out[0x3E..0x40].copy_from_slice(&(names.len() as u16 + 1).to_le_bytes());
        out.extend(strings);
        out.extend(headers);
        out
    }

    #[test]
    fn kernels_are_read_from_the_sections() {
        let image = elf(&[".text.add_f32", ".nv.constant0.add_f32", ".nv.constant0.b"]);
        let file = "a.cu".to_string();
        let cubin = Cubin {
            file,
            image: image.clone(),
        };
        assert_eq!(cubin.kernels().unwrap(), ["add_f32", "b"]);
        for len in [0, 5, 63, 64, 100, image.len() - 64] {
            let cut = Cubin {
                file: "a.cu".into(),
                image: image[..len].to_vec(),
            };
            let message = cut.kernels().unwrap_err().to_string();
            assert!(message.contains("a.cu"), "{len}: {message}");
        }
    }

    #[test]
    fn architectures() {
        let names = [(7, 5), (8, 9), (9, 0), (10, 0), (12, 0)].map(architecture);
        assert_eq!(names, ["sm_75", "sm_89", "sm_90a", "sm_100a", "sm_120"]);
    }

    /// With NVRTC on the machine: what it compiles is what the emulated device runs.
    #[cfg(feature = "emulator")]
    #[test]
    fn compiled_kernels_are_the_emulated_ones() {
        use crate::device::{emulated::Emulated, libraries::Environment};
        let Ok(nvrtc) = Nvrtc::load(&Environment::of_process()) else {
            return; // tests/kernels_compile.rs says that it is missing
        };
        let mut compiled = Vec::new();
        for cubin in compile(&nvrtc, (9, 0)).unwrap() {
            compiled.extend(cubin.kernels().unwrap());
        }
        assert!(compiled.len() > 10, "{compiled:?}");
        let emulated = Emulated::kernels();
        for name in &compiled {
            assert!(emulated.contains(&name.as_str()), "{name}");
        }
    }
}
