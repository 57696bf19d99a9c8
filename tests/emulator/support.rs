//! Buffers, launches under several schedules, and comparisons.

use half::f16;
use rnnx::Error;
use rnnx::device::driver::{Arg, DevicePtr, Driver, Launch};
use rnnx::device::emulated::Emulated;

/// Ascending, descending and two random orders of threads and blocks.
pub const SCHEDULES: [u64; 4] = [0, 1, 0x5EED, 77];

/// Sizes around those of warps, blocks and groups of eight.
pub const SIZES: [usize; 4] = [1, 7, 33, 257];

/// A kernel's argument as a test states it.
pub enum Buf {
    /// A buffer with this content.
    In(Vec<u8>),
    /// Fresh memory of so many bytes.
    Out(usize),
    /// No buffer.
    Null,
    /// A number.
    Number(Arg),
}

/// A buffer that holds `values`.
pub fn give<T: bytemuck::Pod>(values: &[T]) -> Buf {
    Buf::In(bytemuck::cast_slice(values).to_vec())
}

/// Fresh memory for `n` elements.
pub fn fresh<T>(n: usize) -> Buf {
    Buf::Out(n * size_of::<T>())
}

/// A number.
pub fn number(value: impl Into<Arg>) -> Buf {
    Buf::Number(value.into())
}

/// Runs launches over one list of buffers; returns what the buffers hold afterwards.
/// Each launch names its arguments by their place in the list.
pub fn run_on(
    device: &Emulated,
    launches: &[(Launch, &[usize])],
    bufs: &[Buf],
) -> Result<Vec<Vec<u8>>, Error> {
    let mut args = Vec::new();
    for buf in bufs {
        args.push(match buf {
            Buf::In(bytes) => {
                let ptr = device.alloc(bytes.len())?;
                device.upload(ptr, bytes)?;
                Arg::Ptr(ptr)
            }
            Buf::Out(bytes) => Arg::Ptr(device.alloc(*bytes)?),
            Buf::Null => Arg::Ptr(DevicePtr::NULL),
            Buf::Number(arg) => *arg,
        });
    }
    for (launch, places) in launches {
        let chosen: Vec<Arg> = places.iter().map(|&i| args[i]).collect();
        device.launch(launch, &chosen)?;
    }
    let mut out = Vec::new();
    for (buf, arg) in bufs.iter().zip(&args) {
        let mut bytes = match buf {
            Buf::In(bytes) => bytes.clone(),
            Buf::Out(n) => vec![0; *n],
            Buf::Null | Buf::Number(_) => Vec::new(),
        };
        if let (Arg::Ptr(ptr), false) = (arg, bytes.is_empty()) {
            device.download(&mut bytes, *ptr)?;
        }
        out.push(bytes);
    }
    Ok(out)
}

/// One launch with all buffers as its arguments, on a device of one schedule.
pub fn try_run(schedule: u64, launch: Launch, bufs: &[Buf]) -> Result<Vec<Vec<u8>>, Error> {
    let places: Vec<usize> = (0..bufs.len()).collect();
    run_on(&Emulated::new(schedule), &[(launch, &places)], bufs)
}

/// Runs under every schedule; all must leave the same bits in every buffer.
pub fn run_all(launches: &[(Launch, &[usize])], bufs: &[Buf]) -> Vec<Vec<u8>> {
    let mut first: Option<Vec<Vec<u8>>> = None;
    for schedule in SCHEDULES {
        let out = run_on(&Emulated::new(schedule), launches, bufs).unwrap();
        match &first {
            Some(first) => assert!(
                *first == out,
                "{}: other bits under schedule {schedule}",
                launches[0].0.kernel
            ),
            None => first = Some(out),
        }
    }
    first.unwrap()
}

/// [`run_all`] for one launch with all buffers as its arguments.
pub fn run(launch: Launch, bufs: &[Buf]) -> Vec<Vec<u8>> {
    let places: Vec<usize> = (0..bufs.len()).collect();
    run_all(&[(launch, &places)], bufs)
}

/// The message of the error that the launch must end with.
pub fn fault(schedule: u64, launch: Launch, bufs: &[Buf]) -> String {
    let kernel = launch.kernel.to_string();
    match try_run(schedule, launch, bufs) {
        Ok(_) => panic!("{kernel} passed under schedule {schedule}"),
        Err(e) => {
            let message = e.to_string();
            assert!(
                message.contains(&kernel),
                "{message} does not name {kernel}"
            );
            message
        }
    }
}

/// Bytes as numbers.
pub fn get<T: bytemuck::AnyBitPattern>(bytes: &[u8]) -> Vec<T> {
    let elements = bytes.chunks_exact(size_of::<T>());
    elements.map(bytemuck::pod_read_unaligned).collect()
}

/// A storage type of kernels: their names end in `SUFFIX`.
pub trait Storage: bytemuck::Pod {
    /// `f32` or `f16`.
    const SUFFIX: &'static str;
    /// Largest relative error of one rounding to this type.
    const ROUNDING: f32;
    /// Rounds to this type.
    fn from_f32(x: f32) -> Self;
    /// Widens.
    fn to_f32(self) -> f32;
}

impl Storage for f32 {
    const SUFFIX: &'static str = "f32";
    const ROUNDING: f32 = 6e-8;
    fn from_f32(x: f32) -> Self {
        x
    }
    fn to_f32(self) -> f32 {
        self
    }
}

impl Storage for f16 {
    const SUFFIX: &'static str = "f16";
    const ROUNDING: f32 = 4.9e-4;
    fn from_f32(x: f32) -> Self {
        f16::from_f32(x)
    }
    fn to_f32(self) -> f32 {
        f16::to_f32(self)
    }
}

/// Numbers in (-1, 1) times `scale`, stored as T and widened again: what a kernel sees.
pub fn values<T: Storage>(n: usize, seed: u32, scale: f32) -> Vec<f32> {
    let mut r = rnnx::rng::Stream::new(1, rnnx::rng::Purpose::Init, seed).reader();
    let mut next = || (r.uniform() * 2.0 - 1.0) as f32 * scale;
    (0..n).map(|_| T::from_f32(next()).to_f32()).collect()
}

/// A buffer of numbers in storage type T.
pub fn store<T: Storage>(values: &[f32]) -> Buf {
    give(&values.iter().map(|&x| T::from_f32(x)).collect::<Vec<T>>())
}

/// A buffer's numbers, widened from storage type T.
pub fn load<T: Storage>(bytes: &[u8]) -> Vec<f32> {
    let elements = bytes.chunks_exact(size_of::<T>());
    elements
        .map(|b| bytemuck::pod_read_unaligned::<T>(b).to_f32())
        .collect()
}

/// Fails unless |got - want| <= relative |want| + absolute everywhere; names the worst place.
pub fn assert_close(what: &str, got: &[f32], want: &[f64], relative: f32, absolute: f32) {
    assert_eq!(got.len(), want.len(), "{what}: lengths");
    for (i, (&g, &w)) in got.iter().zip(want).enumerate() {
        let bound = f64::from(relative) * w.abs() + f64::from(absolute);
        let error = (f64::from(g) - w).abs();
        assert!(
            error <= bound,
            "{what}[{i}]: {g} for {w}, error {error:e} > {bound:e}"
        );
    }
}

// ---- the recurrent cells -------------------------------------------------------------------

/// Rounding inside a cell's kernels: a handful of f32 operations on numbers below 4.
pub const GATES: f32 = 2e-6;

pub fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Blocks of 128 threads, one an element.
pub fn gate_blocks(elements: usize) -> u32 {
    elements.div_ceil(128) as u32
}
