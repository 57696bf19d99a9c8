//! NCCL's functions.
//!
//! Types and signatures are those of `nccl.h` (NCCL user guide, "NCCL API"), where they have been the same
//! since 2.14, the first version whose communicators need not block.

use crate::device::cuda::api::Status;
use crate::device::libraries::Found;
use crate::error::{Error, Result};
use cudarc::driver::sys::CUstream;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::fmt;
use std::ptr;

/// The first version that has all of [`Functions`].
pub const OLDEST: (u32, u32) = (2, 14);

/// `NCCL_UNIQUE_ID_BYTES`
pub const ID_BYTES: usize = 128;
/// `NCCL_API_MAGIC`
const MAGIC: c_uint = 0xcafe_beef;
/// `NCCL_VERSION_CODE` of the header whose configuration [`Config`] is.
const CONFIG_VERSION: c_uint = 21_400;
/// `ncclFloat32`
pub(super) const FLOAT32: c_int = 7;
/// `ncclSum`
pub(super) const SUM: c_int = 0;

/// `ncclSystemError`
pub(super) const SYSTEM_ERROR: Status = 2;
/// `ncclRemoteError`
pub(super) const REMOTE_ERROR: Status = 6;
/// `ncclInProgress`
pub(super) const IN_PROGRESS: Status = 7;

/// `ncclComm_t`
pub type Comm = *mut c_void;

/// `ncclUniqueId`: where a group meets.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct UniqueId(pub [u8; ID_BYTES]);

/// `ncclConfig_t` of 2.14. Later versions have more at its end, and take their defaults for what an
/// earlier one does not have.
#[derive(Debug)]
#[repr(C)]
pub struct Config {
    size: usize,
    magic: c_uint,
    version: c_uint,
    blocking: c_int,
}

impl Config {
    /// Of a communicator whose calls return at once.
    pub(super) fn not_blocking() -> Self {
        Config {
            size: size_of::<Self>(),
            magic: MAGIC,
            version: CONFIG_VERSION,
            blocking: 0,
        }
    }
}

macro_rules! functions {
    ($($name:ident($($arg:ty),* $(,)?) -> $result:ty;)*) => {
        /// NCCL's functions.
        #[allow(non_snake_case)] // NVIDIA's names
        #[derive(Clone, Copy, Debug)]
        pub struct Functions {
            $(pub $name: unsafe extern "C" fn($($arg),*) -> $result,)*
        }

        impl Functions {
            /// Looks up every function.
            ///
            /// # Errors
            /// [`Error::Device`] if one is missing: the library is too old.
            pub fn load(found: &Found) -> Result<Self> {
                // SAFETY: the signatures are those of nccl.h, but for the status, a C enum, whose values
                // fit `u32`. The library is never unloaded.
                unsafe {
                    Ok(Functions { $($name: found.symbol(stringify!($name))?,)* })
                }
            }

            /// The functions of a module of the tests.
            #[cfg(test)]
            pub fn fake() -> Self {
                Functions { $($name: crate::device::cuda::fake::$name,)* }
            }
        }
    };
}

functions! {
    ncclGetVersion(*mut c_int) -> Status;
    ncclGetUniqueId(*mut UniqueId) -> Status;
    ncclCommInitRankConfig(*mut Comm, c_int, UniqueId, c_int, *mut Config) -> Status;
    ncclCommGetAsyncError(Comm, *mut Status) -> Status;
    ncclAllGather(*const c_void, *mut c_void, usize, c_int, Comm, CUstream) -> Status;
    ncclAllReduce(*const c_void, *mut c_void, usize, c_int, c_int, Comm, CUstream) -> Status;
    ncclCommAbort(Comm) -> Status;
    ncclGetErrorString(Status) -> *const c_char;
    ncclGetLastError(Comm) -> *const c_char;
}

/// The library.
#[derive(Clone, Copy, Debug)]
pub struct Nccl {
    pub(super) functions: Functions,
    /// Major, minor and patch.
    pub version: (u32, u32, u32),
}

impl fmt::Display for Nccl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor, patch) = self.version;
        write!(f, "NCCL {major}.{minor}.{patch}")
    }
}

impl Nccl {
    /// The library of these functions.
    ///
    /// # Errors
    /// [`Error::Device`] if it does not tell its version.
    pub fn new(functions: Functions) -> Result<Self> {
        let mut code = 0;
        // SAFETY: writes one integer.
        let status = unsafe { (functions.ncclGetVersion)(&mut code) };
        let nccl = Nccl {
            functions,
            version: version(code.unsigned_abs()),
        };
        nccl.check("ncclGetVersion", status, ptr::null_mut())?;
        Ok(nccl)
    }

    /// Success, or the error that a call returned, with what NCCL says of the communicator.
    pub(super) fn check(&self, call: &str, status: Status, comm: Comm) -> Result<()> {
        if status == 0 {
            return Ok(());
        }
        // SAFETY: both return constant strings, or null; the communicator is alive or null.
        let [what, last] = unsafe {
            [
                text((self.functions.ncclGetErrorString)(status)),
                text((self.functions.ncclGetLastError)(comm)),
            ]
        };
        let what = what.unwrap_or_else(|| "unknown error".into());
        let last = last.map_or(String::new(), |last| format!(": {last}"));
        Err(Error::Device(format!(
            "{call}: {what} ({status}){last}; --exchange host does without NCCL"
        )))
    }
}

/// What `NCCL_VERSION_CODE` stands for: until 2.8 the minor version had one digit.
fn version(code: u32) -> (u32, u32, u32) {
    match code {
        0..10_000 => (code / 1000, code / 100 % 10, code % 100),
        _ => (code / 10_000, code / 100 % 100, code % 100),
    }
}

/// A string of NCCL's, if there is one and it says something.
///
/// # Safety
/// `at` is null or a string that nobody changes.
unsafe fn text(at: *const c_char) -> Option<String> {
    // SAFETY: as this function's.
    let text = (!at.is_null()).then(|| unsafe { CStr::from_ptr(at) });
    let text = text?.to_string_lossy().trim().to_owned();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        assert_eq!(version(2_804), (2, 8, 4));
        assert_eq!(version(21_805), (2, 18, 5));
        assert_eq!(version(23_203), (2, 32, 3));
    }
}
