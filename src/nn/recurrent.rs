//! Recurrent layers of any cell.

use super::layers::{Embedding, Style};
use super::params::{Bound, Layout, ParamId};
use crate::autograd::{Tape, Var};
use crate::error::Result;
use crate::ops;
use crate::ops::attention;
use crate::ops::recurrent::{CellKind, Hidden, Input, Output, Packed, State};
use crate::tensor::Tensor;

/// One recurrent layer of any cell over whole sequences.
///
/// torch's layers have two biases. Where they are only added, one of them is trained. A GRU's cannot
/// be added in its gate n, where b_hh stands inside the product with r: it trains both, as torch does.
#[derive(Clone, Copy, Debug)]
pub struct Recurrent {
    kind: CellKind,
    w_ih: ParamId,
    w_hh: ParamId,
    b_ih: ParamId,
    b_hh: Option<ParamId>,
}

impl Recurrent {
    /// Adds `{name}.weight_ih_{suffix}` `[G H, I]`, `{name}.weight_hh_{suffix}` `[G H, H]`,
    /// `{name}.bias_ih_{suffix}` `[G H]` and for a GRU `{name}.bias_hh_{suffix}` `[G H]`, where G is
    /// the number of gates; `suffix` is torch's `l{k}`, or `l{k}_reverse`.
    pub fn new(
        layout: &mut Layout,
        kind: CellKind,
        (name, suffix): (&str, &str),
        inputs: usize,
        hidden: usize,
        style: Style,
    ) -> Self {
        let rows = kind.gates() * hidden;
        let [ih, hh, bias] = style.recurrent(kind, hidden);
        Recurrent {
            kind,
            w_ih: layout.add(format!("{name}.weight_ih_{suffix}"), [rows, inputs], ih),
            w_hh: layout.add(format!("{name}.weight_hh_{suffix}"), [rows, hidden], hh),
            b_ih: layout.add(format!("{name}.bias_ih_{suffix}"), [rows], bias),
            b_hh: (kind.has_b_hh())
                .then(|| layout.add(format!("{name}.bias_hh_{suffix}"), [rows], bias)),
        }
    }

    /// The weights, as the LSTM with attention takes them.
    pub fn weights<'a>(&self, params: &'a Bound) -> attention::Weights<'a> {
        attention::Weights {
            w_ih: params.var(self.w_ih),
            bias: params.var(self.b_ih),
            w_hh: params.var(self.w_hh),
        }
    }

    fn hidden<'a>(&self, params: &'a Bound) -> Hidden<'a> {
        Hidden {
            w_hh: params.var(self.w_hh),
            b_hh: self.b_hh.map(|id| params.var(id)),
        }
    }

    fn dense<'a>(&self, params: &'a Bound, x: &'a Var) -> Input<'a> {
        Input::Dense {
            x,
            w_ih: params.var(self.w_ih),
            bias: params.var(self.b_ih),
        }
    }

    /// Runs over packed sequences x `[N, I]` from a state, zero if absent.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn forward_packed(
        &self,
        tape: &mut Tape,
        params: &Bound,
        x: &Var,
        state: Option<&State>,
        packed: Packed,
    ) -> Result<Output> {
        let (input, hidden) = (self.dense(params, x), self.hidden(params));
        ops::recurrent_packed(tape, self.kind, input, hidden, state, packed)
    }

    /// Runs layers of one shape side by side, each over packed sequences x `[N, I]` of its own, from a
    /// zero state: y is `[N, ways H]`, the states are `[B, ways H]`.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn side_by_side(
        tape: &mut Tape,
        params: &Bound,
        layers: [(&Recurrent, &Var); 2],
        packed: Packed,
    ) -> Result<Output> {
        let kind = layers[0].0.kind;
        let parts = layers.map(|(layer, x)| (layer.dense(params, x), layer.hidden(params)));
        ops::recurrent_side_by_side(tape, kind, &parts, packed)
    }

    /// Runs over x `[T, B, I]` from a state, zero if absent.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn forward(
        &self,
        tape: &mut Tape,
        params: &Bound,
        x: &Var,
        state: Option<&State>,
    ) -> Result<Output> {
        let (input, hidden) = (self.dense(params, x), self.hidden(params));
        ops::recurrent(tape, self.kind, input, hidden, state)
    }

    /// Runs over the embeddings of ids `[T, B]`.
    ///
    /// Where the sequence is longer than the vocabulary, the input side is computed once for each
    /// id (the gate table E W_ih^T + b) in place of once for each position.
    ///
    /// # Errors
    /// If an id is outside the vocabulary or the shapes do not fit.
    pub fn forward_ids(
        &self,
        tape: &mut Tape,
        params: &Bound,
        embedding: &Embedding,
        ids: &Tensor,
        state: Option<&State>,
    ) -> Result<Output> {
        let vocab = embedding.weight(params).value().shape().rows();
        if ids.numel() < vocab {
            let x = embedding.forward(tape, params, ids)?;
            return self.forward(tape, params, &x, state);
        }
        let table = self.table(tape, params, embedding)?;
        self.forward_table(tape, params, &table, ids, state)
    }

    /// The gate table E W_ih^T + b `[V, G H]`: the input side of each id.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn table(&self, tape: &mut Tape, params: &Bound, embedding: &Embedding) -> Result<Var> {
        // It is small: it is computed in full precision.
        let e = params.master(embedding.weight);
        let product = ops::matmul(tape, e, params.master(self.w_ih), false, true)?;
        let table = ops::add_bias(tape, product, params.master(self.b_ih))?;
        ops::cast(tape, &table, params.var(self.w_hh).value().dtype())
    }

    /// Runs over ids `[T, B]`, whose input side is in a [`Recurrent::table`].
    ///
    /// # Errors
    /// If an id is outside the vocabulary or the shapes do not fit.
    pub fn forward_table(
        &self,
        tape: &mut Tape,
        params: &Bound,
        table: &Var,
        ids: &Tensor,
        state: Option<&State>,
    ) -> Result<Output> {
        let input = Input::Table { table, ids };
        ops::recurrent(tape, self.kind, input, self.hidden(params), state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::Params;

    /// A gate table, which long sequences take, and an embedding give the same numbers.
    #[test]
    fn ids_by_a_table_or_an_embedding() {
        for kind in CellKind::ALL {
            let mut layout = Layout::default();
            let embedding = Embedding::new(&mut layout, "embedding", 6, 4, Style::Torch);
            let name = ("rnn", "l0");
            let layer = Recurrent::new(&mut layout, kind, name, 4, 5, Style::Torch);
            let params = Params::new::<f64>(layout, 1);
            let ids = Tensor::from_slice(&[0u32, 5, 2, 2, 1, 4, 3, 0], [4, 2]).unwrap();
            let mut tape = Tape::inference();
            let params = params.bind(&mut tape);
            let table = layer.forward_ids(&mut tape, &params, &embedding, &ids, None);
            let x = embedding.forward(&mut tape, &params, &ids).unwrap();
            let dense = layer.forward(&mut tape, &params, &x, None);
            let [table, dense] = [table, dense].map(|out| out.unwrap().y.into_value());
            assert_eq!(table.dims(), [4, 2, 5]);
            let pairs = table
                .data::<f64>()
                .unwrap()
                .iter()
                .zip(dense.data::<f64>().unwrap());
            for (a, b) in pairs {
                // The order of the sums.
                assert!((a - b).abs() < 1e-14, "{kind}: {a} and {b}");
            }
        }
    }

    #[test]
    fn initial_values_of_a_gru() {
        let drawn = |style| {
            let mut layout = Layout::default();
            Recurrent::new(&mut layout, CellKind::Gru, ("gru", "l0"), 3, 16, style);
            let params = Params::new::<f64>(layout, 1);
            let values = params.values().data::<f64>().unwrap();
            let segments = params.layout().segments().iter();
            let of = segments.map(|s| values[s.offset..][..s.shape.numel()].to_vec());
            of.collect::<Vec<_>>()
        };
        let largest = |v: &[f64]| v.iter().fold(0.0f64, |m, x| m.max(x.abs()));
        let [w_ih, w_hh, b_ih, b_hh] = &drawn(Style::Keras)[..] else {
            panic!("four parameters");
        };
        assert!(largest(w_ih) <= (6.0f64 / (48.0 + 3.0)).sqrt());
        let column = w_hh.iter().step_by(16).map(|x| x * x).sum::<f64>();
        assert!((column - 1.0).abs() < 1e-12, "orthonormal: {column}");
        assert!(b_ih.iter().chain(b_hh).all(|&b| b == 0.0));
        for (k, values) in drawn(Style::Torch).iter().enumerate() {
            // 48 draws and more: the largest is above 0.8 of the limit but for a chance of 2e-5.
            let largest = largest(values) * 4.0;
            assert!((0.8..=1.0).contains(&largest), "parameter {k}: {largest}");
        }
    }
}
