//! Compiling the kernels for a GPU at run time, with NVRTC.
//!
//! The sources are in the binary. They include no CUDA header, so the library alone is enough, and
//! compiling needs no GPU.

use super::libraries::{Environment, Found, Kind, check_version};
use crate::error::{Error, Result};
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;
use std::ptr;

/// What kernels include: file name and text.
pub const HEADERS: [(&str, &str); 5] = [
    ("device.cuh", include_str!("../../kernels/device.cuh")),
    ("common.cuh", include_str!("../../kernels/common.cuh")),
    ("whole.cuh", include_str!("../../kernels/whole.cuh")),
    (
        "attention_whole.cuh",
        include_str!("../../kernels/attention_whole.cuh"),
    ),
    (
        "lstm_whole.cuh",
        include_str!("../../kernels/lstm_whole.cuh"),
    ),
];

/// How every one of them is compiled. Line information is kept, for profilers.
pub const OPTIONS: [&str; 2] = ["--std=c++17", "--generate-line-info"];

macro_rules! sources {
    ($($name:literal),* $(,)?) => {
        /// Every source of kernels: file name and text.
        pub const SOURCES: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../kernels/", $name)))),*];
    };
}
sources!(
    "adam.cu",
    "add_bias.cu",
    "attention.cu",
    "attention_steps.cu",
    "attention_whole_bwd.cu",
    "attention_whole_fwd.cu",
    "batch.cu",
    "cast.cu",
    "concat.cu",
    "copy_xent.cu",
    "dot_attention.cu",
    "dropout.cu",
    "elementwise.cu",
    "embedding.cu",
    "gelu.cu",
    "gru.cu",
    "layer_norm.cu",
    "likeliest.cu",
    "lstm.cu",
    "lstm_whole_bwd.cu",
    "lstm_whole_fwd.cu",
    "measure.cu",
    "reduce.cu",
    "rnn.cu",
    "rnn_whole.cu",
    "softmax_xent.cu",
);

/// The compiler.
#[derive(Debug)]
pub struct Nvrtc {
    found: Found,
    version: (u32, u32),
    create: Create,
    compile: Compile,
    log_size: Size,
    log: Read,
    cubin_size: Size,
    cubin: Read,
    error_string: ErrorString,
    destroy: unsafe extern "C" fn(*mut Program) -> Status,
}

type Status = c_int;
/// `nvrtcProgram`
type Program = *mut c_void;
type Create = unsafe extern "C" fn(
    *mut Program,
    *const c_char,
    *const c_char,
    c_int,
    *const *const c_char,
    *const *const c_char,
) -> Status;
type Compile = unsafe extern "C" fn(Program, c_int, *const *const c_char) -> Status;
type Size = unsafe extern "C" fn(Program, *mut usize) -> Status;
type Read = unsafe extern "C" fn(Program, *mut c_char) -> Status;
type ErrorString = unsafe extern "C" fn(Status) -> *const c_char;

/// The oldest version that compiles the kernels: the parser of 12.0 ends in a crash on some of them.
const OLDEST: (u32, u32) = (12, 1);

impl Nvrtc {
    /// Finds and loads the library.
    ///
    /// # Errors
    /// [`Error::Device`] if none is there (with the places tried) that rnnx can use.
    pub fn load(environment: &Environment) -> Result<Self> {
        Self::load_up_to(environment, u32::MAX).map(|(nvrtc, _)| nvrtc)
    }

    /// Finds and loads the library of CUDA `major` or older: a driver runs no code that a later
    /// major version compiled. The second value says which were passed over, and why.
    ///
    /// # Errors
    /// As [`Nvrtc::load`].
    pub fn load_up_to(environment: &Environment, major: u32) -> Result<(Self, Vec<String>)> {
        environment.find(Kind::Nvrtc, major, |found| Self::accept(found, major))
    }

    /// The functions of a library, if its version will do.
    fn accept(found: Found, newest: u32) -> Result<Self> {
        // SAFETY: the types above are those of nvrtc.h, where these signatures have been the same
        // since CUDA 11; the pointers are used only while `found` is alive, in the same struct.
        unsafe {
            let get_version: unsafe extern "C" fn(*mut c_int, *mut c_int) -> Status =
                found.symbol("nvrtcVersion")?;
            let (mut major, mut minor) = (0, 0);
            get_version(&mut major, &mut minor);
            let version = (major.unsigned_abs(), minor.unsigned_abs());
            check_version("NVRTC", &found.path, version, OLDEST, newest)?;
            Ok(Nvrtc {
                version,
                create: found.symbol("nvrtcCreateProgram")?,
                compile: found.symbol("nvrtcCompileProgram")?,
                log_size: found.symbol("nvrtcGetProgramLogSize")?,
                log: found.symbol("nvrtcGetProgramLog")?,
                cubin_size: found.symbol("nvrtcGetCUBINSize")?,
                cubin: found.symbol("nvrtcGetCUBIN")?,
                error_string: found.symbol("nvrtcGetErrorString")?,
                destroy: found.symbol("nvrtcDestroyProgram")?,
                found,
            })
        }
    }

    /// Major and minor version.
    pub fn version(&self) -> (u32, u32) {
        self.version
    }

    /// Where the library was found.
    pub fn path(&self) -> &Path {
        &self.found.path
    }

    /// Compiles one source (which may include [`HEADERS`]) to machine code (CUBIN) for an
    /// architecture such as `sm_90a`, with [`OPTIONS`].
    ///
    /// # Errors
    /// [`Error::Device`] with the compiler's log, which names file and line.
    pub fn compile(&self, name: &str, source: &str, architecture: &str) -> Result<Vec<u8>> {
        let text = |s: &str| {
            CString::new(s).map_err(|_| Error::Device(format!("{name}: a zero byte in {s:?}")))
        };
        let (file, source) = (text(name)?, text(source)?);
        let strings = |all: [&str; HEADERS.len()]| -> Result<Vec<CString>> {
            all.into_iter().map(text).collect()
        };
        let names = strings(HEADERS.map(|(name, _)| name))?;
        let headers = strings(HEADERS.map(|(_, source)| source))?;
        let pointers = |all: &[CString]| -> Vec<_> { all.iter().map(|s| s.as_ptr()).collect() };
        let (names, headers) = (pointers(&names), pointers(&headers));
        let architecture_option = text(&format!("--gpu-architecture={architecture}"))?;
        let options = OPTIONS.map(text).into_iter().collect::<Result<Vec<_>>>()?;
        let options = [&architecture_option].into_iter().chain(&options);
        let options: Vec<_> = options.map(|o| o.as_ptr()).collect();
        let mut program = ptr::null_mut();
        // SAFETY: all strings outlive the calls; `program` is destroyed on every way out.
        unsafe {
            let status = (self.create)(
                &mut program,
                source.as_ptr(),
                file.as_ptr(),
                HEADERS.len() as c_int,
                headers.as_ptr(),
                names.as_ptr(),
            );
            self.check(status, "create a program for", name)?;
            let program = Guard(self, program);
            let status = (self.compile)(program.1, options.len() as c_int, options.as_ptr());
            if status != 0 {
                let log = self.read(program.1, name, self.log_size, self.log)?;
                let log = String::from_utf8_lossy(&log);
                let log = log.trim_end_matches(['\0', '\n']);
                return Err(Error::Device(format!(
                    "NVRTC {}.{} cannot compile {name} for {architecture} ({}):\n{log}",
                    self.version.0,
                    self.version.1,
                    self.describe(status)
                )));
            }
            self.read(program.1, name, self.cubin_size, self.cubin)
        }
    }

    /// Reads one of a program's outputs.
    ///
    /// # Safety
    /// `program` is alive.
    unsafe fn read(&self, program: Program, name: &str, size: Size, read: Read) -> Result<Vec<u8>> {
        let mut bytes = 0;
        // SAFETY: the library writes as many bytes as it announced.
        unsafe {
            self.check(size(program, &mut bytes), "measure the output of", name)?;
            let mut out = vec![0u8; bytes];
            let status = read(program, out.as_mut_ptr().cast());
            self.check(status, "read the output of", name)?;
            Ok(out)
        }
    }

    fn check(&self, status: Status, action: &str, name: &str) -> Result<()> {
        if status == 0 {
            return Ok(());
        }
        let why = self.describe(status);
        Err(Error::Device(format!(
            "NVRTC cannot {action} {name}: {why}"
        )))
    }

    fn describe(&self, status: Status) -> String {
        // SAFETY: the library returns a constant string for every number.
        unsafe {
            let text = (self.error_string)(status);
            if text.is_null() {
                return format!("error {status}");
            }
            CStr::from_ptr(text).to_string_lossy().into_owned()
        }
    }
}

/// Destroys its program.
struct Guard<'a>(&'a Nvrtc, Program);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        // SAFETY: created by the same library, destroyed once.
        unsafe { (self.0.destroy)(&mut self.1) };
    }
}
