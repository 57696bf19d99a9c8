//! The character language model: embedding, recurrent layers, output projection.
//!
//! Dropout (Zaremba et al. 2014) is on the output of every layer, so on the connections
//! between layers and before the projection, never on the recurrent ones. Variational dropout (Gal &
//! Ghahramani 2016) has one mask for each sequence there, the same at every step, and one on the
//! embeddings, so that what every layer reads is dropped; the recurrent connections keep all.

use super::data::CharBatch;
use crate::autograd::{Tape, Var};
use crate::device::cpu::simd::Dispatch;
use crate::error::{Error, Result};
use crate::nn::{
    self, Bound, CellKind, Embedding, Layout, Linear, ParamId, Params, Recurrent, Style,
};
use crate::ops;
use crate::rng::Purpose;
use crate::tensor::{Stored, Tensor};
use crate::train::model::{Draws, Loss, Model};

/// Sizes of a character LM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CharLmSizes {
    /// The recurrent cell.
    pub cell: CellKind,
    /// V, characters.
    pub vocab: usize,
    /// E, numbers that stand for a character.
    pub embedding: usize,
    /// H, units of a layer.
    pub hidden: usize,
    /// Recurrent layers.
    pub layers: usize,
    /// Whether the embedding is the output layer's weight, too: then E is H.
    pub tied: bool,
}

impl CharLmSizes {
    /// Bytes of a training step in f32.
    ///
    /// A position keeps, for each of the cell's G gates and layers, H numbers (of a GRU's gate n two),
    /// and the cell state, the output and the dropped output; besides, the logits, and two gradients
    /// `[H]` that are alive at once. Parameters come five times: values, gradient, two moments, and
    /// the packed copies.
    pub fn step_bytes(self, batch: usize, seq_length: usize) -> u128 {
        let gates = self.cell.gates();
        let kept = gates + usize::from(self.cell.has_b_hh()) + usize::from(self.cell.has_c());
        let [g, k, v, e, h, l] = [
            gates,
            kept,
            self.vocab,
            self.embedding,
            self.hidden,
            self.layers,
        ]
        .map(|n| n as u128);
        let position = l * (k * h + h + h) + v + 2 * h;
        let first = g * h * (e + h + 1);
        let out = if self.tied { v } else { v * (h + 1) };
        let parameters = v * e + first + (l - 1) * g * h * (2 * h + 1) + out;
        4 * (position * batch as u128 * seq_length as u128 + 5 * parameters)
    }

    /// FLOP of a training step for each character: 6 for each weight that is multiplied at it, 2
    /// forward and 4 backward. The embedding is only looked up.
    pub fn flop_per_char(self) -> f64 {
        let g = self.cell.gates() as f64;
        let [e, h, l, v] = [self.embedding, self.hidden, self.layers, self.vocab].map(|n| n as f64);
        6.0 * (g * h * (e + h) + (l - 1.0) * g * h * 2.0 * h + h * v)
    }
}

/// The model and its parameters.
#[derive(Clone, Debug)]
pub struct CharLm {
    sizes: CharLmSizes,
    params: Params,
    embedding: Embedding,
    layers: Vec<Recurrent>,
    out: Linear,
    dropout: f64,
    variational: bool,
    l2: f64,
}

/// The state of each layer.
pub type State = Vec<nn::State>;

impl CharLm {
    /// A model with initial values from the seed.
    pub fn new<T: Stored + Dispatch>(sizes: CharLmSizes, seed: u64) -> Self {
        let mut layout = Layout::default();
        let (embedding, layers, out) = parts(&mut layout, sizes);
        CharLm {
            sizes,
            params: Params::new::<T>(layout, seed),
            embedding,
            layers,
            out,
            dropout: 0.0,
            variational: false,
            l2: 0.0,
        }
    }

    /// The parameters of a model of these sizes, without their values.
    pub fn layout(sizes: CharLmSizes) -> Layout {
        let mut layout = Layout::default();
        parts(&mut layout, sizes);
        layout
    }

    /// With dropout in training: the probability of dropping, in [0, 1).
    pub fn with_dropout(self, dropout: f64) -> Self {
        CharLm { dropout, ..self }
    }

    /// With one dropout mask for all steps of a sequence, on the embeddings, too.
    pub fn with_variational_dropout(self, variational: bool) -> Self {
        CharLm {
            variational,
            ..self
        }
    }

    /// With l2 * sum(W_out^2) in the loss of training; W_out is the embedding where it is tied.
    pub fn with_l2(self, l2: f64) -> Self {
        CharLm { l2, ..self }
    }

    /// The sizes.
    pub fn sizes(&self) -> CharLmSizes {
        self.sizes
    }

    /// The first layer's gate table `[V, G H]`; see [`Recurrent::table`].
    ///
    /// # Errors
    /// If the device fails.
    pub fn table(&self, tape: &mut Tape, params: &Bound) -> Result<Var> {
        let first = self.layers.first().ok_or_else(no_layers)?;
        first.table(tape, params, &self.embedding)
    }

    /// Logits `[T * B, V]` of ids `[T, B]` without dropout, and the state after them. The state before
    /// is zero if absent. A `table` that was made before is for steps of one character, where a table
    /// each would cost more than the step.
    ///
    /// # Errors
    /// If an id is outside the vocabulary, the state does not fit, or the device fails.
    pub fn forward(
        &self,
        tape: &mut Tape,
        params: &Bound,
        ids: &Tensor,
        table: Option<&Var>,
        state: Option<&State>,
    ) -> Result<(Var, State)> {
        let (top, state) = self.top(tape, params, (ids, table), state, None)?;
        Ok((self.out.forward(tape, params, &top)?, state))
    }

    /// The last layer's outputs `[T, B, H]`, and the state after them.
    fn top(
        &self,
        tape: &mut Tape,
        params: &Bound,
        (ids, table): (&Tensor, Option<&Var>),
        state: Option<&State>,
        draws: Option<&Draws>,
    ) -> Result<(Var, State)> {
        let mut new_state = Vec::with_capacity(self.layers.len());
        let draws = draws.filter(|_| self.dropout > 0.0);
        let mut x: Option<Var> = None;
        if let Some(draws) = draws.filter(|_| self.variational) {
            // A mask for each sequence: no gate table is the same for two of them.
            let embedded = self.embedding.forward(tape, params, ids)?;
            x = Some(self.drop(tape, &embedded, self.layers.len(), draws)?);
        }
        for (k, layer) in self.layers.iter().enumerate() {
            let state = state.and_then(|s| s.get(k));
            let output = match (&x, table) {
                (Some(x), _) => layer.forward(tape, params, x, state)?,
                (None, Some(table)) => layer.forward_table(tape, params, table, ids, state)?,
                (None, None) => layer.forward_ids(tape, params, &self.embedding, ids, state)?,
            };
            new_state.push(output.state);
            x = Some(match draws {
                Some(draws) => self.drop(tape, &output.y, k, draws)?,
                None => output.y,
            });
        }
        Ok((x.ok_or_else(no_layers)?, new_state))
    }

    /// Sequences x `[T, B, ..]` without what is dropped in a lane.
    fn drop(&self, tape: &mut Tape, x: &Var, lane: usize, draws: &Draws) -> Result<Var> {
        let stream = draws.stream(Purpose::Dropout).lane(lane as u32);
        let step = draws.counter();
        match self.variational {
            true => ops::variational_dropout(tape, x, self.dropout, stream, step),
            false => ops::dropout_at(tape, x, self.dropout, stream, step),
        }
    }
}

fn no_layers() -> Error {
    Error::op("char_lm", "a model without recurrent layers")
}

/// Adds the parameters of a model: embedding, layers and output projection.
fn parts(layout: &mut Layout, sizes: CharLmSizes) -> (Embedding, Vec<Recurrent>, Linear) {
    let style = Style::Keras;
    let (vocab, dim) = (sizes.vocab, sizes.embedding);
    let embedding = Embedding::new(layout, "embedding", vocab, dim, style);
    let layers = (0..sizes.layers).map(|k| {
        let inputs = if k == 0 {
            sizes.embedding
        } else {
            sizes.hidden
        };
        let suffix = format!("l{k}");
        let (name, hidden) = ((sizes.cell.name(), &suffix[..]), sizes.hidden);
        Recurrent::new(layout, sizes.cell, name, inputs, hidden, style)
    });
    let layers = layers.collect();
    let out = match sizes.tied {
        true => Linear::tied(layout, "out", &embedding),
        false => Linear::new(layout, "out", sizes.hidden, sizes.vocab, style),
    };
    (embedding, layers, out)
}

impl Model for CharLm {
    type Batch = CharBatch;

    fn params(&self) -> &Params {
        &self.params
    }

    fn params_mut(&mut self) -> &mut Params {
        &mut self.params
    }

    fn loss(
        &self,
        tape: &mut Tape,
        params: &Bound,
        batch: &CharBatch,
        draws: Option<&Draws>,
    ) -> Result<Loss> {
        let (top, _) = self.top(tape, params, (&batch.ids, None), None, draws)?;
        let scored = self.out.loss(tape, params, &top, &batch.targets)?;
        Ok(Loss::of(scored, batch.targets.numel(), false))
    }

    fn l2(&self) -> Vec<(ParamId, f64)> {
        let weight = (self.l2 > 0.0).then(|| (self.out.weight_id(), self.l2));
        weight.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_step_fits_three_gigabytes() {
        let sizes = CharLmSizes {
            cell: CellKind::Lstm,
            vocab: 95,
            embedding: 64,
            hidden: 256,
            layers: 2,
            tied: false,
        };
        let bytes = sizes.step_bytes(512, 256);
        assert!((2_000_000_000..3_000_000_000).contains(&bytes), "{bytes}");
    }
}
