//! Where a decoder stands between two steps, and how it gets to the next ones.

use super::inputs::{Copyable, Steps, index};
use super::kind::Seq2SeqSizes;
use super::layers::{Dropped, above};
use crate::autograd::{Tape, Var};
use crate::data::spans::Spans;
use crate::device::Gpu;
use crate::error::{Error, Result};
use crate::nn::{Bound, CellKind, Layout, Linear, Projection, Recurrent, State, Style};
use crate::ops;
use crate::ops::attention;
use crate::ops::copy_xent::Copies;
use crate::ops::recurrent::Packed;
use crate::tensor::Tensor;
use std::sync::Arc;

/// Where a recurrent decoder stands between two steps: its layers, their state, and what they read
/// at each step besides the previous token. Rows are the decoder's.
#[derive(Clone, Debug)]
pub struct RecurrentState {
    pub(super) first: First,
    /// The layers above the first, each with its state.
    pub(super) upper: Vec<(Recurrent, State)>,
}

/// The first layer and its state.
#[derive(Clone, Debug)]
pub(super) enum First {
    /// A recurrent layer from the encoder's last state.
    Plain {
        /// Reads the embedding, and the context where there is one.
        layer: Recurrent,
        /// Its state.
        state: State,
        /// The last hidden state `[B, H]` of the encoder's top layer, where it is read at each step.
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
}

/// The first layer of a decoder with attention.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attending {
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
    /// What can be copied, for a model that copies.
    pub copies: Option<Copyable>,
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

impl RecurrentState {
    /// Runs over the packed embeddings x `[N, E]` of the previous tokens; `rows` `[N]` names the row
    /// that each belongs to, where there are several steps. Gives what the logits are computed from, the
    /// state after each row's last step, and attention weights.
    pub(super) fn run(
        &self,
        tape: &mut Tape,
        params: &Bound,
        steps: Steps,
        dropped: Dropped,
    ) -> Result<(Var, Self, Option<Var>)> {
        let Steps {
            x, rows, packed, ..
        } = steps;
        let (y, first, seen) = self.first.run(tape, params, (x, rows), packed)?;
        let layers = self.upper.iter().map(|(layer, state)| (layer, Some(state)));
        let (y, states) = above(tape, params, y, layers, packed, |tape, k, x| {
            dropped.of_layer(tape, k, x)
        })?;
        let layers = self.upper.iter().map(|(layer, _)| *layer);
        let state = RecurrentState {
            first,
            upper: layers.zip(states).collect(),
        };
        Ok(match seen {
            None => (y, state, None),
            Some(seen) => {
                let features = ops::concat(tape, &[&y, &seen.context, x])?;
                (features, state, Some(seen.alpha))
            }
        })
    }

    /// Moves hidden and cell states to other rows: row i continues row `order[i]`, which is of the
    /// same source.
    ///
    /// # Errors
    /// If the device fails.
    pub(super) fn reorder(&mut self, order: &[u32]) -> Result<()> {
        let order = index(order, self.gpu())?;
        let state_of = |state: &mut State| {
            pick(&mut state.h, &order)?;
            state.c.as_mut().map_or(Ok(()), |c| pick(c, &order))
        };
        match &mut self.first {
            First::Plain { state, .. } => state_of(state)?,
            First::Attention { h, c, .. } => {
                pick(h, &order)?;
                pick(c, &order)?;
            }
        }
        let mut upper = self.upper.iter_mut();
        upper.try_for_each(|(_, state)| state_of(state))
    }

    /// Other rows: row i becomes what row `rows[i]` is, with all that it reads. A row may become any
    /// number of rows.
    ///
    /// # Errors
    /// If the device fails.
    pub(super) fn select(&mut self, rows: &[u32]) -> Result<()> {
        self.reorder(rows)?;
        let gpu = self.gpu().cloned();
        match &mut self.first {
            First::Plain { context, .. } => {
                let rows = index(rows, gpu.as_ref())?;
                context.as_mut().map_or(Ok(()), |x| pick(x, &rows))
            }
            First::Attention { annotations, .. } => annotations.select(rows, gpu.as_ref()),
        }
    }

    fn gpu(&self) -> Option<&Arc<Gpu>> {
        match &self.first {
            First::Plain { state, .. } => state.h.value().gpu(),
            First::Attention { h, .. } => h.value().gpu(),
        }
    }

    /// What can be copied in rows of the decoder, each in the row of the batch that `rows` `[N]` names;
    /// without those, in one step of the whole batch.
    pub(super) fn copies<'a>(&'a self, rows: Option<&'a Tensor>) -> Result<Copies<'a>> {
        let copies = match &self.first {
            First::Attention { annotations, .. } => {
                let copies = annotations.copies.as_ref();
                copies.map(|copies| (copies, &**annotations))
            }
            First::Plain { .. } => None,
        };
        let message = "a model that copies needs the extended ids of the source";
        let (copies, annotations) = copies.ok_or_else(|| Error::op("seq2seq", message))?;
        Ok(Copies {
            ids: &copies.ids,
            rows: rows.unwrap_or(&copies.rows),
            spans: &annotations.spans,
            offsets: annotations.offsets.as_ref(),
        })
    }

    /// The first rows, as constants: nothing is copied, and no gradient flows through them.
    pub(super) fn first_rows(&self, rows: usize) -> Result<Self> {
        self.changed(|x| top(x, rows), |all| all.first_rows(rows))
    }

    /// The same as if nothing had been read: zeros, through which no gradient flows, and nothing to copy.
    pub(super) fn blank(&self) -> Result<Self> {
        self.changed(zeros, Annotations::blank)
    }

    /// Another state of the same layers, made by `of`; `attended` makes what is attended to.
    fn changed(
        &self,
        of: impl Fn(&Var) -> Result<Var>,
        attended: impl Fn(&Annotations) -> Result<Annotations>,
    ) -> Result<Self> {
        let state_of = |state: &State| -> Result<State> {
            Ok(State {
                h: of(&state.h)?,
                c: state.c.as_ref().map(&of).transpose()?,
            })
        };
        let first = match &self.first {
            First::Plain {
                layer,
                state,
                context,
            } => First::Plain {
                layer: *layer,
                state: state_of(state)?,
                context: context.as_ref().map(&of).transpose()?,
            },
            First::Attention {
                layers,
                h,
                c,
                annotations,
            } => First::Attention {
                layers: *layers,
                h: of(h)?,
                c: of(c)?,
                annotations: Box::new(attended(annotations)?),
            },
        };
        let upper = self.upper.iter();
        let upper = upper.map(|(layer, state)| Ok((*layer, state_of(state)?)));
        Ok(RecurrentState {
            first,
            upper: upper.collect::<Result<_>>()?,
        })
    }
}

/// What the first layer attended to.
struct Seen {
    /// `[N, 2H]`
    context: Var,
    /// `[N, S]`
    alpha: Var,
}

impl First {
    /// The layer's outputs `[N, H]`, its state after them, and with attention what it attended to.
    fn run(
        &self,
        tape: &mut Tape,
        params: &Bound,
        (x, rows): (&Var, Option<&Tensor>),
        packed: Packed,
    ) -> Result<(Var, Self, Option<Seen>)> {
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
                let out = layer.forward_packed(tape, params, &input, Some(&state), packed)?;
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
                let start = (&h, &c);
                let out = ops::attention_lstm(tape, x, weights, start, query, memory, packed)?;
                let state = Self::Attention {
                    layers,
                    h: out.h_n,
                    c: out.c_n,
                    annotations,
                };
                let (context, alpha) = (out.context, out.alpha);
                Ok((out.y, state, Some(Seen { context, alpha })))
            }
        }
    }
}

impl Annotations {
    fn first_rows(&self, rows: usize) -> Result<Self> {
        let lengths: Vec<usize> = (0..rows).map(|b| self.spans.len(b)).collect();
        let spans = Spans::new(&lengths)?;
        let copies = self.copies.as_ref().map(|all| -> Result<Copyable> {
            Ok(Copyable {
                ids: all.ids.slice(0, [spans.total()])?,
                rows: all.rows.slice(0, [rows])?,
            })
        });
        let offsets = self.offsets.as_ref();
        let offsets = offsets.map(|all| all.slice(0, [rows + 1]));
        Ok(Annotations {
            keys: top(&self.keys, spans.total())?,
            values: top(&self.values, spans.total())?,
            spans,
            offsets: offsets.transpose()?,
            copies: copies.transpose()?,
        })
    }

    fn blank(&self) -> Result<Self> {
        Ok(Annotations {
            keys: zeros(&self.keys)?,
            values: zeros(&self.values)?,
            copies: None,
            ..self.clone()
        })
    }

    fn select(&mut self, rows: &[u32], gpu: Option<&Arc<Gpu>>) -> Result<()> {
        let of = |row: u32| self.spans.start(row as usize)..self.spans.end(row as usize);
        let positions: Vec<u32> = rows.iter().flat_map(|&r| of(r)).map(|p| p as u32).collect();
        let lengths = rows.iter().map(|&row| self.spans.len(row as usize));
        let spans = Spans::new(&lengths.collect::<Vec<_>>())?;
        if let Some(copies) = &mut self.copies {
            *copies = copies.select(&positions, rows.len(), gpu)?;
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

/// The first rows of a matrix, as a constant.
fn top(matrix: &Var, rows: usize) -> Result<Var> {
    let width = matrix.value().shape().last();
    Ok(Var::constant(matrix.value().slice(0, [rows, width])?))
}

/// Zeros in place of a matrix, as a constant.
pub(super) fn zeros(matrix: &Var) -> Result<Var> {
    Tensor::zeros_like(matrix.value()).map(Var::constant)
}
