//! The whole border to the hardware: memory, launches, GEMM, events, graphs.
//!
//! Two implementations: a GPU, and the emulated device (`emulated`, a feature). Nothing above this
//! module knows which. Work is issued in one order (one stream) and may still be running when a
//! call returns; [`Driver::download`] and [`Driver::synchronize`] wait for it.

use super::collectives::Collectives;
use crate::dtype::DType;
use crate::error::{Error, Result};
use std::any::Any;
use std::fmt;

/// What a fault of a kernel leaves of a device, and what to do.
pub(super) const CONTEXT_GONE: &str = "the context is gone: the device refuses all further work of this process. \
                                       Start it again; a run goes on from its last checkpoint with --resume";

/// An address in the device's memory. Freeing is explicit: see [`Driver::free`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DevicePtr(u64);

impl DevicePtr {
    /// No memory: an optional argument that is absent.
    pub const NULL: DevicePtr = DevicePtr(0);

    /// The pointer with this address.
    pub fn new(address: u64) -> Self {
        DevicePtr(address)
    }

    /// The address.
    pub fn address(self) -> u64 {
        self.0
    }

    /// The address `bytes` further on.
    #[must_use]
    pub fn offset(self, bytes: usize) -> Self {
        DevicePtr(self.0 + bytes as u64)
    }
}

/// A kernel's argument. The type is part of it, so that a launch can be checked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Arg {
    /// Memory.
    Ptr(DevicePtr),
    /// `u32`
    U32(u32),
    /// `i32`
    I32(i32),
    /// `u64`
    U64(u64),
    /// `float`
    F32(f32),
}

macro_rules! arg_from {
    ($($from:ty => $variant:ident),*) => {$(
        impl From<$from> for Arg {
            fn from(value: $from) -> Self {
                Arg::$variant(value)
            }
        }
    )*};
}
arg_from!(DevicePtr => Ptr, u32 => U32, i32 => I32, u64 => U64, f32 => F32);

/// Which kernel, over how many threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launch<'a> {
    /// The kernel's name in `kernels/`.
    pub kernel: &'a str,
    /// Blocks in x, y and z.
    pub grid: [u32; 3],
    /// Threads a block.
    pub block: u32,
    /// Blocks a cluster, along x; 1 for a launch without clusters.
    pub cluster: u32,
    /// Bytes of dynamic shared memory a block.
    pub shared_bytes: u32,
}

impl<'a> Launch<'a> {
    /// Threads a block of [`Launch::per_element`].
    const THREADS: u32 = 256;
    /// Elements a thread of [`Launch::per_element`]: `GROUP` in `kernels/common.cuh`.
    const GROUP: u64 = 8;

    /// A grid of blocks along x, no cluster, no dynamic shared memory.
    pub fn new(kernel: &'a str, blocks: u32, threads: u32) -> Self {
        Launch {
            kernel,
            grid: [blocks, 1, 1],
            block: threads,
            cluster: 1,
            shared_bytes: 0,
        }
    }

    /// The launch of a per-element kernel over `n` elements, eight a thread. An `n` of 0 still
    /// gives one block.
    pub fn per_element(kernel: &'a str, n: u64) -> Self {
        let blocks = n.div_ceil(Self::GROUP * u64::from(Self::THREADS));
        Launch::new(
            kernel,
            u32::try_from(blocks.max(1)).unwrap_or(u32::MAX),
            Self::THREADS,
        )
    }
}

/// A column-major matrix in device memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matrix {
    /// First element.
    pub ptr: DevicePtr,
    /// F32 or F16.
    pub dtype: DType,
    /// Leading dimension: elements from one column to the next.
    pub ld: usize,
    /// Elements from one matrix of a batch to the next.
    pub stride: usize,
}

/// C = alpha op(A) op(B) + beta C in the conventions of cuBLAS: column-major, op(A) is `m x k`,
/// op(B) is `k x n`, C is `m x n`, sums in f32. With beta = 0 C is not read.
///
/// A row-major `[r, c]` tensor is a column-major `c x r` matrix with `ld = c`.
///
/// A batch is several products of one shape, each of the matrices that lie a stride behind those of
/// the one before. Their matrices may lie in one another's gaps; no C has an element of another one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gemm {
    /// Products; 1 for one.
    pub batch: usize,
    /// A is stored transposed: `k x m`.
    pub trans_a: bool,
    /// B is stored transposed: `n x k`.
    pub trans_b: bool,
    /// Rows of C.
    pub m: usize,
    /// Columns of C.
    pub n: usize,
    /// Length of the sums.
    pub k: usize,
    /// A.
    pub a: Matrix,
    /// B, of A's data type.
    pub b: Matrix,
    /// Factor of the product, an f32 in device memory; 1 if there is none.
    pub alpha: Option<DevicePtr>,
    /// Factor of what C holds already; 0 or 1 beside an alpha.
    pub beta: f32,
    /// C; f32, or A's data type.
    pub c: Matrix,
}

impl Gemm {
    /// Beside an alpha, which is in device memory, beta must be one of the numbers that are there, too.
    ///
    /// # Errors
    /// [`Error::Op`] for another beta.
    pub(super) fn check_beta(&self) -> Result<()> {
        match self.alpha {
            Some(_) if self.beta != 0.0 && self.beta != 1.0 => {
                let message = format!("beta {} beside an alpha is neither 0 nor 1", self.beta);
                Err(Error::op("gemm", message))
            }
            _ => Ok(()),
        }
    }
}

/// A point in the order of work, with its time. Belongs to the driver that made it.
pub struct Event(pub Box<dyn Any + Send + Sync>);

/// Recorded work that can be run again. Belongs to the driver that made it.
pub struct Graph(pub Box<dyn Any + Send + Sync>);

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Event")
    }
}

impl fmt::Debug for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Graph")
    }
}

/// A device that runs kernels.
///
/// # Errors
/// Every method returns [`Error::Op`] for arguments that cannot be (a pointer outside of
/// memory, a kernel that does not exist) and [`Error::Device`] for what the device cannot give (memory,
/// itself, which after a fault of a kernel is gone for this process). The emulated device outlives a broken
/// kernel, and names it in an [`Error::Op`].
pub trait Driver: fmt::Debug + Send + Sync {
    /// What the device is, for people.
    fn description(&self) -> String;

    /// New memory, aligned to 256 bytes. Its content is undefined.
    fn alloc(&self, bytes: usize) -> Result<DevicePtr>;

    /// Gives back memory that [`Driver::alloc`] returned.
    fn free(&self, ptr: DevicePtr) -> Result<()>;

    /// Copies host memory to the device.
    fn upload(&self, to: DevicePtr, from: &[u8]) -> Result<()>;

    /// Waits for all work, then copies device memory to the host.
    fn download(&self, to: &mut [u8], from: DevicePtr) -> Result<()>;

    /// Copies `bytes` bytes within the device. The two places do not overlap.
    fn copy(&self, to: DevicePtr, from: DevicePtr, bytes: usize) -> Result<()>;

    /// Sets `bytes` bytes to `value`.
    fn fill(&self, to: DevicePtr, value: u8, bytes: usize) -> Result<()>;

    /// Runs a kernel.
    fn launch(&self, launch: &Launch, args: &[Arg]) -> Result<()>;

    /// How many clusters of such a launch, or blocks of one without clusters, can run at once; 0 where the
    /// device has no clusters, or none of such blocks, or not the kernel.
    fn clusters(&self, launch: &Launch) -> Result<u32>;

    /// Multiplies matrices.
    fn gemm(&self, gemm: &Gemm) -> Result<()>;

    /// Waits for all work.
    fn synchronize(&self) -> Result<()>;

    /// Marks this point in the order of work.
    fn record(&self) -> Result<Event>;

    /// Waits for `to`, and returns the milliseconds from `from` to `to`.
    fn elapsed_ms(&self, from: &Event, to: &Event) -> Result<f32>;

    /// Records the copies, fills, launches and products that `work` issues, without running them.
    /// Only those may be issued meanwhile, and the memory they name must outlive the graph.
    fn capture(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<Graph>;

    /// Runs recorded work.
    fn replay(&self, graph: &Graph) -> Result<()>;

    /// What lets devices of this kind exchange without their hosts; none where nothing does.
    fn collectives(&self) -> Option<&dyn Collectives> {
        None
    }
}
