//! The encoder of the model with attention: bidirectional LSTM layers, and what the decoder takes of
//! them.

use super::inputs::Source;
use super::kind::{Dropout, Seq2SeqSizes};
use super::state::Annotations;
use crate::autograd::{Tape, Var};
use crate::dtype::DType;
use crate::error::Result;
use crate::nn::{Bound, CellKind, Layout, Linear, Projection, Recurrent, State, Style};
use crate::ops;

/// Bidirectional LSTM layers, the bridges to the decoder's states, and the projection to keys.
#[derive(Clone, Debug)]
pub(super) struct BothWays {
    layers: Vec<Ways>,
    key: Projection,
}

/// One layer, and the bridges to the state of the decoder's layer beside it.
#[derive(Clone, Debug)]
struct Ways {
    forward: Recurrent,
    backward: Recurrent,
    hidden: Linear,
    cell: Linear,
}

impl BothWays {
    pub(super) fn new(layout: &mut Layout, name: &str, sizes: Seq2SeqSizes) -> Self {
        let (h, style) = (sizes.hidden, Style::Torch);
        let layers = (0..sizes.layers).map(|k| {
            let (inputs, of_layer) = match k {
                0 => (sizes.embedding, String::new()),
                _ => (2 * h, format!("_l{k}")),
            };
            let mut way = |end: &str| {
                let suffix = format!("l{k}{end}");
                Recurrent::new(layout, CellKind::Lstm, (name, &suffix), inputs, h, style)
            };
            let (forward, backward) = (way(""), way("_reverse"));
            let mut bridge = |state: &str| {
                let name = format!("bridge.{state}{of_layer}");
                Linear::new(layout, &name, 2 * h, h, style)
            };
            Ways {
                forward,
                backward,
                hidden: bridge("hidden"),
                cell: bridge("cell"),
            }
        });
        BothWays {
            layers: layers.collect(),
            key: Projection::new(layout, "attention.key", 2 * h, h, style),
        }
    }

    /// Schuster & Paliwal 1997, of packed x `[N, E]`. Read from its end, a packed batch is packed, too:
    /// so the backward layer is a forward one over other rows. Gives the first state of each of the
    /// decoder's layers, and what it attends to.
    pub(super) fn encode(
        &self,
        tape: &mut Tape,
        params: &Bound,
        x: Var,
        source: &Source,
        dropout: Option<&Dropout>,
    ) -> Result<(Vec<State>, Annotations)> {
        let (mut x, mut states) = (x, Vec::new());
        for (k, layer) in self.layers.iter().enumerate() {
            let reads = match k {
                0 => {
                    let reversed = ops::gather(tape, &x, &source.reversed)?;
                    [x.clone(), reversed]
                }
                _ => {
                    let x = match dropout {
                        Some(d) => d.apply(tape, &x, Dropout::encoder(k - 1))?,
                        None => x.clone(),
                    };
                    side_by_side(tape, &x, source)?
                }
            };
            let ways = [(&layer.forward, &reads[0]), (&layer.backward, &reads[1])];
            let both = Recurrent::side_by_side(tape, params, ways, source.packed())?;
            x = match k {
                0 => both.y,
                // Both have their columns in the rows of their own ways.
                _ => ops::add(tape, &x, &both.y)?,
            };
            states.push(layer.bridged(tape, params, both.state, source)?);
        }
        // [N, 2H] as [2N, H]: each position's two states are rows of it.
        let (rows, width) = (source.packing.rows(), x.value().shape().last());
        let both = x.reshape([2 * rows, width / 2])?;
        let values = ops::gather(tape, &both, &source.positions)?;
        let values = values.reshape([source.spans.total(), width])?;
        let keys = self.key.forward(tape, params, &values)?;
        let annotations = Annotations {
            keys,
            values,
            spans: source.spans.clone(),
            offsets: source.offsets.clone(),
            copies: source.copies.clone(),
        };
        Ok((states, annotations))
    }
}

/// What the two ways of a layer read of the outputs x `[N, 2H]` below it, whose halves have the rows of
/// the way that gave them: both halves `[N, 2H]` in the rows of one way, and of the other.
fn side_by_side(tape: &mut Tape, x: &Var, source: &Source) -> Result<[Var; 2]> {
    let h = x.value().shape().last() / 2;
    let (ahead, back) = (
        ops::slice(tape, x, 1, 0..h)?,
        ops::slice(tape, x, 1, h..2 * h)?,
    );
    // Which row of the one run a row of the other is; it is the same both ways.
    let of_back = ops::gather(tape, &back, &source.reversed)?;
    let of_ahead = ops::gather(tape, &ahead, &source.reversed)?;
    Ok([
        ops::concat(tape, &[&ahead, &of_back])?,
        ops::concat(tape, &[&of_ahead, &back])?,
    ])
}

impl Ways {
    /// tanh(W [forward; backward] + b) of the last h and of the last c, in the decoder's rows.
    fn bridged(
        &self,
        tape: &mut Tape,
        params: &Bound,
        last: State,
        source: &Source,
    ) -> Result<State> {
        let (h, c) = last.of_lstm()?;
        let h = bridge(tape, params, &self.hidden, &h, source)?;
        let c = bridge(tape, params, &self.cell, &c, source)?;
        // The cell state is f32 on a GPU, whatever the layer's data type.
        let c = match c.value().gpu() {
            Some(_) => ops::cast(tape, &c, DType::F32)?,
            None => c,
        };
        Ok(State { h, c: Some(c) })
    }
}

/// tanh(W [forward; backward] + b), in the decoder's rows.
fn bridge(
    tape: &mut Tape,
    params: &Bound,
    linear: &Linear,
    both: &Var,
    source: &Source,
) -> Result<Var> {
    let dtype = linear.weight(params).value().dtype();
    let both = ops::cast(tape, both, dtype)?;
    let both = ops::gather(tape, &both, &source.rows)?;
    let z = linear.forward(tape, params, &both)?;
    ops::tanh(tape, &z)
}
