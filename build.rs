//! Packs the text that is embedded in the binary and, with the feature `emulator`, compiles the
//! kernels as C++ for the emulated device.
//!
//! The format of the archive is described in `src/data/corpus.rs`, which reads it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::{Compression, write::DeflateEncoder};

/// The licence of the text, packed beside it.
const LICENSE: &str = "PSF-LICENSE";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    pack_corpus(Path::new(rustpython_pylib::LIB_PATH));
    #[cfg(feature = "emulator")]
    compile_kernels();
}

/// Compiles every `kernels/*.cu` and the faulty kernels of the emulator's own tests as C++17.
///
/// A kernel enters the emulator's table by a static constructor, so every object is linked whole.
#[cfg(feature = "emulator")]
fn compile_kernels() {
    let mut build = cc::Build::new();
    build
        .cpp(true)
        .std("c++17")
        .flag("-xc++")
        .flag("-ffp-contract=off") // one rounding an operation: the same bits on every processor
        .flag("-fno-exceptions")
        .include("kernels")
        .opt_level(2)
        .files(
            ["scheduler", "launch", "race", "mbarrier", "banks"]
                .map(|name| format!("kernels/emu/{name}.cpp")),
        );
    for dir in ["kernels", "tests/emulator_faults"] {
        println!("cargo::rerun-if-changed={dir}");
        let mut files = Vec::new();
        list(Path::new(dir), "", &mut files);
        files.sort();
        for (name, path) in files {
            if name.ends_with(".cu") {
                build.file(path);
            }
        }
    }
    build.link_lib_modifier("+whole-archive");
    build.compile("rnnx_emulator");
}

/// Writes `corpus.bin` into OUT_DIR: every .py file below `root`, and the licence.
fn pack_corpus(root: &Path) {
    println!("cargo::rerun-if-changed={}", root.display());
    let mut files = Vec::new();
    list(root, "", &mut files);
    files.retain(|(name, _)| name.ends_with(".py") || name == LICENSE);
    files.sort();
    assert!(
        files.len() > 1 && files.iter().any(|(name, _)| name == LICENSE),
        "{} holds no .py files or no {LICENSE}: the crate rustpython-pylib is not complete; \
         remove it from cargo's registry cache and build again",
        root.display()
    );

    let mut archive = DeflateEncoder::new(Vec::new(), Compression::default());
    let mut put = |bytes: &[u8]| archive.write_all(bytes).expect("memory takes every write");
    let length = |n: usize| {
        u32::try_from(n)
            .expect("a length below 4 GiB")
            .to_le_bytes()
    };
    put(&length(files.len()));
    for (name, path) in &files {
        let content = fs::read(path).unwrap_or_else(|e| panic!("cannot read {name}: {e}"));
        put(&length(name.len()));
        put(name.as_bytes());
        put(&length(content.len()));
        put(&content);
    }
    let packed = archive.finish().expect("memory takes every write");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let out = out.join("corpus.bin");
    fs::write(&out, packed).unwrap_or_else(|e| panic!("cannot write {}: {e}", out.display()));
}

/// Adds every file below `dir` as (path relative to the root with `/`, path to open).
fn list(dir: &Path, prefix: &str, files: &mut Vec<(String, PathBuf)>) {
    let entries = fs::read_dir(dir).unwrap_or_else(|e| {
        panic!(
            "cannot list {}: {e}; this source tree is not complete",
            dir.display()
        )
    });
    for entry in entries {
        let entry = entry.unwrap_or_else(|e| panic!("cannot list {}: {e}", dir.display()));
        let name = entry.file_name().into_string().unwrap_or_else(|name| {
            panic!("{}: the name {name:?} is not UTF-8", dir.display());
        });
        let relative = format!("{prefix}{name}");
        if entry.path().is_dir() {
            list(&entry.path(), &format!("{relative}/"), files);
        } else {
            files.push((relative, entry.path()));
        }
    }
}
