//! A character LM in f32, one character at a time, with its inside open.
//!
//! [`Generator`](crate::programs::charlm::generate::generator::Generator) is for speed: it keeps its
//! weights in f16 and its state to itself. This one is for looking: f32 as in training, and the
//! state is a value that is copied and changed.

use super::network::{Lane, Network, Part, Shape, State, Unit};
use crate::nn::CellKind;
use crate::programs::charlm::generate::weights::{CharLmWeights, LayerWeights};

/// Columns of a matrix that are added in one pass over the sums.
const BLOCK: usize = 4;

/// Steps a character LM.
pub struct Stepper {
    shape: Shape,
    layers: Vec<Layer>,
    out: Columns,
    out_bias: Vec<f32>, // [V]
}

/// One recurrent layer, G gates.
struct Layer {
    /// Gate sums before any product: `[V, G H]` W_ih E + b in the first layer, where a character is
    /// its own row; `[1, G H]` b in the others.
    base: Vec<f32>,
    /// W_ih, but in the first layer.
    input: Option<Columns>,
    /// W_hh.
    recurrent: Columns,
    /// The bias that the reset gate scales, `[H]` of a GRU.
    b_hn: Vec<f32>,
}

impl Stepper {
    /// Brings the weights into the order that a step reads them in.
    pub fn new(weights: &CharLmWeights) -> Self {
        let rows = weights.cell().gates() * weights.hidden();
        let shape = Shape {
            cell: weights.cell(),
            vocab: weights.vocab(),
            layers: weights.layers().len(),
            hidden: weights.hidden(),
        };
        let mut layers: Vec<Layer> = weights
            .layers()
            .iter()
            .map(|w| Layer::new(w, rows))
            .collect();
        layers[0].read_characters(weights);
        Stepper {
            shape,
            layers,
            out: Columns::new(weights.out_w(), shape.vocab),
            out_bias: weights.out_b().to_vec(),
        }
    }
}

impl Layer {
    fn new(weights: &LayerWeights, rows: usize) -> Self {
        Layer {
            base: weights.bias().to_vec(),
            input: Some(Columns::new(weights.w_ih(), rows)),
            recurrent: Columns::new(weights.w_hh(), rows),
            b_hn: weights.b_hn().to_vec(),
        }
    }

    /// Makes this the first layer: its input is one of V characters.
    fn read_characters(&mut self, weights: &CharLmWeights) {
        self.base = self.base.repeat(weights.vocab());
        if let Some(input) = self.input.take() {
            let dim = weights.embedding_dim();
            input.add(|v| &weights.embedding()[v * dim..][..dim], &mut self.base);
        }
    }
}

/// The two sides of a layer's gate sums, `[lanes, G H]`.
struct Sums {
    input: Vec<f32>,
    recurrent: Vec<f32>,
}

impl Stepper {
    fn sums(&self, l: usize, lanes: &[Lane], ids: &[u32]) -> Sums {
        let (layer, hidden) = (&self.layers[l], self.shape.hidden);
        let rows = layer.recurrent.rows;
        let mut input = Vec::with_capacity(lanes.len() * rows);
        for &id in ids {
            let row = if l == 0 { id as usize } else { 0 };
            input.extend_from_slice(&layer.base[row * rows..][..rows]);
        }
        if let Some(columns) = &layer.input {
            let below = (l - 1) * hidden;
            columns.add(|lane| &lanes[lane].state.h[below..][..hidden], &mut input);
        }
        let mut recurrent = vec![0.0; input.len()];
        let before = |lane: usize| &lanes[lane].state.h[l * hidden..][..hidden];
        layer.recurrent.add(before, &mut recurrent);
        Sums { input, recurrent }
    }

    /// From a layer's sums to its gates and its new state, in one lane.
    fn activate(&self, l: usize, lane: &mut Lane, input: &[f32], recurrent: &[f32]) {
        let hidden = self.shape.hidden;
        let Lane { state, held } = lane;
        let units = l * hidden..(l + 1) * hidden;
        let gates = &mut state.gates[l * input.len()..][..input.len()];
        let sum = |row: usize| input[row] + recurrent[row];
        let hold = |part: Part, values: &mut [f32]| {
            let of_layer = |(unit, _): &&(Unit, f32)| unit.layer == l && unit.part == part;
            for (unit, value) in held.iter().filter(of_layer) {
                values[unit.unit] = *value;
            }
        };
        let h = &mut state.h[units.clone()];
        match self.shape.cell {
            // h = tanh(a)
            CellKind::Rnn => {
                for (u, h) in h.iter_mut().enumerate() {
                    *h = sum(u).tanh();
                }
                gates.copy_from_slice(h);
            }
            // c = f c + i g; h = o tanh(c)
            CellKind::Lstm => {
                for (row, gate) in gates.iter_mut().enumerate() {
                    let g = (2 * hidden..3 * hidden).contains(&row);
                    *gate = if g {
                        sum(row).tanh()
                    } else {
                        sigmoid(sum(row))
                    };
                }
                let c = &mut state.c[units];
                for (u, c) in c.iter_mut().enumerate() {
                    *c = gates[hidden + u] * *c + gates[u] * gates[2 * hidden + u];
                }
                hold(Part::C, c);
                for (u, (h, c)) in h.iter_mut().zip(c).enumerate() {
                    *h = gates[3 * hidden + u] * c.tanh();
                }
            }
            // n = tanh(W_in x + b_in + r (W_hn h + b_hn)); h = (1 - z) n + z h
            CellKind::Gru => {
                for (u, h) in h.iter_mut().enumerate() {
                    let (r, z) = (sigmoid(sum(u)), sigmoid(sum(hidden + u)));
                    let row = 2 * hidden + u;
                    let scaled = r * (recurrent[row] + self.layers[l].b_hn[u]);
                    let n = (input[row] + scaled).tanh();
                    *h = (1.0 - z) * n + z * *h;
                    (gates[u], gates[hidden + u], gates[row]) = (r, z, n);
                }
            }
        }
        hold(Part::H, h);
    }
}

impl Network for Stepper {
    fn shape(&self) -> Shape {
        self.shape
    }

    fn read(&self, lanes: &mut [Lane], ids: &[u32]) {
        assert_eq!(ids.len(), lanes.len(), "one character for each lane");
        for (l, layer) in self.layers.iter().enumerate() {
            let rows = layer.recurrent.rows;
            let Sums { input, recurrent } = self.sums(l, lanes, ids);
            let sums = input.chunks_exact(rows).zip(recurrent.chunks_exact(rows));
            for (lane, (input, recurrent)) in lanes.iter_mut().zip(sums) {
                self.activate(l, lane, input, recurrent);
            }
        }
    }

    fn log_p(&self, state: &State, log_p: &mut [f64]) {
        let top = (self.shape.layers - 1) * self.shape.hidden;
        let mut logits = self.out_bias.clone();
        self.out.add(|_| &state.h[top..], &mut logits);
        let highest = logits.iter().copied().fold(f32::MIN, f32::max);
        let shifted = logits.iter().map(|logit| f64::from(logit - highest));
        let total = shifted.clone().map(f64::exp).sum::<f64>().ln();
        for (log_p, shifted) in log_p.iter_mut().zip(shifted) {
            *log_p = shifted - total;
        }
    }
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// A matrix by columns.
struct Columns {
    values: Vec<f32>, // [depth, rows]
    rows: usize,
}

impl Columns {
    /// `row_major`: `[rows, depth]`.
    fn new(row_major: &[f32], rows: usize) -> Self {
        let depth = row_major.len() / rows;
        let column = |k| (0..rows).map(move |row| row_major[row * depth + k]);
        Columns {
            values: (0..depth).flat_map(column).collect(),
            rows,
        }
    }

    /// Adds W x to the sums of each lane, `[lanes, rows]`. The order of additions is that of the
    /// columns, whatever the number of lanes, which share each block of columns while it is in the
    /// nearest cache.
    fn add<'a>(&self, x: impl Fn(usize) -> &'a [f32], sums: &mut [f32]) {
        let rows = self.rows;
        for (b, block) in self.values.chunks(BLOCK * rows).enumerate() {
            for (lane, sums) in sums.chunks_exact_mut(rows).enumerate() {
                let x = &x(lane)[b * BLOCK..];
                match x {
                    &[x0, x1, x2, x3, ..] => {
                        let (w01, w23) = block.split_at(2 * rows);
                        let ((w0, w1), (w2, w3)) = (w01.split_at(rows), w23.split_at(rows));
                        let w = w0.iter().zip(w1).zip(w2.iter().zip(w3));
                        for (sum, ((w0, w1), (w2, w3))) in sums.iter_mut().zip(w) {
                            *sum += (x0 * w0 + x1 * w1) + (x2 * w2 + x3 * w3);
                        }
                    }
                    rest => {
                        for (x, column) in rest.iter().zip(block.chunks_exact(rows)) {
                            for (sum, w) in sums.iter_mut().zip(column) {
                                *sum += x * w;
                            }
                        }
                    }
                }
            }
        }
    }
}
