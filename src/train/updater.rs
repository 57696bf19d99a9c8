//! What follows a forward pass: backward, clipping, Adam, on the CPU or on a GPU.

use super::checkpoint::export_moments;
use crate::autograd::{Tape, Var};
use crate::device::Gpu;
use crate::error::Result;
use crate::files::state::LossScaler;
use crate::files::tensors::TensorFile;
use crate::nn::Params;
use crate::optim::adam_gpu::GpuAdam;
use crate::optim::{Adam, Clip};
use crate::tensor::Tensor;
use std::sync::Arc;

/// The optimizer and the flat gradient of a model, on one device.
#[derive(Debug)]
pub(crate) struct Updater {
    optimizer: Optimizer,
    clip: Clip,
    gradient: Option<Tensor>,
}

#[derive(Debug)]
enum Optimizer {
    Cpu(Adam),
    Gpu(Arc<Gpu>, Box<GpuAdam>),
}

impl Updater {
    /// On the CPU, in f32.
    pub(crate) fn new(adam: Adam, clip: Clip) -> Self {
        Updater {
            optimizer: Optimizer::Cpu(adam),
            clip,
            gradient: None,
        }
    }

    /// Moves parameters and optimizer to a GPU. With a scaler, products and activations are f16.
    /// `l2` is the factor of each parameter's sum of squares in the loss, by name.
    pub(crate) fn move_to_gpu(
        &mut self,
        params: &mut Params,
        gpu: &Arc<Gpu>,
        scaler: Option<LossScaler>,
        l2: impl Fn(&str) -> f64,
    ) -> Result<()> {
        if let Optimizer::Cpu(adam) = &self.optimizer {
            let layout = params.layout().clone();
            let adam = GpuAdam::new(gpu, adam, &layout, l2, scaler)?;
            params.to_gpu(gpu, scaler.is_some())?;
            self.optimizer = Optimizer::Gpu(gpu.clone(), Box::new(adam));
        }
        Ok(())
    }

    /// A tape for a training step. The gradient's memory is used again.
    pub(crate) fn tape(&mut self, params: &Params) -> Result<Tape> {
        let flat = match self.gradient.take() {
            Some(flat) => flat,
            None => self.place(&Tensor::zeros::<f32>([params.layout().len()]))?,
        };
        Ok(Tape::with_flat_gradients(flat))
    }

    /// Runs the tape backward from the loss and updates the parameters, none of which may be bound
    /// any more. Returns the gradient's norm before clipping; on a GPU it is in the optimizer's
    /// state, and this is zero.
    pub(crate) fn update(&mut self, tape: Tape, loss: &Var, params: &mut Params) -> Result<f64> {
        let seed = match &self.optimizer {
            Optimizer::Cpu(_) => Tensor::scalar(1.0f32),
            Optimizer::Gpu(_, adam) => adam.scale()?,
        };
        let gradient = tape.backward(loss, seed)?.into_flat()?;
        let norm = match &mut self.optimizer {
            Optimizer::Cpu(adam) => adam.update(params, &gradient, self.clip)?.norm,
            Optimizer::Gpu(gpu, adam) => {
                adam.update(gpu, params, &gradient, self.clip)?;
                0.0
            }
        };
        self.gradient = Some(gradient);
        Ok(norm)
    }

    /// The GPU and its optimizer, if the model is on one.
    pub(crate) fn gpu(&self) -> Option<(&Arc<Gpu>, &GpuAdam)> {
        match &self.optimizer {
            Optimizer::Cpu(_) => None,
            Optimizer::Gpu(gpu, adam) => Some((gpu, adam)),
        }
    }

    /// A tensor where the model is.
    pub(crate) fn place(&self, t: &Tensor) -> Result<Tensor> {
        match &self.optimizer {
            Optimizer::Cpu(_) => Ok(t.clone()),
            Optimizer::Gpu(gpu, _) => t.to_gpu(gpu),
        }
    }

    /// The optimizer's moments under the parameters' names.
    pub(crate) fn moments(&self, params: &Params) -> Result<TensorFile> {
        let layout = params.layout();
        match &self.optimizer {
            Optimizer::Cpu(adam) => export_moments(&adam.m, &adam.v, layout),
            Optimizer::Gpu(_, adam) => export_moments(adam.m(), adam.v(), layout),
        }
    }
}
