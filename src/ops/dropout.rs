//! **op** Inverted dropout: y = x * keep / (1 - p), where keep is 1 with probability 1 - p.
//!
//! Srivastava et al. 2014. The mask is a pure function of the stream's counters (Philox), so it is
//! the same on every device, and one bit an element is all that is saved.

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
        Some(gpu) => drop_on_gpu(gpu, x.value(), p, stream, step)?,
        None => drop_on_cpu(x.value(), p, stream)?,
    };
    let y = tape.output(value, [x.slot()]);
    if y.slot().is_some() {
        tape.push(Dropout {
            x: x.slot(),
            p,
            mask,
            y: y.slot(),
        });
    }
    Ok(y)
}

/// What is kept: one bit an element.
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

fn drop_on_cpu(x: &Tensor, p: f64, stream: Stream) -> Result<(Tensor, Mask)> {
    let mut mask = vec![0u64; x.numel().div_ceil(GROUP)];
    let value = for_float!("dropout", x.dtype(), T => {
        let mut y = Tensor::uninit::<T>(x.shape().clone());
        let inputs = x.data::<T>()?.par_chunks(CHUNK);
        let masks = mask.par_chunks_mut(CHUNK / GROUP);
        let outputs = y.data_mut::<T>()?.par_chunks_mut(CHUNK);
        outputs.zip(inputs).zip(masks).enumerate().for_each(|(i, ((y, x), mask))| {
            T::dispatch(Draw { mask, stream, first: i * CHUNK / GROUP, threshold: threshold(p) });
            T::dispatch(Apply { to: y, from: x, mask, scale: scale(p) });
        });
        Ok(y)
    })?;
    Ok((value, Mask::Cpu(mask)))
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
    stream: Stream,
    step: Option<&Tensor>,
) -> Result<(Tensor, Mask)> {
    let n = x.numel();
    let y = Tensor::on_gpu(gpu, x.dtype(), x.shape().clone())?;
    let mask = Tensor::on_gpu(gpu, DType::U32, [2 * n.div_ceil(GROUP)])?;
    let [key0, key1, host_step, domain] = stream.words();
    let step = match step {
        Some(step) => step.clone(),
        None => Tensor::scalar(host_step).to_gpu(gpu)?,
    };
    let pointers = [x.ptr()?, y.ptr()?, mask.ptr()?, step.ptr()?].map(Arg::from);
    let mut args = pointers.to_vec();
    args.push((n as u64).into());
    args.extend([key0, key1, domain, threshold(p)].map(Arg::from));
    args.push((scale(p) as f32).into());
    let kernel = format!("dropout_fwd_{}", x.dtype());
    gpu.launch(
        &Launch::per_element(&kernel, n.next_multiple_of(GROUP) as u64),
        &args,
    )?;
    Ok((y, Mask::Gpu(mask)))
}

fn apply_on_gpu(gpu: &Arc<Gpu>, dy: &Tensor, mask: &Tensor, p: f64) -> Result<Tensor> {
    let dx = Tensor::on_gpu(gpu, dy.dtype(), dy.shape().clone())?;
    let n = dy.numel() as u64;
    let kernel = format!("dropout_bwd_{}", dy.dtype());
    let scale = scale(p) as f32;
    let args = [
        dy.ptr()?.into(),
        mask.ptr()?.into(),
        dx.ptr()?.into(),
        n.into(),
        scale.into(),
    ];
    gpu.launch(&Launch::per_element(&kernel, n), &args)?;
    Ok(dx)
}

// ---- backward ------------------------------------------------------------------------------

struct Dropout {
    x: Option<Slot>,
    p: f64,
    mask: Mask,
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
        let mask = match &self.mask {
            Mask::Gpu(mask) => {
                let gpu = dy
                    .gpu()
                    .ok_or_else(|| Error::op("dropout", "a gradient in host memory"))?;
                return grads.add(self.x, apply_on_gpu(gpu, &dy, mask, self.p)?);
            }
            Mask::Cpu(mask) => mask,
        };
        for_float!("dropout", dy.dtype(), T => {
            let mut dx = Tensor::uninit::<T>(dy.shape().clone());
            let masks = mask.par_chunks(CHUNK / GROUP);
            let from = dy.data::<T>()?.par_chunks(CHUNK);
            dx.data_mut::<T>()?.par_chunks_mut(CHUNK).zip(from).zip(masks).for_each(
                |((to, from), mask)| T::dispatch(Apply { to, from, mask, scale: scale(self.p) }),
            );
            grads.add(self.x, dx)
        })
    }
}
