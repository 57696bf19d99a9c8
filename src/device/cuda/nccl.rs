//! Exchanges between GPUs through NCCL, which is found and loaded as cuBLAS is.
//!
//! Its communicators do not block: a call returns at once, and whoever waits for it asks NCCL and the
//! caller's patience in turn. So a rank that is lost ends the wait, and the communicator, whose kernel would
//! else wait on the GPU for ever.

mod library;

pub use library::{Comm, Config, Functions, ID_BYTES, Nccl, OLDEST, UniqueId};

use super::Cuda;
use super::api::Status;
use super::context::{Context, Handle};
use super::probe;
use super::stream::Stream;
use crate::device::collectives::{Collectives, Group, Patience, wait};
use crate::device::driver::DevicePtr;
use crate::device::libraries::Environment;
use crate::error::{Error, Result};
use library::{FLOAT32, IN_PROGRESS, REMOTE_ERROR, SUM, SYSTEM_ERROR};
use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

/// A GPU's place in a group. When it goes, nothing of it may be under way on any rank.
#[derive(Debug)]
struct Communicator {
    context: Arc<Context>,
    nccl: Nccl,
    raw: Handle<c_void>,
    size: usize,
    /// Nothing is left of it.
    ended: AtomicBool,
}

impl Communicator {
    fn join(
        context: &Arc<Context>,
        nccl: Nccl,
        id: UniqueId,
        (rank, size): (usize, usize),
        patience: Patience,
    ) -> Result<Self> {
        let too_many = |_| Error::op("nccl", format!("{size} ranks are too many"));
        let number = c_int::try_from(size).map_err(too_many)?;
        let mut config = Config::not_blocking();
        // The device is that of this thread's context.
        context.enter()?;
        let mut raw = ptr::null_mut();
        // SAFETY: reads the configuration and writes one pointer, before it returns; the communicator ends
        // when it is dropped.
        let status = unsafe {
            (nccl.functions.ncclCommInitRankConfig)(
                &mut raw,
                number,
                id,
                rank as c_int,
                &mut config,
            )
        };
        let communicator = Communicator {
            context: context.clone(),
            nccl,
            raw: Handle(raw),
            size,
            ended: AtomicBool::new(raw.is_null()),
        };
        communicator.finish("ncclCommInitRankConfig", status, patience, || Ok(true))?;
        Ok(communicator)
    }

    /// Queues what `issue` does on a stream, and waits for it.
    fn run(
        &self,
        call: &'static str,
        stream: &Stream,
        patience: Patience,
        issue: impl FnOnce(&Functions, Comm) -> Status,
    ) -> Result<()> {
        if self.ended.load(Ordering::SeqCst) {
            let message = "a wait of this group has failed: it is of no more use";
            return Err(Error::op("nccl", message));
        }
        self.context.enter()?;
        let status = issue(&self.nccl.functions, self.raw.0);
        let mut queued = None;
        self.finish(call, status, patience, || {
            // A call that does not block may queue its kernel as late as here.
            let event = match queued.take() {
                Some(event) => event,
                None => stream.record()?,
            };
            queued.insert(event).is_done()
        })
    }

    /// Waits until a call that returned `status` is through, and then `is_done`. Ends the communicator
    /// where that fails.
    fn finish(
        &self,
        call: &'static str,
        status: Status,
        patience: Patience,
        mut is_done: impl FnMut() -> Result<bool>,
    ) -> Result<()> {
        let mut failed = status;
        let waited = wait(patience, || {
            if matches!(failed, 0 | IN_PROGRESS) && !self.raw.0.is_null() {
                failed = self.state()?;
            }
            match failed {
                IN_PROGRESS => Ok(false),
                status => {
                    self.nccl.check(call, status, self.raw.0)?;
                    is_done()
                }
            }
        });
        waited.map_err(|e| {
            let e = match failed {
                SYSTEM_ERROR | REMOTE_ERROR => named(e, patience),
                _ => e,
            };
            self.end();
            e
        })
    }

    /// What has become of the calls so far.
    fn state(&self) -> Result<Status> {
        let mut state = 0;
        // SAFETY: the communicator is alive; writes one integer.
        let status = unsafe { (self.nccl.functions.ncclCommGetAsyncError)(self.raw.0, &mut state) };
        let checked = self.nccl.check("ncclCommGetAsyncError", status, self.raw.0);
        checked.map(|()| state)
    }

    /// Ends it, and whatever of it is under way on the GPU. It waits for no other rank.
    fn end(&self) {
        if !self.ended.swap(true, Ordering::SeqCst) && self.context.enter().is_ok() {
            // SAFETY: alive until here. An error has nobody to go to.
            unsafe { (self.nccl.functions.ncclCommAbort)(self.raw.0) };
        }
    }
}

impl Drop for Communicator {
    fn drop(&mut self) {
        self.end();
    }
}

/// How often the patience is asked who is lost, and how long between: two seconds, since hosts hear of a process
/// that died as soon as its connections close. Neither number was measured.
const ASKED: (usize, Duration) = (100, Duration::from_millis(20));

/// NCCL may notice a lost rank before whoever knows its name: that error, or this one.
fn named(e: Error, patience: Patience) -> Error {
    let lost = (0..ASKED.0).find_map(|_| {
        sleep(ASKED.1);
        patience().err()
    });
    lost.unwrap_or(e)
}

impl Cuda {
    /// NCCL, which is looked for when it is first asked for.
    fn nccl(&self) -> Result<Nccl> {
        if let Some(nccl) = self.nccl.get() {
            return Ok(*nccl);
        }
        let (nccl, _) = probe::load_nccl(&Environment::of_process(), self.cuda)?;
        Ok(*self.nccl.get_or_init(|| nccl))
    }

    /// The group's communicator on this device.
    fn communicator<'a>(&self, group: &'a Group) -> Result<&'a Communicator> {
        let communicator: Option<&Communicator> = group.0.downcast_ref();
        communicator
            .filter(|c| Arc::ptr_eq(&c.context, &self.context))
            .ok_or_else(|| Error::op("nccl", "a group of another driver"))
    }
}

impl Collectives for Cuda {
    fn library(&self) -> Result<String> {
        Ok(self.nccl()?.to_string())
    }

    fn new_id(&self) -> Result<Vec<u8>> {
        let nccl = self.nccl()?;
        self.context.enter()?;
        let mut id = UniqueId([0; ID_BYTES]);
        // SAFETY: writes the id.
        let status = unsafe { (nccl.functions.ncclGetUniqueId)(&mut id) };
        nccl.check("ncclGetUniqueId", status, ptr::null_mut())?;
        Ok(id.0.to_vec())
    }

    fn join(&self, id: &[u8], rank: usize, size: usize, patience: Patience) -> Result<Group> {
        self.outside_capture("join")?;
        let id = id
            .try_into()
            .map_err(|_| Error::op("nccl", "an id of another length"))?;
        let place = (rank, size);
        let joined = Communicator::join(&self.context, self.nccl()?, UniqueId(id), place, patience);
        Ok(Group(Box::new(joined?)))
    }

    fn all_gather(
        &self,
        group: &Group,
        from: DevicePtr,
        to: DevicePtr,
        count: usize,
        patience: Patience,
    ) -> Result<()> {
        self.outside_capture("all_gather")?;
        let communicator = self.communicator(group)?;
        let bytes = size_of::<f32>() * count;
        self.memory.check("all_gather", from, bytes)?;
        self.memory
            .check("all_gather", to, communicator.size * bytes)?;
        let (from, to) = (from.address() as *const c_void, to.address() as *mut c_void);
        let stream = &self.stream;
        communicator.run("ncclAllGather", stream, patience, |functions, comm| {
            // SAFETY: both ranges were checked; communicator and stream are alive, and the call is waited
            // for, or ended, before anything of it goes.
            unsafe { (functions.ncclAllGather)(from, to, count, FLOAT32, comm, stream.raw()) }
        })
    }

    fn all_reduce(
        &self,
        group: &Group,
        at: DevicePtr,
        count: usize,
        patience: Patience,
    ) -> Result<()> {
        self.outside_capture("all_reduce")?;
        let communicator = self.communicator(group)?;
        self.memory
            .check("all_reduce", at, size_of::<f32>() * count)?;
        let at = at.address() as *mut c_void;
        let stream = &self.stream;
        communicator.run("ncclAllReduce", stream, patience, |functions, comm| {
            // SAFETY: as in `all_gather`; NCCL takes one place for both.
            unsafe { (functions.ncclAllReduce)(at, at, count, FLOAT32, SUM, comm, stream.raw()) }
        })
    }
}
