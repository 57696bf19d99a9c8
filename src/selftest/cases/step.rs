//! Whole training steps of a small character LM: forward, backward, clip, Adam.

use super::add;
use crate::autograd::Tape;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::files::state::LossScaler;
use crate::files::tensors::TensorFile;
use crate::nn::{CellKind, Layout};
use crate::ops::cast::convert;
use crate::optim::{Adam, AdamConfig, Clip};
use crate::programs::charlm::data::CharBatch;
use crate::programs::charlm::model::{CharLm, CharLmSizes};
use crate::selftest::Case;
use crate::selftest::bounds::STEP;
use crate::selftest::probe::Output;
use crate::selftest::side::{Side, ids, numbers};
use crate::tensor::Tensor;
use crate::train::model::{Draws, Model};
use crate::train::step::{Step, objective};

/// The second step depends on the first one's update and moments.
const STEPS: u64 = 2;

/// Epsilon is large, so that a gradient near zero gives no jump of a whole learning rate.
const ADAM: AdamConfig = AdamConfig {
    epsilon: 1e-2,
    ..AdamConfig::keras(1e-2)
};

const CLIP: Clip = Clip::PerTensor { max: 0.05 };
const SEED: u64 = 5;

#[derive(Clone, Copy)]
struct Plan {
    vocab: usize,
    steps: usize,
    rows: usize,
}

/// The table's cases of this file.
pub(super) fn cases(table: &mut Vec<Case>) {
    // More characters than the vocabulary has: the gate table; fewer: the embedding.
    for (name, vocab) in [("gate table", 13), ("embedding", 33)] {
        let (steps, rows) = (3, 7);
        let plan = Plan { vocab, steps, rows };
        let name = format!("character LM, {name}, {steps}x{rows}");
        add(table, "step", name, move |side| plan.run(side));
    }
}

impl Plan {
    /// The model with initial weights of the case's data type, kept in `dtype`.
    fn model(self, side: &Side, dtype: DType) -> Result<CharLm> {
        let sizes = CharLmSizes {
            cell: CellKind::Lstm,
            vocab: self.vocab,
            embedding: 5,
            hidden: 9,
            layers: 2,
            tied: false,
        };
        let model = CharLm::new::<f32>(sizes, 3);
        let mut model = model.with_dropout(0.2).with_l2(1e-2);
        let rounded = side.rounded(model.params().values())?;
        *model.params_mut().values_mut() = convert(&rounded, dtype)?;
        Ok(model)
    }

    /// The batch of a step.
    fn batch(self, step: u64, side: &Side) -> Result<CharBatch> {
        let draw = |k| ids(k, [self.steps, self.rows], self.vocab);
        let (ids, targets) = (draw(10 + 2 * step as u32)?, draw(11 + 2 * step as u32)?);
        CharBatch { ids, targets }.to_device(side.gpu.as_ref())
    }

    fn run(self, side: &Side) -> Result<Vec<Output>> {
        match side.compute {
            DType::F64 => self.reference(side),
            _ => self.tested(side),
        }
    }

    /// The program's own step.
    fn tested(self, side: &Side) -> Result<Vec<Output>> {
        let model = self.model(side, DType::F32)?;
        let layout = model.params().layout().clone();
        let adam = Adam::new::<f32>(ADAM, &layout);
        let mut step = Step::new(model, adam, CLIP, SEED);
        if let Some(gpu) = &side.gpu {
            let scaler = LossScaler {
                scale: 1024.0,
                ..LossScaler::FIRST
            };
            step = step.to_gpu(gpu, side.mixed().then_some(scaler))?;
        }
        let mut figures = Vec::new();
        for n in 0..STEPS {
            let scores = step.train(&self.batch(n, side)?, n)?;
            if scores.skipped {
                let message = format!("step {n}: skipped for an overflow");
                return Err(Error::op("step", message));
            }
            figures.push([scores.loss, scores.grad_norm]);
        }
        let (weights, moments) = (step.model().export()?, step.moments()?);
        let named = |file: &TensorFile, prefix: &str, name: &str, shape: &[usize]| {
            let tensor = file.get(&format!("{prefix}{name}"), shape)?;
            Ok(tensor.data.iter().map(|&x| x.into()).collect())
        };
        outputs(&layout, &figures, |prefix, name, shape| match prefix {
            "" => named(&weights, prefix, name, shape),
            _ => named(&moments, prefix, name, shape),
        })
    }

    /// The same from its parts, in f64.
    fn reference(self, side: &Side) -> Result<Vec<Output>> {
        let mut model = self.model(side, DType::F64)?;
        let layout = model.params().layout().clone();
        let mut adam = Adam::new::<f64>(ADAM, &layout);
        let mut figures = Vec::new();
        for n in 0..STEPS {
            let mut tape = Tape::with_flat_gradients(Tensor::zeros::<f64>([layout.len()]));
            let bound = model.params().bind(&mut tape);
            let batch = self.batch(n, side)?;
            let draws = Draws::new(SEED, n);
            let total = objective(&model, &mut tape, &bound, &batch, &draws)?;
            drop(bound);
            let loss = total.value().item()?;
            let gradient = tape.backward(&total, Tensor::scalar(1.0f64))?.into_flat()?;
            let clipping = adam.update(model.params_mut(), &gradient, CLIP)?;
            figures.push([loss, clipping.norm]);
        }
        let weights = numbers(model.params().values())?;
        let (m, v) = (numbers(&adam.m)?, numbers(&adam.v)?);
        outputs(&layout, &figures, |prefix, name, _| {
            let flat = match prefix {
                "" => &weights,
                "m." => &m,
                _ => &v,
            };
            let segment = layout.segments().iter().find(|s| s.name == name);
            let segment = segment.ok_or_else(|| Error::op("step", format!("no tensor {name}")))?;
            Ok(flat[segment.offset..][..segment.shape.numel()].to_vec())
        })
    }
}

/// Losses, norms, and each tensor's weights and moments.
fn outputs(
    layout: &Layout,
    figures: &[[f64; 2]],
    values: impl Fn(&str, &str, &[usize]) -> Result<Vec<f64>>,
) -> Result<Vec<Output>> {
    let column = |k: usize| figures.iter().map(|f| f[k]).collect();
    let mut outputs = vec![
        Output::new("losses", column(0), STEP),
        Output::new("norms", column(1), STEP),
    ];
    for prefix in ["", "m.", "v."] {
        for s in layout.segments() {
            let values = values(prefix, &s.name, s.shape.dims())?;
            outputs.push(Output::new(format!("{prefix}{}", s.name), values, STEP));
        }
    }
    Ok(outputs)
}
