//! Layers as nodes of an ONNX graph, with the weights under torch's names.
//!
//! ONNX's recurrent layers have their gates in another order than torch's, and the two biases in one
//! tensor `[directions, 2 G H]`; a tensor of weights has a row of axes in front, one a direction.

use std::collections::BTreeSet;

use super::CellKind;
use crate::error::{Error, Result};
use crate::files::onnx::{Attribute, Graph};
use crate::files::tensors::{HostTensor, TensorFile};

/// The weights of a model on their way into graphs.
#[derive(Clone, Debug)]
pub struct Weights<'a> {
    file: &'a TensorFile,
    /// Those that no node has yet.
    left: BTreeSet<&'a str>,
}

/// The values that a recurrent layer reads; those of the state may be left out: then it is zero.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// `[T, B, I]`.
    pub x: &'a str,
    /// Steps of each row, i32 `[B]`; without them all have T.
    pub lengths: Option<&'a str>,
    /// Hidden state `[directions, B, H]`.
    pub h: Option<&'a str>,
    /// Cell state of an LSTM, as `h`.
    pub c: Option<&'a str>,
}

/// Names for the values that a recurrent layer gives.
#[derive(Clone, Copy, Debug)]
pub struct Outputs<'a> {
    /// Every hidden state `[T, directions, B, H]`; nothing where they are not read.
    pub y: &'a str,
    /// The last one `[directions, B, H]`.
    pub h: &'a str,
    /// The last cell state of an LSTM, as `h`.
    pub c: Option<&'a str>,
}

impl<'a> Weights<'a> {
    /// The weights of a file.
    pub fn new(file: &'a TensorFile) -> Self {
        Weights {
            file,
            left: file.tensors.keys().map(String::as_str).collect(),
        }
    }

    /// Checks that every tensor has become a part of a graph: a model with more of them is another
    /// one than the graphs.
    ///
    /// # Errors
    /// [`Error::Data`] with the names of the others.
    pub fn finish(self) -> Result<()> {
        if self.left.is_empty() {
            return Ok(());
        }
        let left: Vec<&str> = self.left.into_iter().collect();
        Err(Error::Data(format!(
            "this model has tensors that rnnx cannot express in ONNX yet: {}; export it with \
             --format torch",
            left.join(", ")
        )))
    }

    /// The tensor of this name, which has `N` dimensions.
    fn take<const N: usize>(&mut self, name: &str) -> Result<([usize; N], &'a [f32])> {
        self.left.remove(name);
        let found = self.file.tensors.get(name);
        let found = found.and_then(|HostTensor { shape, data }| {
            Some((shape.as_slice().try_into().ok()?, &data[..]))
        });
        found.ok_or_else(|| Error::op("onnx", format!("no tensor `{name}` of {N} dimensions")))
    }

    // ---- layers ----------------------------------------------------------------------------

    /// Vectors of ids `[..]`, giving `[.., E]`.
    ///
    /// # Errors
    /// [`Error::Op`] for a tensor that is missing or has other dimensions.
    pub fn embedding(&mut self, graph: &mut Graph, name: &str, ids: &str, y: &str) -> Result<()> {
        let name = format!("{name}.weight");
        let (shape, data) = self.take::<2>(&name)?;
        graph.floats(&name, &shape, data);
        graph.node(
            "Gather",
            &[&name, ids],
            &[y],
            &[("axis", Attribute::Int(0))],
        );
        Ok(())
    }

    /// y = x W^T + b of rows x `[N, I]`.
    ///
    /// # Errors
    /// As [`Weights::embedding`].
    pub fn linear(&mut self, graph: &mut Graph, name: &str, x: &str, y: &str) -> Result<()> {
        let [weight, bias] = ["weight", "bias"].map(|part| format!("{name}.{part}"));
        let (shape, data) = self.take::<2>(&weight)?;
        graph.floats(&weight, &shape, data);
        let (shape, data) = self.take::<1>(&bias)?;
        graph.floats(&bias, &shape, data);
        let transposed = [("transB", Attribute::Int(1))];
        graph.node("Gemm", &[x, &weight, &bias], &[y], &transposed);
        Ok(())
    }

    /// y = x W^T of x `[.., I]`.
    ///
    /// # Errors
    /// As [`Weights::embedding`].
    pub fn projection(&mut self, graph: &mut Graph, name: &str, x: &str, y: &str) -> Result<()> {
        let name = format!("{name}.weight");
        let ([rows, columns], data) = self.take::<2>(&name)?;
        let entry = |at: usize| data[at % rows * columns + at / rows];
        let transposed: Vec<f32> = (0..data.len()).map(entry).collect();
        // ONNX multiplies matrices of more than two dimensions as they are.
        let name = format!("{name}.T");
        graph.floats(&name, &[columns, rows], &transposed);
        graph.node("MatMul", &[x, &name], &[y], &[]);
        Ok(())
    }

    /// y = x W^T + b of x `[.., I]`.
    ///
    /// # Errors
    /// As [`Weights::embedding`].
    pub fn affine(&mut self, graph: &mut Graph, name: &str, x: &str, y: &str) -> Result<()> {
        let (product, bias) = (format!("{y}.product"), format!("{name}.bias"));
        self.projection(graph, name, x, &product)?;
        let (shape, data) = self.take::<1>(&bias)?;
        graph.floats(&bias, &shape, data);
        graph.node("Add", &[&product, &bias], &[y], &[]);
        Ok(())
    }

    /// A recurrent layer: one way with a suffix as `l0`, both ways with two.
    ///
    /// # Errors
    /// As [`Weights::embedding`].
    pub fn recurrent(
        &mut self,
        graph: &mut Graph,
        kind: CellKind,
        (name, suffixes): (&str, &[&str]),
        from: Inputs,
        to: Outputs,
    ) -> Result<()> {
        let order = gate_order(kind);
        let (mut w, mut r, mut b) = (Vec::new(), Vec::new(), Vec::new());
        let (mut inputs, mut hidden) = (0, 0);
        for suffix in suffixes {
            let named = |part: &str| format!("{name}.{part}_{suffix}");
            let ([_, columns], weight) = self.take::<2>(&named("weight_ih"))?;
            w.extend(in_order(order, weight));
            let ([_, units], weight) = self.take::<2>(&named("weight_hh"))?;
            r.extend(in_order(order, weight));
            for part in ["bias_ih", "bias_hh"] {
                let (_, bias) = self.take::<1>(&named(part))?;
                b.extend(in_order(order, bias));
            }
            (inputs, hidden) = (columns, units);
        }
        let [w_name, r_name, b_name] =
            ["W", "R", "B"].map(|part| format!("{name}.{}.{part}", suffixes.join(".")));
        let (ways, rows) = (suffixes.len(), order.len() * hidden);
        graph.floats(&w_name, &[ways, rows, inputs], &w);
        graph.floats(&r_name, &[ways, rows, hidden], &r);
        graph.floats(&b_name, &[ways, 2 * rows], &b);

        let state = [from.lengths, from.h, from.c].map(Option::unwrap_or_default);
        let reads = [&[from.x, &w_name, &r_name, &b_name], &state[..]].concat();
        // What is left out at the end is not there at all.
        let reads = &reads[..=reads.iter().rposition(|name| !name.is_empty()).unwrap_or(0)];
        let gives: Vec<&str> = [to.y, to.h].into_iter().chain(to.c).collect();
        let mut attributes = vec![("hidden_size", Attribute::Int(hidden as i64))];
        if ways == 2 {
            attributes.push(("direction", Attribute::Word("bidirectional")));
        }
        if kind == CellKind::Gru {
            // r multiplies the product with h, as in torch.
            attributes.push(("linear_before_reset", Attribute::Int(1)));
        }
        graph.node(operator(kind), reads, &gives, &attributes);
        Ok(())
    }
}

/// ONNX's name of a cell.
fn operator(kind: CellKind) -> &'static str {
    match kind {
        CellKind::Rnn => "RNN",
        CellKind::Lstm => "LSTM",
        CellKind::Gru => "GRU",
    }
}

/// ONNX's gates as numbers of torch's: i, o, f, g of an LSTM (there i, f, g, o); z, r, n of a GRU (there
/// r, z, n).
fn gate_order(kind: CellKind) -> &'static [usize] {
    match kind {
        CellKind::Rnn => &[0],
        CellKind::Lstm => &[0, 3, 1, 2],
        CellKind::Gru => &[1, 0, 2],
    }
}

/// The blocks of a tensor, one a gate, in this order.
fn in_order<'a>(order: &'a [usize], data: &'a [f32]) -> impl Iterator<Item = f32> + 'a {
    let block = data.len() / order.len();
    let blocks = order.iter().map(move |gate| &data[gate * block..][..block]);
    blocks.flatten().copied()
}
