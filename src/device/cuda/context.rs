//! Which GPU, and the driver's context on it, which everything else lives in.

use super::api::{Api, call};
use crate::error::{Error, Result};
use cudarc::driver::sys::{self, CUdevice_attribute as Attribute};
use std::ffi::{CStr, c_char, c_int};
use std::fmt;
use std::ptr;
use std::sync::Arc;

/// The oldest CUDA version of a driver that rnnx runs on: the first with cluster launches.
const OLDEST_DRIVER: (u32, u32) = (12, 0);
/// The oldest compute capability: f16 matrix instructions as the kernels use them.
const OLDEST_CAPABILITY: (u32, u32) = (7, 5);

/// A GPU that the driver shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuFacts {
    /// `N` of `--device cuda:N`.
    pub number: u32,
    /// For example `NVIDIA H200`.
    pub name: String,
    /// Major and minor compute capability.
    pub capability: (u32, u32),
    /// Bytes of device memory.
    pub memory: usize,
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
    /// Bytes of the L2 cache, where the driver tells.
    pub l2_bytes: Option<u32>,
    /// The highest clock of the multiprocessors in kHz, where the driver tells.
    pub clock_khz: Option<u32>,
    /// The highest clock of the memory in kHz, where the driver tells.
    pub memory_clock_khz: Option<u32>,
    /// Whether the GPU reads the host's pageable memory by itself.
    pub pageable_access: bool,
    /// Whether it does so through the host's page tables.
    pub host_page_tables: bool,
}

impl fmt::Display for GpuFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor) = self.capability;
        write!(
            f,
            "{}, compute capability {major}.{minor}, {}",
            self.name,
            gib(self.memory)
        )
    }
}

impl GpuFacts {
    /// What else the driver tells, in a line.
    pub fn details(&self) -> String {
        let mhz = |khz: Option<u32>| match khz {
            Some(khz) => format!("{} MHz", khz / 1000),
            None => "not told".into(),
        };
        let yes = |it| if it { "yes" } else { "no" };
        format!(
            "{} multiprocessors, L2 {}, clock {}, memory clock {}, reads pageable host memory: {}, \
             through the host's page tables: {}",
            self.multiprocessors,
            self.l2_bytes
                .map_or("not told".into(), |bytes| gib(bytes as usize)),
            mhz(self.clock_khz),
            mhz(self.memory_clock_khz),
            yes(self.pageable_access),
            yes(self.host_page_tables)
        )
    }
}

/// Bytes in GiB, or in MiB below one.
pub fn gib(bytes: usize) -> String {
    let bytes = bytes as f64;
    if bytes < 1024f64.powi(3) {
        format!("{:.1} MiB", bytes / 1024f64.powi(2))
    } else {
        format!("{:.1} GiB", bytes / 1024f64.powi(3))
    }
}

/// A handle of the driver's.
pub struct Handle<T>(pub *mut T);

// SAFETY: a handle is a name; the driver takes it from any thread and does its own locking.
unsafe impl<T> Send for Handle<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Handle<T> {}

impl<T> Clone for Handle<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Handle<T> {}

impl<T> fmt::Debug for Handle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:p}", self.0)
    }
}

impl Api {
    /// The CUDA version that the driver was made for.
    ///
    /// # Errors
    /// [`Error::Device`] if the driver does not say.
    pub fn version(&self) -> Result<(u32, u32)> {
        let mut version = 0;
        // SAFETY: writes one integer; may be called before everything else.
        unsafe { call!(self, cuDriverGetVersion(&mut version))? };
        let version = version.unsigned_abs();
        Ok((version / 1000, version % 1000 / 10))
    }

    /// All GPUs. Starts the driver.
    ///
    /// # Errors
    /// [`Error::Device`] if the driver is too old, does not start, or there is no GPU.
    pub fn gpus(&self) -> Result<Vec<GpuFacts>> {
        let (have, need) = (self.version()?, OLDEST_DRIVER);
        if have < need {
            return Err(Error::Device(format!(
                "the NVIDIA driver is too old: it is made for CUDA {}.{}, and rnnx needs one for \
                 {}.{} (525 or newer); update it, or use `device cpu`",
                have.0, have.1, need.0, need.1
            )));
        }
        let mut count = 0;
        // SAFETY: writes one integer; cuInit comes first, as it must.
        unsafe {
            call!(self, cuInit(0))?;
            call!(self, cuDeviceGetCount(&mut count))?;
        }
        (0..count.unsigned_abs()).map(|n| self.gpu(n)).collect()
    }

    fn gpu(&self, number: u32) -> Result<GpuFacts> {
        let device = self.device(number)?;
        let mut name = [0 as c_char; 256];
        let mut memory = 0;
        // SAFETY: the driver writes at most `name.len() - 1` characters, then a zero.
        unsafe {
            let len = name.len() as c_int;
            call!(self, cuDeviceGetName(name.as_mut_ptr(), len, device))?;
            call!(self, cuDeviceTotalMem_v2(&mut memory, device))?;
        }
        // SAFETY: the last byte is still zero.
        let name = unsafe { CStr::from_ptr(name.as_ptr()) };
        let get = |attribute| Ok::<_, Error>(self.attribute(device, attribute)?.unsigned_abs());
        Ok(GpuFacts {
            number,
            name: name.to_string_lossy().into_owned(),
            capability: (
                get(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
                get(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
            ),
            memory,
            multiprocessors: get(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
            l2_bytes: get(Attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE).ok(),
            clock_khz: get(Attribute::CU_DEVICE_ATTRIBUTE_CLOCK_RATE).ok(),
            memory_clock_khz: get(Attribute::CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE).ok(),
            pageable_access: get(Attribute::CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS)? != 0,
            host_page_tables: get(
                Attribute::CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS_USES_HOST_PAGE_TABLES,
            )? != 0,
        })
    }

    fn device(&self, number: u32) -> Result<sys::CUdevice> {
        let mut device = 0;
        // SAFETY: writes one integer.
        unsafe { call!(self, cuDeviceGet(&mut device, number.cast_signed()))? };
        Ok(device)
    }

    fn attribute(&self, device: sys::CUdevice, attribute: Attribute) -> Result<c_int> {
        let mut value = 0;
        // SAFETY: writes one integer.
        unsafe { call!(self, cuDeviceGetAttribute(&mut value, attribute, device))? };
        Ok(value)
    }
}

/// The number of the GPU `number` of a rank whose machine has `first` ranks before it. A launcher that shows
/// each rank but its own GPU, as `srun --gpus-per-task=1`, leaves nothing to count on from.
pub fn of_rank(gpus: &[GpuFacts], number: u32, first: u32) -> u32 {
    match gpus {
        [_] => number,
        _ => number.saturating_add(first),
    }
}

/// The GPU with this number, if rnnx can use it.
///
/// # Errors
/// [`Error::Device`] with the GPUs that there are.
pub fn select(gpus: &[GpuFacts], number: u32) -> Result<&GpuFacts> {
    let Some(gpu) = gpus.iter().find(|gpu| gpu.number == number) else {
        let list: Vec<String> = gpus
            .iter()
            .map(|gpu| format!("cuda:{} ({gpu})", gpu.number))
            .collect();
        return Err(Error::Device(format!(
            "there is no GPU cuda:{number}. There is {}; CUDA_VISIBLE_DEVICES chooses which are \
             shown",
            if list.is_empty() {
                "none".to_string()
            } else {
                list.join(", ")
            }
        )));
    };
    if gpu.capability < OLDEST_CAPABILITY {
        return Err(Error::Device(format!(
            "cuda:{number} ({gpu}) is too old: rnnx needs compute capability {}.{} (Turing, 2018) \
             or newer; use `device cpu`",
            OLDEST_CAPABILITY.0, OLDEST_CAPABILITY.1
        )));
    }
    Ok(gpu)
}

/// The primary context of a GPU, kept as long as anything lives in it.
#[derive(Debug)]
pub struct Context {
    /// The driver.
    pub api: Api,
    /// The GPU.
    pub gpu: GpuFacts,
    /// Most bytes of shared memory a block can have.
    pub shared_limit: u32,
    device: sys::CUdevice,
    raw: Handle<sys::CUctx_st>,
}

impl Context {
    /// Opens the context.
    ///
    /// # Errors
    /// [`Error::Device`] if the driver refuses.
    pub fn new(api: Api, gpu: GpuFacts) -> Result<Arc<Self>> {
        let device = api.device(gpu.number)?;
        let shared = api.attribute(
            device,
            Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN,
        )?;
        let mut raw = ptr::null_mut();
        // SAFETY: writes one pointer; the context is released in `drop`.
        unsafe { call!(api, cuDevicePrimaryCtxRetain(&mut raw, device))? };
        let context = Arc::new(Context {
            api,
            gpu,
            shared_limit: shared.unsigned_abs(),
            device,
            raw: Handle(raw),
        });
        context.enter()?;
        Ok(context)
    }

    /// Makes the context this thread's. Every call that needs one is preceded by this.
    ///
    /// # Errors
    /// [`Error::Device`] if the driver refuses.
    pub fn enter(&self) -> Result<()> {
        // SAFETY: the context is alive.
        unsafe { call!(self.api, cuCtxSetCurrent(self.raw.0)) }
    }

    /// Bytes that are free, and all.
    ///
    /// # Errors
    /// [`Error::Device`] if the driver refuses.
    pub fn memory(&self) -> Result<(usize, usize)> {
        let (mut free, mut total) = (0, 0);
        self.enter()?;
        // SAFETY: writes two integers.
        unsafe { call!(self.api, cuMemGetInfo_v2(&mut free, &mut total))? };
        Ok((free, total))
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: retained once in `new`; nothing that lives in it is left. An error has nobody to
        // go to: at the end of the process the driver may be gone already.
        unsafe { (self.api.driver.cuDevicePrimaryCtxRelease_v2)(self.device) };
    }
}
