//! Runs ops on one side: outputs, and the gradients of their projection on fixed random tensors.

use super::bounds::Bound;
use super::side::{FlatPlan, Guarded, Side, numbers, random};
use crate::autograd::{Backward, Grads, Slot, Tape, Var};
use crate::error::{Error, Result};
use crate::ops::cast::convert;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// A tensor that a side computed, and how far it may be from the reference.
#[derive(Debug)]
pub(super) struct Output {
    pub name: String,
    pub values: Vec<f64>,
    pub bound: Bound,
}

impl Output {
    /// An output from its parts.
    pub fn new(name: impl Into<String>, values: Vec<f64>, bound: Bound) -> Self {
        Output {
            name: name.into(),
            values,
            bound,
        }
    }
}

/// An input whose gradient is compared.
#[derive(Clone, Debug)]
pub(super) struct Input {
    name: &'static str,
    shape: Shape,
    scale: f64,
    values: Option<Vec<f64>>,
    parameter: bool,
    wide: bool,
    bound: Bound,
}

impl Input {
    /// A value whose gradient has its data type. `bound` is that gradient's.
    pub fn leaf(name: &'static str, shape: impl Into<Shape>, bound: Bound) -> Self {
        Input {
            name,
            shape: shape.into(),
            scale: 1.0,
            values: None,
            parameter: false,
            wide: false,
            bound,
        }
    }

    /// A parameter, whose gradient is a segment of the flat f32 gradient.
    pub fn parameter(name: &'static str, shape: impl Into<Shape>, bound: Bound) -> Self {
        Input {
            parameter: true,
            ..Self::leaf(name, shape, bound)
        }
    }

    /// Uniform in [-scale, scale), in place of 1.
    pub fn scaled(self, scale: f64) -> Self {
        Input { scale, ..self }
    }

    /// Made of these numbers.
    pub fn of(self, values: &[f64]) -> Self {
        Input {
            values: Some(values.to_vec()),
            ..self
        }
    }

    /// f32 on a GPU, whatever the case's data type.
    pub fn wide(self) -> Self {
        Input { wide: true, ..self }
    }

    fn draw(&self, k: usize) -> Result<Tensor> {
        match &self.values {
            Some(values) => Tensor::from_slice(values, self.shape.clone()),
            None => random(k as u32, &self.shape, self.scale),
        }
    }
}

/// What a case's ops made: name, value and bound. A value without a gradient is only compared.
pub(super) type Made = Vec<(&'static str, Var, Bound)>;

/// Runs `f` on the inputs, and seeds every output that has a gradient with a random tensor of its
/// own. Returns the outputs and then the gradients of the inputs, as `d` + name.
///
/// # Errors
/// What the ops return; or a write to an input, or beside one or its gradient.
pub(super) fn probe(
    side: &Side,
    inputs: &[Input],
    f: impl FnOnce(&mut Tape, &[Var]) -> Result<Made>,
) -> Result<Vec<Output>> {
    let parameters = inputs.iter().filter(|i| i.parameter);
    let sizes: Vec<usize> = parameters.map(|i| i.shape.numel()).collect();
    let plan = FlatPlan::new(&sizes);
    let tape = Tape::with_flat_gradients(plan.tensor(side)?);
    run(side, inputs, tape, &plan, f)
}

/// As [`probe`], without a backward pass: nothing is recorded.
///
/// # Errors
/// As [`probe`].
pub(super) fn probe_forward(
    side: &Side,
    inputs: &[Input],
    f: impl FnOnce(&mut Tape, &[Var]) -> Result<Made>,
) -> Result<Vec<Output>> {
    let sizes = vec![0; inputs.len()];
    run(side, inputs, Tape::inference(), &FlatPlan::new(&sizes), f)
}

fn run(
    side: &Side,
    inputs: &[Input],
    mut tape: Tape,
    plan: &FlatPlan,
    f: impl FnOnce(&mut Tape, &[Var]) -> Result<Made>,
) -> Result<Vec<Output>> {
    let (mut guards, mut vars, mut segment) = (Vec::new(), Vec::new(), 0);
    for (k, input) in inputs.iter().enumerate() {
        let dtype = if input.wide {
            side.wide()
        } else {
            side.compute
        };
        let guard = Guarded::new(side, &side.rounded(&input.draw(k)?)?, dtype)?;
        let value = guard.tensor.clone();
        vars.push(if input.parameter {
            segment += 1;
            tape.parameter(value, plan.offset(segment - 1))
        } else {
            tape.leaf(value)
        });
        guards.push(guard);
    }
    let made = f(&mut tape, &vars)?;
    let mut outputs = Vec::new();
    for (name, var, bound) in &made {
        outputs.push(Output::new(*name, numbers(var.value())?, *bound));
    }
    if tape.is_recording() {
        outputs.extend(gradients(side, tape, inputs, &vars, made, plan)?);
    }
    for (input, guard) in inputs.iter().zip(&guards) {
        guard.check(input.name)?;
    }
    Ok(outputs)
}

/// The gradients of the inputs. The outputs are given up before, so that an op may overwrite what
/// it saved of them.
fn gradients(
    side: &Side,
    tape: Tape,
    inputs: &[Input],
    vars: &[Var],
    made: Made,
    plan: &FlatPlan,
) -> Result<Vec<Output>> {
    let mut seeds = Vec::new();
    for (k, (_, var, _)) in made.into_iter().enumerate() {
        if let Some(slot) = var.slot() {
            let value = var.value();
            let seed = side.rounded(&random(1000 + k as u32, value.shape(), 1.0)?)?;
            seeds.push((slot, side.place(&convert(&seed, value.dtype())?)?));
        }
    }
    let mut grads = backward_from(tape, seeds)?;
    let mut leaves = Vec::new();
    for (input, var) in inputs.iter().zip(vars).filter(|(i, _)| !i.parameter) {
        let gradient = grads.take(var.slot()).ok_or_else(|| {
            let message = format!("no gradient arrived at {}", input.name);
            Error::op("selftest", message)
        })?;
        leaves.push(numbers(&gradient)?);
    }
    let mut leaves = leaves.into_iter();
    let mut segments = plan.segments(&grads.into_flat()?)?.into_iter();
    let gradient = |input: &Input| {
        let values = match input.parameter {
            true => segments.next(),
            false => leaves.next(),
        };
        let name = format!("d{}", input.name);
        Output::new(name, values.unwrap_or_default(), input.bound)
    };
    Ok(inputs.iter().map(gradient).collect())
}

/// The gradients where these arrive at outputs.
///
/// # Errors
/// What the ops return.
pub(super) fn backward_from(mut tape: Tape, seeds: Vec<(Slot, Tensor)>) -> Result<Grads> {
    let slots: Vec<_> = seeds.iter().map(|(slot, _)| Some(*slot)).collect();
    let end = tape.output(Tensor::scalar(0.0f32), slots);
    tape.push(Seeds {
        seeds,
        end: end.slot(),
    });
    tape.backward(&end, Tensor::scalar(0.0f32))
}

/// The last node of the tape: hands each output its seed.
struct Seeds {
    seeds: Vec<(Slot, Tensor)>,
    end: Option<Slot>,
}

impl Backward for Seeds {
    fn name(&self) -> &'static str {
        "selftest"
    }

    fn backward(self: Box<Self>, grads: &mut Grads) -> Result<()> {
        if grads.take(self.end).is_some() {
            for (slot, seed) in self.seeds {
                grads.add(Some(slot), seed)?;
            }
        }
        Ok(())
    }
}
