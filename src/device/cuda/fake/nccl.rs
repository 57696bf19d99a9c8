//! NCCL for tests: a group whose other devices hold what this one does.

use super::world::{functions, outside, submit, world};
use crate::device::cuda::api::Status;
use crate::device::cuda::nccl::{Comm, Config, ID_BYTES, UniqueId};
use cudarc::driver::sys::CUstream;
use std::ffi::{c_char, c_int, c_void};

/// Devices of the group.
const SIZE: usize = 3;

functions! {
    ncclGetVersion(version: *mut c_int) {
        *version = 22_705;
        0
    }
    ncclGetUniqueId(id: *mut UniqueId) {
        *id = UniqueId([7; ID_BYTES]);
        outside("ncclGetUniqueId", ("", 0))
    }
    ncclCommInitRankConfig(
        comm: *mut Comm,
        size: c_int,
        id: UniqueId,
        rank: c_int,
        config: *mut Config
    ) {
        assert_eq!((size, rank, id.0), (SIZE as c_int, 1, [7; ID_BYTES]));
        // As NCCL does, by the length that the structure says it has: magic, version, blocking.
        let words = config.cast::<u32>();
        assert_eq!(*config.cast::<usize>(), size_of::<Config>());
        assert_eq!([2, 3, 4].map(|i| *words.add(i)), [0xcafe_beef, 21_400, 0]);
        let status = outside("ncclCommInitRankConfig", ("communicator", 1));
        *comm = if status == 0 { 6 as Comm } else { 0 as Comm };
        status
    }
    ncclCommGetAsyncError(comm: Comm, state: *mut Status) {
        assert_eq!(comm as usize, 6);
        *state = world(|w| match w.states.len() {
            0 => 0,
            1 => w.states[0],
            _ => w.states.remove(0),
        });
        0
    }
    ncclAllGather(
        from: *const c_void,
        to: *mut c_void,
        count: usize,
        kind: c_int,
        comm: Comm,
        stream: CUstream
    ) {
        assert_eq!((kind, comm as usize, stream as usize), (7, 6, 2));
        submit("ncclAllGather", move || {
            for rank in 0..SIZE {
                let to = to.cast::<f32>().add(rank * count);
                to.copy_from_nonoverlapping(from.cast(), count);
            }
        })
    }
    ncclAllReduce(
        from: *const c_void,
        to: *mut c_void,
        count: usize,
        kind: c_int,
        op: c_int,
        comm: Comm,
        stream: CUstream
    ) {
        assert_eq!((kind, op, comm as usize, stream as usize), (7, 0, 6, 2));
        assert_eq!(from, to);
        submit("ncclAllReduce", move || {
            for i in 0..count {
                *to.cast::<f32>().add(i) *= SIZE as f32;
            }
        })
    }
    ncclCommAbort(comm: Comm) {
        assert_eq!(comm as usize, 6);
        // What the GPU still had of it will never be done.
        world(|w| w.queue.clear());
        outside("ncclCommAbort", ("communicator", -1))
    }
}

// SAFETY of both: they read nothing.
pub unsafe extern "C" fn ncclGetErrorString(status: Status) -> *const c_char {
    match status {
        2 => c"unhandled system error".as_ptr(),
        6 => c"remote process exited or there was a network error".as_ptr(),
        _ => std::ptr::null(),
    }
}

pub unsafe extern "C" fn ncclGetLastError(comm: Comm) -> *const c_char {
    match comm.is_null() {
        true => c"".as_ptr(),
        false => c"socket closed by peer".as_ptr(),
    }
}
