//! The loaded kernels by name, and launching them.

use super::api::{Status, call};
use super::context::{Context, Handle};
use super::cubin::Cubin;
use crate::device::driver::{Arg, Launch};
use crate::error::{Error, Result};
use cudarc::driver::sys::{self, CUfunction_attribute as Attribute};
use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::ptr;
use std::sync::Arc;

/// The first compute capability with clusters.
const CLUSTERS: (u32, u32) = (9, 0);
/// What the driver answers for a size of clusters that the GPU does not have: an invalid value, or
/// `CUDA_ERROR_INVALID_CLUSTER_SIZE`.
const NO_SUCH_CLUSTERS: [Status; 2] = [1, 912];

/// All kernels of the program.
#[derive(Debug)]
pub struct Kernels {
    context: Arc<Context>,
    modules: Vec<Handle<sys::CUmod_st>>,
    table: HashMap<String, Kernel>,
}

/// A kernel, and what a launch of it must keep to.
#[derive(Debug)]
struct Kernel {
    raw: Handle<sys::CUfunc_st>,
    /// Threads a block, at most: its registers decide.
    max_threads: u32,
    /// Bytes of dynamic shared memory a block, at most.
    max_shared: u32,
    /// Bytes of each argument; not known before CUDA 12.4.
    args: Option<Vec<usize>>,
}

impl Kernels {
    /// Loads machine code.
    ///
    /// # Errors
    /// [`Error::Device`] if the driver refuses it.
    pub fn new(context: Arc<Context>, cubins: &[Cubin]) -> Result<Self> {
        context.enter()?;
        let mut kernels = Kernels {
            context,
            modules: Vec::new(),
            table: HashMap::new(),
        };
        for cubin in cubins {
            kernels.load(cubin).map_err(|e| {
                Error::Device(format!("the kernels of {} do not load: {e}", cubin.file))
            })?;
        }
        Ok(kernels)
    }

    fn load(&mut self, cubin: &Cubin) -> Result<()> {
        let names = cubin.kernels()?;
        if names.is_empty() {
            return Ok(()); // a source that is for other architectures
        }
        let mut module = ptr::null_mut();
        let image = cubin.image.as_ptr().cast();
        // SAFETY: a whole ELF file, whose length is in it; the driver copies what it needs. The
        // module is unloaded in `drop`.
        unsafe { call!(self.context.api, cuModuleLoadData(&mut module, image))? };
        self.modules.push(Handle(module));
        for name in names {
            let kernel = self.find(module, &name)?;
            self.table.insert(name, kernel);
        }
        Ok(())
    }

    fn find(&self, module: sys::CUmodule, name: &str) -> Result<Kernel> {
        let api = &self.context.api;
        let symbol = CString::new(name)
            .map_err(|_| Error::Device(format!("a zero byte in the name {name:?}")))?;
        let mut raw = ptr::null_mut();
        // SAFETY: writes one pointer; the name ends in a zero, and the module is loaded.
        unsafe { call!(api, cuModuleGetFunction(&mut raw, module, symbol.as_ptr()))? };
        let get = |attribute| {
            let mut value = 0;
            // SAFETY: writes one integer; the function is loaded.
            unsafe { call!(api, cuFuncGetAttribute(&mut value, attribute, raw))? };
            Ok::<_, Error>(value.unsigned_abs())
        };
        let set = |attribute, value: u32| {
            // SAFETY: the function is loaded.
            unsafe { call!(api, cuFuncSetAttribute(raw, attribute, value.cast_signed())) }
        };
        let static_shared = get(Attribute::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES)?;
        let max_shared = self.context.shared_limit.saturating_sub(static_shared);
        // Once and for all: more than 48 KiB, and clusters of more than 8 blocks, are only given
        // to kernels that ask.
        set(
            Attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
            max_shared,
        )?;
        if self.context.gpu.capability >= CLUSTERS {
            set(
                Attribute::CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED,
                1,
            )?;
        }
        Ok(Kernel {
            raw: Handle(raw),
            max_threads: get(Attribute::CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK)?,
            max_shared,
            args: self.arg_sizes(raw),
        })
    }

    fn arg_sizes(&self, raw: sys::CUfunction) -> Option<Vec<usize>> {
        let info = self.context.api.param_info?;
        let size = |i| {
            let (mut offset, mut size) = (0, 0);
            // SAFETY: writes two integers; fails for an index past the last argument.
            (unsafe { info(raw, i, &mut offset, &mut size) } == 0).then_some(size)
        };
        Some((0..).map_while(size).collect())
    }

    /// Queues a kernel.
    ///
    /// # Errors
    /// [`Error::Op`] for a launch that cannot be.
    pub fn launch(&self, stream: sys::CUstream, launch: &Launch, args: &[Arg]) -> Result<()> {
        let fail = |message: String| {
            let (name, grid, block) = (launch.kernel, launch.grid, launch.block);
            let message = format!("{name} (grid {grid:?}, block {block}): {message}");
            Error::op("launch", message)
        };
        let Some(kernel) = self.table.get(launch.kernel) else {
            return Err(fail("there is no such kernel".into()));
        };
        self.check(kernel, launch, args).map_err(fail)?;
        let mut slots = slots(args);
        let mut pointers: Vec<*mut c_void> = slots
            .iter_mut()
            .map(|slot| ptr::from_mut(slot).cast())
            .collect();
        let mut cluster = cluster_attribute(launch.cluster);
        let config = config(launch, &mut cluster, stream);
        self.context.enter()?;
        let (raw, pointers) = (kernel.raw.0, pointers.as_mut_ptr());
        // SAFETY: everything that is pointed to lives until the call returns, which is when the
        // driver has copied it. One pointer an argument, each to as many bytes as it has, is what
        // `check` makes sure of where the driver tells, and what the emulated device makes sure of
        // for every launch in the program.
        let result = unsafe {
            call!(
                self.context.api,
                cuLaunchKernelEx(&config, raw, pointers, ptr::null_mut())
            )
        };
        result.map_err(|e| match e {
            Error::Op { op, message } => fail(format!("{op}: {message}")),
            other => other,
        })
    }

    /// How many clusters of such a launch, or blocks of one without clusters, can run at once.
    ///
    /// # Errors
    /// [`Error::Device`] if the driver fails.
    pub fn clusters(&self, launch: &Launch) -> Result<u32> {
        let Some(kernel) = self.table.get(launch.kernel) else {
            return Ok(0); // compiled for a GPU that cannot run it
        };
        let fits = launch.shared_bytes <= kernel.max_shared && launch.block <= kernel.max_threads;
        let has_clusters = self.context.gpu.capability >= CLUSTERS;
        if !fits || (launch.cluster > 1 && !has_clusters) {
            return Ok(0);
        }
        self.context.enter()?;
        let (mut number, raw) = (0, kernel.raw.0);
        if launch.cluster == 1 {
            let (threads, bytes) = (launch.block.cast_signed(), launch.shared_bytes as usize);
            // SAFETY: writes one integer; the function is loaded.
            unsafe {
                call!(
                    self.context.api,
                    cuOccupancyMaxActiveBlocksPerMultiprocessor(&mut number, raw, threads, bytes)
                )?;
            }
            return Ok(number.unsigned_abs() * self.context.gpu.multiprocessors);
        }
        let mut cluster = cluster_attribute(launch.cluster);
        let config = config(launch, &mut cluster, ptr::null_mut());
        // SAFETY: writes one integer; the function is loaded, and the configuration is read before
        // the call returns.
        let api = &self.context.api;
        let status =
            unsafe { (api.driver.cuOccupancyMaxActiveClusters)(&mut number, raw, &config) };
        if NO_SUCH_CLUSTERS.contains(&status) {
            return Ok(0);
        }
        api.check("cuOccupancyMaxActiveClusters", status)?;
        Ok(number.unsigned_abs())
    }

    /// What can be known to be wrong with a launch.
    fn check(&self, kernel: &Kernel, launch: &Launch, args: &[Arg]) -> Result<(), String> {
        if launch.block == 0 || launch.block > kernel.max_threads {
            let max = kernel.max_threads;
            return Err(format!("a block of this kernel has 1 to {max} threads"));
        }
        if launch.grid.contains(&0) {
            return Err("a grid without blocks".into());
        }
        if launch.shared_bytes > kernel.max_shared {
            let (have, max) = (launch.shared_bytes, kernel.max_shared);
            return Err(format!("{have} bytes of shared memory, {max} are possible"));
        }
        if launch.cluster == 0 || !launch.grid[0].is_multiple_of(launch.cluster) {
            let cluster = launch.cluster;
            return Err(format!("clusters of {cluster} blocks do not fill the grid"));
        }
        if launch.cluster > 1 && self.context.gpu.capability < CLUSTERS {
            let (major, minor) = self.context.gpu.capability;
            return Err(format!(
                "clusters need compute capability 9.0, this is {major}.{minor}"
            ));
        }
        let given: Vec<usize> = args.iter().map(|&arg| size_of_arg(arg)).collect();
        if let Some(wanted) = kernel.args.as_ref().filter(|wanted| **wanted != given) {
            return Err(format!(
                "arguments of {given:?} bytes, the kernel takes {wanted:?}"
            ));
        }
        Ok(())
    }
}

impl Drop for Kernels {
    fn drop(&mut self) {
        if self.context.enter().is_err() {
            return; // the driver is gone, and the modules with it
        }
        for module in &self.modules {
            // SAFETY: loaded in `load`, unloaded once.
            unsafe { (self.context.api.driver.cuModuleUnload)(module.0) };
        }
    }
}

/// Bytes of an argument.
fn size_of_arg(arg: Arg) -> usize {
    match arg {
        Arg::Ptr(_) | Arg::U64(_) => 8,
        Arg::U32(_) | Arg::I32(_) | Arg::F32(_) => 4,
    }
}

/// An argument's bytes, at the start of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(8))]
struct Slot([u8; 8]);

/// The arguments as the driver reads them.
fn slots(args: &[Arg]) -> Vec<Slot> {
    let four = |bytes: [u8; 4]| {
        let mut slot = [0; 8];
        slot[..4].copy_from_slice(&bytes);
        Slot(slot)
    };
    let slot = |arg: &Arg| match *arg {
        Arg::Ptr(ptr) => Slot(ptr.address().to_ne_bytes()),
        Arg::U64(x) => Slot(x.to_ne_bytes()),
        Arg::U32(x) => four(x.to_ne_bytes()),
        Arg::I32(x) => four(x.to_ne_bytes()),
        Arg::F32(x) => four(x.to_ne_bytes()),
    };
    args.iter().map(slot).collect()
}

/// A launch as the driver takes it.
fn config(
    launch: &Launch,
    cluster: &mut sys::CUlaunchAttribute,
    stream: sys::CUstream,
) -> sys::CUlaunchConfig {
    sys::CUlaunchConfig {
        gridDimX: launch.grid[0],
        gridDimY: launch.grid[1],
        gridDimZ: launch.grid[2],
        blockDimX: launch.block,
        blockDimY: 1,
        blockDimZ: 1,
        sharedMemBytes: launch.shared_bytes,
        hStream: stream,
        attrs: cluster,
        numAttrs: u32::from(launch.cluster > 1),
    }
}

/// Blocks of a cluster, along x.
fn cluster_attribute(blocks: u32) -> sys::CUlaunchAttribute {
    let value = sys::CUlaunchAttributeValue {
        clusterDim: sys::CUlaunchAttributeValue_union__bindgen_ty_1 {
            x: blocks,
            y: 1,
            z: 1,
        },
    };
    sys::CUlaunchAttribute {
        id: sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION,
        pad: [0; 4],
        value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::driver::DevicePtr;

    #[test]
    fn arguments_lie_in_slots() {
        let args = [
            Arg::Ptr(DevicePtr::new(0x1122_3344_5566_7788)),
            Arg::U32(0xAABB_CCDD),
            Arg::I32(-2),
            Arg::U64(7),
            Arg::F32(1.5),
        ];
        let slots = slots(&args);
        let four = |i: usize| [0, 1, 2, 3].map(|j| slots[i].0[j]);
        assert_eq!(slots[0].0, 0x1122_3344_5566_7788u64.to_ne_bytes());
        assert_eq!(u32::from_ne_bytes(four(1)), 0xAABB_CCDD);
        assert_eq!(i32::from_ne_bytes(four(2)), -2);
        assert_eq!(slots[3].0, 7u64.to_ne_bytes());
        assert_eq!(f32::from_ne_bytes(four(4)), 1.5);
        assert_eq!(args.map(size_of_arg), [8, 4, 4, 8, 4]);
        assert!(slots.iter().all(|s| ptr::from_ref(s).addr() % 8 == 0));
    }
}
