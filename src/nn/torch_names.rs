//! Weights under torch's names.
//!
//! torch's recurrent layers have two biases. Where they are only added, one of them, `bias_ih`, is
//! trained here; export writes the other as zeros, import adds the two. A GRU has both.

use crate::error::Result;
use crate::files::tensors::{HostTensor, TensorFile};
use crate::nn::params::{Layout, Segment};
use crate::nn::{CellKind, Params};

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

/// Whether a tensor of the file is a second bias as [`export`] writes it: zeros, which are not trained,
/// beside the first bias of a cell that only adds the two.
pub fn is_untrained(file: &TensorFile, name: &str) -> bool {
    let sibling = |other| file.tensors.get(&name.replace(".bias_hh_", other));
    let (Some(bias), Some(_), Some(weight)) = (
        file.tensors
            .get(name)
            .filter(|_| name.contains(".bias_hh_")),
        sibling(".bias_ih_"),
        sibling(".weight_hh_"),
    ) else {
        return false;
    };
    let &[rows, hidden] = &weight.shape[..] else {
        return false;
    };
    let mut kinds = CellKind::ALL.into_iter();
    let kind = kinds.find(|kind| hidden.checked_mul(kind.gates()) == Some(rows));
    kind.is_some_and(|kind| !kind.has_b_hh()) && bias.data.iter().all(|x| *x == 0.0)
}

/// Checks that a file holds the weights of a layout, before memory for them is asked for. The tensors
/// `growing` may have fewer rows; one that is shared may be there twice.
///
/// # Errors
/// If a tensor is missing, unexpected, of another shape, or has another value where it is there again.
pub fn check(layout: &Layout, file: &TensorFile, growing: &[&str]) -> Result<()> {
    let tensors = layout.segments().iter().flat_map(|segment| {
        let names = [Some(segment.name.clone()), second_bias(layout, segment)];
        let named = move |name| (name, segment.shape.dims());
        names.into_iter().flatten().map(named)
    });
    let tensors: Vec<(String, &[usize])> = tensors.collect();
    let again = layout.shared().iter().map(|shared| &shared.name);
    let names: Vec<&String> = tensors.iter().map(|(name, _)| name).chain(again).collect();
    file.expect_only(&names)?;
    let can_grow = |name: &str, shape: &[usize]| {
        let of_file = file.tensors.get(name).map(|tensor| &tensor.shape[..]);
        growing.contains(&name)
            && of_file.is_some_and(|of_file| {
                of_file.get(1..) == shape.get(1..) && of_file.first() < shape.first()
            })
    };
    let mut tensors = tensors.iter();
    tensors.try_for_each(|(name, shape)| match can_grow(name, shape) {
        true => Ok(()),
        false => file.get(name, shape).map(|_| ()),
    })?;
    let mut shared = layout.shared().iter();
    shared.try_for_each(|shared| file.expect_same(&shared.name, &shared.of))
}

/// Takes from a file what it holds again.
pub fn remove_shared(file: &mut TensorFile, layout: &Layout) {
    for shared in layout.shared() {
        file.tensors.remove(&shared.name);
    }
}

/// Takes weights.
///
/// # Errors
/// As [`check`].
pub fn import(params: &mut Params, file: &TensorFile) -> Result<()> {
    let layout = params.layout().clone();
    check(&layout, file, &[])?;
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

/// Gives the tensors `names` of `file` the rows of `larger` that they lack at their end. One that
/// is not there, or has rows of another shape, stays as it is: [`import`] tells of it.
pub fn add_rows<'a>(
    file: &mut TensorFile,
    larger: &TensorFile,
    names: impl IntoIterator<Item = &'a str>,
) {
    for name in names {
        if let (Some(small), Some(large)) = (file.tensors.get_mut(name), larger.tensors.get(name))
            && small.shape.get(1..) == large.shape.get(1..)
            && small.data.len() < large.data.len()
        {
            small.data.extend(&large.data[small.data.len()..]);
            small.shape.clone_from(&large.shape);
        }
    }
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
            let zeros = is_untrained(&file, "rnn.bias_hh_l0");
            assert_eq!(zeros, !kind.has_b_hh(), "{kind}");
            assert!(!is_untrained(&file, "rnn.bias_ih_l0"));
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
            assert!(!is_untrained(&file, "rnn.bias_hh_l0"), "{kind}");
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
