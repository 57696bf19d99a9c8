//! An NVIDIA GPU: our kernels compiled for it at run time, and cuBLAS.
//!
//! Nothing of CUDA is needed to build rnnx, and everything is looked for before it is used: a
//! missing library, an old driver or an absent GPU is an error that says what to do.
//!
//! - `api`: the functions of the driver and of cuBLAS, as tables
//! - `error`: their codes as messages
//! - `probe`: what is on this machine
//! - `context`: which GPU, and the driver's context on it
//! - `memory`, `staging` (uploads), `stream` (events, graphs), `cubin` (compiling), `kernels` (launching), `blas`
//! - `nccl`: exchanges with other GPUs

mod api;
mod blas;
mod context;
mod cubin;
mod cubin_cache;
mod error;
#[cfg(test)]
mod fake;
mod kernels;
mod memory;
mod nccl;
mod probe;
mod staging;
mod stream;
#[cfg(test)]
mod tests;

pub use context::GpuFacts;
pub use probe::{DriverFacts, LibraryFacts, Probe, probe};

use super::collectives::Collectives;
use super::driver::{Arg, DevicePtr, Driver, Event, Gemm, Graph, Launch};
use super::libraries::Environment;
use crate::error::{Error, Result};
use api::{Api, call};
use blas::Blas;
use context::{Context, of_rank, select};
use cubin::Cubin;
use kernels::Kernels;
use memory::Buffers;
use nccl::Nccl;
use staging::Staging;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use stream::Stream;

/// A GPU. All work goes through one stream.
#[derive(Debug)]
pub struct Cuda {
    description: String,
    /// A graph is being recorded.
    capturing: AtomicBool,
    /// The major version of CUDA that the driver is made for.
    cuda: u32,
    /// Once it has been asked for.
    nccl: OnceLock<Nccl>,
    // In the order in which they go: the stream's work is waited for before (see `drop`), then
    // what uses the context, then the context.
    blas: Blas,
    kernels: Kernels,
    memory: Buffers,
    staging: Staging,
    stream: Stream,
    context: Arc<Context>,
}

impl Cuda {
    /// Opens `cuda:<number>`: finds the driver, NVRTC and cuBLAS, and compiles all kernels for
    /// this GPU, which takes some seconds, unless that has been done and is kept (see
    /// `cubin_cache`).
    ///
    /// # Errors
    /// [`Error::Device`] with what is missing or too old, the places tried, and the way out.
    pub fn open(number: u32) -> Result<Self> {
        Self::open_from(number, 0)
    }

    /// The same of the GPUs from number `first` on, as the ranks of a machine have one each; where a single
    /// one is shown, that is the rank's own.
    ///
    /// # Errors
    /// As [`Cuda::open`].
    pub fn open_from(number: u32, first: u32) -> Result<Self> {
        let environment = &Environment::of_process();
        let (api, driver) = probe::load_driver(environment).map_err(|e| {
            Error::Device(format!(
                "no NVIDIA GPU can be used here: {e}. `device cpu` runs without one"
            ))
        })?;
        let gpus = api.gpus()?;
        let gpu = select(&gpus, of_rank(&gpus, number, first))?.clone();
        let (nvrtc, _) = probe::load_nvrtc(environment, driver.cuda.0)?;
        let (blas, _) = probe::load_cublas(environment, driver.cuda.0)?;
        let architecture = cubin::architecture(gpu.capability);
        let folder = crate::files::cache::folder();
        let kept = folder.and_then(|f| cubin_cache::file_in(&f, &nvrtc, &architecture));
        let compile = || cubin::compile(&nvrtc, gpu.capability);
        let cubins = cubin_cache::cached(kept.as_deref(), compile)?;
        Self::start(api, blas, gpu, &driver, &cubins)
    }

    /// Opens the GPU with everything at hand.
    fn start(
        api: Api,
        functions: api::Blas,
        gpu: GpuFacts,
        driver: &DriverFacts,
        cubins: &[Cubin],
    ) -> Result<Self> {
        let module = driver.module.as_deref().unwrap_or("of unknown version");
        let (major, minor) = driver.cuda;
        let description = format!("{gpu}, driver {module} for CUDA {major}.{minor}");
        let context = Context::new(api, gpu)?;
        let stream = Stream::new(context.clone())?;
        Ok(Cuda {
            description,
            capturing: AtomicBool::new(false),
            cuda: major,
            nccl: OnceLock::new(),
            blas: Blas::new(context.clone(), functions, stream.raw())?,
            kernels: Kernels::new(context.clone(), cubins)?,
            memory: Buffers::new(context.clone()),
            staging: Staging::new(context.clone())?,
            stream,
            context,
        })
    }

    /// The event, if it is of this device.
    fn event<'a>(&self, event: &'a Event) -> Option<&'a stream::Event> {
        let event: Option<&stream::Event> = event.0.downcast_ref();
        event.filter(|event| event.is_of(&self.context))
    }

    /// Refuses what a graph cannot hold.
    fn outside_capture(&self, what: &'static str) -> Result<()> {
        if self.capturing.load(Ordering::SeqCst) {
            return Err(Error::op(what, "not possible while a graph is captured"));
        }
        Ok(())
    }
}

impl Drop for Cuda {
    fn drop(&mut self) {
        // What is queued uses the memory and the modules that are about to go. A fault in it has
        // nobody left to hear of it.
        drop(self.staging.wait(&self.stream));
    }
}

impl Driver for Cuda {
    fn description(&self) -> String {
        self.description.clone()
    }

    fn alloc(&self, bytes: usize) -> Result<DevicePtr> {
        self.outside_capture("alloc")?;
        self.memory.alloc(bytes)
    }

    fn free(&self, ptr: DevicePtr) -> Result<()> {
        self.outside_capture("free")?;
        self.staging.wait(&self.stream)?;
        self.memory.free(ptr)
    }

    fn upload(&self, to: DevicePtr, from: &[u8]) -> Result<()> {
        self.outside_capture("upload")?;
        self.memory.check("upload", to, from.len())?;
        if from.is_empty() {
            return Ok(());
        }
        // SAFETY: the device's range was checked.
        unsafe { self.staging.upload(&self.stream, to.address(), from) }
    }

    fn download(&self, to: &mut [u8], from: DevicePtr) -> Result<()> {
        self.outside_capture("download")?;
        self.memory.check("download", from, to.len())?;
        if to.is_empty() {
            return self.staging.wait(&self.stream);
        }
        self.context.enter()?;
        let (target, address) = (to.as_mut_ptr().cast(), from.address());
        // SAFETY: the device's range was checked, the host's is a slice, and the copy is waited
        // for while it is borrowed.
        let copied = unsafe {
            call!(
                self.context.api,
                cuMemcpyDtoHAsync_v2(target, address, to.len(), self.stream.raw())
            )
        };
        self.staging.wait(&self.stream)?;
        copied
    }

    fn copy(&self, to: DevicePtr, from: DevicePtr, bytes: usize) -> Result<()> {
        self.memory.check("copy", to, bytes)?;
        self.memory.check("copy", from, bytes)?;
        let apart = to.address().abs_diff(from.address());
        if apart < bytes as u64 {
            let message = format!("the two places of {bytes} bytes are {apart} bytes apart");
            return Err(Error::op("copy", message));
        }
        if bytes == 0 {
            return Ok(());
        }
        self.context.enter()?;
        let (to, from) = (to.address(), from.address());
        // SAFETY: both ranges were checked.
        unsafe {
            call!(
                self.context.api,
                cuMemcpyDtoDAsync_v2(to, from, bytes, self.stream.raw())
            )
        }
    }

    fn fill(&self, to: DevicePtr, value: u8, bytes: usize) -> Result<()> {
        self.memory.check("fill", to, bytes)?;
        if bytes == 0 {
            return Ok(());
        }
        self.context.enter()?;
        // SAFETY: the range was checked.
        unsafe {
            call!(
                self.context.api,
                cuMemsetD8Async(to.address(), value, bytes, self.stream.raw())
            )
        }
    }

    fn launch(&self, launch: &Launch, args: &[Arg]) -> Result<()> {
        self.kernels.launch(self.stream.raw(), launch, args)
    }

    fn clusters(&self, launch: &Launch) -> Result<u32> {
        self.kernels.clusters(launch)
    }

    fn gemm(&self, gemm: &Gemm) -> Result<()> {
        self.blas.gemm(gemm)
    }

    fn synchronize(&self) -> Result<()> {
        self.outside_capture("synchronize")?;
        self.staging.wait(&self.stream)
    }

    fn record(&self) -> Result<Event> {
        self.outside_capture("record")?;
        Ok(Event(Box::new(self.stream.record()?)))
    }

    fn elapsed_ms(&self, from: &Event, to: &Event) -> Result<f32> {
        self.outside_capture("elapsed_ms")?;
        match (self.event(from), self.event(to)) {
            (Some(from), Some(to)) => to.ms_since(from),
            _ => Err(Error::op("elapsed_ms", "an event of another driver")),
        }
    }

    fn capture(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<Graph> {
        if self.capturing.swap(true, Ordering::SeqCst) {
            let message = "not possible while a graph is captured";
            return Err(Error::op("capture", message));
        }
        let _reset = Reset(&self.capturing);
        Ok(Graph(Box::new(self.stream.capture(work)?)))
    }

    fn replay(&self, graph: &Graph) -> Result<()> {
        self.outside_capture("replay")?;
        let graph = graph.0.downcast_ref::<stream::Graph>();
        match graph.filter(|graph| graph.is_of(&self.context)) {
            Some(graph) => self.stream.replay(graph),
            None => Err(Error::op("replay", "a graph of another driver")),
        }
    }

    fn collectives(&self) -> Option<&dyn Collectives> {
        Some(self)
    }
}

/// Clears a flag on every way out, a panic too.
struct Reset<'a>(&'a AtomicBool);

impl Drop for Reset<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}
