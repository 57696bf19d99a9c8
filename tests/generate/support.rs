//! Small random models.

use std::collections::HashMap;

use half::f16;
use rnnx::nn::CellKind;
use rnnx::programs::charlm::generate::weights::CharLmWeights;
use rnnx::rng::{Purpose, Stream};
use rnnx::{Error, Result};

pub type Tensors = HashMap<String, (Vec<usize>, Vec<f32>)>;

/// Sizes of a model.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    pub v: usize,
    pub e: usize,
    pub h: usize,
    pub layers: usize,
}

/// Random tensors by torch's names, rounded to f16 so that packing loses nothing.
pub fn tensors(cell: CellKind, Sizes { v, e, h, layers }: Sizes, seed: u64) -> Tensors {
    let rows = cell.gates() * h;
    let mut shapes = vec![
        ("embedding.weight".to_string(), vec![v, e]),
        ("out.weight".to_string(), vec![v, h]),
        ("out.bias".to_string(), vec![v]),
    ];
    for k in 0..layers {
        let input = if k == 0 { e } else { h };
        shapes.push((format!("{cell}.weight_ih_l{k}"), vec![rows, input]));
        shapes.push((format!("{cell}.weight_hh_l{k}"), vec![rows, h]));
        shapes.push((format!("{cell}.bias_ih_l{k}"), vec![rows]));
        shapes.push((format!("{cell}.bias_hh_l{k}"), vec![rows]));
    }
    let mut random = Stream::new(seed, Purpose::Init, 0).reader();
    let mut draw = |limit| f16::from_f64(limit * (2.0 * random.uniform() - 1.0)).to_f32();
    shapes
        .into_iter()
        .map(|(name, shape)| {
            // With the recurrent weights of the LSTM the other cells are chaotic: the last bit of
            // a step is the first of a later one.
            let chaotic = cell != CellKind::Lstm && name.contains("weight_hh");
            let limit = if chaotic {
                1.0 / (h as f64).sqrt()
            } else {
                0.6
            };
            let values = (0..shape.iter().product()).map(|_| draw(limit)).collect();
            (name, (shape, values))
        })
        .collect()
}

pub fn load(tensors: &Tensors) -> Result<CharLmWeights> {
    load_of(false, tensors)
}

/// Those of a model whose embeddings are tied, or are not.
pub fn load_of(tied: bool, tensors: &Tensors) -> Result<CharLmWeights> {
    CharLmWeights::from_tensors(
        tied,
        |name| tensors.contains_key(name),
        |name| {
            let missing = || Error::Data(format!("tensor {name} is missing"));
            tensors.get(name).cloned().ok_or_else(missing)
        },
    )
}

pub fn weights(cell: CellKind, sizes: Sizes, seed: u64) -> CharLmWeights {
    load(&tensors(cell, sizes, seed)).expect("well-formed tensors")
}
