//! A GPU, or what stands for one: a driver with recycled memory.
//!
//! A training step asks for the same sizes in the same order again and again. Freed blocks wait in
//! stacks by size class, so each step gets the addresses of the step before: a captured graph stays
//! valid.

use super::driver::{Arg, DevicePtr, Driver, Gemm, Launch};
use super::size_class;
use crate::error::{Error, Result};
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Blocks are rounded up to this many bytes.
const ROUND: usize = 256;

/// A device behind a [`Driver`].
pub struct Gpu {
    driver: Box<dyn Driver>,
    free: Mutex<HashMap<usize, Vec<DevicePtr>>>,
    allocated: AtomicUsize,
}

impl fmt::Debug for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gpu({})", self.driver.description())
    }
}

impl Gpu {
    /// The device of a driver.
    pub fn new(driver: impl Driver + 'static) -> Arc<Self> {
        Arc::new(Gpu {
            driver: Box::new(driver),
            free: Mutex::default(),
            allocated: AtomicUsize::new(0),
        })
    }

    /// The driver.
    pub fn driver(&self) -> &dyn Driver {
        &*self.driver
    }

    /// Memory of at least `bytes` bytes, with undefined content.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if there is not enough.
    pub fn alloc(self: &Arc<Self>, bytes: usize) -> Result<GpuBuffer> {
        let Some(bytes) = size_class(bytes, ROUND) else {
            let message = format!("no GPU has {bytes} bytes of memory");
            return Err(Error::Device(message));
        };
        let waiting = self.free().get_mut(&bytes).and_then(Vec::pop);
        let ptr = match waiting {
            Some(ptr) => ptr,
            None => {
                self.allocated.fetch_add(1, Ordering::Relaxed);
                self.driver.alloc(bytes)?
            }
        };
        Ok(GpuBuffer {
            gpu: self.clone(),
            ptr,
            bytes,
        })
    }

    /// Blocks of memory that the driver has been asked for so far. A training step after the first
    /// asks for none.
    pub fn blocks_allocated(&self) -> usize {
        self.allocated.load(Ordering::Relaxed)
    }

    /// Runs `work` with a pool of memory of its own. What it frees stays in that pool: a graph
    /// captured in `work` owns its memory, and nothing else gets the same addresses.
    ///
    /// # Errors
    /// What `work` returns.
    pub fn with_pool<R>(&self, pool: &mut Pool, work: impl FnOnce() -> Result<R>) -> Result<R> {
        std::mem::swap(&mut pool.0, &mut self.free());
        let result = work();
        std::mem::swap(&mut pool.0, &mut self.free());
        result
    }

    /// Runs a kernel.
    ///
    /// # Errors
    /// As [`Driver::launch`].
    pub fn launch(&self, launch: &Launch, args: &[Arg]) -> Result<()> {
        self.driver.launch(launch, args)
    }

    /// Multiplies matrices.
    ///
    /// # Errors
    /// As [`Driver::gemm`].
    pub fn gemm(&self, gemm: &Gemm) -> Result<()> {
        self.driver.gemm(gemm)
    }

    fn free(&self) -> std::sync::MutexGuard<'_, HashMap<usize, Vec<DevicePtr>>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Freed blocks by their size.
#[derive(Debug, Default)]
pub struct Pool(HashMap<usize, Vec<DevicePtr>>);

/// A block of device memory; it goes back to its device's pool when dropped.
#[derive(Debug)]
pub struct GpuBuffer {
    gpu: Arc<Gpu>,
    ptr: DevicePtr,
    bytes: usize,
}

impl GpuBuffer {
    /// The device.
    pub fn gpu(&self) -> &Arc<Gpu> {
        &self.gpu
    }

    /// The first byte.
    pub fn ptr(&self) -> DevicePtr {
        self.ptr
    }
}

impl Drop for GpuBuffer {
    fn drop(&mut self) {
        self.gpu
            .free()
            .entry(self.bytes)
            .or_default()
            .push(self.ptr);
    }
}
