//! The weights of a character LM as plain f32 arrays on the host.

use crate::nn::CellKind;
use crate::programs::charlm::model::CharLmSizes;
use crate::{Error, Result};

/// One recurrent layer. G gates in PyTorch's order: i, f, g, o of the LSTM; r, z, n of the GRU.
#[derive(Clone, Debug)]
pub struct LayerWeights {
    w_ih: Vec<f32>, // [GH, in]
    w_hh: Vec<f32>, // [GH, H]
    bias: Vec<f32>, // [GH]
    b_hn: Vec<f32>, // [H] of the GRU; nothing of other cells
}

impl LayerWeights {
    /// Input weights `[GH, in]`, row-major.
    pub fn w_ih(&self) -> &[f32] {
        &self.w_ih
    }

    /// Recurrent weights `[GH, H]`, row-major.
    pub fn w_hh(&self) -> &[f32] {
        &self.w_hh
    }

    /// The sum of the two biases of the file, `[GH]`; of the GRU's gate n, b_in alone.
    pub fn bias(&self) -> &[f32] {
        &self.bias
    }

    /// b_hn `[H]`, which the GRU's reset gate scales; empty for other cells.
    pub fn b_hn(&self) -> &[f32] {
        &self.b_hn
    }
}

/// Embedding, recurrent layers and output projection of a character LM.
///
/// The only way to make one checks every shape, so the lengths of the arrays always fit together.
#[derive(Clone, Debug)]
pub struct CharLmWeights {
    cell: CellKind,
    vocab: usize,
    embedding_dim: usize,
    hidden: usize,
    tied: bool,
    embedding: Vec<f32>, // [V, E]
    layers: Vec<LayerWeights>,
    out_w: Vec<f32>, // [V, H]
    out_b: Vec<f32>, // [V]
}

impl CharLmWeights {
    /// Collects the weights by their names in torch: `embedding.weight`, `{cell}.weight_ih_l{k}`,
    /// `{cell}.weight_hh_l{k}`, `{cell}.bias_ih_l{k}`, `{cell}.bias_hh_l{k}`, `out.weight`,
    /// `out.bias`. The cell is the one of [`CellKind::ALL`] whose first layer is there. Of `tied`
    /// embeddings there is no `out.weight`: the embedding is that.
    ///
    /// `has` tells whether a tensor exists (the cell and the number of layers are found with it);
    /// `lookup` returns a tensor's shape and row-major values.
    ///
    /// # Errors
    /// [`Error::Data`] names the tensor: no layer at all, a shape that does not fit the others, a
    /// dimension of zero, a value that is not finite. Errors of `lookup` pass through.
    pub fn from_tensors(
        tied: bool,
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
        let first = CellKind::ALL.map(|cell| format!("{cell}.weight_hh_l0"));
        let mut found = CellKind::ALL.into_iter().zip(&first);
        let Some((cell, name)) = found.find(|(_, name)| has(name)) else {
            return Err(Error::Data(format!(
                "no tensor {}: a character LM has at least one recurrent layer; is this a \
                 checkpoint of another model?",
                first.join(" or ")
            )));
        };
        let (shape, _) = lookup(name)?;
        let (_, hidden) = two_dims(name, &shape, "[gates * H, H]")?;
        let rows = cell.gates() * hidden;

        let fetch = |name: &str, expected: &[usize]| -> Result<Vec<f32>> {
            let (shape, values) = lookup(name)?;
            check(name, &shape, &values, expected)?;
            Ok(values)
        };
        let mut layers = Vec::new();
        while has(&format!("{cell}.weight_hh_l{}", layers.len())) {
            let k = layers.len();
            let input = if k == 0 { embedding_dim } else { hidden };
            let mut bias = fetch(&format!("{cell}.bias_ih_l{k}"), &[rows])?;
            let mut second = fetch(&format!("{cell}.bias_hh_l{k}"), &[rows])?;
            let b_hn = match cell {
                CellKind::Gru => second.split_off(2 * hidden),
                CellKind::Rnn | CellKind::Lstm => Vec::new(),
            };
            for (sum, b) in bias.iter_mut().zip(&second) {
                *sum += b;
            }
            layers.push(LayerWeights {
                w_ih: fetch(&format!("{cell}.weight_ih_l{k}"), &[rows, input])?,
                w_hh: fetch(&format!("{cell}.weight_hh_l{k}"), &[rows, hidden])?,
                bias,
                b_hn,
            });
        }
        Ok(CharLmWeights {
            out_w: match tied {
                true => fetch("embedding.weight", &[vocab, hidden])?,
                false => fetch("out.weight", &[vocab, hidden])?,
            },
            out_b: fetch("out.bias", &[vocab])?,
            cell,
            vocab,
            embedding_dim,
            hidden,
            tied,
            embedding,
            layers,
        })
    }

    /// The sizes.
    pub fn sizes(&self) -> CharLmSizes {
        CharLmSizes {
            cell: self.cell,
            vocab: self.vocab,
            embedding: self.embedding_dim,
            hidden: self.hidden,
            layers: self.layers.len(),
            tied: self.tied,
        }
    }

    /// Checks that a vocabulary of so many tokens can be this model's.
    ///
    /// # Errors
    /// [`Error::Data`] if it cannot.
    pub fn check_vocab(&self, tokens: usize) -> Result<()> {
        if tokens == self.vocab {
            return Ok(());
        }
        Err(Error::Data(format!(
            "vocab.json has {tokens} tokens but tensor embedding.weight has {} rows: they belong to \
             different models",
            self.vocab
        )))
    }

    /// The cell of every layer.
    pub fn cell(&self) -> CellKind {
        self.cell
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
    pub fn layers(&self) -> &[LayerWeights] {
        &self.layers
    }

    /// Output weights `[V, H]`, row-major; the embedding where that is tied.
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
