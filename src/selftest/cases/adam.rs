//! Adam with each way of clipping, with the L2 term, and with the loss scale of mixed precision.

use super::add;
use crate::device::cpu::simd::Dispatch;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::files::state::LossScaler;
use crate::nn::{Init, Layout, Params};
use crate::ops::cast::convert;
use crate::optim::adam_gpu::GpuAdam;
use crate::optim::{Adam, AdamConfig, Clip};
use crate::selftest::Case;
use crate::selftest::bounds::{ADAM, EXACT, ROUNDED};
use crate::selftest::probe::Output;
use crate::selftest::side::{Side, numbers, random};
use crate::tensor::{Stored, Tensor, for_float};

/// Updates of a case.
const STEPS: u32 = 3;
/// The update whose gradient overflows, where one does.
const BAD: u32 = 1;

/// Epsilon is large, so that a gradient near zero gives no jump of a whole learning rate.
const CONFIG: AdamConfig = AdamConfig {
    epsilon: 1e-3,
    ..AdamConfig::keras(1e-2)
};

/// The tensors, and each one's factor of its sum of squares in the loss. The last is past one
/// block's 4096 elements.
const SEGMENTS: [(&str, &[usize], f64); 4] = [
    ("kernel", &[7, 33], 0.02),
    ("one", &[1], 0.0),
    ("bias", &[257], 0.0),
    ("table", &[5000], 0.0),
];

#[derive(Clone, Copy)]
struct Plan {
    clip: Clip,
    /// One gradient is infinite.
    overflow: bool,
    /// Steps since the loss scale last changed: 2000 double it.
    good_steps: u32,
}

/// The table's cases of this file.
pub(super) fn cases(table: &mut Vec<Case>) {
    let torch = Clip::Global {
        max: 1.0,
        epsilon: 1e-6,
    };
    for (name, clip, overflow, good_steps) in [
        ("no clipping", Clip::Off, false, 0),
        ("clipped per tensor", Clip::PerTensor { max: 3.0 }, false, 0),
        ("clipped over all", torch, false, 0),
        ("an overflow", torch, true, 0),
        ("the 2000th good step", Clip::Off, false, 1998),
        ("an overflow before the 2000th", Clip::Off, true, 1998),
    ] {
        let plan = Plan {
            clip,
            overflow,
            good_steps,
        };
        add(table, "adam", name, move |side| plan.run(side));
    }
}

impl Plan {
    fn layout() -> Layout {
        let mut layout = Layout::default();
        for (name, shape, _) in SEGMENTS {
            layout.add(name, shape, Init::Uniform(1.0));
        }
        layout
    }

    fn l2(name: &str) -> f64 {
        let of = SEGMENTS.iter().find(|(segment, ..)| *segment == name);
        of.map_or(0.0, |(.., l2)| *l2)
    }

    fn is_bad(self, step: u32) -> bool {
        self.overflow && step == BAD
    }

    /// The gradient of a step before scaling, f32 numbers as doubles.
    fn gradient(self, layout: &Layout, step: u32) -> Result<Tensor> {
        let drawn = random(step, &[layout.len()].into(), 1.0)?;
        let drawn = numbers(&convert(&drawn, DType::F32)?)?;
        let mut flat = vec![0.0; layout.len()];
        for s in layout.segments() {
            let range = s.offset..s.offset + s.shape.numel();
            flat[range.clone()].copy_from_slice(&drawn[range]);
        }
        if self.is_bad(step) {
            flat[layout.segments()[2].offset + 100] = f64::INFINITY;
        }
        Tensor::from_slice(&flat, [flat.len()])
    }

    /// The loss scale before each step and after the last, by the rule of mixed precision:
    /// an overflow halves it, 2000 good steps double it.
    fn scalers(self) -> Vec<LossScaler> {
        let mut scaler = LossScaler {
            scale: 1024.0,
            good_steps: self.good_steps,
            skipped: 5,
        };
        let mut all = vec![scaler];
        for step in 0..STEPS {
            if self.is_bad(step) {
                scaler.scale /= 2.0;
                scaler.good_steps = 0;
                scaler.skipped += 1;
            } else if scaler.good_steps == 1999 {
                scaler.scale *= 2.0;
                scaler.good_steps = 0;
            } else {
                scaler.good_steps += 1;
            }
            all.push(scaler);
        }
        all
    }

    fn run(self, side: &Side) -> Result<Vec<Output>> {
        let mut params = Params::new::<f32>(Self::layout(), 6);
        let start = convert(params.values(), DType::F64)?;
        let state = match &side.gpu {
            Some(_) => self.on_gpu(side, &mut params)?,
            None => for_float!("selftest", side.compute, T => {
                *params.values_mut() = convert(&start, side.compute)?;
                self.on_cpu::<T>(side, &mut params)
            })?,
        };
        let now = numbers(params.values())?;
        let change = now.iter().zip(numbers(&start)?).map(|(a, b)| a - b);
        let mut outputs = vec![Output::new("change", change.collect(), ADAM)];
        outputs.extend(state);
        if side.mixed() {
            let half = match params.half() {
                Some(half) => numbers(half)?,
                None => now,
            };
            outputs.push(Output::new("half", half, ROUNDED));
        }
        Ok(outputs)
    }

    fn on_cpu<T: Stored + Dispatch>(self, side: &Side, params: &mut Params) -> Result<Vec<Output>> {
        let layout = params.layout().clone();
        let mut adam = Adam::new::<T>(CONFIG, &layout);
        let mut norms = Vec::new();
        for step in 0..STEPS {
            let mut flat = convert(&self.gradient(&layout, step)?, side.compute)?;
            let values = params.values().data::<T>()?;
            let to = flat.data_mut::<T>()?;
            for s in layout.segments() {
                let l2 = T::from_f64(2.0 * Self::l2(&s.name));
                for i in s.offset..s.offset + s.shape.numel() {
                    to[i] += l2 * values[i];
                }
            }
            norms.push(adam.update(params, &flat, self.clip)?.norm);
        }
        let last = self.scalers().pop().filter(|_| side.mixed());
        Self::figures(&norms, [&adam.m, &adam.v], last)
    }

    fn on_gpu(self, side: &Side, params: &mut Params) -> Result<Vec<Output>> {
        let gpu = side.gpu.as_ref();
        let gpu = gpu.ok_or_else(|| Error::op("selftest", "Adam on a GPU, without one"))?;
        let layout = params.layout().clone();
        let adam = Adam::new::<f32>(CONFIG, &layout);
        let scalers = self.scalers();
        let first = side.mixed().then(|| scalers[0]);
        let mut adam = GpuAdam::new(gpu, &adam, &layout, Self::l2, first)?;
        params.to_gpu(gpu, side.mixed())?;
        let (mut norms, mut last) = (Vec::new(), None);
        for step in 0..STEPS {
            let scale = if side.mixed() {
                scalers[step as usize].scale
            } else {
                1.0
            };
            let gradient = numbers(&self.gradient(&layout, step)?)?;
            let scaled: Vec<f32> = gradient.iter().map(|g| (g * scale) as f32).collect();
            let flat = side.place(&Tensor::from_slice(&scaled, [scaled.len()])?)?;
            adam.update(gpu, params, &flat, self.clip)?;
            let left = adam.read()?;
            if left.skipped != self.is_bad(step) {
                let message = format!("update {step}: skipped is {}", left.skipped);
                return Err(Error::op("adam", message));
            }
            norms.push(left.norm);
            last = side.mixed().then_some(left.scaler);
        }
        Self::figures(&norms, [adam.m(), adam.v()], last)
    }

    fn figures(
        norms: &[f64],
        [m, v]: [&Tensor; 2],
        scaler: Option<LossScaler>,
    ) -> Result<Vec<Output>> {
        let mut outputs = vec![
            Output::new("norms", norms.to_vec(), ADAM),
            Output::new("m", numbers(m)?, ADAM),
            Output::new("v", numbers(v)?, ADAM),
        ];
        if let Some(s) = scaler {
            let words = vec![s.scale, f64::from(s.good_steps), s.skipped as f64];
            outputs.push(Output::new("scale, good steps, skipped", words, EXACT));
        }
        Ok(outputs)
    }
}
