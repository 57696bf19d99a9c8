//! **op** Inverted dropout: y = x * keep / (1 - p), where keep is 1 with probability 1 - p.
//!
//! Srivastava et al. 2014. The mask is a pure function of the stream's counters (Philox), so it is
//! the same on every device, and one bit an element is all that is saved. The mask of a sequence can
//! be one for all of its steps (Gal & Ghahramani 2016): then it is drawn once and repeats itself.

use crate::autograd::{Backward, Grads, Slot, Tape, Var};
use crate::device::Gpu;
use crate::device::cpu::simd::{Dispatch, Simd, Task};
use crate::device::driver::{Arg, Launch};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::common::CHUNK;
use crate::rng::{Stream, philox4x32_10_wide};
use crate::tensor::{Tensor, for_float};
use rayon::prelude::*;
use std::sync::Arc;

/// Drops elements with probability `p` in [0, 1). Element i uses word i of `stream`; it is kept
/// if that word is at least p * 2^32.
///
/// # Errors
/// [`Error::Op`] if `p` is outside [0, 1) or the data type is not a floating one.
pub fn dropout(tape: &mut Tape, x: &Var, p: f64, stream: Stream) -> Result<Var> {
    dropout_at(tape, x, p, stream, None)
}

/// As [`dropout`], but on a GPU the stream's step is read from `step` `[1]` u32 when the kernel
/// runs, so that a captured graph can count.
///
/// # Errors
/// As [`dropout`].
pub fn dropout_at(
    tape: &mut Tape,
    x: &Var,
    p: f64,
    stream: Stream,
    step: Option<&Tensor>,
) -> Result<Var> {
    let period = x.value().numel();
    run(tape, x, p, (stream, step), period)
}

/// Variational dropout (Gal & Ghahramani 2016) of sequences x `[T, ..]`: what is dropped is the same at
/// each of the T steps. Element i of every step uses word i of `stream`; `step` is as in
/// [`dropout_at`].
///
/// # Errors
/// As [`dropout`].
pub fn variational_dropout(
    tape: &mut Tape,
    x: &Var,
    p: f64,
    stream: Stream,
    step: Option<&Tensor>,
) -> Result<Var> {
    let steps = x.value().dims().first().copied().unwrap_or(1);
    let period = x.value().numel() / steps.max(1);
    run(tape, x, p, (stream, step), period)
}

/// Drops elements of x by a mask of `period` elements that repeats itself.
fn run(
    tape: &mut Tape,
    x: &Var,
    p: f64,
    (stream, step): (Stream, Option<&Tensor>),
    period: usize,
) -> Result<Var> {
    if !(0.0..1.0).contains(&p) {
        return Err(Error::op(
            "dropout",
            format!("the probability {p} is not in [0, 1)"),
        ));
    }
    if p == 0.0 {
        return Ok(x.clone());
    }
    let (value, mask) = match x.value().gpu() {
        Some(gpu) => drop_on_gpu(gpu, x.value(), p, (stream, step), period)?,
        None => {
            let mask = draw(period, p, stream);
            (keep(x.value(), &mask, p, period)?, Mask::Cpu(mask))
        }
    };
    let y = tape.output(value, [x.slot()]);
    if y.slot().is_some() {
        tape.push(Dropout {
            x: x.slot(),
            p,
            mask,
            period,
            y: y.slot(),
        });
    }
    Ok(y)
}

/// What is kept: one bit an element, of those before they repeat themselves.
enum Mask {
    /// Bit b of word w is element 64 w + b.
    Cpu(Vec<u64>),
    /// The same bits in device memory.
    Gpu(Tensor),
}

fn threshold(p: f64) -> u32 {
    (p * 4_294_967_296.0) as u32
}

fn scale(p: f64) -> f64 {
    1.0 / (1.0 - p)
}

// ---- cpu -----------------------------------------------------------------------------------

/// Elements in a word of the mask.
const GROUP: usize = 64;
/// Philox blocks that yield a word of the mask.
const BLOCKS: usize = GROUP / 4;

/// The mask of `period` elements.
fn draw(period: usize, p: f64, stream: Stream) -> Vec<u64> {
    let mut mask = vec![0u64; period.div_ceil(GROUP)];
    let parts = mask.par_chunks_mut(CHUNK / GROUP).enumerate();
    parts.for_each(|(i, mask)| {
        f32::dispatch(Draw {
            mask,
            stream,
            first: i * CHUNK / GROUP,
            threshold: threshold(p),
        });
    });
    mask
}

/// What a mask leaves of x.
fn keep(x: &Tensor, mask: &[u64], p: f64, period: usize) -> Result<Tensor> {
    for_float!("dropout", x.dtype(), T => {
        let mut y = Tensor::uninit::<T>(x.shape().clone());
        // Of nothing there is no period.
        let period = period.max(1);
        let steps = y.data_mut::<T>()?.par_chunks_mut(period).zip(x.data::<T>()?.par_chunks(period));
        steps.for_each(|(y, x)| {
            let parts = y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK));
            parts.zip(mask.par_chunks(CHUNK / GROUP)).for_each(|((to, from), mask)| {
                T::dispatch(Apply { to, from, mask, scale: scale(p) });
            });
        });
        Ok(y)
    })
}

/// Fills the mask: bit b of word w is whether element 64 w + b is kept.
struct Draw<'a> {
    mask: &'a mut [u64],
    stream: Stream,
    /// First word.
    first: usize,
    threshold: u32,
}

impl<T> Task<T> for Draw<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd<E = T>>(self) {
        for (w, mask) in self.mask.iter_mut().enumerate() {
            let first = ((self.first + w) * BLOCKS) as u64;
            let words = philox4x32_10_wide::<BLOCKS>(self.stream, first);
            let mut bits = 0u64;
            for (lane, words) in words.iter().enumerate() {
                for (block, &word) in words.iter().enumerate() {
                    bits |= u64::from(word >= self.threshold) << (4 * block + lane);
                }
            }
            *mask = bits;
        }
    }
}

/// to = from * mask * scale
struct Apply<'a, T> {
    to: &'a mut [T],
    from: &'a [T],
    mask: &'a [u64],
    scale: f64,
}

impl<T: Dispatch> Task<T> for Apply<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd<E = T>>(self) {
        let scale = T::from_f64(self.scale);
        let groups = self.to.chunks_mut(GROUP).zip(self.from.chunks(GROUP));
        for ((to, from), &bits) in groups.zip(self.mask) {
            for (i, (to, &x)) in to.iter_mut().zip(from).enumerate() {
                *to = if bits >> i & 1 == 1 {
                    x * scale
                } else {
                    T::ZERO
                };
            }
        }
    }
}

// ---- gpu -----------------------------------------------------------------------------------

fn drop_on_gpu(
    gpu: &Arc<Gpu>,
    x: &Tensor,
    p: f64,
    (stream, step): (Stream, Option<&Tensor>),
    period: usize,
) -> Result<(Tensor, Mask)> {
    // The first elements draw the mask.
    let first = Tensor::on_gpu(gpu, x.dtype(), [period])?;
    let mask = Tensor::on_gpu(gpu, DType::U32, [2 * period.div_ceil(GROUP)])?;
    let [key0, key1, host_step, domain] = stream.words();
    let step = match step {
        Some(step) => step.clone(),
        None => Tensor::scalar(host_step).to_gpu(gpu)?,
    };
    let pointers = [x.ptr()?, first.ptr()?, mask.ptr()?, step.ptr()?].map(Arg::from);
    let mut args = pointers.to_vec();
    args.push((period as u64).into());
    args.extend([key0, key1, domain, threshold(p)].map(Arg::from));
    args.push((scale(p) as f32).into());
    let kernel = format!("dropout_fwd_{}", x.dtype());
    gpu.launch(
        &Launch::per_element(&kernel, period.next_multiple_of(GROUP) as u64),
        &args,
    )?;
    let y = match period == x.numel() {
        true => first.reshape(x.shape().clone())?,
        false => keep_on_gpu(gpu, x, &mask, p, period)?,
    };
    Ok((y, Mask::Gpu(mask)))
}

fn keep_on_gpu(gpu: &Arc<Gpu>, x: &Tensor, mask: &Tensor, p: f64, period: usize) -> Result<Tensor> {
    let y = Tensor::on_gpu(gpu, x.dtype(), x.shape().clone())?;
    let n = x.numel() as u64;
    let kernel = format!("dropout_keep_{}", x.dtype());
    let scale = scale(p) as f32;
    let args = [
        x.ptr()?.into(),
        mask.ptr()?.into(),
        y.ptr()?.into(),
        n.into(),
        (period as u64).into(),
        scale.into(),
    ];
    gpu.launch(&Launch::per_element(&kernel, n), &args)?;
    Ok(y)
}

// ---- backward ------------------------------------------------------------------------------

struct Dropout {
    x: Option<Slot>,
    p: f64,
    mask: Mask,
    period: usize,
    y: Option<Slot>,
}

impl Backward for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn backward(self: Box<Self>, grads: &mut Grads) -> Result<()> {
        let Some(dy) = grads.take(self.y) else {
            return Ok(());
        };
        let dx = match &self.mask {
            Mask::Gpu(mask) => {
                let gpu = dy
                    .gpu()
                    .ok_or_else(|| Error::op("dropout", "a gradient in host memory"))?;
                keep_on_gpu(gpu, &dy, mask, self.p, self.period)?
            }
            Mask::Cpu(mask) => keep(&dy, mask, self.p, self.period)?,
        };
        grads.add(self.x, dx)
    }
}
