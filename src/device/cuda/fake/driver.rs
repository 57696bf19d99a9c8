//! The driver for tests.

use super::world::{begin, functions, outside, submit, submit_outside, wait, world};
use crate::device::cuda::api::Status;
use cudarc::driver::sys as cuda;
use std::ffi::{CStr, c_char, c_int, c_uchar, c_uint, c_ulonglong, c_void};
use std::slice;

/// Bytes of the arguments that every fake kernel takes: pointer, u32, i32, u64, float.
const PARAMS: [usize; 5] = [8, 4, 4, 8, 4];

functions! {
    error_name(status: Status, text: *mut *const c_char) {
        *text = match status {
            2 => c"CUDA_ERROR_OUT_OF_MEMORY".as_ptr(),
            100 => c"CUDA_ERROR_NO_DEVICE".as_ptr(),
            700 => c"CUDA_ERROR_ILLEGAL_ADDRESS".as_ptr(),
            _ => return 1,
        };
        0
    }
    error_string(status: Status, text: *mut *const c_char) {
        if status != 700 {
            return 1;
        }
        *text = c"an illegal memory access was encountered".as_ptr();
        0
    }
    param_info(_f: cuda::CUfunction, i: usize, offset: *mut usize, size: *mut usize) {
        let Some(&bytes) = PARAMS.get(i) else { return 1 };
        (*offset, *size) = (8 * i, bytes);
        0
    }
    cuInit(_flags: c_uint) { begin("cuInit", ("", 0)) }
    cuDriverGetVersion(version: *mut c_int) {
        *version = world(|w| w.version);
        0
    }
    cuDeviceGetCount(count: *mut c_int) {
        *count = world(|w| w.gpus.len() as c_int);
        0
    }
    cuDeviceGet(device: *mut cuda::CUdevice, number: c_int) {
        *device = number;
        0
    }
    cuDeviceGetName(name: *mut c_char, len: c_int, device: cuda::CUdevice) {
        let text = world(|w| w.gpus[device as usize].0).to_bytes_with_nul();
        assert!(text.len() <= len as usize);
        name.copy_from_nonoverlapping(text.as_ptr().cast(), text.len());
        0
    }
    cuDeviceTotalMem_v2(bytes: *mut usize, _device: cuda::CUdevice) {
        *bytes = 1 << 30;
        0
    }
    cuDeviceGetAttribute(
        value: *mut c_int,
        attribute: cuda::CUdevice_attribute,
        device: cuda::CUdevice
    ) {
        let (major, minor) = world(|w| w.gpus[device as usize].1);
        *value = match attribute as u32 {
            75 => major,
            76 => minor,
            13 => 1_980_000,
            16 => 132,
            36 => 3_201_000,
            38 => 50 << 20,
            97 => 227 << 10,
            88 => 1, // as with HMM: the GPU reads pageable memory, though not through the
            100 => 0, // host's page tables
            other => panic!("attribute {other}"),
        };
        0
    }
    cuDevicePrimaryCtxRetain(context: *mut cuda::CUcontext, _device: cuda::CUdevice) {
        *context = 1 as cuda::CUcontext;
        begin("cuDevicePrimaryCtxRetain", ("context", 1))
    }
    cuDevicePrimaryCtxRelease_v2(_device: cuda::CUdevice) {
        world(|w| {
            let alive = w.live.iter().filter(|(kind, n)| **kind != "context" && **n != 0);
            w.outlived.extend(alive.map(|(kind, _)| *kind));
        });
        begin("cuDevicePrimaryCtxRelease", ("context", -1))
    }
    cuCtxSetCurrent(_context: cuda::CUcontext) {
        world(|w| w.current = true);
        begin("cuCtxSetCurrent", ("", 0))
    }
    cuMemGetInfo_v2(free: *mut usize, total: *mut usize) {
        (*free, *total) = (world(|w| w.room), 1 << 30);
        0
    }
    cuMemAlloc_v2(address: *mut cuda::CUdeviceptr, bytes: usize) {
        if bytes == 0 {
            return 1;
        }
        if world(|w| bytes.next_multiple_of(8) > w.room) {
            return 2;
        }
        let status = outside("cuMemAlloc", ("memory", 1));
        if status == 0 {
            let buffer = vec![u64::MAX; bytes.div_ceil(8)].into_boxed_slice();
            *address = buffer.as_ptr() as u64;
            world(|w| {
                w.room -= 8 * buffer.len();
                w.buffers.insert(*address, buffer)
            });
        }
        status
    }
    cuMemFree_v2(address: cuda::CUdeviceptr) {
        wait("cuMemFree's wait"); // as the real one does
        let Some(buffer) = world(|w| w.buffers.remove(&address)) else { return 1 };
        world(|w| w.room += 8 * buffer.len());
        outside("cuMemFree", ("memory", -1))
    }
    cuMemAllocHost_v2(address: *mut *mut c_void, bytes: usize) {
        let status = outside("cuMemAllocHost", ("pinned", 1));
        if status == 0 {
            let mut buffer = vec![u64::MAX; bytes.div_ceil(8)].into_boxed_slice();
            *address = buffer.as_mut_ptr().cast();
            world(|w| w.pinned.insert(*address as usize, buffer));
        }
        status
    }
    cuMemFreeHost(address: *mut c_void) {
        if world(|w| w.pinned.remove(&(address as usize))).is_none() {
            return 1;
        }
        outside("cuMemFreeHost", ("pinned", -1))
    }
    cuMemcpyHtoDAsync_v2(
        to: cuda::CUdeviceptr,
        from: *const c_void,
        bytes: usize,
        _stream: cuda::CUstream
    ) {
        submit_outside("cuMemcpyHtoDAsync", move || {
            (to as *mut u8).copy_from(from.cast(), bytes);
        })
    }
    cuMemcpyDtoHAsync_v2(
        to: *mut c_void,
        from: cuda::CUdeviceptr,
        bytes: usize,
        _stream: cuda::CUstream
    ) {
        submit_outside("cuMemcpyDtoHAsync", move || {
            to.cast::<u8>().copy_from(from as *const u8, bytes);
        })
    }
    cuMemcpyDtoDAsync_v2(
        to: cuda::CUdeviceptr,
        from: cuda::CUdeviceptr,
        bytes: usize,
        _stream: cuda::CUstream
    ) {
        submit("cuMemcpyDtoDAsync", move || {
            (to as *mut u8).copy_from_nonoverlapping(from as *const u8, bytes);
        })
    }
    cuMemsetD8Async(
        to: cuda::CUdeviceptr,
        value: c_uchar,
        bytes: usize,
        _stream: cuda::CUstream
    ) {
        submit("cuMemsetD8Async", move || (to as *mut u8).write_bytes(value, bytes))
    }
    cuStreamCreate(stream: *mut cuda::CUstream, flags: c_uint) {
        assert_eq!(flags, 1);
        *stream = 2 as cuda::CUstream;
        outside("cuStreamCreate", ("stream", 1))
    }
    cuStreamDestroy_v2(_stream: cuda::CUstream) { outside("cuStreamDestroy", ("stream", -1)) }
    cuStreamSynchronize(_stream: cuda::CUstream) { wait("cuStreamSynchronize") }
    cuStreamBeginCapture_v2(_stream: cuda::CUstream, mode: cuda::CUstreamCaptureMode) {
        assert_eq!(mode as u32, 1);
        let status = outside("cuStreamBeginCapture", ("", 0));
        world(|w| w.recording = Some(Vec::new()));
        status
    }
    cuStreamEndCapture(_stream: cuda::CUstream, graph: *mut cuda::CUgraph) {
        let Some(list) = world(|w| w.recording.take()) else { return 401 };
        let status = begin("cuStreamEndCapture", ("graph", 1));
        if status == 0 {
            *graph = world(|w| {
                w.graphs.push(list);
                w.graphs.len()
            }) as cuda::CUgraph;
        }
        status
    }
    cuGraphInstantiateWithFlags(
        exec: *mut cuda::CUgraphExec,
        graph: cuda::CUgraph,
        flags: c_ulonglong
    ) {
        assert_eq!(flags, 0);
        *exec = graph.cast();
        begin("cuGraphInstantiate", ("exec", 1))
    }
    cuGraphDestroy(_graph: cuda::CUgraph) { begin("cuGraphDestroy", ("graph", -1)) }
    cuGraphExecDestroy(_exec: cuda::CUgraphExec) { begin("cuGraphExecDestroy", ("exec", -1)) }
    cuGraphLaunch(exec: cuda::CUgraphExec, _stream: cuda::CUstream) {
        let status = outside("cuGraphLaunch", ("", 0));
        let list = world(|w| w.graphs[exec as usize - 1].clone());
        world(|w| w.queue.extend(list));
        status
    }
    cuEventCreate(event: *mut cuda::CUevent, _flags: c_uint) {
        *event = 3 as cuda::CUevent;
        outside("cuEventCreate", ("event", 1))
    }
    cuEventRecord(_event: cuda::CUevent, _stream: cuda::CUstream) {
        outside("cuEventRecord", ("", 0))
    }
    cuEventDestroy_v2(_event: cuda::CUevent) { outside("cuEventDestroy", ("event", -1)) }
    cuEventQuery(_event: cuda::CUevent) {
        match world(|w| w.queue.is_empty()) {
            true => outside("cuEventQuery", ("", 0)),
            // It is done by the next look.
            false => match wait("cuEventQuery") {
                0 => 600,
                status => status,
            },
        }
    }
    cuEventSynchronize(_event: cuda::CUevent) { wait("cuEventSynchronize") }
    cuEventElapsedTime(ms: *mut f32, _from: cuda::CUevent, _to: cuda::CUevent) {
        *ms = 1.25;
        0
    }
    cuModuleLoadData(module: *mut cuda::CUmodule, image: *const c_void) {
        assert_eq!(slice::from_raw_parts(image.cast::<u8>(), 4), b"\x7fELF");
        *module = 4 as cuda::CUmodule;
        outside("cuModuleLoadData", ("module", 1))
    }
    cuModuleUnload(_module: cuda::CUmodule) { outside("cuModuleUnload", ("module", -1)) }
    cuModuleGetFunction(
        function: *mut cuda::CUfunction,
        _module: cuda::CUmodule,
        name: *const c_char
    ) {
        let name = CStr::from_ptr(name).to_string_lossy().into_owned();
        *function = world(|w| {
            w.names.push(name);
            w.names.len()
        }) as cuda::CUfunction;
        outside("cuModuleGetFunction", ("", 0))
    }
    cuFuncSetAttribute(
        _function: cuda::CUfunction,
        attribute: cuda::CUfunction_attribute,
        value: c_int
    ) {
        world(|w| w.log.push(format!("set {} to {value}", attribute as u32)));
        outside("cuFuncSetAttribute", ("", 0))
    }
    cuFuncGetAttribute(
        value: *mut c_int,
        attribute: cuda::CUfunction_attribute,
        _function: cuda::CUfunction
    ) {
        *value = match attribute as u32 {
            0 => 512,  // threads
            1 => 1024, // static shared memory
            other => panic!("attribute {other}"),
        };
        outside("cuFuncGetAttribute", ("", 0))
    }
    cuOccupancyMaxActiveBlocksPerMultiprocessor(
        number: *mut c_int,
        _function: cuda::CUfunction,
        threads: c_int,
        bytes: usize
    ) {
        world(|w| w.log.push(format!("blocks of {threads} threads and {bytes} bytes")));
        *number = 2;
        outside("cuOccupancyMaxActiveBlocksPerMultiprocessor", ("", 0))
    }
    cuOccupancyMaxActiveClusters(
        number: *mut c_int,
        _function: cuda::CUfunction,
        config: *const cuda::CUlaunchConfig
    ) {
        let c = &*config;
        assert!(c.hStream.is_null() && c.numAttrs == 1);
        world(|w| w.log.push(format!("clusters of {} bytes", c.sharedMemBytes)));
        *number = 31;
        outside("cuOccupancyMaxActiveClusters", ("", 0))
    }
    cuLaunchKernelEx(
        config: *const cuda::CUlaunchConfig,
        function: cuda::CUfunction,
        args: *mut *mut c_void,
        extra: *mut *mut c_void
    ) {
        assert!(extra.is_null());
        let c = &*config;
        let cluster = slice::from_raw_parts(c.attrs, c.numAttrs as usize).iter().map(|a| {
            assert_eq!(a.id as u32, 4);
            [a.value.clusterDim.x, a.value.clusterDim.y, a.value.clusterDim.z]
        });
        let args = slice::from_raw_parts(args, PARAMS.len());
        let line = format!(
            "{} grid {:?} block {:?} shared {} cluster {:?} args {:x} {} {} {} {}",
            world(|w| w.names[function as usize - 1].clone()),
            [c.gridDimX, c.gridDimY, c.gridDimZ],
            [c.blockDimX, c.blockDimY, c.blockDimZ],
            c.sharedMemBytes,
            cluster.collect::<Vec<_>>(),
            *args[0].cast::<u64>(),
            *args[1].cast::<u32>(),
            *args[2].cast::<i32>(),
            *args[3].cast::<u64>(),
            *args[4].cast::<f32>(),
        );
        submit("cuLaunchKernelEx", move || world(|w| w.log.push(line.clone())))
    }
}
