//! Adam on a GPU: the two kernels of `kernels/adam.cu` over the flat parameters, with the loss scale
//! of mixed precision (Micikevicius et al. 2018). The host waits for nothing.

use super::adam::{Adam, AdamConfig, OptimizerKind};
use super::clip::Clip;
use crate::device::Gpu;
use crate::device::driver::{Arg, Launch};
use crate::dtype::DType;
use crate::error::Result;
use crate::files::state::LossScaler;
use crate::nn::{Layout, Params};
use crate::ops::gpu::{or_null, pointers};
use crate::shape::Shape;
use crate::tensor::Tensor;
use std::sync::Arc;

/// Good steps after which the loss scale doubles.
const GROWTH: u32 = 2000;
/// Elements of one block's span.
const SPAN: usize = 4096;

/// Words of the state in device memory: see `kernels/adam.cu`.
const STATE_WORDS: usize = 8;
const SCALE: usize = 0;
const GOOD: usize = 1;
const STEPS: usize = 2;
const SKIPPED: usize = 3;
const FOUND: usize = 4;
const NORM: usize = 6;

/// Learning rates that are given at once at most.
pub const RATES: usize = 64;
/// Words before the rates in device memory: how many are used, and how many there are.
const RATES_HEAD: usize = 2;

/// The optimizer's state on a GPU.
#[derive(Debug)]
pub struct GpuAdam {
    config: AdamConfig,
    mixed: bool,
    segments: u32,
    blocks: u32,
    m: Tensor,
    v: Tensor,
    /// Segment, first and end element of each block `[blocks, 3]`.
    spans: Tensor,
    /// First block of each segment `[S + 1]`.
    starts: Tensor,
    /// 2 * l2 of each segment `[S]`.
    decay: Tensor,
    partial: Tensor,
    factors: Tensor,
    /// Words of 32 bits, kept as f32: the first is the loss scale.
    state: Tensor,
    /// Words of 32 bits: see `kernels/adam.cu`.
    rates: Tensor,
    /// The rate that is there, if all that were given are the same.
    constant: Option<f64>,
}

/// What a step left in the state.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GpuAdamStep {
    /// Whether this step's gradient was not finite, so that nothing was updated.
    pub skipped: bool,
    /// Norm of the unscaled gradient over all tensors, before clipping.
    pub norm: f64,
    /// The loss scale of the next step and its counters.
    pub scaler: LossScaler,
}

impl GpuAdamStep {
    /// Reads the words of the state, which are kept as f32.
    pub fn from_words(state: &[f32]) -> Self {
        let word = |i: usize| state[i].to_bits();
        GpuAdamStep {
            skipped: word(FOUND) != 0,
            norm: state[NORM].into(),
            scaler: LossScaler {
                scale: state[SCALE].into(),
                good_steps: word(GOOD),
                skipped: word(SKIPPED).into(),
            },
        }
    }
}

impl GpuAdam {
    /// Moves an optimizer to a GPU. `l2` is each segment's factor of its sum of squares in the loss,
    /// whose gradient is added here. With a scaler, gradients are those of the scaled loss, and the
    /// scale is dynamic.
    ///
    /// # Errors
    /// If the device fails or has not enough memory.
    pub fn new(
        gpu: &Arc<Gpu>,
        adam: &Adam,
        layout: &Layout,
        l2: impl Fn(&str) -> f64,
        scaler: Option<LossScaler>,
    ) -> Result<Self> {
        let (mut spans, mut starts) = (Vec::new(), vec![0u32]);
        for (i, s) in layout.segments().iter().enumerate() {
            let end = s.offset + s.shape.numel();
            for at in (s.offset..end).step_by(SPAN) {
                spans.extend([i, at, (at + SPAN).min(end)].map(|n| n as u32));
            }
            starts.push((spans.len() / 3) as u32);
        }
        let decay: Vec<f32> = layout
            .segments()
            .iter()
            .map(|s| (2.0 * l2(&s.name)) as f32)
            .collect();
        let mut state = [0u32; STATE_WORDS];
        state[SCALE] = scaler.map_or(1.0, |s| s.scale as f32).to_bits();
        state[GOOD] = scaler.map_or(0, |s| s.good_steps);
        state[SKIPPED] = scaler.map_or(0, |s| s.skipped as u32);
        state[STEPS] = adam.step as u32;
        let (segments, blocks) = (decay.len(), spans.len() / 3);
        let words = |words: &[u32]| Tensor::from_slice(words, [words.len()])?.to_gpu(gpu);
        let rate = adam.config.learning_rate;
        let mut rates = [0; RATES_HEAD + RATES];
        rates[..RATES_HEAD + 1].copy_from_slice(&[0, 1, (rate as f32).to_bits()]);
        Ok(GpuAdam {
            config: adam.config,
            mixed: scaler.is_some(),
            segments: segments as u32,
            blocks: blocks as u32,
            m: adam.m.to_gpu(gpu)?,
            v: adam.v.to_gpu(gpu)?,
            spans: words(&spans)?,
            starts: words(&starts)?,
            decay: Tensor::from_slice(&decay, [segments])?.to_gpu(gpu)?,
            partial: Tensor::on_gpu(gpu, DType::F32, [blocks])?,
            factors: Tensor::on_gpu(gpu, DType::F32, [segments])?,
            state: Tensor::from_slice(&state.map(f32::from_bits), [STATE_WORDS])?.to_gpu(gpu)?,
            rates: words(&rates)?,
            constant: Some(rate),
        })
    }

    /// Sets the learning rates of the next steps, the last of which stays; of more than [`RATES`],
    /// the first so many. A rate that does not change is sent once.
    ///
    /// # Errors
    /// If the device fails.
    pub fn set_rates(&mut self, gpu: &Gpu, rates: &[f64]) -> Result<()> {
        let rates = &rates[..rates.len().min(RATES)];
        let Some(&first) = rates.first() else {
            return Ok(());
        };
        let constant = rates.iter().all(|r| *r == first).then_some(first);
        if constant.is_some() && constant == self.constant {
            return Ok(());
        }
        let words = rates.iter().map(|r| (*r as f32).to_bits());
        let words: Vec<u32> = [0, rates.len() as u32].into_iter().chain(words).collect();
        gpu.driver()
            .upload(self.rates.ptr()?, bytemuck::cast_slice(&words))?;
        self.constant = constant;
        Ok(())
    }

    /// The loss scale, as the seed of a backward pass.
    pub fn scale(&self) -> Tensor {
        self.state.part(SCALE, Shape::default())
    }

    /// The loss scale times `share`, as the seed of the backward pass of one of several batches.
    ///
    /// # Errors
    /// If the device fails or has not enough memory.
    pub fn seed(&self, gpu: &Arc<Gpu>, share: f64) -> Result<Tensor> {
        let scale = self.scale();
        if share == 1.0 {
            return Ok(scale);
        }
        let seed = Tensor::on_gpu(gpu, DType::F32, Shape::default())?;
        let mut args = pointers(&[&scale, &seed])?;
        args.extend([Arg::from(share as f32), Arg::from(1u64)]);
        gpu.launch(&Launch::per_element("scale_f32", 1), &args)?;
        Ok(seed)
    }

    /// Unscales and clips the gradient and updates the parameters and their f16 copy. A gradient
    /// that is not finite only lowers the loss scale.
    ///
    /// # Errors
    /// If the device fails.
    pub fn update(
        &mut self,
        gpu: &Gpu,
        params: &mut Params,
        gradient: &Tensor,
        clip: Clip,
    ) -> Result<()> {
        self.update_mean(gpu, params, (gradient, 1.0), clip)
    }

    /// As [`GpuAdam::update`] by the gradient times `mean`, where it is a sum over several batches.
    ///
    /// # Errors
    /// If the device fails.
    pub fn update_mean(
        &mut self,
        gpu: &Gpu,
        params: &mut Params,
        (gradient, mean): (&Tensor, f64),
        clip: Clip,
    ) -> Result<()> {
        let (max, epsilon, per_tensor) = match clip {
            Clip::Off => (f64::INFINITY, 0.0, 0u32),
            Clip::PerTensor { max } => (max, 0.0, 1),
            Clip::Global { max, epsilon } => (max, epsilon, 0),
        };
        let growth = if self.mixed { GROWTH } else { 0 };
        let tensors = [
            gradient,
            params.values(),
            &self.decay,
            &self.spans,
            &self.starts,
            &self.partial,
            &self.factors,
            &self.state,
            &self.rates,
        ];
        let mut args = pointers(&tensors)?;
        args.push(self.segments.into());
        args.extend([mean, max, epsilon].map(|x| Arg::from(x as f32)));
        args.extend([per_tensor, growth].map(Arg::from));
        gpu.launch(&Launch::new("adam_prepare", self.blocks, 256), &args)?;

        let half = or_null(params.half())?;
        let mut args = pointers(&[gradient, params.values(), &self.m, &self.v])?;
        args.push(half.into());
        args.extend(pointers(&[
            &self.decay,
            &self.spans,
            &self.factors,
            &self.state,
            &self.rates,
        ])?);
        let c = self.config;
        // The logarithm of a beta of 0 is infinite; e to this is 0, too.
        let log = |beta: f64| beta.ln().max(-200.0);
        let (log1, log2) = (log(c.beta1), log(c.beta2));
        let numbers = [c.beta1, c.beta2, log1, log2, c.epsilon, c.weight_decay];
        args.extend(numbers.map(|x| Arg::from(x as f32)));
        args.push(u32::from(c.kind == OptimizerKind::Sgd).into());
        gpu.launch(&Launch::new("adam_update", self.blocks, 256), &args)
    }

    /// Waits for the device and reads what the last step left.
    ///
    /// # Errors
    /// If the device fails.
    pub fn read(&self) -> Result<GpuAdamStep> {
        let state = self.state.to_cpu()?;
        Ok(GpuAdamStep::from_words(state.data::<f32>()?))
    }

    /// The state in device memory `[8]`, whose words [`GpuAdamStep::from_words`] reads.
    pub fn state(&self) -> &Tensor {
        &self.state
    }

    /// The constants; the learning rate is the first one.
    pub fn config(&self) -> AdamConfig {
        self.config
    }

    /// First moment, flat.
    pub fn m(&self) -> &Tensor {
        &self.m
    }

    /// Second moment, flat.
    pub fn v(&self) -> &Tensor {
        &self.v
    }
}
