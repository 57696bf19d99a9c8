//! `rnnx selftest`: a table of cases that compares a device with the CPU.
//!
//! A case runs one op, or a whole training step, forward and backward, on inputs drawn from a fixed
//! seed. The reference is the CPU in f64, fed the same numbers: those of an f16 case are rounded to
//! f16 on both sides. Each output and each gradient has a bound with a reason (`bounds.rs`). A case
//! runs twice on the device and must give the same bits, and no op may write to its inputs, beside
//! them, or between the tensors of a flat gradient.
//!
//! Without a device the CPU in f32 is what is tested, by the f32 cases.

mod bounds;
mod cases;
mod probe;
pub mod recurrence;
mod side;
pub mod startup;

use crate::device::Gpu;
use crate::dtype::DType;
use crate::error::{Error, Result};
use probe::Output;
use side::Side;
use std::sync::Arc;

/// What became of a case.
#[derive(Clone, Debug, PartialEq)]
pub struct CaseResult {
    /// The op, for example `matmul`.
    pub op: &'static str,
    /// Data type of the storage.
    pub dtype: DType,
    /// Sizes and form, for example `7x33x1, a transposed`.
    pub case: String,
    /// Error of the output that is nearest to its bound, or past it: its largest distance from the
    /// reference over the reference's largest magnitude. Infinite if there is no result.
    pub error: f64,
    /// The bound of that output.
    pub bound: f64,
    /// Why the bound is what it is.
    pub why: &'static str,
    /// A hash (FNV-1a, 64 bits) of the bits of all outputs.
    pub digest: u64,
    /// Within all bounds, twice with the same bits, nothing written beside tensors.
    pub passed: bool,
    /// What went wrong; or, where that is known, why it went by steps; else empty.
    pub message: String,
    /// The case is one of kernels that take whole sequences, and the device, which has none for it or runs no such
    /// clusters, took a pass of it step by step: that it passed says nothing of the kernel.
    pub by_steps: bool,
}

/// Computes a case on one side.
type Outputs = Box<dyn Fn(&Side) -> Result<Vec<Output>>>;

/// One line of the table: an op with sizes, in some data types.
struct Case {
    op: &'static str,
    name: String,
    dtypes: &'static [DType],
    outputs: Outputs,
}

/// The ops of the table, in its order.
pub fn ops() -> Vec<&'static str> {
    let mut ops = Vec::new();
    for case in cases::table() {
        if !ops.contains(&case.op) {
            ops.push(case.op);
        }
    }
    ops
}

/// Runs the cases whose op's name contains `filter`, on a GPU or, without one, on the CPU in f32.
///
/// A case that fails, or whose op returns an error, is a result like any other.
pub fn run(gpu: Option<&Arc<Gpu>>, filter: Option<&str>) -> Vec<CaseResult> {
    let mut results = Vec::new();
    for case in cases::table() {
        if filter.is_some_and(|filter| !case.op.contains(filter)) {
            continue;
        }
        let on_cpu = |dtype: &&DType| gpu.is_some() || **dtype == DType::F32;
        let dtypes = case.dtypes.iter().filter(on_cpu);
        results.extend(dtypes.map(|&dtype| one(&case, gpu, dtype)));
    }
    results
}

fn one(case: &Case, gpu: Option<&Arc<Gpu>>, dtype: DType) -> CaseResult {
    let passes = || gpu.map(|gpu| gpu.whole_passes());
    let before = passes();
    let judged = compare(case, gpu, dtype);
    let (judged, digest) = judged.unwrap_or_else(|e| (Judgement::failed(e), 0));
    let passed = judged.message.is_empty();
    CaseResult {
        op: case.op,
        dtype,
        case: case.name.clone(),
        error: judged.error,
        bound: judged.bound,
        why: judged.why,
        digest,
        passed,
        message: judged.message,
        by_steps: passed && cases::WHOLE.contains(&case.op) && passes() == before,
    }
}

fn compare(case: &Case, gpu: Option<&Arc<Gpu>>, dtype: DType) -> Result<(Judgement, u64)> {
    let want = (case.outputs)(&Side::reference(dtype))?;
    let side = Side::tested(gpu, dtype);
    let first = (case.outputs)(&side)?;
    let second = (case.outputs)(&side)?;
    let mut judged = judge(dtype, &first, &want)?;
    let other = first.iter().zip(&second).find(|(a, b)| bits(a) != bits(b));
    if let Some((output, _)) = other.filter(|_| judged.message.is_empty()) {
        judged.message = format!("{} has other bits in a second run", output.name);
    }
    Ok((judged, digest(&first)))
}

/// The verdict on a case: the output that is nearest to its bound.
struct Judgement {
    error: f64,
    bound: f64,
    why: &'static str,
    message: String,
}

impl Judgement {
    fn failed(error: Error) -> Self {
        Judgement {
            error: f64::INFINITY,
            bound: 0.0,
            why: "no result",
            message: error.to_string(),
        }
    }
}

fn judge(dtype: DType, got: &[Output], want: &[Output]) -> Result<Judgement> {
    let sizes = |o: &[Output]| -> Vec<_> { o.iter().map(|o| o.values.len()).collect() };
    if sizes(got) != sizes(want) {
        let message = format!(
            "outputs of {:?} elements, not {:?}",
            sizes(got),
            sizes(want)
        );
        return Err(Error::op("selftest", message));
    }
    let mut worst = (-1.0, None);
    for (got, want) in got.iter().zip(want) {
        let (error, at) = error(&got.values, &want.values);
        let bound = want.bound.of(dtype);
        // A bound of zero allows nothing.
        let share = if error == 0.0 { 0.0 } else { error / bound };
        if share > worst.0 {
            worst = (share, Some((got, want, error, at)));
        }
    }
    let (share, Some((got, want, error, at))) = worst else {
        return Err(Error::op("selftest", "a case without outputs"));
    };
    let message = match share <= 1.0 {
        true => String::new(),
        false => format!(
            "{}, element {at} of {}: {:e}, should be {:e}",
            want.name,
            want.values.len(),
            got.values[at],
            want.values[at]
        ),
    };
    Ok(Judgement {
        error,
        bound: want.bound.of(dtype),
        why: want.bound.why,
        message,
    })
}

/// The largest distance over the largest finite magnitude of `want`, and where it is. Where one is
/// not a number or infinite and the other is something else, the error is infinite.
fn error(got: &[f64], want: &[f64]) -> (f64, usize) {
    let finite = want.iter().filter(|x| x.is_finite());
    let largest = finite.fold(0.0f64, |m, x| m.max(x.abs()));
    let unit = if largest > 0.0 { largest } else { 1.0 };
    let mut worst = (0.0, 0);
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let distance = if g == w { 0.0 } else { (g - w).abs() / unit };
        let distance = if distance.is_nan() {
            f64::INFINITY
        } else {
            distance
        };
        if distance > worst.0 {
            worst = (distance, i);
        }
    }
    worst
}

/// The bits of an output. A double holds those of every storage type.
fn bits(output: &Output) -> Vec<u64> {
    output.values.iter().map(|x| x.to_bits()).collect()
}

fn digest(outputs: &[Output]) -> u64 {
    fnv(outputs.iter().flat_map(bits).flat_map(u64::to_le_bytes))
}

/// FNV-1a of 64 bits.
fn fnv(bytes: impl IntoIterator<Item = u8>) -> u64 {
    let bytes = bytes.into_iter();
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
