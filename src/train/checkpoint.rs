//! The optimizer's part of a checkpoint.

use crate::error::Result;
use crate::files::tensors::TensorFile;
use crate::nn::Layout;
use crate::optim::Adam;

/// The moments by the parameters' names: `m.NAME` and `v.NAME`.
///
/// # Errors
/// If the moments are not f32.
pub fn export_adam(adam: &Adam, layout: &Layout) -> Result<TensorFile> {
    let mut file = TensorFile::new();
    layout.export(&adam.m, "m.", &mut file)?;
    layout.export(&adam.v, "v.", &mut file)?;
    Ok(file)
}

/// The inverse of [`export_adam`]; the step count comes from `state.json`.
///
/// # Errors
/// If a tensor is missing or has another shape.
pub fn import_adam(adam: &mut Adam, layout: &Layout, file: &TensorFile, step: u64) -> Result<()> {
    layout.import(file, "m.", &mut adam.m)?;
    layout.import(file, "v.", &mut adam.v)?;
    adam.step = step;
    Ok(())
}
