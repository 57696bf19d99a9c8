//! The state of the fake driver, and how its functions begin.

use crate::device::cuda::api::Status;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::ffi::{CStr, c_int};
use std::rc::Rc;

/// Work that is done now, or recorded.
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
    /// Names of the kernels that were looked up.
    pub names: Vec<String>,
    /// The work of the graph that is being recorded.
    pub recording: Option<Vec<Work>>,
    /// What was recorded.
    pub graphs: Vec<Vec<Work>>,
    /// Whether this thread has the context.
    pub current: bool,
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
        names: Vec::new(),
        recording: None,
        graphs: Vec::new(),
        current: false,
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

/// Runs or records.
pub fn submit(name: &'static str, work: impl Fn() + 'static) -> Status {
    let status = begin(name, ("", 0));
    if status != 0 {
        return status;
    }
    if !world(|w| w.current) {
        return 201;
    }
    let work: Work = Rc::new(work);
    let now = world(|w| match &mut w.recording {
        Some(list) => {
            list.push(work.clone());
            false
        }
        None => true,
    });
    if now {
        work();
    }
    0
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
