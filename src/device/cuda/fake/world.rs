//! The state of the fake driver, and how its functions begin.

use crate::device::cuda::api::Status;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::ffi::{CStr, c_int};
use std::rc::Rc;

/// Work that is queued, or recorded.
pub type Work = Rc<dyn Fn()>;

/// The state of the fake driver.
pub struct World {
    /// What `cuDriverGetVersion` says.
    pub version: c_int,
    /// Names and compute capabilities.
    pub gpus: Vec<(&'static CStr, (c_int, c_int))>,
    /// Bytes that can still be allocated.
    pub room: usize,
    /// Functions that fail, and how.
    pub fail: HashMap<&'static str, Status>,
    /// Live objects by kind.
    pub live: BTreeMap<&'static str, i64>,
    /// What was launched.
    pub log: Vec<String>,
    /// Device memory by its address.
    pub buffers: HashMap<u64, Box<[u64]>>,
    /// Page-locked host memory by its address.
    pub pinned: HashMap<usize, Box<[u64]>>,
    /// What has been issued. It is done as late as allowed: when somebody waits for it.
    pub queue: Vec<Work>,
    /// Kinds of objects that were alive when the context was released.
    pub outlived: Vec<&'static str>,
    /// Names of the kernels that were looked up.
    pub names: Vec<String>,
    /// The work of the graph that is being recorded.
    pub recording: Option<Vec<Work>>,
    /// What was recorded.
    pub graphs: Vec<Vec<Work>>,
    /// Whether this thread has the context.
    pub current: bool,
    /// Whether cuBLAS's factors are in device memory.
    pub factors_on_device: bool,
    /// What NCCL says of its calls at the next looks, the last for ever.
    pub states: Vec<Status>,
}

thread_local! {
    static WORLD: RefCell<World> = RefCell::new(World {
        version: 12040,
        gpus: vec![(c"Fake H200", (9, 0)), (c"Fake V100", (7, 0))],
        room: 1 << 30,
        fail: HashMap::new(),
        live: BTreeMap::new(),
        log: Vec::new(),
        buffers: HashMap::new(),
        pinned: HashMap::new(),
        queue: Vec::new(),
        outlived: Vec::new(),
        names: Vec::new(),
        recording: None,
        graphs: Vec::new(),
        current: false,
        factors_on_device: false,
        states: Vec::new(),
    });
}

/// Looks at or changes the state of this thread's driver.
pub fn world<T>(f: impl FnOnce(&mut World) -> T) -> T {
    WORLD.with_borrow_mut(f)
}

pub fn begin(name: &'static str, alive: (&'static str, i64)) -> Status {
    world(|w| {
        if let Some(&status) = w.fail.get(name) {
            return status;
        }
        if alive.1 != 0 {
            *w.live.entry(alive.0).or_default() += alive.1;
        }
        0
    })
}

/// For what needs a context and cannot be recorded.
pub fn outside(name: &'static str, alive: (&'static str, i64)) -> Status {
    let (current, recording) = world(|w| (w.current, w.recording.is_some()));
    match (current, recording) {
        (false, _) => 201,
        (true, true) => 900,
        _ => begin(name, alive),
    }
}

/// Queues or records.
pub fn submit(name: &'static str, work: impl Fn() + 'static) -> Status {
    let status = begin(name, ("", 0));
    if status != 0 {
        return status;
    }
    if !world(|w| w.current) {
        return 201;
    }
    let work: Work = Rc::new(work);
    world(|w| w.recording.as_mut().unwrap_or(&mut w.queue).push(work));
    0
}

/// Queues what cannot be recorded.
pub fn submit_outside(name: &'static str, work: impl Fn() + 'static) -> Status {
    let status = outside(name, ("", 0));
    if status == 0 {
        world(|w| w.queue.push(Rc::new(work)));
    }
    status
}

/// Does what is queued, unless the wait for it is to fail: then it is lost.
pub fn wait(name: &'static str) -> Status {
    let status = outside(name, ("", 0));
    let queue = world(|w| std::mem::take(&mut w.queue));
    if status == 0 {
        queue.iter().for_each(|work| work());
    }
    status
}

macro_rules! functions {
    ($($name:ident($($arg:ident: $type:ty),*) $body:block)*) => {$(
        // SAFETY of each body: the callers are the code under test, which says why its pointers are
        // right.
        #[allow(unsafe_op_in_unsafe_fn)]
        pub unsafe extern "C" fn $name($($arg: $type),*) -> Status $body
    )*};
}
pub(super) use functions;
