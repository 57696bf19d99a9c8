//! The emulated device: the sources of `kernels/`, compiled as C++, run on the CPU.
//!
//! A test instrument, stricter than hardware. What it checks, and how:
//!
//! - **Every access of a kernel.** A kernel's pointers know the buffer they came from
//!   (`emu::ptr` in `kernels/emu/emu.h`), so an access outside of it ends the launch with the
//!   kernel's, block's and thread's name. Two comparisons an access; guard pages would only catch
//!   accesses a page away, and need a signal handler inside the test process.
//! - **What gets past that** (a plain pointer made by hand): sentinels stand around every buffer and
//!   are looked at after every launch and product.
//! - **Uninitialised memory**, shared memory too, is NaN, and far out of range as an index.
//! - **Schedules.** Threads and blocks run in an order of the caller's choice (`schedule`), and
//!   stores to other blocks arrive as late as they may.
//! - **Races** for shared memory, that of other blocks of the cluster too: two accesses of a place,
//!   one of them a write, that no barrier orders, whichever came first, end the launch with both lines
//!   (`kernels/emu/race.cpp`).
//! - **Bank conflicts** of shared memory, where they are asked for ([`Emulated::counting_banks`]).
//! - **Launches**: name, number and types of arguments, alignment, limits of grid, block, cluster
//!   and shared memory; barriers and warp collectives that some threads never reach.
//! - **Exchanges** with the emulated devices of other processes, in the place of NCCL (`nccl`).

mod banks;
mod defects;
mod gemm;
mod memory;
mod nccl;

pub use banks::SharedAccesses;

use super::collectives::Collectives;
use super::driver::{Arg, DevicePtr, Driver, Event, Gemm, Graph, Launch};
use crate::error::{Error, Result};
use banks::Banks;
use defects::Defects;
use memory::Buffers;
use std::ffi::{CStr, CString, c_char, c_int};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Clusters that it says can run at once.
const CLUSTERS: u32 = 3;
/// Bytes of dynamic shared memory that a block may have beside 9 KiB of its own.
const SHARED: u32 = (227 - 9) << 10;

/// A device made of fibers. All methods run at once and return when done.
#[derive(Debug)]
pub struct Emulated {
    schedule: u64,
    defects: Defects,
    /// Where bank conflicts are counted.
    banks: Option<Mutex<Banks>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    memory: Buffers,
    /// What has been issued since the capture began.
    capture: Option<Vec<Work>>,
}

/// A piece of work that a graph can hold.
#[derive(Clone, Debug)]
enum Work {
    Copy(DevicePtr, DevicePtr, usize),
    Fill(DevicePtr, u8, usize),
    Launch(OwnedLaunch, Vec<Arg>),
    Gemm(Gemm),
}

/// A [`Launch`] that outlives its call.
#[derive(Clone, Debug)]
struct OwnedLaunch {
    kernel: String,
    grid: [u32; 3],
    block: u32,
    cluster: u32,
    shared_bytes: u32,
}

impl Emulated {
    /// A device whose threads and blocks run in ascending order (`schedule` 0), in descending order
    /// (1), or in a random order that `schedule` seeds.
    pub fn new(schedule: u64) -> Self {
        Emulated {
            schedule,
            defects: Defects::default(),
            banks: None,
            state: Mutex::default(),
        }
    }

    /// The same device with a defect: the asynchronous store number `store` (from 1) of each launch
    /// never arrives. Only there do waits for such stores give up in the end; elsewhere a wait
    /// that cannot end is an error that names who waits and for what.
    #[must_use]
    pub fn losing(mut self, store: u64) -> Self {
        self.defects.lost_store = store;
        self
    }

    /// The same device, which is lost after so many kernels, products, copies and fills: every call after
    /// that fails.
    #[must_use]
    pub fn lost_after(mut self, work: u64) -> Self {
        self.defects.lost_after(work);
        self
    }

    /// The first schedule, with the defects that the environment variable `RNNX_EMULATED` names, by commas:
    /// `no-clusters`, `losing=N`, `lost-after=N`; as [`Emulated::without_clusters`], [`Emulated::losing`]
    /// and [`Emulated::lost_after`]. And one of exchanges: `nccl=none` (there is no NCCL), `nccl=2.18.5` (its
    /// version), `nccl-dies=N` (the process ends where exchange N begins, from 1), `nccl-hangs=N` (it stays there).
    ///
    /// # Errors
    /// [`Error::Usage`] for other words.
    pub fn of_environment() -> Result<Self> {
        Ok(Emulated {
            defects: Defects::of_environment()?,
            ..Emulated::new(0)
        })
    }

    /// The same device, which says that it runs no clusters, as a GPU before compute capability 9.0.
    #[must_use]
    pub fn without_clusters(mut self) -> Self {
        self.defects.no_clusters = true;
        self
    }

    /// The same device, which counts how the accesses of each warp meet in the banks of shared memory.
    #[must_use]
    pub fn counting_banks(mut self) -> Self {
        self.banks = Some(Mutex::default());
        self
    }

    /// What was counted since the last call, each kernel's places in the order in which they were met.
    pub fn shared_accesses(&self) -> Vec<SharedAccesses> {
        self.banks.as_ref().map_or_else(Vec::new, |banks| {
            let banks = banks.lock();
            banks.unwrap_or_else(PoisonError::into_inner).take()
        })
    }

    /// The names of all kernels.
    pub fn kernels() -> Vec<&'static str> {
        // SAFETY: the function returns a string that lives for ever, or null at the end.
        let name = |i| unsafe {
            let name = rnnx_emu_kernel_name(i);
            (!name.is_null()).then(|| CStr::from_ptr(name).to_str().unwrap_or(""))
        };
        let mut names: Vec<_> = (0..).map_while(name).collect();
        names.sort_unstable();
        names
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while the lock was held leaves the tables whole: they change in single steps.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, for an operation that a graph cannot hold.
    fn outside_capture(&self, what: &'static str) -> Result<MutexGuard<'_, State>> {
        self.defects.check()?;
        let state = self.state();
        if state.capture.is_some() {
            return Err(Error::op(what, "not possible while a graph is captured"));
        }
        Ok(state)
    }

    /// Records the work, or does it.
    fn submit(&self, work: Work) -> Result<()> {
        let mut state = self.state();
        match &mut state.capture {
            Some(list) => {
                list.push(work);
                Ok(())
            }
            None => self.run(&mut state.memory, &work),
        }
    }

    fn run(&self, memory: &mut Buffers, work: &Work) -> Result<()> {
        self.defects.count_work()?;
        match work {
            Work::Copy(to, from, bytes) => memory.copy(*to, *from, *bytes),
            Work::Fill(to, value, bytes) => {
                memory.bytes_mut("fill", *to, *bytes)?.fill(*value);
                Ok(())
            }
            Work::Launch(launch, args) => self.launch_now(memory, launch, args),
            Work::Gemm(g) => {
                gemm::gemm(memory, g)?;
                memory.check_sentinels("gemm")
            }
        }
    }

    fn launch_now(&self, memory: &Buffers, launch: &OwnedLaunch, args: &[Arg]) -> Result<()> {
        let fail = |message: String| {
            let (name, grid, block) = (&launch.kernel, launch.grid, launch.block);
            Error::op(
                "launch",
                format!("{name} (grid {grid:?}, block {block}): {message}"),
            )
        };
        let mut raw = Vec::with_capacity(args.len());
        for (i, &arg) in args.iter().enumerate() {
            raw.push(raw_arg(memory, arg).ok_or_else(|| {
                fail(format!(
                    "argument {i} {arg:?} is in no buffer of the device"
                ))
            })?);
        }
        let name = CString::new(launch.kernel.as_str())
            .map_err(|_| fail("the name holds a zero byte".into()))?;
        let mut message = [0 as c_char; 1024];
        // SAFETY: `raw` describes live buffers, which nobody else touches while `state` is locked;
        // kernels reach memory through these bounds alone. The message is zero-terminated.
        let failed = unsafe {
            rnnx_emu_launch(
                name.as_ptr(),
                launch.grid.as_ptr(),
                launch.block,
                launch.cluster,
                launch.shared_bytes,
                raw.as_ptr(),
                raw.len() as u32,
                self.schedule,
                self.defects.lost_store,
                self.banks.is_some().into(),
                message.as_mut_ptr(),
                message.len(),
            ) != 0
        };
        if failed {
            // SAFETY: as above.
            let message = unsafe { CStr::from_ptr(message.as_ptr()) };
            return Err(fail(message.to_string_lossy().into_owned()));
        }
        if let Some(banks) = &self.banks {
            let banks = banks.lock();
            let mut banks = banks.unwrap_or_else(PoisonError::into_inner);
            banks.add_last(&launch.kernel);
        }
        memory.check_sentinels(&launch.kernel)
    }
}

impl Driver for Emulated {
    fn description(&self) -> String {
        format!("emulated device, schedule {}", self.schedule)
    }

    fn alloc(&self, bytes: usize) -> Result<DevicePtr> {
        self.outside_capture("alloc")?.memory.alloc(bytes)
    }

    fn free(&self, ptr: DevicePtr) -> Result<()> {
        self.outside_capture("free")?.memory.free(ptr)
    }

    fn upload(&self, to: DevicePtr, from: &[u8]) -> Result<()> {
        let mut state = self.outside_capture("upload")?;
        let bytes = state.memory.bytes_mut("upload", to, from.len())?;
        bytes.copy_from_slice(from);
        Ok(())
    }

    fn download(&self, to: &mut [u8], from: DevicePtr) -> Result<()> {
        let state = self.outside_capture("download")?;
        to.copy_from_slice(state.memory.bytes("download", from, to.len())?);
        Ok(())
    }

    fn copy(&self, to: DevicePtr, from: DevicePtr, bytes: usize) -> Result<()> {
        self.submit(Work::Copy(to, from, bytes))
    }

    fn fill(&self, to: DevicePtr, value: u8, bytes: usize) -> Result<()> {
        self.submit(Work::Fill(to, value, bytes))
    }

    fn launch(&self, launch: &Launch, args: &[Arg]) -> Result<()> {
        let launch = OwnedLaunch {
            kernel: launch.kernel.into(),
            grid: launch.grid,
            block: launch.block,
            cluster: launch.cluster,
            shared_bytes: launch.shared_bytes,
        };
        self.submit(Work::Launch(launch, args.to_vec()))
    }

    /// As a small GPU: few enough that a cluster has work for several.
    fn clusters(&self, launch: &Launch) -> Result<u32> {
        let has_clusters = !self.defects.no_clusters || launch.cluster == 1;
        let fits = launch.shared_bytes <= SHARED && has_clusters;
        Ok(if fits { CLUSTERS } else { 0 })
    }

    fn gemm(&self, gemm: &Gemm) -> Result<()> {
        self.submit(Work::Gemm(*gemm))
    }

    fn synchronize(&self) -> Result<()> {
        self.outside_capture("synchronize").map(drop)
    }

    fn record(&self) -> Result<Event> {
        self.synchronize()?;
        Ok(Event(Box::new(Instant::now())))
    }

    fn elapsed_ms(&self, from: &Event, to: &Event) -> Result<f32> {
        let time = |e: &Event| e.0.downcast_ref::<Instant>().copied();
        match (time(from), time(to)) {
            (Some(from), Some(to)) => Ok(to.saturating_duration_since(from).as_secs_f32() * 1e3),
            _ => Err(Error::op("elapsed_ms", "an event of another driver")),
        }
    }

    fn capture(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<Graph> {
        self.outside_capture("capture")?.capture = Some(Vec::new());
        let result = work();
        let list = self.state().capture.take();
        result?;
        Ok(Graph(Box::new(list.unwrap_or_default())))
    }

    fn replay(&self, graph: &Graph) -> Result<()> {
        let Some(list) = graph.0.downcast_ref::<Vec<Work>>() else {
            return Err(Error::op("replay", "a graph of another driver"));
        };
        let mut state = self.outside_capture("replay")?;
        list.iter()
            .try_for_each(|work| self.run(&mut state.memory, work))
    }

    fn collectives(&self) -> Option<&dyn Collectives> {
        Some(self)
    }
}

// ---- the border to C++ -----------------------------------------------------------------------

/// `emu::Arg` of `kernels/emu/emu.h`.
#[repr(C)]
struct RawArg {
    kind: u32,
    bits: u64,
    begin: u64,
    end: u64,
}

/// None for a pointer into no live buffer.
fn raw_arg(memory: &Buffers, arg: Arg) -> Option<RawArg> {
    let scalar = |kind, bits| RawArg {
        kind,
        bits,
        begin: 0,
        end: 0,
    };
    Some(match arg {
        Arg::Ptr(DevicePtr::NULL) => scalar(0, 0),
        Arg::Ptr(ptr) => {
            let (begin, end) = memory.bounds(ptr)?;
            RawArg {
                kind: 0,
                bits: ptr.address(),
                begin,
                end,
            }
        }
        Arg::U32(x) => scalar(1, u64::from(x)),
        Arg::I32(x) => scalar(2, u64::from(x.cast_unsigned())),
        Arg::U64(x) => scalar(3, x),
        Arg::F32(x) => scalar(4, u64::from(x.to_bits())),
    })
}

unsafe extern "C" {
    fn rnnx_emu_launch(
        name: *const c_char,
        grid: *const u32,
        threads: u32,
        cluster: u32,
        dynamic_shared: u32,
        args: *const RawArg,
        count: u32,
        seed: u64,
        lost: u64,
        banks: u32,
        error: *mut c_char,
        error_size: usize,
    ) -> c_int;
    fn rnnx_emu_kernel_name(index: u32) -> *const c_char;
}
