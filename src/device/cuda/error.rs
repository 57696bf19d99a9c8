//! Codes of the driver and of cuBLAS as messages: which call, what it says, what to do.

use super::api::{Api, Describe, Status};
use crate::device::driver::CONTEXT_GONE;
use crate::error::{Error, Result};
use std::ffi::CStr;
use std::ptr;

/// `CUDA_ERROR_OUT_OF_MEMORY`
pub const OUT_OF_MEMORY: Status = 2;

impl Api {
    /// Success, or the error that a call returned.
    ///
    /// # Errors
    /// [`Error::Op`] for a fault of arguments, [`Error::Device`] for the rest: also for a fault of a kernel,
    /// after which the process has no device any more.
    pub fn check(&self, call: &'static str, status: Status) -> Result<()> {
        if status == 0 {
            return Ok(());
        }
        let call = call.trim_end_matches("_v2");
        let name = text(self.error_name, status).unwrap_or_else(|| "unknown error".into());
        let what = text(self.error_string, status).unwrap_or_else(|| "no description".into());
        let mut message = format!("{what} ({name}, {status})");
        if is_sticky(status) {
            message = format!(
                "{message}; a kernel failed, this one or one before it (CUDA_LAUNCH_BLOCKING=1 tells), and \
                 {CONTEXT_GONE}"
            );
        } else if let Some(advice) = advice(status) {
            message = format!("{message}; {advice}");
        }
        Err(if is_fault(status) {
            Error::op(call, message)
        } else {
            Error::Device(format!("{call}: {message}"))
        })
    }
}

/// What the driver says about a code.
fn text(describe: Describe, status: Status) -> Option<String> {
    let mut text = ptr::null();
    // SAFETY: the driver sets the pointer to a constant string, or to null for unknown codes.
    unsafe {
        if describe(status, &mut text) != 0 || text.is_null() {
            return None;
        }
        Some(CStr::from_ptr(text).to_string_lossy().into_owned())
    }
}

/// Whether arguments are at fault rather than the device being unavailable.
fn is_fault(status: Status) -> bool {
    matches!(status, 1 | 400 | 500 | 701 | 801 | 900..=909 | 912)
}

/// Whether the GPU's context is lost: every later call returns the same code.
///
/// ECC and NVLink errors, illegal address, timeout, assertion, stack error, illegal instruction,
/// misaligned address, address space, program counter, launch failure, contained error.
fn is_sticky(status: Status) -> bool {
    matches!(status, 214 | 220 | 700 | 702 | 710 | 714..=719 | 721)
}

fn advice(status: Status) -> Option<&'static str> {
    Some(match status {
        OUT_OF_MEMORY => "a smaller batch-size or seq-length needs less memory",
        34 => {
            "the libcuda found is a stub of the CUDA toolkit: take its `stubs` folder out of \
             LD_LIBRARY_PATH"
        }
        46 => "another process may have the GPU to itself: see `nvidia-smi`",
        100 => {
            "look at `nvidia-smi` and CUDA_VISIBLE_DEVICES, and start a container with \
             `--gpus all`; `device cpu` runs without a GPU"
        }
        200 | 209 | 218 | 222 => {
            "the compiled kernels do not fit the driver: take an NVRTC of the driver's CUDA \
             version or older, or update the driver"
        }
        802 => "on a machine with NVSwitch the service nvidia-fabricmanager must run",
        803 => "the driver was updated while it was loaded: restart the machine",
        999 => "`dmesg` may say more; reload the driver or restart the machine",
        _ => return None,
    })
}

/// Success, or the error that a call to cuBLAS returned.
///
/// # Errors
/// As [`Api::check`].
pub fn check_blas(call: &'static str, status: Status) -> Result<()> {
    let (name, advice) = match status {
        0 => return Ok(()),
        1 => (
            "CUBLAS_STATUS_NOT_INITIALIZED",
            "cuBLAS could not start: too little free memory, or a cuBLAS that is newer than the \
             driver",
        ),
        3 => (
            "CUBLAS_STATUS_ALLOC_FAILED",
            "a smaller batch-size or seq-length needs less memory",
        ),
        7 => ("CUBLAS_STATUS_INVALID_VALUE", "an argument is wrong"),
        8 => ("CUBLAS_STATUS_ARCH_MISMATCH", "this GPU cannot do it"),
        11 => ("CUBLAS_STATUS_MAPPING_ERROR", "memory is not accessible"),
        13 => (
            "CUBLAS_STATUS_EXECUTION_FAILED",
            "the GPU could not run it, as after a kernel that failed; then the context is gone: start the \
             process again, and a run with --resume",
        ),
        14 => ("CUBLAS_STATUS_INTERNAL_ERROR", "an error inside cuBLAS"),
        15 => (
            "CUBLAS_STATUS_NOT_SUPPORTED",
            "this cuBLAS does not have it: a newer one may",
        ),
        16 => ("CUBLAS_STATUS_LICENSE_ERROR", "a licence is missing"),
        _ => ("an unknown error", "a newer cuBLAS than rnnx knows"),
    };
    let call = call.trim_end_matches("_v2");
    let message = format!("{name} ({status}): {advice}");
    Err(match status {
        7 | 11 | 14 | 15 => Error::op(call, message),
        _ => Error::Device(format!("{call}: {message}")),
    })
}
