//! Weights under torch's names.
//!
//! torch's recurrent layers have two biases that are added. One of them, `bias_ih`, is trained here;
//! export writes the other as zeros, import adds the two.

use crate::error::Result;
use crate::files::tensors::{HostTensor, TensorFile};
use crate::nn::Params;
use crate::nn::params::Segment;

/// The name of a trained bias's sibling; none for other parameters.
fn second_bias(segment: &Segment) -> Option<String> {
    let is_bias = segment.name.contains(".bias_ih_");
    is_bias.then(|| segment.name.replace(".bias_ih_", ".bias_hh_"))
}

/// The weights.
///
/// # Errors
/// If the parameters are not f32, or the device fails.
pub fn export(params: &Params) -> Result<TensorFile> {
    let mut file = TensorFile::new();
    params.layout().export(params.values(), "", &mut file)?;
    for segment in params.layout().segments() {
        if let Some(name) = second_bias(segment) {
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
    names.extend(layout.segments().iter().filter_map(second_bias));
    file.expect_only(&names)?;
    layout.import(file, "", params.values_mut())?;
    let values = params.values_mut().data_mut::<f32>()?;
    for segment in layout.segments() {
        if let Some(name) = second_bias(segment) {
            let extra = file.get(&name, segment.shape.dims())?;
            let bias = &mut values[segment.offset..][..extra.data.len()];
            bias.iter_mut().zip(&extra.data).for_each(|(b, x)| *b += x);
        }
    }
    Ok(())
}
