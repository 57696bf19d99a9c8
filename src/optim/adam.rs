//! Adam (Kingma & Ba 2015, Algorithm 1) and plain gradient descent over flat parameters, with decoupled
//! weight decay (Loshchilov & Hutter 2019).

use super::clip::{Clip, Clipping};
use crate::device::cpu::simd::Dispatch;
use crate::error::Result;
use crate::nn::{Layout, Params};
use crate::tensor::{Stored, Tensor, for_float};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// How a gradient becomes a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OptimizerKind {
    /// Along the moments.
    #[default]
    Adam,
    /// Along the gradient, without momentum; the moments stay zero.
    Sgd,
}

impl OptimizerKind {
    /// The words of the setting.
    pub const NAMES: [&'static str; 2] = ["adam", "sgd"];
}

/// The optimizer's constants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamConfig {
    /// Which optimizer; Adam alone has the betas and epsilon.
    pub kind: OptimizerKind,
    /// Step size alpha.
    pub learning_rate: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment after bias correction.
    pub epsilon: f64,
    /// Share of every parameter, biases too, that each step takes away, times the learning rate.
    pub weight_decay: f64,
}

impl AdamConfig {
    /// Keras's constants: beta 0.9 and 0.999, epsilon 1e-7.
    pub const fn keras(learning_rate: f64) -> Self {
        AdamConfig {
            kind: OptimizerKind::Adam,
            learning_rate,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-7,
            weight_decay: 0.0,
        }
    }

    /// torch's constants: beta 0.9 and 0.999, epsilon 1e-8.
    pub const fn torch(learning_rate: f64) -> Self {
        AdamConfig {
            epsilon: 1e-8,
            ..AdamConfig::keras(learning_rate)
        }
    }
}

/// The optimizer's state: moments m and v of the parameters' layout and the number of steps.
#[derive(Clone, Debug)]
pub struct Adam {
    /// The constants.
    pub config: AdamConfig,
    /// First moment.
    pub m: Tensor,
    /// Second moment.
    pub v: Tensor,
    /// Steps taken.
    pub step: u64,
}

impl Adam {
    /// A state of zeros for parameters of type T.
    pub fn new<T: Stored + Dispatch>(config: AdamConfig, layout: &Layout) -> Self {
        Adam {
            config,
            m: Tensor::zeros::<T>([layout.len()]),
            v: Tensor::zeros::<T>([layout.len()]),
            step: 0,
        }
    }

    /// Clips the gradient and updates the parameters:
    ///
    /// ```text
    /// g   = factor * gradient
    /// p  -= learning_rate * weight_decay * p
    /// m   = beta1 m + (1 - beta1) g            v   = beta2 v + (1 - beta2) g^2
    /// p  -= learning_rate * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon)
    /// ```
    ///
    /// Plain gradient descent has no moments: `p -= learning_rate * g`. A gradient whose norm is not
    /// finite changes nothing; the caller sees it in the result.
    ///
    /// # Errors
    /// If the tensors' data types differ.
    pub fn update(
        &mut self,
        params: &mut Params,
        gradient: &Tensor,
        clip: Clip,
    ) -> Result<Clipping> {
        let layout = params.layout().clone();
        for_float!("adam", gradient.dtype(), T => {
            let gradient = gradient.data::<T>()?;
            let clipping = clip.measure(&layout, gradient);
            if !clipping.norm.is_finite() {
                return Ok(clipping);
            }
            self.step += 1;
            let values = params.values_mut().data_mut::<T>()?;
            let (m, v) = (self.m.data_mut::<T>()?, self.v.data_mut::<T>()?);
            for (s, &factor) in layout.segments().iter().zip(&clipping.factors) {
                let range = s.offset..s.offset + s.shape.numel();
                Segment {
                    p: &mut values[range.clone()],
                    m: &mut m[range.clone()],
                    v: &mut v[range.clone()],
                    gradient: &gradient[range],
                }
                .update(self.config, self.step, factor);
            }
            Ok(clipping)
        })
    }
}

/// Elements that one task updates.
const CHUNK: usize = 1 << 14;

struct Segment<'a, T> {
    p: &'a mut [T],
    m: &'a mut [T],
    v: &'a mut [T],
    gradient: &'a [T],
}

impl<T: Dispatch> Segment<'_, T> {
    fn update(self, config: AdamConfig, step: u64, factor: f64) {
        let t = step as f64;
        let [beta1, beta2, epsilon, factor] =
            [config.beta1, config.beta2, config.epsilon, factor].map(T::from_f64);
        let (one_beta1, one_beta2) = (
            T::from_f64(1.0 - config.beta1),
            T::from_f64(1.0 - config.beta2),
        );
        // m_hat = m / c1 and v_hat = v / c2, folded into two factors.
        let rate = T::from_f64(config.learning_rate / (1.0 - config.beta1.powf(t)));
        let root = T::from_f64(1.0 / (1.0 - config.beta2.powf(t)).sqrt());
        // Without weight decay this is 1, and times 1 changes no bit.
        let keep = T::from_f64(1.0 - config.learning_rate * config.weight_decay);
        let plain = T::from_f64(config.learning_rate);
        let chunks = self
            .p
            .par_chunks_mut(CHUNK)
            .zip(self.gradient.par_chunks(CHUNK));
        if config.kind == OptimizerKind::Sgd {
            return chunks.for_each(|(p, g)| {
                for (p, &g) in p.iter_mut().zip(g) {
                    *p = *p * keep - plain * (g * factor);
                }
            });
        }
        let moments = self
            .m
            .par_chunks_mut(CHUNK)
            .zip(self.v.par_chunks_mut(CHUNK));
        chunks.zip(moments).for_each(|((p, g), (m, v))| {
            for (((p, &g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
                let g = g * factor;
                *m = beta1 * *m + one_beta1 * g;
                *v = beta2 * *v + one_beta2 * g * g;
                *p = *p * keep - rate * *m / (v.sqrt() * root + epsilon);
            }
        });
    }
}
