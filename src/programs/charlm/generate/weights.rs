//! The weights of a character LM as plain f32 arrays on the host.

use crate::{Error, Result};

/// One LSTM layer. Gate order i, f, g, o, as PyTorch.
#[derive(Clone, Debug)]
pub struct LstmWeights {
    w_ih: Vec<f32>, // [4H, in]
    w_hh: Vec<f32>, // [4H, H]
    bias: Vec<f32>, // [4H]
}

impl LstmWeights {
    /// Input weights `[4H, in]`, row-major.
    pub fn w_ih(&self) -> &[f32] {
        &self.w_ih
    }

    /// Recurrent weights `[4H, H]`, row-major.
    pub fn w_hh(&self) -> &[f32] {
        &self.w_hh
    }

    /// The sum of the two biases of the file, `[4H]`.
    pub fn bias(&self) -> &[f32] {
        &self.bias
    }
}

/// Embedding, LSTM layers and output projection of a character LM.
///
/// The only way to make one checks every shape, so the lengths of the arrays always fit together.
#[derive(Clone, Debug)]
pub struct CharLmWeights {
    vocab: usize,
    embedding_dim: usize,
    hidden: usize,
    embedding: Vec<f32>, // [V, E]
    layers: Vec<LstmWeights>,
    out_w: Vec<f32>, // [V, H]
    out_b: Vec<f32>, // [V]
}

impl CharLmWeights {
    /// Collects the weights by their names in torch: `embedding.weight`, `lstm.weight_ih_l{k}`,
    /// `lstm.weight_hh_l{k}`, `lstm.bias_ih_l{k}`, `lstm.bias_hh_l{k}`, `out.weight`, `out.bias`.
    ///
    /// `has` tells whether a tensor exists (the number of layers is found with it); `lookup`
    /// returns a tensor's shape and row-major values.
    ///
    /// # Errors
    /// [`Error::Data`] names the tensor: no layer at all, a shape that does not fit the others, a
    /// dimension of zero, a value that is not finite. Errors of `lookup` pass through.
    pub fn from_tensors(
        has: impl Fn(&str) -> bool,
        lookup: impl Fn(&str) -> Result<(Vec<usize>, Vec<f32>)>,
    ) -> Result<Self> {
        let (shape, embedding) = lookup("embedding.weight")?;
        let (vocab, embedding_dim) = two_dims("embedding.weight", &shape, "[V, E]")?;
        check(
            "embedding.weight",
            &shape,
            &embedding,
            &[vocab, embedding_dim],
        )?;
        if !has("lstm.weight_hh_l0") {
            return Err(Error::Data(
                "tensor lstm.weight_hh_l0 is missing: a character LM has at least one LSTM layer; \
                 is this a checkpoint of another model?"
                    .into(),
            ));
        }
        let (shape, _) = lookup("lstm.weight_hh_l0")?;
        let (_, hidden) = two_dims("lstm.weight_hh_l0", &shape, "[4H, H]")?;

        let fetch = |name: &str, expected: &[usize]| -> Result<Vec<f32>> {
            let (shape, values) = lookup(name)?;
            check(name, &shape, &values, expected)?;
            Ok(values)
        };
        let mut layers = Vec::new();
        while has(&format!("lstm.weight_hh_l{}", layers.len())) {
            let k = layers.len();
            let input = if k == 0 { embedding_dim } else { hidden };
            let mut bias = fetch(&format!("lstm.bias_ih_l{k}"), &[4 * hidden])?;
            let second = fetch(&format!("lstm.bias_hh_l{k}"), &[4 * hidden])?;
            for (sum, b) in bias.iter_mut().zip(&second) {
                *sum += b;
            }
            layers.push(LstmWeights {
                w_ih: fetch(&format!("lstm.weight_ih_l{k}"), &[4 * hidden, input])?,
                w_hh: fetch(&format!("lstm.weight_hh_l{k}"), &[4 * hidden, hidden])?,
                bias,
            });
        }
        Ok(CharLmWeights {
            out_w: fetch("out.weight", &[vocab, hidden])?,
            out_b: fetch("out.bias", &[vocab])?,
            vocab,
            embedding_dim,
            hidden,
            embedding,
            layers,
        })
    }

    /// Number of characters, V.
    pub fn vocab(&self) -> usize {
        self.vocab
    }

    /// Width of the embedding, E.
    pub fn embedding_dim(&self) -> usize {
        self.embedding_dim
    }

    /// Width of the hidden state, H.
    pub fn hidden(&self) -> usize {
        self.hidden
    }

    /// Embedding `[V, E]`, row-major.
    pub fn embedding(&self) -> &[f32] {
        &self.embedding
    }

    /// The layers, the first one reads the embedding.
    pub fn layers(&self) -> &[LstmWeights] {
        &self.layers
    }

    /// Output weights `[V, H]`, row-major.
    pub fn out_w(&self) -> &[f32] {
        &self.out_w
    }

    /// Output bias `[V]`.
    pub fn out_b(&self) -> &[f32] {
        &self.out_b
    }
}

/// The two dimensions of a matrix, neither of them zero.
fn two_dims(name: &str, shape: &[usize], expected: &str) -> Result<(usize, usize)> {
    match *shape {
        [rows, columns] if rows > 0 && columns > 0 => Ok((rows, columns)),
        _ => Err(Error::Data(format!(
            "tensor {name} has shape {shape:?}, expected {expected} with no dimension of zero"
        ))),
    }
}

/// Checks a tensor's shape, the number of its values and that all of them are finite.
fn check(name: &str, shape: &[usize], values: &[f32], expected: &[usize]) -> Result<()> {
    if shape != expected {
        return Err(Error::Data(format!(
            "tensor {name} has shape {shape:?}, expected {expected:?}; do all tensors come from \
             one checkpoint?"
        )));
    }
    if values.len() != expected.iter().product::<usize>() {
        return Err(Error::Data(format!(
            "tensor {name} has {} values for its shape {shape:?}",
            values.len()
        )));
    }
    match values.iter().position(|v| !v.is_finite()) {
        Some(at) => Err(Error::Data(format!(
            "tensor {name} holds {} at index {at}; use a checkpoint from before training diverged",
            values[at]
        ))),
        None => Ok(()),
    }
}
