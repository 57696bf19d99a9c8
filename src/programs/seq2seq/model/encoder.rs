//! The encoders: docstring to the decoder's first state, and to what it attends to.

use super::inputs::Source;
use super::{Dropout, ModelKind, Seq2SeqSizes};
use crate::autograd::{Tape, Var};
use crate::data::spans::Spans;
use crate::dtype::DType;
use crate::error::Result;
pub use crate::nn::State;
use crate::nn::{Bound, CellKind, Embedding, Layout, Linear, Projection, Recurrent, Style};
use crate::ops;

/// What the decoder starts from. Rows are the decoder's.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// First state.
    pub state: State,
    /// What the decoder reads besides its state.
    pub memory: Memory,
}

/// What the decoder reads at each step besides its state.
#[derive(Clone, Debug)]
pub enum Memory {
    /// Nothing.
    None,
    /// The tanh RNN's context `[B, H]`: the encoder's last hidden state.
    Context(Var),
    /// The source positions `[M, ..]` of each row.
    Positions {
        /// W_k h_j `[M, A]`.
        keys: Var,
        /// h_j `[M, 2H]`.
        values: Var,
        /// The positions of each row.
        spans: Spans,
    },
}

/// An encoder's layers.
#[derive(Clone, Debug)]
pub(super) struct Encoder {
    embedding: Embedding,
    layers: Layers,
}

#[derive(Clone, Debug)]
enum Layers {
    Rnn(Recurrent),
    Lstm(Recurrent),
    BothWays(BothWays),
}

/// A bidirectional LSTM, the bridges to the decoder's state, and the projection to keys.
#[derive(Clone, Debug)]
struct BothWays {
    forward: Recurrent,
    backward: Recurrent,
    hidden: Linear,
    cell: Linear,
    key: Projection,
}

impl Encoder {
    pub(super) fn new(layout: &mut Layout, kind: ModelKind, sizes: Seq2SeqSizes) -> Self {
        let (dim, h, style) = (sizes.embedding, sizes.hidden, Style::Torch);
        let vocab = sizes.source_vocab;
        let embedding = Embedding::new(layout, "encoder.embedding", vocab, dim, style);
        let mut layer =
            |cell, suffix| Recurrent::new(layout, cell, ("encoder.rnn", suffix), dim, h, style);
        let layers = match kind {
            ModelKind::Rnn => Layers::Rnn(layer(CellKind::Rnn, "l0")),
            ModelKind::Lstm => Layers::Lstm(layer(CellKind::Lstm, "l0")),
            ModelKind::Attention => Layers::BothWays(BothWays {
                forward: layer(CellKind::Lstm, "l0"),
                backward: layer(CellKind::Lstm, "l0_reverse"),
                hidden: Linear::new(layout, "bridge.hidden", 2 * h, h, style),
                cell: Linear::new(layout, "bridge.cell", 2 * h, h, style),
                key: Projection::new(layout, "attention.key", 2 * h, h, style),
            }),
        };
        Encoder { embedding, layers }
    }

    /// Reads the sources.
    pub(super) fn encode(
        &self,
        tape: &mut Tape,
        params: &Bound,
        source: &Source,
        dropout: Option<&Dropout>,
    ) -> Result<Encoded> {
        let x = self.embedding.forward(tape, params, &source.ids)?;
        let x = match dropout {
            Some(d) => ops::dropout(tape, &x, d.p, d.stream.lane(Dropout::SOURCE))?,
            None => x,
        };
        let packing = &source.packing;
        match &self.layers {
            Layers::Rnn(rnn) => {
                let out = rnn.forward_packed(tape, params, &x, None, packing)?;
                let h = ops::gather(tape, &out.state.h, &source.rows)?;
                Ok(Encoded {
                    state: State {
                        h: h.clone(),
                        c: None,
                    },
                    memory: Memory::Context(h),
                })
            }
            Layers::Lstm(lstm) => {
                let out = lstm.forward_packed(tape, params, &x, None, packing)?;
                let h = ops::gather(tape, &out.state.h, &source.rows)?;
                let c = out.state.c.as_ref();
                let c = c.map(|c| ops::gather(tape, c, &source.rows)).transpose()?;
                Ok(Encoded {
                    state: State { h, c },
                    memory: Memory::None,
                })
            }
            Layers::BothWays(layers) => layers.encode(tape, params, &x, source),
        }
    }
}

impl BothWays {
    /// Schuster & Paliwal 1997. Read from its end, a packed batch is packed, too: so the backward
    /// layer is a forward one over other rows.
    fn encode(&self, tape: &mut Tape, params: &Bound, x: &Var, source: &Source) -> Result<Encoded> {
        let packing = &source.packing;
        let reversed = ops::gather(tape, x, &source.reversed)?;
        let ahead = self
            .forward
            .forward_packed(tape, params, x, None, packing)?;
        let back = self
            .backward
            .forward_packed(tape, params, &reversed, None, packing)?;
        let ys = [
            &ops::gather(tape, &ahead.y, &source.positions)?,
            &ops::gather(tape, &back.y, &source.reversed_positions)?,
        ];
        let values = ops::concat(tape, &ys)?;
        let keys = self.key.forward(tape, params, &values)?;
        let (ahead, back) = (ahead.state, back.state);
        let h = bridge(tape, params, &self.hidden, [&ahead.h, &back.h], source)?;
        let c = match ahead.c.zip(back.c) {
            Some((ahead, back)) => {
                let c = bridge(tape, params, &self.cell, [&ahead, &back], source)?;
                // The cell state is f32 on a GPU, whatever the layer's data type.
                Some(match c.value().gpu() {
                    Some(_) => ops::cast(tape, &c, DType::F32)?,
                    None => c,
                })
            }
            None => None,
        };
        Ok(Encoded {
            state: State { h, c },
            memory: Memory::Positions {
                keys,
                values,
                spans: source.spans.clone(),
            },
        })
    }
}

/// tanh(W [forward; backward] + b), in the decoder's rows.
fn bridge(
    tape: &mut Tape,
    params: &Bound,
    linear: &Linear,
    [ahead, back]: [&Var; 2],
    source: &Source,
) -> Result<Var> {
    let dtype = linear.weight(params).value().dtype();
    let both = [
        &ops::cast(tape, ahead, dtype)?,
        &ops::cast(tape, back, dtype)?,
    ];
    let both = ops::concat(tape, &both)?;
    let both = ops::gather(tape, &both, &source.rows)?;
    let z = linear.forward(tape, params, &both)?;
    ops::tanh(tape, &z)
}
