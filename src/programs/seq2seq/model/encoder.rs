//! The encoders: docstring to the state that the decoder starts from.

use super::decoder::{Annotations, Attending, DecoderState};
use super::inputs::Source;
use super::kind::{Dropout, ModelKind, Seq2SeqSizes};
use super::output::Output;
use super::scoring::Decoder;
use super::transformer::{DecoderStack, EncoderStack, Standing};
use crate::autograd::{Tape, Var};
use crate::dtype::DType;
use crate::error::Result;
use crate::nn::{
    Bound, CellKind, Embedding, Init, Layout, Linear, Place, Positions, Projection, Recurrent,
    State, Style,
};
use crate::ops;
use std::sync::Arc;

/// An encoder's layers.
#[derive(Clone, Debug)]
pub(super) struct Encoder {
    embedding: Embedding,
    /// Of a Transformer.
    positions: Option<Positions>,
    layers: Layers,
}

/// The recurrent layers of a kind of model: those that read the source, and those that start from
/// their last state.
#[derive(Clone, Debug)]
enum Layers {
    Plain {
        encoder: Recurrent,
        decoder: Recurrent,
        /// Whether the decoder reads the encoder's last hidden state at each step.
        reads_context: bool,
    },
    Attention {
        encoder: BothWays,
        decoder: Attending,
    },
    Transformer {
        encoder: EncoderStack,
        decoder: Arc<DecoderStack>,
    },
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
    /// Both sides of a model. The encoder's parameters come first, then the decoder's.
    pub(super) fn new(
        layout: &mut Layout,
        kind: ModelKind,
        sizes: Seq2SeqSizes,
    ) -> (Self, Decoder) {
        let (dim, h, style) = (sizes.embedding, sizes.hidden, Style::Torch);
        let (source, target) = (sizes.source_vocab, sizes.target_vocab);
        let is_transformer = kind == ModelKind::Transformer;
        // A variance of 1 / E, as rows are multiplied by sqrt(E) before positions are added.
        let scaled = Init::Uniform((3.0 / dim as f64).sqrt());
        let drawn = if is_transformer { scaled } else { Init::Normal };
        let embedding = Embedding::with_init(layout, "encoder.embedding", (source, dim), drawn);
        let embed = |layout: &mut Layout| {
            let init = match sizes.tied && !is_transformer {
                // As the weight of a linear layer: a standard normal one would give large logits.
                true => Init::Uniform(1.0 / (dim as f64).sqrt()),
                false => drawn,
            };
            Embedding::with_init(layout, "decoder.embedding", (target, dim), init)
        };
        let names = [("encoder.rnn", "l0"), ("decoder.rnn", "l0")];
        let copies = sizes.copy && kind.attends();
        let positions = is_transformer.then(|| Positions::new(dim));
        let (layers, embed, features) = match kind.plain() {
            Some((cell, reads_context)) => {
                let inputs = if reads_context { dim + h } else { dim };
                let encoder = Recurrent::new(layout, cell, names[0], dim, h, style);
                let embed = embed(layout);
                let layers = Layers::Plain {
                    encoder,
                    decoder: Recurrent::new(layout, cell, names[1], inputs, h, style),
                    reads_context,
                };
                (layers, embed, h)
            }
            None if is_transformer => {
                let encoder = EncoderStack::new(layout, sizes);
                let embed = embed(layout);
                let decoder = Arc::new(DecoderStack::new(layout, sizes));
                (Layers::Transformer { encoder, decoder }, embed, dim)
            }
            None => {
                let encoder = BothWays::new(layout, names[0].0, sizes);
                let embed = embed(layout);
                let decoder = Attending::new(layout, names[1], sizes);
                (Layers::Attention { encoder, decoder }, embed, 3 * h + dim)
            }
        };
        let decoder = Decoder {
            vocab: target,
            width: dim,
            embedding: embed,
            positions: positions.clone(),
            out: Output::new(layout, features, (target, dim), sizes.tied.then_some(embed)),
            gate: copies.then(|| Linear::new(layout, "copy.gate", features, 1, style)),
        };
        let encoder = Encoder {
            embedding,
            positions,
            layers,
        };
        (encoder, decoder)
    }

    /// Reads the sources: the state that the decoder starts from.
    pub(super) fn encode(
        &self,
        tape: &mut Tape,
        params: &Bound,
        source: &Source,
        dropout: Option<&Dropout>,
    ) -> Result<DecoderState> {
        let x = self.embedding.forward(tape, params, &source.ids)?;
        let x = match &self.positions {
            Some(positions) => {
                let place = Place::Each(&source.steps, source.packing.steps());
                positions.add(tape, &x, place)?
            }
            None => x,
        };
        let x = match dropout {
            Some(d) => d.apply(tape, &x, Dropout::SOURCE)?,
            None => x,
        };
        let packing = &source.packing;
        match &self.layers {
            Layers::Plain {
                encoder,
                decoder,
                reads_context,
            } => {
                let last = encoder.forward_packed(tape, params, &x, None, packing)?;
                let h = ops::gather(tape, &last.state.h, &source.rows)?;
                let c = last.state.c.as_ref();
                let c = c.map(|c| ops::gather(tape, c, &source.rows));
                Ok(DecoderState::Plain {
                    layer: *decoder,
                    context: reads_context.then(|| h.clone()),
                    state: State {
                        h,
                        c: c.transpose()?,
                    },
                })
            }
            Layers::Attention { encoder, decoder } => {
                let (h, c, annotations) = encoder.encode(tape, params, &x, source)?;
                Ok(DecoderState::Attention {
                    layers: *decoder,
                    h,
                    c,
                    annotations: Box::new(annotations),
                })
            }
            Layers::Transformer { encoder, decoder } => {
                let stacks = (encoder, decoder);
                let standing = Standing::new(stacks, tape, params, &x, source, dropout)?;
                Ok(DecoderState::Transformer(Box::new(standing)))
            }
        }
    }
}

impl BothWays {
    fn new(layout: &mut Layout, name: &str, sizes: Seq2SeqSizes) -> Self {
        let (dim, h, style) = (sizes.embedding, sizes.hidden, Style::Torch);
        BothWays {
            forward: Recurrent::new(layout, CellKind::Lstm, (name, "l0"), dim, h, style),
            backward: Recurrent::new(layout, CellKind::Lstm, (name, "l0_reverse"), dim, h, style),
            hidden: Linear::new(layout, "bridge.hidden", 2 * h, h, style),
            cell: Linear::new(layout, "bridge.cell", 2 * h, h, style),
            key: Projection::new(layout, "attention.key", 2 * h, h, style),
        }
    }

    /// Schuster & Paliwal 1997. Read from its end, a packed batch is packed, too: so the backward
    /// layer is a forward one over other rows. Gives the decoder's first h and c, and what it
    /// attends to.
    fn encode(
        &self,
        tape: &mut Tape,
        params: &Bound,
        x: &Var,
        source: &Source,
    ) -> Result<(Var, Var, Annotations)> {
        let packing = &source.packing;
        let reversed = ops::gather(tape, x, &source.reversed)?;
        let ways = [(&self.forward, x), (&self.backward, &reversed)];
        let both = Recurrent::side_by_side(tape, params, ways, packing)?;
        // [N, 2H] as [2N, H]: each position's two states are rows of it.
        let (rows, width) = (packing.rows(), both.y.value().shape().last());
        let states = both.y.reshape([2 * rows, width / 2])?;
        let values = ops::gather(tape, &states, &source.positions)?;
        let values = values.reshape([source.spans.total(), width])?;
        let keys = self.key.forward(tape, params, &values)?;
        let (h, c) = both.state.of_lstm()?;
        let h = bridge(tape, params, &self.hidden, &h, source)?;
        let c = bridge(tape, params, &self.cell, &c, source)?;
        // The cell state is f32 on a GPU, whatever the layer's data type.
        let c = match c.value().gpu() {
            Some(_) => ops::cast(tape, &c, DType::F32)?,
            None => c,
        };
        let annotations = Annotations {
            keys,
            values,
            spans: source.spans.clone(),
            offsets: source.offsets.clone(),
            copies: source.copies.clone(),
        };
        Ok((h, c, annotations))
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
