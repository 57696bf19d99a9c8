//! A character LM as a stream: one character in, the logits of the next one out.

use half::f16;

use super::gates::UNITS;
use super::gemv::{Kernel, LANES, Matrix, Row};
use super::weights::{CharLmWeights, LstmWeights};
use crate::{Error, Result};

/// The most streams a [`Generator`] takes (at H = 256 and two layers each needs about 20 KB).
pub const MAX_STREAMS: usize = 4096;

/// One LSTM layer and the state of every stream.
struct Layer {
    /// Gate sums before any product: `[V, H/16]` rows `E W_ih^T + b` in the first layer, where a
    /// character is its own row; `[1, H/16]` rows `b` in the others.
    base: Vec<Row<f32>>,
    /// All that multiplies this layer's h inside the LSTM: W_hh, and below another layer also that
    /// layer's W_ih, `[H/16]` panels each.
    weights: Matrix,
    /// `weights` times h, `[streams, panels]`.
    product: Vec<Row<f32>>,
    h: Vec<f32>, // [streams, width]
    c: Vec<f32>, // [streams, width]
}

/// Runs a character LM one character at a time, for one or many streams at once.
///
/// Weights are kept in f16 and widened to f32 on load, sums, states and the first layer's input
/// side (a table with a row for each character) in f32. Nothing is allocated after construction.
///
/// The bits of a stream's logits depend on the weights, the characters and the [`Kernel`] alone,
/// not on the number of streams.
///
/// Hidden units are padded to a multiple of 16 with units whose weights are zero; their state
/// stays zero.
pub struct Generator {
    kernel: Kernel,
    streams: usize,
    vocab: usize,
    blocks: usize, // ceil(H / 16)
    layers: Vec<Layer>,
    out: Matrix,
    out_bias: Vec<f32>,    // [V]
    scores: Vec<Row<f32>>, // [streams, ceil(V / 64)]
    logits: Vec<f32>,      // [streams, V]
    /// Whether this step visits panels from the last to the first.
    reversed: bool,
}

impl Generator {
    /// Packs the weights for the fastest kernel of this processor; every state starts at zero.
    ///
    /// # Errors
    /// [`Error::Usage`] if `streams` is zero or above [`MAX_STREAMS`]; [`Error::Data`] if the
    /// vocabulary is larger than 256 or a weight does not fit in f16.
    pub fn new(weights: &CharLmWeights, streams: usize) -> Result<Generator> {
        Generator::with_kernel(weights, streams, Kernel::detect())
    }

    /// [`Generator::new`] with a kernel of the caller's choice.
    ///
    /// # Errors
    /// As [`Generator::new`].
    pub fn with_kernel(
        weights: &CharLmWeights,
        streams: usize,
        kernel: Kernel,
    ) -> Result<Generator> {
        if streams == 0 || streams > MAX_STREAMS {
            return Err(Error::Usage(format!(
                "streams {streams}: give a number from 1 to {MAX_STREAMS}"
            )));
        }
        let (vocab, hidden) = (weights.vocab(), weights.hidden());
        if vocab > 256 {
            return Err(Error::Data(format!(
                "tensor embedding.weight has {vocab} rows; generation takes at most 256 characters"
            )));
        }
        check_range(weights)?;
        let blocks = hidden.div_ceil(UNITS);
        let layers = weights.layers();
        let out_w = weights.out_w();
        let out = Matrix::pack(kernel, vocab.div_ceil(LANES), hidden, |panel, lane, k| {
            out_w
                .get((panel * LANES + lane) * hidden + k)
                .copied()
                .unwrap_or(0.0)
        });
        Ok(Generator {
            layers: (0..layers.len())
                .map(|l| Layer::new(weights, l, streams, kernel))
                .collect(),
            scores: vec![Row::ZERO; streams * out.panels()],
            logits: vec![0.0; streams * vocab],
            out_bias: weights.out_b().to_vec(),
            reversed: false,
            out,
            kernel,
            streams,
            vocab,
            blocks,
        })
    }

    /// The kernel in use.
    pub fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// Sets the state of every stream to zero.
    pub fn reset(&mut self) {
        for layer in &mut self.layers {
            layer.product.fill(Row::ZERO);
            layer.h.fill(0.0);
            layer.c.fill(0.0);
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
    pub fn step(&mut self, ids: &[u8]) -> &[f32] {
        assert_eq!(ids.len(), self.streams, "one character for each stream");
        let (width, last) = (self.blocks * UNITS, self.layers.len() - 1);
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
        let scores = self.scores.chunks_exact(self.out.panels());
        for (logits, scores) in self.logits.chunks_exact_mut(self.vocab).zip(scores) {
            let scores = scores.iter().flat_map(|row| &row.0);
            for ((logit, score), bias) in logits.iter_mut().zip(scores).zip(&self.out_bias) {
                *logit = score + bias;
            }
        }
        &self.logits
    }

    /// The pointwise half of layer `l`: new c and h of every stream from its gate sums.
    fn activate(&mut self, l: usize, ids: &[u8]) {
        let (kernel, blocks, width) = (self.kernel, self.blocks, self.blocks * UNITS);
        let (below, rest) = self.layers.split_at_mut(l);
        let layer = &mut rest[0];
        let panels = layer.weights.panels();
        for (s, &id) in ids.iter().enumerate() {
            let (row, input) = match below.last() {
                None => (usize::from(id), None),
                Some(lower) => {
                    let all = &lower.product[s * lower.weights.panels()..];
                    (0, Some(&all[blocks..2 * blocks]))
                }
            };
            kernel.lstm_cell(
                &layer.base[row * blocks..][..blocks],
                input,
                &layer.product[s * panels..][..blocks],
                &mut layer.c[s * width..][..width],
                &mut layer.h[s * width..][..width],
            );
        }
    }
}

impl Layer {
    fn new(weights: &CharLmWeights, l: usize, streams: usize, kernel: Kernel) -> Layer {
        let hidden = weights.hidden();
        let (own, upper) = (&weights.layers()[l], weights.layers().get(l + 1));
        let blocks = hidden.div_ceil(UNITS);
        let panels = blocks * if upper.is_some() { 2 } else { 1 };
        let matrix = Matrix::pack(kernel, panels, hidden, |panel, lane, k| {
            let source = match upper {
                Some(upper) if panel >= blocks => upper.w_ih(),
                _ => own.w_hh(),
            };
            gate_row(hidden, panel % blocks, lane).map_or(0.0, |row| source[row * hidden + k])
        });
        let base = if l == 0 {
            input_table(weights, own)
        } else {
            to_rows(hidden, |row| own.bias()[row]).collect()
        };
        Layer {
            base,
            weights: matrix,
            product: vec![Row::ZERO; streams * panels],
            h: vec![0.0; streams * blocks * UNITS],
            c: vec![0.0; streams * blocks * UNITS],
        }
    }

    /// Everything that reads this layer's h.
    fn multiply(&mut self, width: usize, reversed: bool) {
        self.weights
            .multiply(&self.h, width, &mut self.product, reversed);
    }
}

/// The row of a `[4H, ..]` gate matrix that lane `lane` of block `block` stands for: a block has 16
/// hidden units, first their i gates, then f, g and o. None for a padding unit.
fn gate_row(hidden: usize, block: usize, lane: usize) -> Option<usize> {
    let unit = block * UNITS + lane % UNITS;
    (unit < hidden).then_some(lane / UNITS * hidden + unit)
}

/// A `[4H]` vector as `[H/16]` rows.
fn to_rows(hidden: usize, value: impl Fn(usize) -> f32) -> impl Iterator<Item = Row<f32>> {
    (0..hidden.div_ceil(UNITS)).map(move |block| {
        Row(std::array::from_fn(|lane| {
            gate_row(hidden, block, lane).map_or(0.0, &value)
        }))
    })
}

/// E W_ih^T + b in f32, `[V, H/16]` rows.
fn input_table(weights: &CharLmWeights, layer: &LstmWeights) -> Vec<Row<f32>> {
    let (vocab, dim, hidden) = (weights.vocab(), weights.embedding_dim(), weights.hidden());
    let mut transposed = vec![0.0; dim * vocab]; // [E, V]: the inner loop runs over characters
    for (v, row) in weights.embedding().chunks_exact(dim).enumerate() {
        for (k, &value) in row.iter().enumerate() {
            transposed[k * vocab + v] = value;
        }
    }
    let mut sums = Vec::with_capacity(4 * hidden * vocab); // [4H, V]
    for (row, &bias) in layer.w_ih().chunks_exact(dim).zip(layer.bias()) {
        let start = sums.len();
        sums.resize(start + vocab, bias);
        for (&w, column) in row.iter().zip(transposed.chunks_exact(vocab)) {
            for (sum, e) in sums[start..].iter_mut().zip(column) {
                *sum += w * e;
            }
        }
    }
    (0..vocab)
        .flat_map(|v| to_rows(hidden, |row| sums[row * vocab + v]).collect::<Vec<_>>())
        .collect()
}

/// Every weight that is kept in f16 must fit there.
fn check_range(weights: &CharLmWeights) -> Result<()> {
    let layers = weights.layers().iter().enumerate();
    let recurrent = layers
        .clone()
        .map(|(l, w)| ("lstm.weight_hh_l", l, w.w_hh()));
    let input = layers
        .skip(1)
        .map(|(l, w)| ("lstm.weight_ih_l", l, w.w_ih()));
    for (name, l, values) in recurrent.chain(input) {
        check_tensor_range(&format!("{name}{l}"), values)?;
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
