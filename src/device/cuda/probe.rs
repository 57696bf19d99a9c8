//! What of CUDA is on this machine, for `rnnx doctor`.

use super::api::{Api, Blas};
use super::context::GpuFacts;
use super::error::check_blas;
use super::nccl::{self, Nccl};
use crate::device::libraries::{Environment, Found, Kind, check_version};
use crate::device::nvrtc::Nvrtc;
use crate::error::{Error, Result};
use cudarc::cublas::sys::libraryPropertyType_t as Property;
use std::fs;
use std::path::PathBuf;

/// The oldest version of cuBLAS: the one that came with the oldest driver.
const OLDEST_CUBLAS: (u32, u32) = (12, 0);

/// What was found. An error lists what is missing, the places tried, and the way out.
#[derive(Debug)]
pub struct Probe {
    /// The driver.
    pub driver: Result<DriverFacts>,
    /// The GPUs that the driver shows.
    pub gpus: Result<Vec<GpuFacts>>,
    /// The compiler.
    pub nvrtc: Result<LibraryFacts>,
    /// Matrix products.
    pub cublas: Result<LibraryFacts>,
    /// Exchanges between GPUs, for a model that several ranks train.
    pub nccl: Result<LibraryFacts>,
}

/// The driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriverFacts {
    /// Its library; a bare file name if the system's loader found it.
    pub path: PathBuf,
    /// The CUDA version that it is made for.
    pub cuda: (u32, u32),
    /// The version of the kernel's module, for example `570.86.15`, where the system tells.
    pub module: Option<String>,
}

/// A library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LibraryFacts {
    /// Where it is; a bare file name if the system's loader found it.
    pub path: PathBuf,
    /// Major and minor version.
    pub version: (u32, u32),
    /// What follows them, of a library that is known by it.
    pub patch: Option<u32>,
    /// Others that were found before it and cannot be used, and why.
    pub passed_over: Vec<String>,
}

/// Looks for everything, in the environment of the process. Uses no GPU's memory.
pub fn probe() -> Probe {
    probe_in(&Environment::of_process())
}

fn probe_in(environment: &Environment) -> Probe {
    let driver = load_driver(environment);
    let cuda = driver.as_ref().ok().map(|(_, facts)| facts.cuda.0);
    let (gpus, driver) = match driver {
        Ok((api, facts)) => (api.gpus(), Ok(facts)),
        Err(e) => (
            Err(Error::Device("not known without the driver".into())),
            Err(e),
        ),
    };
    // Without a driver, any version is worth a line.
    let newest = cuda.unwrap_or(u32::MAX);
    Probe {
        driver,
        gpus,
        nvrtc: load_nvrtc(environment, newest).map(|(_, facts)| facts),
        cublas: load_cublas(environment, newest).map(|(_, facts)| facts),
        nccl: load_nccl(environment, newest).map(|(_, facts)| facts),
    }
}

/// Finds and loads the driver's library.
///
/// # Errors
/// [`Error::Device`] with the places tried.
pub fn load_driver(environment: &Environment) -> Result<(Api, DriverFacts)> {
    let found = for_ever(environment.load(Kind::Driver)?);
    let api = Api::load(found)?;
    let module = fs::read_to_string("/proc/driver/nvidia/version").ok();
    let facts = DriverFacts {
        path: found.path.clone(),
        cuda: api.version()?,
        module: module.and_then(|text| module_version(&text)),
    };
    Ok((api, facts))
}

/// Finds and loads the compiler, for a driver of CUDA `newest`.
///
/// # Errors
/// [`Error::Device`] with the places tried.
pub fn load_nvrtc(environment: &Environment, newest: u32) -> Result<(Nvrtc, LibraryFacts)> {
    let (nvrtc, passed_over) = Nvrtc::load_up_to(environment, newest)?;
    let facts = LibraryFacts {
        path: nvrtc.path().to_path_buf(),
        version: nvrtc.version(),
        patch: None,
        passed_over,
    };
    Ok((nvrtc, facts))
}

/// Finds and loads cuBLAS, for a driver of CUDA `newest`.
///
/// # Errors
/// [`Error::Device`] with the places tried.
pub fn load_cublas(environment: &Environment, newest: u32) -> Result<(Blas, LibraryFacts)> {
    let accept = |found| accept_cublas(for_ever(found), newest);
    let ((blas, mut facts), passed_over) = environment.find(Kind::Cublas, newest, accept)?;
    facts.passed_over = passed_over;
    Ok((blas, facts))
}

/// The functions of a library, if its version will do.
fn accept_cublas(found: &'static Found, newest: u32) -> Result<(Blas, LibraryFacts)> {
    let blas = Blas::load(found)?;
    let get = |property| {
        let mut value = 0;
        // SAFETY: writes one integer.
        let status = unsafe { (blas.cublasGetProperty)(property, &mut value) };
        check_blas("cublasGetProperty", status)?;
        Ok::<_, Error>(value.unsigned_abs())
    };
    let version = (get(Property::MAJOR_VERSION)?, get(Property::MINOR_VERSION)?);
    check_version("cuBLAS", &found.path, version, OLDEST_CUBLAS, newest)?;
    let facts = LibraryFacts {
        path: found.path.clone(),
        version,
        patch: None,
        passed_over: Vec::new(),
    };
    Ok((blas, facts))
}

/// Finds and loads NCCL, for a driver of CUDA `newest`.
///
/// # Errors
/// [`Error::Device`] with the places tried.
pub fn load_nccl(environment: &Environment, newest: u32) -> Result<(Nccl, LibraryFacts)> {
    let accept = |found| {
        let found = for_ever(found);
        let nccl = Nccl::new(nccl::Functions::load(found)?)?;
        let (major, minor, patch) = nccl.version;
        // Its version is none of CUDA's: one that is too new for the driver fails when it starts.
        check_version("NCCL", &found.path, (major, minor), nccl::OLDEST, u32::MAX)?;
        let facts = LibraryFacts {
            path: found.path.clone(),
            version: (major, minor),
            patch: Some(patch),
            passed_over: Vec::new(),
        };
        Ok((nccl, facts))
    };
    let ((nccl, mut facts), passed_over) = environment.find(Kind::Nccl, newest, accept)?;
    facts.passed_over = passed_over;
    Ok((nccl, facts))
}

/// Keeps a library loaded until the process ends. It runs threads and exit handlers of its own,
/// which unloading would pull the code from under.
fn for_ever(found: Found) -> &'static Found {
    Box::leak(Box::new(found))
}

/// The version in `/proc/driver/nvidia/version`: the first word with a number in front of a dot.
fn module_version(text: &str) -> Option<String> {
    let mut words = text.lines().next()?.split_whitespace();
    let version = words.find(|word| {
        let mut parts = word.split('.');
        parts.clone().count() > 1 && parts.all(|p| p.parse::<u32>().is_ok())
    })?;
    Some(version.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        let line = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15  Thu Jan 1 2025\nGCC";
        assert_eq!(module_version(line).as_deref(), Some("570.86.15"));
        let open = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release";
        assert_eq!(module_version(open).as_deref(), Some("580.65.06"));
        assert_eq!(module_version("no version here"), None);
    }

    #[test]
    fn nothing_found_is_said_of_everything() {
        let probe = probe_in(&Environment::default());
        for error in [
            probe.driver.unwrap_err(),
            probe.gpus.unwrap_err(),
            probe.nvrtc.unwrap_err(),
            probe.cublas.unwrap_err(),
            probe.nccl.unwrap_err(),
        ] {
            assert_eq!(error.exit_code(), 4);
        }
    }
}
