//! Finding NVIDIA's libraries at run time, without a panic where there are none.
//!
//! A library is looked for in this order: the system's loader, `CUDA_PATH` and `CUDA_HOME`,
//! `/usr/local/cuda*`, and the `nvidia/*/lib` folders of every Python that the environment names
//! (the active virtual environment, conda, the folders of `PATH`, the user's and the system's), and
//! where containers, WSL and NixOS put the driver's library.

use crate::error::{Error, Result};
use libloading::Library;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// Where containers, WSL and NixOS keep the driver's libraries.
const DRIVER_FOLDERS: [&str; 4] = [
    "/usr/local/nvidia/lib64",
    "/usr/local/nvidia/lib",
    "/usr/lib/wsl/lib",
    "/run/opengl-driver/lib",
];

/// A library that rnnx can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The driver's own interface, `libcuda`.
    Driver,
    /// The run-time compiler, `libnvrtc`.
    Nvrtc,
    /// Matrix products, `libcublas`.
    Cublas,
    /// Exchanges between GPUs, `libnccl`.
    Nccl,
}

impl Kind {
    /// File names, the newest version first.
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Kind::Driver => &["libcuda.so.1", "libcuda.so"],
            Kind::Nvrtc => &["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"],
            Kind::Cublas => &["libcublas.so.13", "libcublas.so.12", "libcublas.so"],
            // A number of its own, below any of CUDA's.
            Kind::Nccl => &["libnccl.so.2", "libnccl.so"],
        }
    }

    /// Libraries (the beginnings of their names) that this one opens by name when it is used, and
    /// finds only if they are loaded already or the loader knows their folder.
    fn companions(self) -> &'static [&'static str] {
        match self {
            Kind::Nvrtc => &["libnvrtc-builtins.so"],
            Kind::Cublas => &["libcublasLt.so"],
            Kind::Driver | Kind::Nccl => &[],
        }
    }

    /// File names, the newest version first, up to a CUDA version's major number.
    fn names_up_to(self, major: u32) -> impl Iterator<Item = &'static str> {
        self.names().iter().copied().filter(move |name| {
            let version = name.rsplit_once(".so.").and_then(|(_, v)| v.parse().ok());
            version.is_none_or(|version: u32| version <= major)
        })
    }

    /// How to get it, for a driver of a CUDA version.
    fn remedy(self, major: u32) -> &'static str {
        match (self, major) {
            (Kind::Driver, _) => "it comes with the NVIDIA driver",
            (Kind::Nvrtc, 12) => "`pip install nvidia-cuda-nvrtc-cu12` brings it",
            (Kind::Nvrtc, _) => "`pip install nvidia-cuda-nvrtc` brings it",
            (Kind::Cublas, 12) => "`pip install nvidia-cublas-cu12` brings it",
            (Kind::Cublas, _) => "`pip install nvidia-cublas` brings it",
            (Kind::Nccl, 12) => "`pip install nvidia-nccl-cu12` brings it",
            (Kind::Nccl, _) => "`pip install nvidia-nccl-cu13` brings it",
        }
    }
}

/// A loaded library.
#[derive(Debug)]
pub struct Found {
    /// The library, and before it what it depends on.
    pub library: Library,
    /// Where it was found; a bare file name if the system's loader found it.
    pub path: PathBuf,
    /// Kept open as long as the library is.
    _companions: Vec<Library>,
}

impl Found {
    fn new(library: Library, path: PathBuf, companions: Vec<Library>) -> Self {
        Found {
            library,
            path,
            _companions: companions,
        }
    }

    /// A function of the library.
    ///
    /// # Safety
    /// `T` is the function's type, and the pointer is not used after the library is closed.
    ///
    /// # Errors
    /// [`Error::Device`] if the library does not have it.
    pub unsafe fn symbol<T: Copy>(&self, name: &str) -> Result<T> {
        // SAFETY: as this function's.
        match unsafe { self.library.get::<T>(name.as_bytes()) } {
            Ok(symbol) => Ok(*symbol),
            Err(e) => Err(Error::Device(format!(
                "{} is too old or damaged: it has no {name} ({e})",
                self.path.display()
            ))),
        }
    }
}

/// The environment that the search reads, as far as it does.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `CUDA_PATH` and `CUDA_HOME`.
    pub cuda: Vec<PathBuf>,
    /// `VIRTUAL_ENV`, `CONDA_PREFIX`, what `PATH`'s folders lie in, and the user's `.local`.
    pub prefixes: Vec<PathBuf>,
    /// Whether to ask the system's loader and to look in the system's own folders.
    pub system: bool,
}

impl Environment {
    /// That of this process.
    pub fn of_process() -> Self {
        let var = |name| std::env::var_os(name).filter(|v: &OsString| !v.is_empty());
        let path = |name| var(name).map(PathBuf::from);
        let mut prefixes: Vec<PathBuf> = ["VIRTUAL_ENV", "CONDA_PREFIX"]
            .into_iter()
            .filter_map(path)
            .collect();
        if let Some(list) = var("PATH") {
            for dir in std::env::split_paths(&list) {
                prefixes.extend(dir.parent().map(Path::to_path_buf));
                // A python3 that is a link lies in the installation that it leads to.
                let python = dir.join("python3").canonicalize().ok();
                prefixes.extend(python.and_then(|p| Some(p.parent()?.parent()?.to_path_buf())));
            }
        }
        prefixes.extend(path("HOME").map(|home| home.join(".local")));
        let mut seen = std::collections::HashSet::new();
        prefixes.retain(|prefix| seen.insert(prefix.clone()));
        Environment {
            cuda: ["CUDA_PATH", "CUDA_HOME"]
                .into_iter()
                .filter_map(path)
                .collect(),
            prefixes,
            system: true,
        }
    }

    /// The folders that may hold a library, in the order of the search, each once: the `lib64` and
    /// `lib` of CUDA installations, there or not, and the folders of Python packages.
    pub fn folders(&self) -> Vec<PathBuf> {
        let mut roots = self.cuda.clone();
        let mut prefixes = self.prefixes.clone();
        if self.system {
            let cuda = entries(Path::new("/usr/local"))
                .into_iter()
                .filter(|path| file_name_starts(path, "cuda"));
            roots.extend(cuda);
            prefixes.extend(["/usr", "/usr/local"].map(PathBuf::from));
        }
        let mut folders = Vec::new();
        for root in roots {
            folders.extend(["lib64", "lib"].map(|sub| root.join(sub)));
        }
        for prefix in prefixes {
            folders.extend(python_folders(&prefix));
        }
        if self.system {
            folders.extend(DRIVER_FOLDERS.map(PathBuf::from));
        }
        let mut seen = Vec::new();
        folders.retain(|folder| {
            let new = !seen.contains(folder);
            if new {
                seen.push(folder.clone());
            }
            new
        });
        folders
    }

    /// Loads a library.
    ///
    /// # Errors
    /// [`Error::Device`] with every place that was tried, if it is nowhere or does not load.
    pub fn load(&self, kind: Kind) -> Result<Found> {
        self.find(kind, u32::MAX, Ok).map(|(found, _)| found)
    }

    /// Loads a library of CUDA `major` or older (a driver runs nothing of a later major version) that
    /// `accept` can use. The search goes past one that it cannot: the second value says which, and
    /// why.
    ///
    /// # Errors
    /// [`Error::Device`] with every place that was tried and what was passed over there.
    pub fn find<T>(
        &self,
        kind: Kind,
        major: u32,
        accept: impl Fn(Found) -> Result<T>,
    ) -> Result<(T, Vec<String>)> {
        let (mut tried, mut passed_over) = (Vec::new(), Vec::new());
        if self.system {
            for name in kind.names_up_to(major) {
                let Ok(library) = open(Path::new(name)) else {
                    tried.push(format!("{name} (system loader)"));
                    continue;
                };
                match accept(Found::new(library, PathBuf::from(name), Vec::new())) {
                    Ok(accepted) => return Ok((accepted, passed_over)),
                    Err(e) => passed_over.push(e.to_string()),
                }
            }
        }
        for folder in self.folders() {
            for name in kind.names_up_to(major) {
                let path = folder.join(name);
                if !path.exists() {
                    continue;
                }
                let companions = open_companions(&folder, kind);
                let found = match open(&path) {
                    Ok(library) => Found::new(library, path, companions),
                    Err(e) => {
                        passed_over.push(format!("{} ({e})", path.display()));
                        continue;
                    }
                };
                match accept(found) {
                    Ok(accepted) => return Ok((accepted, passed_over)),
                    Err(e) => passed_over.push(e.to_string()),
                }
            }
            let absent = if folder.is_dir() {
                ""
            } else {
                " (no such folder)"
            };
            tried.push(format!("{}{absent}", folder.display()));
        }
        if self.system {
            tried.push("/usr/local/cuda*".to_string());
        }
        let prefixes = self.prefixes.iter().map(|p| p.display().to_string());
        tried.push(format!(
            "lib/python3*/*-packages/nvidia/*/lib below {}",
            prefixes.collect::<Vec<_>>().join(", ")
        ));
        let name = kind.names_up_to(major).next().unwrap_or(kind.names()[0]);
        let what = match passed_over.as_slice() {
            [] => format!("{name} was not found"),
            why => format!("no {name} that can be used was found: {}", why.join(", ")),
        };
        Err(Error::Device(format!(
            "{what}; {}, or name the folder of a CUDA installation in CUDA_PATH. Tried: {}",
            kind.remedy(major),
            tried.join(", ")
        )))
    }
}

/// Checks the version of a library: the loader may find any under a name without a version. `newest` is
/// the CUDA version that the driver is made for.
///
/// # Errors
/// [`Error::Device`] for one before `oldest` or after the driver's.
pub fn check_version(
    name: &str,
    path: &Path,
    version: (u32, u32),
    oldest: (u32, u32),
    newest: u32,
) -> Result<()> {
    let why = if version < oldest {
        format!("{}.{} or newer is needed", oldest.0, oldest.1)
    } else if version.0 > newest {
        format!(
            "newer than the NVIDIA driver, which is made for CUDA {newest}: update the driver, or \
             `pip install nvidia-cuda-nvrtc-cu{newest} nvidia-cublas-cu{newest}`"
        )
    } else {
        return Ok(());
    };
    let ((major, minor), path) = (version, path.display());
    Err(Error::Device(format!(
        "{name} {major}.{minor} ({path}): {why}"
    )))
}

/// `nvidia/*/lib` of every Python below a prefix.
fn python_folders(prefix: &Path) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for lib in ["lib", "lib64"] {
        for python in entries(&prefix.join(lib)) {
            if !file_name_starts(&python, "python3") {
                continue;
            }
            for packages in ["site-packages", "dist-packages"] {
                for package in entries(&python.join(packages).join("nvidia")) {
                    folders.push(package.join("lib"));
                }
            }
        }
    }
    folders
}

/// The entries of a folder in reverse alphabetical order (newer versions first); none if it cannot
/// be listed.
fn entries(dir: &Path) -> Vec<PathBuf> {
    let Ok(list) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = list.filter_map(|e| Some(e.ok()?.path())).collect();
    paths.sort();
    paths.reverse();
    paths
}

fn file_name_starts(path: &Path, start: &str) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.starts_with(start))
}

fn open_companions(folder: &Path, kind: Kind) -> Vec<Library> {
    let files = entries(folder);
    let wanted = |path: &&PathBuf| {
        kind.companions()
            .iter()
            .any(|start| file_name_starts(path, start))
    };
    files
        .iter()
        .filter(wanted)
        .filter_map(|path| open(path).ok())
        .collect()
}

fn open(path: &Path) -> std::result::Result<Library, libloading::Error> {
    // SAFETY: loading runs the library's initialisers; these are NVIDIA's libraries, which are made
    // for that, under names that nothing else bears.
    unsafe { Library::new(path) }
}
