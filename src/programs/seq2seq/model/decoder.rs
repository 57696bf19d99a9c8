//! Where the decoders stand: the encoder's states and previous tokens to what logits are computed from.

use super::inputs::{Steps, index};
use super::kind::{Dropout, Seq2SeqSizes};
use super::transformer::Standing;
use crate::autograd::{Tape, Var};
use crate::data::spans::Spans;
use crate::device::Gpu;
use crate::error::{Error, Result};
use crate::nn::{Bound, CellKind, Layout, Linear, Place, Projection, Recurrent, State, Style};
use crate::ops;
use crate::ops::attention;
use crate::ops::copy_xent::Copies;
use crate::tensor::Tensor;
use std::sync::Arc;

/// Where a decoder stands between two steps: its recurrent layers, their state, and what they read
/// at each step besides the previous token. Rows are the decoder's.
#[derive(Clone, Debug)]
pub enum DecoderState {
    /// A recurrent layer from the encoder's last state.
    Plain {
        /// Reads the embedding, and the context where there is one.
        layer: Recurrent,
        /// Its state.
        state: State,
        /// The encoder's last hidden state `[B, H]`, where it is read at each step.
        context: Option<Var>,
    },
    /// LSTM with additive attention.
    Attention {
        /// Read [embedding; context].
        layers: Attending,
        /// Hidden state `[B, H]`.
        h: Var,
        /// Cell state `[B, H]`; f32 on a GPU.
        c: Var,
        /// What is attended to.
        annotations: Box<Annotations>,
    },
    /// Transformer.
    Transformer(Box<Standing>),
}

/// The layers of a decoder with attention.
#[derive(Clone, Copy, Debug)]
pub struct Attending {
    lstm: Recurrent,
    query: Linear,
    energy: Projection,
}

/// The source positions `[M, ..]` of each row: the annotations of Bahdanau et al. 2015.
#[derive(Clone, Debug)]
pub struct Annotations {
    /// W_k h_j `[M, A]`.
    pub keys: Var,
    /// h_j `[M, 2H]`.
    pub values: Var,
    /// The positions of each row.
    pub spans: Spans,
    /// The spans' offsets `[B + 1]`, where keys and values are on a GPU.
    pub offsets: Option<Tensor>,
    /// The extended id of each position `[M]`, for a model that copies.
    pub copies: Option<Tensor>,
}

/// What a decoder gives for some steps.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// Logits of the next tokens `[N, V]`; of a model that copies log-probabilities of the extended
    /// vocabulary `[N, V + S]`, without a gradient.
    pub logits: Var,
    /// State after each row's last step.
    pub state: DecoderState,
    /// Attention weights `[N, S]`, of a model that attends: of a Transformer those of the last layer, as the
    /// mean of its heads.
    pub alpha: Option<Tensor>,
    /// The logit of p_gen `[N, 1]`, of a model that copies.
    pub gate: Option<Tensor>,
}

impl Attending {
    pub(super) fn new(layout: &mut Layout, name: (&str, &str), sizes: Seq2SeqSizes) -> Self {
        let (dim, h, style) = (sizes.embedding, sizes.hidden, Style::Torch);
        Attending {
            lstm: Recurrent::new(layout, CellKind::Lstm, name, dim + 2 * h, h, style),
            query: Linear::new(layout, "attention.query", h, h, style),
            energy: Projection::new(layout, "attention.energy", h, 1, style),
        }
    }
}

impl DecoderState {
    /// Runs over the embeddings of the previous tokens. Gives what the logits are computed from, the state
    /// after each row's last step, and attention weights.
    pub(super) fn run(
        &self,
        tape: &mut Tape,
        params: &Bound,
        steps: Steps,
        dropout: Option<&Dropout>,
    ) -> Result<(Var, Self, Option<Var>)> {
        let Steps {
            x, rows, packing, ..
        } = steps;
        match self.clone() {
            Self::Plain {
                layer,
                state,
                context,
            } => {
                let input = match &context {
                    Some(context) => match rows {
                        Some(rows) => {
                            let context = ops::gather(tape, context, rows)?;
                            ops::concat(tape, &[x, &context])?
                        }
                        None => ops::concat(tape, &[x, context])?,
                    },
                    None => x.clone(),
                };
                let out = layer.forward_packed(tape, params, &input, Some(&state), packing)?;
                let state = Self::Plain {
                    layer,
                    state: out.state,
                    context,
                };
                Ok((out.y, state, None))
            }
            Self::Attention {
                layers,
                h,
                c,
                annotations,
            } => {
                let query = attention::Query {
                    w_q: layers.query.weight(params),
                    b_q: layers.query.bias(params),
                    v: layers.energy.weight(params),
                };
                let memory = attention::Memory {
                    keys: &annotations.keys,
                    values: &annotations.values,
                    spans: &annotations.spans,
                    offsets: annotations.offsets.as_ref(),
                };
                let weights = layers.lstm.weights(params);
                let out = ops::attention_lstm(tape, x, weights, (&h, &c), query, memory, packing)?;
                let features = ops::concat(tape, &[&out.y, &out.context, x])?;
                let state = Self::Attention {
                    layers,
                    h: out.h_n,
                    c: out.c_n,
                    annotations,
                };
                Ok((features, state, Some(out.alpha)))
            }
            Self::Transformer(standing) => {
                let (features, after, alpha) = standing.run(tape, params, steps, dropout)?;
                Ok((features, Self::Transformer(Box::new(after)), Some(alpha)))
            }
        }
    }

    /// The place of the next step's tokens in their targets, where that counts.
    pub(super) fn place(&self) -> Place<'static> {
        match self {
            Self::Transformer(standing) => Place::At(standing.steps),
            Self::Plain { .. } | Self::Attention { .. } => Place::At(0),
        }
    }

    /// Moves hidden and cell states to other rows: row i continues row `order[i]`, which is of the
    /// same source.
    ///
    /// # Errors
    /// If the device fails.
    pub fn reorder(&mut self, order: &[u32]) -> Result<()> {
        let gpu = self.gpu().cloned();
        let gpu = gpu.as_ref();
        match self {
            Self::Plain { state, .. } => {
                let order = index(order, gpu)?;
                pick(&mut state.h, &order)?;
                state.c.as_mut().map_or(Ok(()), |c| pick(c, &order))
            }
            Self::Attention { h, c, .. } => {
                let order = index(order, gpu)?;
                pick(h, &order)?;
                pick(c, &order)
            }
            Self::Transformer(standing) => standing.reorder(order),
        }
    }

    /// Other rows: row i becomes what row `rows[i]` is, with all that it reads. A row may become any
    /// number of rows.
    ///
    /// # Errors
    /// If the device fails.
    pub fn select(&mut self, rows: &[u32]) -> Result<()> {
        let gpu = self.gpu().cloned();
        let gpu = gpu.as_ref();
        self.reorder(rows)?;
        match self {
            Self::Plain { context, .. } => {
                let rows = index(rows, gpu)?;
                context.as_mut().map_or(Ok(()), |x| pick(x, &rows))
            }
            Self::Attention { annotations, .. } => annotations.select(rows, gpu),
            Self::Transformer(standing) => standing.select(rows, gpu),
        }
    }

    fn gpu(&self) -> Option<&Arc<Gpu>> {
        match self {
            Self::Plain { state, .. } => state.h.value().gpu(),
            Self::Attention { h, .. } => h.value().gpu(),
            Self::Transformer(standing) => standing.gpu(),
        }
    }

    /// What can be copied in rows of the decoder, each in the row of the batch that `rows` `[N]` names.
    pub(super) fn copies<'a>(&'a self, rows: &'a Tensor) -> Result<Copies<'a>> {
        let (ids, spans, offsets) = match self {
            Self::Attention { annotations, .. } => (
                annotations.copies.as_ref(),
                &annotations.spans,
                annotations.offsets.as_ref(),
            ),
            Self::Transformer(standing) => (
                standing.copies.as_ref(),
                standing.spans(),
                standing.offsets.as_ref(),
            ),
            Self::Plain { .. } => {
                return Err(Error::op(
                    "seq2seq",
                    "a model without attention copies nothing",
                ));
            }
        };
        let message = "a model that copies needs the extended ids of the source";
        Ok(Copies {
            ids: ids.ok_or_else(|| Error::op("seq2seq", message))?,
            rows,
            spans,
            offsets,
        })
    }

    /// The first rows, as constants: nothing is copied, and no gradient flows through them.
    pub(super) fn first_rows(&self, rows: usize) -> Result<Self> {
        let first = |v: &Var, rows: usize| -> Result<Var> {
            let width = v.value().shape().last();
            Ok(Var::constant(v.value().slice(0, [rows, width])?))
        };
        let some = |v: &Option<Var>| v.as_ref().map(|v| first(v, rows)).transpose();
        Ok(match self {
            Self::Plain {
                layer,
                state,
                context,
            } => Self::Plain {
                layer: *layer,
                state: State {
                    h: first(&state.h, rows)?,
                    c: some(&state.c)?,
                },
                context: some(context)?,
            },
            Self::Attention {
                layers,
                h,
                c,
                annotations: all,
            } => {
                let lengths: Vec<usize> = (0..rows).map(|b| all.spans.len(b)).collect();
                let spans = Spans::new(&lengths)?;
                let copies = all.copies.as_ref();
                let copies = copies.map(|all| all.slice(0, [spans.total()]));
                let offsets = all.offsets.as_ref();
                let offsets = offsets.map(|all| all.slice(0, [rows + 1])).transpose()?;
                Self::Attention {
                    layers: *layers,
                    h: first(h, rows)?,
                    c: first(c, rows)?,
                    annotations: Box::new(Annotations {
                        keys: first(&all.keys, spans.total())?,
                        values: first(&all.values, spans.total())?,
                        spans,
                        offsets,
                        copies: copies.transpose()?,
                    }),
                }
            }
            Self::Transformer(_) => return Err(Error::op("seq2seq", NO_PREDICTIONS)),
        })
    }
}

impl Annotations {
    fn select(&mut self, rows: &[u32], gpu: Option<&Arc<Gpu>>) -> Result<()> {
        let of = |row: u32| self.spans.start(row as usize)..self.spans.end(row as usize);
        let positions: Vec<u32> = rows.iter().flat_map(|&r| of(r)).map(|p| p as u32).collect();
        let lengths = rows.iter().map(|&row| self.spans.len(row as usize));
        let spans = Spans::new(&lengths.collect::<Vec<_>>())?;
        if let Some(copies) = &mut self.copies {
            let ids = copies.to_cpu()?;
            let ids = ids.data::<u32>()?;
            let ids = positions.iter().map(|&position| ids[position as usize]);
            *copies = index(&ids.collect::<Vec<_>>(), gpu)?;
        }
        let positions = index(&positions, gpu)?;
        pick(&mut self.keys, &positions)?;
        pick(&mut self.values, &positions)?;
        self.offsets = gpu.map(|_| index(spans.offsets(), gpu)).transpose()?;
        self.spans = spans;
        Ok(())
    }
}

/// Replaces a matrix by some of its rows.
fn pick(matrix: &mut Var, rows: &Tensor) -> Result<()> {
    *matrix = ops::gather(&mut Tape::inference(), matrix, rows)?;
    Ok(())
}

/// Why a Transformer's targets are the true ones.
pub(super) const NO_PREDICTIONS: &str = "a Transformer is trained on all steps of its targets at once, \
                                         and reads none of its own predictions: teacher forcing is 1";
