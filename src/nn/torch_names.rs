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

/// Checks that a file holds the weights of a layout, before memory for them is asked for.
///
/// # Errors
/// If a tensor is missing, unexpected, or of another shape.
pub fn check(layout: &Layout, file: &TensorFile) -> Result<()> {
    let tensors = layout.segments().iter().flat_map(|segment| {
        let names = [Some(segment.name.clone()), second_bias(layout, segment)];
        let named = move |name| (name, segment.shape.dims());
        names.into_iter().flatten().map(named)
    });
    let tensors: Vec<(String, &[usize])> = tensors.collect();
    let names: Vec<&String> = tensors.iter().map(|(name, _)| name).collect();
    file.expect_only(&names)?;
    let mut tensors = tensors.iter();
    tensors.try_for_each(|(name, shape)| file.get(name, shape).map(|_| ()))
}

/// Takes weights.
///
/// # Errors
/// As [`check`].
pub fn import(params: &mut Params, file: &TensorFile) -> Result<()> {
    let layout = params.layout().clone();
    check(&layout, file)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{CellKind, Recurrent, Style};

    fn params(kind: CellKind, seed: u64) -> Params {
        let mut layout = Layout::default();
        Recurrent::new(&mut layout, kind, ("rnn", "l0"), 3, 5, Style::Torch);
        Params::new::<f32>(layout, seed)
    }

    /// Every cell has torch's four tensors in the file, whichever of them are trained.
    #[test]
    fn every_cell_goes_out_and_comes_back() {
        for kind in CellKind::ALL {
            let (from, mut to) = (params(kind, 1), params(kind, 2));
            let file = export(&from).unwrap();
            let names: Vec<&String> = file.tensors.keys().collect();
            let torch = ["bias_hh", "bias_ih", "weight_hh", "weight_ih"];
            assert_eq!(names, torch.map(|name| format!("rnn.{name}_l0")).each_ref());
            let rows = kind.gates() * 5;
            let shapes = file.tensors.values().map(|t| t.shape.clone());
            let torch = [vec![rows], vec![rows], vec![rows, 5], vec![rows, 3]];
            assert!(shapes.eq(torch), "{kind}");
            import(&mut to, &file).unwrap();
            let values = [&from, &to].map(|p| p.values().data::<f32>().unwrap().to_vec());
            assert_eq!(values[0], values[1], "{kind}");
        }
    }

    /// A second bias is added to the first where it is not trained, and kept where it is.
    #[test]
    fn a_second_bias() {
        for kind in CellKind::ALL {
            let mut file = export(&params(kind, 1)).unwrap();
            let second = file.tensors.get_mut("rnn.bias_hh_l0").unwrap();
            second.data.fill(0.25);
            let mut params = params(kind, 2);
            import(&mut params, &file).unwrap();
            let back = export(&params).unwrap();
            let first = |file: &TensorFile| file.tensors["rnn.bias_ih_l0"].data.clone();
            let added = if kind.has_b_hh() { 0.0 } else { 0.25 };
            let want: Vec<f32> = first(&file).iter().map(|b| b + added).collect();
            assert_eq!(first(&back), want, "{kind}");
            let kept = back.tensors["rnn.bias_hh_l0"].data.iter();
            assert!(kept.eq(&vec![0.25 - added; want.len()]), "{kind}");
        }
    }
}
