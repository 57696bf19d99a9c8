//! A character LM as a stream: one character in, the logits of the next one out.

use half::f16;

use super::gates::{Activate, Cell};
use super::weights::{CharLmWeights, LayerWeights};
use crate::data::chars::MAX_TOKENS;
use crate::device::Level;
use crate::device::cpu::buffer::Buffer;
use crate::device::cpu::gemv::Matrix;
use crate::nn::CellKind;
use crate::{Error, Result};

/// The most streams a [`Generator`] takes (at H = 256 and two layers each needs about 20 KB).
pub const MAX_STREAMS: usize = 4096;

/// One recurrent layer and the state of every stream.
struct Layer {
    /// Gate sums before any product: `[V, sums]` E W_ih^T + b in the first layer, where a character
    /// is its own row; `[1, sums]` b in the others.
    base: Buffer<f32>,
    /// All that multiplies this layer's h inside the cells: W_hh, and below another layer also that
    /// layer's W_ih, `sums` rows each.
    weights: Matrix,
    /// `weights` times h, `[streams, weights.rows()]`.
    product: Buffer<f32>,
    h: Buffer<f32>, // [streams, width]
    cell: Cell,
}

/// Runs a character LM one character at a time, for one or many streams at once.
///
/// Weights are kept in f16 and widened to f32 on load, sums, states and the first layer's input
/// side (a table with a row for each character) in f32. Nothing is allocated after construction.
///
/// The bits of a stream's logits depend on the weights, the characters and the [`Level`] alone,
/// not on the number of streams.
///
/// Hidden units are padded to whole registers with units whose weights are zero; their state stays
/// zero.
pub struct Generator {
    level: Level,
    streams: usize,
    vocab: usize,
    order: Order,
    layers: Vec<Layer>,
    out: Matrix,
    out_bias: Vec<f32>,  // [V]
    scores: Buffer<f32>, // [streams, V padded]
    logits: Vec<f32>,    // [streams, V]
    /// Whether this step visits panels from the last to the first.
    reversed: bool,
}

/// What every stream has read, as the state of each layer: see [`Generator::state`].
#[derive(Clone, Debug)]
pub struct State {
    layers: Vec<LayerState>,
}

/// Of one layer h and c (nothing where the cell has none), `[streams, width]`, and the products that
/// the next step reads, `[streams, rows]`.
#[derive(Clone, Debug)]
struct LayerState {
    h: Vec<f32>,
    c: Vec<f32>,
    product: Vec<f32>,
}

impl Generator {
    /// Packs the weights for [`Level::current`]; every state starts at zero.
    ///
    /// # Errors
    /// [`Error::Usage`] if `streams` is zero or above [`MAX_STREAMS`]; [`Error::Data`] if the
    /// vocabulary is larger than [`MAX_TOKENS`] or a weight does not fit in f16.
    pub fn new(weights: &CharLmWeights, streams: usize) -> Result<Generator> {
        Generator::with_level(weights, streams, Level::current())
    }

    /// [`Generator::new`] with a level of the caller's choice, at most [`Level::current`].
    ///
    /// # Errors
    /// As [`Generator::new`].
    pub fn with_level(weights: &CharLmWeights, streams: usize, level: Level) -> Result<Generator> {
        check(weights, streams, true)?;
        let (vocab, hidden) = (weights.vocab(), weights.hidden());
        let level = level.min(Level::current());
        let order = Order {
            gates: weights.cell().gates(),
            hidden,
            lanes: level.lanes_f32(),
        };
        let out_w = weights.out_w();
        let out = Matrix::pack(level, vocab, hidden, |row, k| out_w[row * hidden + k]);
        Ok(Generator {
            layers: (0..weights.layers().len())
                .map(|l| Layer::new(weights, l, streams, level, order))
                .collect(),
            scores: Buffer::zeros(streams * out.rows()),
            logits: vec![0.0; streams * vocab],
            out_bias: weights.out_b().to_vec(),
            reversed: false,
            out,
            level,
            streams,
            vocab,
            order,
        })
    }

    /// The instructions in use.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Sets the state of every stream to zero.
    pub fn reset(&mut self) {
        for layer in &mut self.layers {
            layer.product.fill(0.0);
            layer.h.fill(0.0);
            if let Cell::Lstm { c } = &mut layer.cell {
                c.fill(0.0);
            }
        }
    }

    /// A copy of the state of every stream, to go back to with [`Generator::set_state`].
    pub fn state(&self) -> State {
        let copy = |layer: &Layer| LayerState {
            h: layer.h.to_vec(),
            c: match &layer.cell {
                Cell::Lstm { c } => c.to_vec(),
                _ => Vec::new(),
            },
            product: layer.product.to_vec(),
        };
        State {
            layers: self.layers.iter().map(copy).collect(),
        }
    }

    /// Goes back to a state of this generator.
    ///
    /// # Panics
    /// If the state is of a generator of other sizes.
    pub fn set_state(&mut self, state: &State) {
        assert_eq!(self.layers.len(), state.layers.len(), "a state's layers");
        for (layer, held) in self.layers.iter_mut().zip(&state.layers) {
            layer.h.copy_from_slice(&held.h);
            layer.product.copy_from_slice(&held.product);
            if let Cell::Lstm { c } = &mut layer.cell {
                c.copy_from_slice(&held.c);
            }
        }
    }

    /// Feeds one character to each stream and returns the logits of the next, `[streams, V]`.
    ///
    /// W_hh h of a layer is computed as soon as its h is known, together with the next layer's
    /// W_ih h; only the last layer's waits for the next step. So with two layers nothing but the
    /// output depends on the order of the three large products, and every other step visits the
    /// weights backwards: about the size of the L2 cache is then still there from the step before.
    ///
    /// # Panics
    /// If `ids` does not hold one index below V for each stream.
    pub fn step(&mut self, ids: &[u16]) -> &[f32] {
        assert_eq!(ids.len(), self.streams, "one character for each stream");
        let (width, last) = (self.order.width(), self.layers.len() - 1);
        let reversed = self.reversed;
        if reversed {
            self.layers[last].multiply(width, reversed);
        }
        for l in 0..=last {
            if l == last && !reversed {
                self.layers[last].multiply(width, reversed);
            }
            self.activate(l, ids);
            if l < last {
                self.layers[l].multiply(width, reversed);
            }
        }
        self.reversed = !reversed;
        let h = &self.layers[last].h;
        self.out.multiply(h, width, &mut self.scores, reversed);
        let scores = self.scores.chunks_exact(self.out.rows());
        for (logits, scores) in self.logits.chunks_exact_mut(self.vocab).zip(scores) {
            for ((logit, score), bias) in logits.iter_mut().zip(scores).zip(&self.out_bias) {
                *logit = score + bias;
            }
        }
        &self.logits
    }

    /// The pointwise half of layer `l`: the new state of every stream from its gate sums.
    fn activate(&mut self, l: usize, ids: &[u16]) {
        let (below, rest) = self.layers.split_at_mut(l);
        let layer = &mut rest[0];
        let lower = below.last();
        self.level.run(Activate {
            gates: self.order.gates,
            width: self.order.width(),
            base: &layer.base,
            rows: lower.is_none().then_some(ids),
            input: lower.map(|lower| &lower.product[..]),
            recurrent: &layer.product,
            cell: &mut layer.cell,
            h: &mut layer.h,
        });
    }
}

impl Layer {
    fn new(weights: &CharLmWeights, l: usize, streams: usize, level: Level, order: Order) -> Layer {
        let (own, upper) = (&weights.layers()[l], weights.layers().get(l + 1));
        let (hidden, width, sums) = (order.hidden, order.width(), order.sums());
        let rows = sums * if upper.is_some() { 2 } else { 1 };
        let matrix = Matrix::pack(level, rows, hidden, |row, k| {
            let source = match upper {
                Some(upper) if row >= sums => upper.w_ih(),
                _ => own.w_hh(),
            };
            order
                .row(row % sums)
                .map_or(0.0, |row| source[row * hidden + k])
        });
        let base = if l == 0 {
            input_table(weights, own, order)
        } else {
            let mut bias = Buffer::zeros(sums);
            order.pack(&mut bias, |row| own.bias()[row]);
            bias
        };
        let cell = match weights.cell() {
            CellKind::Rnn => Cell::Rnn,
            CellKind::Lstm => Cell::Lstm {
                c: Buffer::zeros(streams * width),
            },
            CellKind::Gru => {
                let mut b_hn = Buffer::zeros(width);
                b_hn[..hidden].copy_from_slice(own.b_hn());
                Cell::Gru { b_hn }
            }
        };
        Layer {
            base,
            product: Buffer::zeros(streams * matrix.rows()),
            weights: matrix,
            h: Buffer::zeros(streams * width),
            cell,
        }
    }

    /// Everything that reads this layer's h.
    fn multiply(&mut self, width: usize, reversed: bool) {
        self.weights
            .multiply(&self.h, width, &mut self.product, reversed);
    }
}

/// How gate sums lie in memory: blocks of `lanes` units, in each the gates one after the other.
#[derive(Clone, Copy)]
struct Order {
    gates: usize,
    hidden: usize,
    lanes: usize,
}

impl Order {
    /// Units with the padding.
    fn width(self) -> usize {
        self.hidden.next_multiple_of(self.lanes)
    }

    /// Gate sums with the padding.
    fn sums(self) -> usize {
        self.gates * self.width()
    }

    /// The row of a `[gates * H, ..]` matrix that gate sum `at` stands for; none for a padding unit.
    fn row(self, at: usize) -> Option<usize> {
        let (register, lane) = (at / self.lanes, at % self.lanes);
        let unit = register / self.gates * self.lanes + lane;
        (unit < self.hidden).then_some(register % self.gates * self.hidden + unit)
    }

    /// Puts a `[gates * H]` vector into this order.
    fn pack(self, sums: &mut [f32], value: impl Fn(usize) -> f32) {
        for (at, sum) in sums.iter_mut().enumerate() {
            *sum = self.row(at).map_or(0.0, &value);
        }
    }
}

/// E W_ih^T + b in f32, `[V, sums]`.
fn input_table(weights: &CharLmWeights, layer: &LayerWeights, order: Order) -> Buffer<f32> {
    let (vocab, dim) = (weights.vocab(), weights.embedding_dim());
    let mut transposed = vec![0.0; dim * vocab]; // [E, V]: the inner loop runs over characters
    for (v, row) in weights.embedding().chunks_exact(dim).enumerate() {
        for (k, &value) in row.iter().enumerate() {
            transposed[k * vocab + v] = value;
        }
    }
    let mut sums = Vec::with_capacity(layer.bias().len() * vocab); // [gates * H, V]
    for (row, &bias) in layer.w_ih().chunks_exact(dim).zip(layer.bias()) {
        let start = sums.len();
        sums.resize(start + vocab, bias);
        for (&w, column) in row.iter().zip(transposed.chunks_exact(vocab)) {
            for (sum, e) in sums[start..].iter_mut().zip(column) {
                *sum += w * e;
            }
        }
    }
    let mut table = Buffer::zeros(vocab * order.sums());
    for (v, packed) in table.chunks_exact_mut(order.sums()).enumerate() {
        order.pack(packed, |row| sums[row * vocab + v]);
    }
    table
}

/// Refuses what cannot be generated, and with `half` weights that do not fit in f16.
pub(super) fn check(weights: &CharLmWeights, streams: usize, half: bool) -> Result<()> {
    if streams == 0 || streams > MAX_STREAMS {
        return Err(Error::Usage(format!(
            "streams {streams}: give a number from 1 to {MAX_STREAMS}"
        )));
    }
    let vocab = weights.vocab();
    if vocab > MAX_TOKENS {
        return Err(Error::Data(format!(
            "tensor embedding.weight has {vocab} rows; generation takes at most {MAX_TOKENS} \
             characters"
        )));
    }
    match half {
        true => check_range(weights),
        false => Ok(()),
    }
}

/// Every weight that is kept in f16 must fit there.
pub(in crate::programs::charlm) fn check_range(weights: &CharLmWeights) -> Result<()> {
    let cell = weights.cell();
    for (l, layer) in weights.layers().iter().enumerate() {
        check_tensor_range(&format!("{cell}.weight_hh_l{l}"), layer.w_hh())?;
        if l > 0 {
            check_tensor_range(&format!("{cell}.weight_ih_l{l}"), layer.w_ih())?;
        }
    }
    check_tensor_range("out.weight", weights.out_w())
}

fn check_tensor_range(name: &str, values: &[f32]) -> Result<()> {
    match values.iter().find(|v| f16::from_f32(**v).is_infinite()) {
        Some(value) => Err(Error::Data(format!(
            "tensor {name} holds {value}, which does not fit in f16 (largest value 65504); \
             generation keeps weights in f16: use a checkpoint from before training diverged"
        ))),
        None => Ok(()),
    }
}
