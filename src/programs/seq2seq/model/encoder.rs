//! The encoders: docstring to the state that the decoder starts from.

use super::both_ways::BothWays;
use super::decoder::{Decoder, DecoderState};
use super::inputs::Source;
use super::kind::{Dropout, ModelKind, Seq2SeqSizes};
use super::layers::above;
use super::output::Output;
use super::state::{Attending, First, RecurrentState};
use super::transformer::{DecoderStack, EncoderStack, Standing};
use crate::autograd::{Tape, Var};
use crate::error::{Error, Result};
use crate::nn::{
    Bound, CellKind, Embedding, Init, Layout, Linear, Place, Positions, Recurrent, State, Style,
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

/// The layers of a kind of model: those that read the source, and those that start from what comes of it.
#[derive(Clone, Debug)]
enum Layers {
    Plain {
        encoder: Vec<Recurrent>,
        decoder: Recurrent,
        /// Whether the decoder reads the encoder's last hidden state at each step.
        reads_context: bool,
        upper: Vec<Recurrent>,
    },
    Attention {
        encoder: BothWays,
        decoder: Attending,
        upper: Vec<Recurrent>,
    },
    Transformer {
        encoder: EncoderStack,
        decoder: Arc<DecoderStack>,
    },
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
        let (encoder, decoder) = ("encoder.rnn", "decoder.rnn");
        let copies = sizes.copy && kind.attends();
        let positions = is_transformer.then(|| Positions::new(dim));
        let (layers, embed, features) = match kind.plain() {
            Some((cell, reads_context)) => {
                let inputs = if reads_context { dim + h } else { dim };
                let first = Recurrent::new(layout, cell, (encoder, "l0"), dim, h, style);
                let others = upper(layout, cell, encoder, sizes);
                let embed = embed(layout);
                let layers = Layers::Plain {
                    encoder: [vec![first], others].concat(),
                    decoder: Recurrent::new(layout, cell, (decoder, "l0"), inputs, h, style),
                    reads_context,
                    upper: upper(layout, cell, decoder, sizes),
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
                let encoder = BothWays::new(layout, encoder, sizes);
                let embed = embed(layout);
                let layers = Layers::Attention {
                    encoder,
                    decoder: Attending::new(layout, (decoder, "l0"), sizes),
                    upper: upper(layout, CellKind::Lstm, decoder, sizes),
                };
                (layers, embed, 3 * h + dim)
            }
        };
        let decoder = Decoder {
            vocab: target,
            width: dim,
            hidden: h,
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
        let packed = source.packed();
        match &self.layers {
            Layers::Plain {
                encoder,
                decoder,
                reads_context,
                upper,
            } => {
                let [first, others @ ..] = &encoder[..] else {
                    return Err(Error::op("seq2seq", "an encoder without layers"));
                };
                let out = first.forward_packed(tape, params, &x, None, packed)?;
                let layers = others.iter().map(|layer| (layer, None));
                let drop = |tape: &mut Tape, k: usize, x: &Var| match dropout {
                    Some(d) => d.apply(tape, x, Dropout::encoder(k)),
                    None => Ok(x.clone()),
                };
                let (_, states) = above(tape, params, out.y, layers, packed, drop)?;
                let state = in_rows(tape, &out.state, source)?;
                let states = states.iter().map(|state| in_rows(tape, state, source));
                let states = states.collect::<Result<Vec<State>>>()?;
                let last = states.last().unwrap_or(&state);
                let context = reads_context.then(|| last.h.clone());
                Ok(DecoderState::Recurrent(Box::new(RecurrentState {
                    first: First::Plain {
                        layer: *decoder,
                        context,
                        state,
                    },
                    upper: upper.iter().copied().zip(states).collect(),
                })))
            }
            Layers::Attention {
                encoder,
                decoder,
                upper,
            } => {
                let (states, annotations) = encoder.encode(tape, params, x, source, dropout)?;
                let mut states = states.into_iter();
                let first = states.next();
                let first = first.ok_or_else(|| Error::op("seq2seq", "an encoder without layers"));
                let (h, c) = first?.of_lstm()?;
                Ok(DecoderState::Recurrent(Box::new(RecurrentState {
                    first: First::Attention {
                        layers: *decoder,
                        h,
                        c,
                        annotations: Box::new(annotations),
                    },
                    upper: upper.iter().copied().zip(states).collect(),
                })))
            }
            Layers::Transformer { encoder, decoder } => {
                let stacks = (encoder, decoder);
                let standing = Standing::new(stacks, tape, params, &x, source, dropout)?;
                Ok(DecoderState::Transformer(Box::new(standing)))
            }
        }
    }
}

/// Adds the layers above the first of one side.
fn upper(layout: &mut Layout, cell: CellKind, name: &str, sizes: Seq2SeqSizes) -> Vec<Recurrent> {
    let h = sizes.hidden;
    let layers = (1..sizes.layers).map(|k| {
        let suffix = format!("l{k}");
        Recurrent::new(layout, cell, (name, &suffix), h, h, Style::Torch)
    });
    layers.collect()
}

/// A layer's last state in the decoder's rows.
fn in_rows(tape: &mut Tape, state: &State, source: &Source) -> Result<State> {
    let h = ops::gather(tape, &state.h, &source.rows)?;
    let c = state.c.as_ref();
    let c = c.map(|c| ops::gather(tape, c, &source.rows));
    Ok(State {
        h,
        c: c.transpose()?,
    })
}
