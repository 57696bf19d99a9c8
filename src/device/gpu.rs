//! A GPU, or what stands for one: a driver with recycled memory.
//!
//! A training step asks for the same sizes in the same order again and again. Freed blocks wait in
//! stacks by size class, so each step gets the addresses of the step before: a captured graph stays
//! valid.

use super::driver::{Arg, DevicePtr, Driver, Gemm, Launch};
use super::measured::{Measured, Size};
use super::profile::{Call, Profile, Watch};
use super::recurrence::{Fault, Recurrence, Recurrences};
use super::size_class;
use crate::error::{Error, Result};
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Blocks are rounded up to this many bytes.
const ROUND: usize = 256;

/// A device behind a [`Driver`].
pub struct Gpu {
    driver: Box<dyn Driver>,
    pools: Mutex<Pools>,
    allocated: AtomicUsize,
    /// Whether calls are watched; `watch` has them then.
    watching: AtomicBool,
    watch: Mutex<Watch>,
    recurrences: Mutex<Recurrences>,
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
            pools: Mutex::default(),
            allocated: AtomicUsize::new(0),
            watching: AtomicBool::new(false),
            watch: Mutex::default(),
            recurrences: Mutex::default(),
        })
    }

    /// The driver.
    pub fn driver(&self) -> &dyn Driver {
        &*self.driver
    }

    /// Memory of at least `bytes` bytes, with undefined content.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if there is not enough, the blocks that wait in the pools included.
    pub fn alloc(self: &Arc<Self>, bytes: usize) -> Result<GpuBuffer> {
        let Some(bytes) = size_class(bytes, ROUND) else {
            let message = format!("no GPU has {bytes} bytes of memory");
            return Err(Error::Device(message));
        };
        let ptr = match self.waiting(bytes) {
            Some(waiting) => waiting,
            None => self.ask(bytes)?,
        };
        Ok(GpuBuffer {
            gpu: self.clone(),
            ptr,
            bytes,
        })
    }

    fn waiting(&self, bytes: usize) -> Option<DevicePtr> {
        self.pools().current.0.get_mut(&bytes)?.pop()
    }

    /// A block from the driver. Where it has none, the blocks of other sizes that wait in the pools go
    /// back to it, and it is asked once more.
    fn ask(&self, bytes: usize) -> Result<DevicePtr> {
        self.allocated.fetch_add(1, Ordering::Relaxed);
        match self.driver.alloc(bytes) {
            Err(Error::Device(_)) if self.give_back()? > 0 => self.driver.alloc(bytes),
            result => result,
        }
    }

    /// Gives the waiting blocks of all pools back to the driver, and returns their number.
    fn give_back(&self) -> Result<usize> {
        let mut waiting = Vec::new();
        let pools = &mut *self.pools();
        for pool in pools.below.iter_mut().chain([&mut pools.current]) {
            waiting.extend(pool.0.drain().flat_map(|(_, blocks)| blocks));
        }
        waiting.iter().try_for_each(|&ptr| self.driver.free(ptr))?;
        Ok(waiting.len())
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
        self.pools().enter(std::mem::take(pool));
        let result = work();
        *pool = self.pools().leave();
        result
    }

    /// Runs a kernel.
    ///
    /// # Errors
    /// As [`Driver::launch`].
    pub fn launch(&self, launch: &Launch, args: &[Arg]) -> Result<()> {
        self.watched(|| Call::kernel(launch), || self.driver.launch(launch, args))
    }

    /// Multiplies matrices.
    ///
    /// # Errors
    /// As [`Driver::gemm`].
    pub fn gemm(&self, gemm: &Gemm) -> Result<()> {
        self.watched(|| Call::gemm(gemm), || self.driver.gemm(gemm))
    }

    /// Wishes for a way of taking the steps of recurrences.
    pub fn set_recurrence(&self, wish: Recurrence) {
        self.recurrences().wish = wish;
    }

    /// The wish; steps once a kernel that took whole sequences has failed.
    pub fn recurrence(&self) -> Recurrence {
        let recurrences = self.recurrences();
        match recurrences.failed {
            true => Recurrence::Steps,
            false => recurrences.wish,
        }
    }

    /// What [`Recurrence::Auto`] goes by; without it by a rule.
    pub fn set_measured(&self, measured: Option<Measured>) {
        self.recurrences().measured = measured;
    }

    /// Whether whole sequences were measured to be faster: see [`Measured::whole_is_faster`].
    pub fn whole_is_faster(&self, size: &Size) -> Option<bool> {
        let recurrences = self.recurrences();
        recurrences.measured.as_ref()?.whole_is_faster(size)
    }

    /// As [`Driver::clusters`], asked once for each kernel, cluster, block and size of shared memory; the
    /// grid does not count.
    ///
    /// # Errors
    /// If the device fails.
    pub fn clusters(&self, launch: &Launch) -> Result<u32> {
        self.recurrences().clusters(self.driver(), launch)
    }

    /// Where a kernel that takes whole sequences says that it has given up.
    ///
    /// # Errors
    /// If the device fails.
    pub fn fault_words(&self) -> Result<DevicePtr> {
        self.recurrences().words(self.driver())
    }

    /// Waits for the device, and says whether a kernel that took whole sequences has given up since the
    /// last call. From then on steps are taken one by one.
    ///
    /// # Errors
    /// If the device fails.
    pub fn fault(&self) -> Result<Option<Fault>> {
        self.recurrences().fault(self.driver())
    }

    /// The same, of a training step: its results are lost.
    ///
    /// # Errors
    /// [`Error::Device`] that names kernel, step and cluster of one that has given up.
    pub fn check_fault(&self) -> Result<()> {
        self.fault()?.map_or(Ok(()), |fault| Err(fault.error()))
    }

    /// The same, of a measurement: there is no training to go on with.
    ///
    /// # Errors
    /// [`Error::Device`], as [`Gpu::check_fault`].
    pub fn check_measured(&self) -> Result<()> {
        let lost = |fault: Fault| Err(Error::Device(fault.to_string()));
        self.fault()?.map_or(Ok(()), lost)
    }

    /// Counts a pass over whole sequences in one kernel.
    pub fn count_whole(&self) {
        self.recurrences().whole += 1;
    }

    /// Passes over whole sequences in one kernel that have been issued so far.
    pub fn whole_passes(&self) -> u64 {
        self.recurrences().whole
    }

    /// Keeps a line for the log, unless it was kept before.
    pub fn tell(&self, line: String) {
        self.recurrences().tell(line);
    }

    /// Takes steps one by one from here on.
    pub fn refuse_whole(&self, why: &str) {
        self.recurrences().refuse(why);
    }

    /// Forgets that a kernel has given up, so that whole sequences are taken again; true if one had.
    pub fn try_whole_again(&self) -> bool {
        std::mem::take(&mut self.recurrences().failed)
    }

    /// Forgets the lines for the log, and that they were told.
    pub fn forget_news(&self) {
        self.recurrences().forget();
    }

    /// The lines for the log since the last call.
    pub fn news(&self) -> Vec<String> {
        self.recurrences().news()
    }

    fn recurrences(&self) -> MutexGuard<'_, Recurrences> {
        // It changes in single steps: a panic elsewhere leaves it whole.
        let recurrences = self.recurrences.lock();
        recurrences.unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work`, which captures no graph, and says where its time went.
    ///
    /// # Errors
    /// What `work` returns; or if the device fails.
    pub fn profile<R>(&self, work: impl FnOnce() -> Result<R>) -> Result<(R, Profile)> {
        self.driver.synchronize()?;
        self.watching.store(true, Ordering::SeqCst);
        let result = work();
        self.watching.store(false, Ordering::SeqCst);
        let watch = std::mem::take(&mut *self.watch());
        Ok((result?, watch.conclude(&*self.driver)?))
    }

    /// Issues a call, between two events if calls are watched.
    fn watched(
        &self,
        call: impl FnOnce() -> Call,
        issue: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        if !self.watching.load(Ordering::Relaxed) {
            return issue();
        }
        let from = self.driver.record()?;
        issue()?;
        let to = self.driver.record()?;
        self.watch().add(call(), from, to);
        Ok(())
    }

    fn watch(&self) -> MutexGuard<'_, Watch> {
        // A list that only grows: a panic elsewhere leaves it whole.
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pools(&self) -> MutexGuard<'_, Pools> {
        // Lists of addresses: a panic elsewhere leaves them whole.
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pool in use, and those that wait for it to leave (see [`Gpu::with_pool`]).
#[derive(Debug, Default)]
struct Pools {
    current: Pool,
    below: Vec<Pool>,
}

impl Pools {
    fn enter(&mut self, pool: Pool) {
        self.below.push(std::mem::replace(&mut self.current, pool));
    }

    fn leave(&mut self) -> Pool {
        let below = self.below.pop().unwrap_or_default();
        std::mem::replace(&mut self.current, below)
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
        let pool = &mut self.gpu.pools().current;
        pool.0.entry(self.bytes).or_default().push(self.ptr);
    }
}
