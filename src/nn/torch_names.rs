//! Weights under torch's names.
//!
//! torch's recurrent layers have two biases. Where they are only added, one of them, `bias_ih`, is
//! trained here; export writes the other as zeros, import adds the two. A GRU has both.

use crate::error::Result;
use crate::files::tensors::{HostTensor, TensorFile};
use crate::nn::Params;
use crate::nn::params::{Layout, Segment};

/// The name of a trained bias's sibling that is not trained; none for other parameters.
fn second_bias(layout: &Layout, segment: &Segment) -> Option<String> {
    let name = segment.name.replace(".bias_ih_", ".bias_hh_");
    let trained = layout.segments().iter().any(|s| s.name == name);
    (!trained).then_some(name)
}

/// The weights.
///
/// # Errors
/// If the parameters are not f32, or the device fails.
pub fn export(params: &Params) -> Result<TensorFile> {
    let mut file = TensorFile::new();
    params.layout().export(params.values(), "", &mut file)?;
    for segment in params.layout().segments() {
        if let Some(name) = second_bias(params.layout(), segment) {
            let shape = segment.shape.dims().to_vec();
            let data = vec![0.0; segment.shape.numel()];
            file.tensors.insert(name, HostTensor { shape, data });
        }
    }
    Ok(file)
}

/// Takes weights.
///
/// # Errors
/// If a tensor is missing, unexpected, or of another shape.
pub fn import(params: &mut Params, file: &TensorFile) -> Result<()> {
    let layout = params.layout().clone();
    let mut names: Vec<String> = layout.segments().iter().map(|s| s.name.clone()).collect();
    names.extend(
        layout
            .segments()
            .iter()
            .filter_map(|s| second_bias(&layout, s)),
    );
    file.expect_only(&names)?;
    layout.import(file, "", params.values_mut())?;
    let values = params.values_mut().data_mut::<f32>()?;
    for segment in layout.segments() {
        if let Some(name) = second_bias(&layout, segment) {
            let extra = file.get(&name, segment.shape.dims())?;
            let bias = &mut values[segment.offset..][..extra.data.len()];
            bias.iter_mut().zip(&extra.data).for_each(|(b, x)| *b += x);
        }
    }
    Ok(())
}
