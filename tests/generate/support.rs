//! Small random models.

use std::collections::HashMap;

use half::f16;
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
pub fn tensors(Sizes { v, e, h, layers }: Sizes, seed: u64) -> Tensors {
    let mut shapes = vec![
        ("embedding.weight".to_string(), vec![v, e]),
        ("out.weight".to_string(), vec![v, h]),
        ("out.bias".to_string(), vec![v]),
    ];
    for k in 0..layers {
        let input = if k == 0 { e } else { h };
        shapes.push((format!("lstm.weight_ih_l{k}"), vec![4 * h, input]));
        shapes.push((format!("lstm.weight_hh_l{k}"), vec![4 * h, h]));
        shapes.push((format!("lstm.bias_ih_l{k}"), vec![4 * h]));
        shapes.push((format!("lstm.bias_hh_l{k}"), vec![4 * h]));
    }
    let mut random = Stream::new(seed, Purpose::Init, 0).reader();
    let mut draw = || f16::from_f64(1.2 * random.uniform() - 0.6).to_f32();
    shapes
        .into_iter()
        .map(|(name, shape)| {
            let values = (0..shape.iter().product()).map(|_| draw()).collect();
            (name, (shape, values))
        })
        .collect()
}

pub fn load(tensors: &Tensors) -> Result<CharLmWeights> {
    CharLmWeights::from_tensors(
        |name| tensors.contains_key(name),
        |name| {
            let missing = || Error::Data(format!("tensor {name} is missing"));
            tensors.get(name).cloned().ok_or_else(missing)
        },
    )
}

pub fn weights(sizes: Sizes, seed: u64) -> CharLmWeights {
    load(&tensors(sizes, seed)).expect("well-formed tensors")
}
