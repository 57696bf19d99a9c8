//! A step's weights and its optimizer's state, on the host: for checkpoints, and for ranks that train by
//! themselves.

use super::{Optimizer, Step};
use crate::error::Result;
use crate::files::state::LossScaler;
use crate::files::tensors::TensorFile;
use crate::optim::Adam;
use crate::tensor::Tensor;
use crate::train::model::Model;

/// What stands before a parameter's name where the outer optimizer's momentum is saved.
const OUTER: &str = "u.";

/// Flat weights and moments, each `[P]`.
pub(super) struct State {
    pub(super) weights: Vec<f32>,
    pub(super) m: Vec<f32>,
    pub(super) v: Vec<f32>,
}

impl<M: Model> Step<M> {
    /// The optimizer's moments under the parameters' names: `m.NAME` and `v.NAME`; at rank 0 of ranks that
    /// train by themselves the outer optimizer's momentum, too, as `u.NAME`.
    ///
    /// # Errors
    /// If the device fails.
    pub fn moments(&self) -> Result<TensorFile> {
        let (m, v) = self.optimizer_moments();
        let mut file = TensorFile::new();
        self.layout().export(m, "m.", &mut file)?;
        self.layout().export(v, "v.", &mut file)?;
        if let Some(outer) = &self.outer {
            self.layout().export(outer, OUTER, &mut file)?;
        }
        Ok(file)
    }

    /// Takes the outer optimizer's momentum of such a file.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape.
    pub fn import_outer(&mut self, moments: &TensorFile) -> Result<()> {
        let layout = self.model.params().layout().clone();
        match &mut self.outer {
            Some(outer) => layout.import(moments, OUTER, outer),
            None => Ok(()),
        }
    }

    fn optimizer_moments(&self) -> (&Tensor, &Tensor) {
        match &self.optimizer {
            Optimizer::Cpu(adam) => (&adam.m, &adam.v),
            Optimizer::Gpu(_, adam) => (adam.m(), adam.v()),
        }
    }

    /// The flat weights.
    pub(super) fn weights(&self) -> Result<Vec<f32>> {
        host(self.model.params().values())
    }

    /// Weights and moments.
    pub(super) fn state(&self) -> Result<State> {
        let (m, v) = self.optimizer_moments();
        Ok(State {
            weights: self.weights()?,
            m: host(m)?,
            v: host(v)?,
        })
    }

    /// Goes on from another state, of an optimizer that has made so many updates.
    pub(super) fn put_state(
        &mut self,
        state: &State,
        updates: u64,
        scaler: Option<LossScaler>,
    ) -> Result<()> {
        let flat = |list: &[f32]| Tensor::from_slice(list, [list.len()]);
        let (config, gpu) = match &self.optimizer {
            Optimizer::Cpu(adam) => (adam.config, None),
            Optimizer::Gpu(gpu, adam) => (adam.config(), Some(gpu.clone())),
        };
        *self.model.params_mut().values_mut() = flat(&state.weights)?;
        self.optimizer = Optimizer::Cpu(Adam {
            config,
            m: flat(&state.m)?,
            v: flat(&state.v)?,
            step: updates,
        });
        match gpu {
            Some(gpu) => self.move_to(&gpu, scaler),
            None => Ok(()),
        }
    }
}

fn host(flat: &Tensor) -> Result<Vec<f32>> {
    Ok(flat.to_cpu()?.data::<f32>()?.to_vec())
}
