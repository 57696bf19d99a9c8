//! The weights as the page carries them.
//!
//! They are those that generation multiplies with: in f16 what is large and read at each character,
//! in f32 what generation keeps so (the first layer's input side and every bias).

use base64::prelude::{BASE64_STANDARD, Engine};
use half::f16;
use serde::Serialize;

use crate::Result;
use crate::programs::charlm::generate::generator::check_range;
use crate::programs::charlm::generate::weights::CharLmWeights;

/// The number format of a tensor in the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Two bytes a number.
    F16,
    /// Four bytes a number.
    F32,
}

/// A tensor of the page; they lie one behind the other, row-major and little-endian.
#[derive(Clone, Debug, Serialize)]
pub struct PageTensor<'a> {
    /// `embedding`, for layer k `w_ih_l{k}`, `w_hh_l{k}`, `bias_l{k}` and of a GRU `b_hn_l{k}`,
    /// `out_w`, `out_b`.
    pub name: String,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// How its numbers are written.
    #[serde(rename = "type")]
    pub format: Format,
    #[serde(skip)]
    values: &'a [f32],
}

impl PageTensor<'_> {
    fn bytes(&self) -> usize {
        self.values.len()
            * match self.format {
                Format::F16 => 2,
                Format::F32 => 4,
            }
    }

    fn write(&self, out: &mut Vec<u8>) {
        for &value in self.values {
            match self.format {
                Format::F16 => out.extend_from_slice(&f16::from_f32(value).to_le_bytes()),
                Format::F32 => out.extend_from_slice(&value.to_le_bytes()),
            }
        }
    }
}

/// The tensors of a model, in the order in which the page has them.
pub fn tensors(weights: &CharLmWeights) -> Vec<PageTensor<'_>> {
    let (vocab, hidden) = (weights.vocab(), weights.hidden());
    let rows = weights.cell().gates() * hidden;
    let tensor = |name: String, shape: &[usize], format, values| PageTensor {
        name,
        shape: shape.to_vec(),
        format,
        values,
    };
    let embedding_dim = weights.embedding_dim();
    let mut all = vec![tensor(
        "embedding".into(),
        &[vocab, embedding_dim],
        Format::F32,
        weights.embedding(),
    )];
    for (l, layer) in weights.layers().iter().enumerate() {
        let (input, format) = match l {
            0 => (embedding_dim, Format::F32),
            _ => (hidden, Format::F16),
        };
        all.extend([
            tensor(format!("w_ih_l{l}"), &[rows, input], format, layer.w_ih()),
            tensor(
                format!("w_hh_l{l}"),
                &[rows, hidden],
                Format::F16,
                layer.w_hh(),
            ),
            tensor(format!("bias_l{l}"), &[rows], Format::F32, layer.bias()),
        ]);
        if !layer.b_hn().is_empty() {
            let name = format!("b_hn_l{l}");
            all.push(tensor(name, &[hidden], Format::F32, layer.b_hn()));
        }
    }
    all.extend([
        tensor(
            "out_w".into(),
            &[vocab, hidden],
            Format::F16,
            weights.out_w(),
        ),
        tensor("out_b".into(), &[vocab], Format::F32, weights.out_b()),
    ]);
    all
}

/// Bytes of [`encode`]'s text.
pub fn encoded_bytes(tensors: &[PageTensor]) -> usize {
    let bytes: usize = tensors.iter().map(PageTensor::bytes).sum();
    bytes.div_ceil(3) * 4
}

/// The numbers of all tensors in base64.
///
/// # Errors
/// [`Error::Data`](crate::Error::Data) for a weight that does not fit in f16.
pub fn encode(weights: &CharLmWeights, tensors: &[PageTensor]) -> Result<String> {
    check_range(weights)?;
    let mut bytes = Vec::with_capacity(tensors.iter().map(PageTensor::bytes).sum());
    for tensor in tensors {
        tensor.write(&mut bytes);
    }
    Ok(BASE64_STANDARD.encode(bytes))
}
