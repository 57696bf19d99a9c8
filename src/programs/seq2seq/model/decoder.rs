//! The decoders: previous tokens and the encoder's states to logits of the next token.

use super::encoder::{Encoded, Memory, State};
use super::{ModelKind, Seq2SeqSizes};
use crate::autograd::{Tape, Var};
use crate::data::packing::Packing;
use crate::error::{Error, Result};
use crate::nn::{Bound, CellKind, Embedding, Layout, Linear, Projection, Recurrent, Style};
use crate::ops;
use crate::ops::attention;
use crate::tensor::Tensor;

/// What a decoder gives for some steps.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// Logits of the next tokens `[N, V]`.
    pub logits: Var,
    /// State after each row's last step.
    pub state: State,
    /// Attention weights `[N, S]`, of the attention model.
    pub alpha: Option<Tensor>,
}

/// A decoder's layers.
#[derive(Clone, Debug)]
pub(super) struct Decoder {
    embedding: Embedding,
    layers: Layers,
    out: Linear,
}

#[derive(Clone, Debug)]
enum Layers {
    Rnn(Recurrent),
    Lstm(Recurrent),
    Attention {
        lstm: Recurrent,
        query: Linear,
        energy: Projection,
    },
}

impl Decoder {
    pub(super) fn new(layout: &mut Layout, kind: ModelKind, sizes: Seq2SeqSizes) -> Self {
        let (dim, h, style) = (sizes.embedding, sizes.hidden, Style::Torch);
        let vocab = sizes.target_vocab;
        let embedding = Embedding::new(layout, "decoder.embedding", vocab, dim, style);
        let layer = |layout: &mut Layout, cell, inputs| {
            Recurrent::new(layout, cell, ("decoder.rnn", "l0"), inputs, h, style)
        };
        let (layers, features) = match kind {
            ModelKind::Rnn => (Layers::Rnn(layer(layout, CellKind::Rnn, dim + h)), h),
            ModelKind::Lstm => (Layers::Lstm(layer(layout, CellKind::Lstm, dim)), h),
            ModelKind::Attention => {
                let layers = Layers::Attention {
                    lstm: layer(layout, CellKind::Lstm, dim + 2 * h),
                    query: Linear::new(layout, "attention.query", h, h, style),
                    energy: Projection::new(layout, "attention.energy", h, 1, style),
                };
                (layers, 3 * h + dim)
            }
        };
        Decoder {
            embedding,
            layers,
            out: Linear::new(layout, "out", features, vocab, style),
        }
    }

    /// Vectors of tokens `[N]`, giving `[N, E]`.
    pub(super) fn embed(&self, tape: &mut Tape, params: &Bound, tokens: &Tensor) -> Result<Var> {
        self.embedding.forward(tape, params, tokens)
    }

    /// Runs over the packed embeddings x `[N, E]` of the previous tokens; `rows` `[N]` names the row
    /// that each belongs to.
    pub(super) fn run(
        &self,
        tape: &mut Tape,
        params: &Bound,
        from: &Encoded,
        (x, rows): (&Var, &Tensor),
        packing: &Packing,
    ) -> Result<Decoded> {
        let State { h, c } = &from.state;
        let (features, state, alpha) = match (&self.layers, c, &from.memory) {
            (Layers::Rnn(rnn), None, Memory::Context(context)) => {
                let context = ops::gather(tape, context, rows)?;
                let input = ops::concat(tape, &[x, &context])?;
                let out = rnn.forward_packed(tape, params, &input, Some(&from.state), packing)?;
                (out.y, out.state, None)
            }
            (Layers::Lstm(lstm), Some(_), Memory::None) => {
                let out = lstm.forward_packed(tape, params, x, Some(&from.state), packing)?;
                (out.y, out.state, None)
            }
            (
                Layers::Attention {
                    lstm,
                    query,
                    energy,
                },
                Some(c),
                Memory::Positions {
                    keys,
                    values,
                    spans,
                },
            ) => {
                let query = attention::Query {
                    w_q: query.weight(params),
                    b_q: query.bias(params),
                    v: energy.weight(params),
                };
                let memory = attention::Memory {
                    keys,
                    values,
                    spans,
                };
                let weights = lstm.weights(params);
                let out = ops::attention_lstm(tape, x, weights, (h, c), query, memory, packing)?;
                let features = ops::concat(tape, &[&out.y, &out.context, x])?;
                let state = State {
                    h: out.h_n,
                    c: Some(out.c_n),
                };
                (features, state, Some(out.alpha))
            }
            _ => {
                let message = "a state of another model was given to the decoder";
                return Err(Error::op("seq2seq", message));
            }
        };
        Ok(Decoded {
            logits: self.out.forward(tape, params, &features)?,
            state,
            alpha,
        })
    }
}
