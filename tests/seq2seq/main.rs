//! The seq2seq models: PyTorch's numbers, finite differences, decoding, learning, and the
//! emulated device.

mod beams;
mod captured;
mod copying;
mod copying_golden;
mod decode;
mod differences;
mod extended;
mod golden;
mod gpu;
mod grammar;
mod learn;
mod pretraining;
mod sampling;
mod shards;
mod trace;

use rnnx::autograd::Tape;
use rnnx::programs::seq2seq::data::SeqBatch;
use rnnx::programs::seq2seq::model::{ModelKind, Seq2Seq, Seq2SeqSizes};
use rnnx::rng::{Purpose, Stream};
use rnnx::tensor::Tensor;
use rnnx::train::model::{Draws, Model};

/// A small model, a Transformer of two heads.
pub const SIZES: Seq2SeqSizes = Seq2SeqSizes {
    source_vocab: 12,
    target_vocab: 7,
    embedding: 6,
    hidden: 8,
    layers: 1,
    heads: 2,
    copy: false,
    tied: false,
};

/// A number type the models are run in.
trait Number: rnnx::tensor::Stored + rnnx::device::Dispatch {}
impl Number for f32 {}
impl Number for f64 {}

/// Source and target ids of each pair.
type Pairs = Vec<(Vec<u32>, Vec<u32>)>;

fn batch(pairs: &[(Vec<u32>, Vec<u32>)]) -> SeqBatch {
    let pairs: Vec<(&[u32], &[u32])> = pairs.iter().map(|(s, t)| (&s[..], &t[..])).collect();
    SeqBatch::new(&pairs).unwrap()
}

/// Random pairs whose lengths differ.
fn random_pairs(sizes: Seq2SeqSizes, count: usize, longest: u32) -> Pairs {
    let mut random = Stream::new(4, Purpose::Sample, 0).reader();
    let mut side = |vocab: usize| {
        let length = 1 + random.below(longest);
        let ids = (0..length).map(|_| 4 + random.below(vocab as u32 - 4));
        ids.collect::<Vec<u32>>()
    };
    let pair = |_| (side(sizes.source_vocab), side(sizes.target_vocab));
    (0..count).map(pair).collect()
}

/// Loss and flat gradient of a batch.
struct Pass {
    loss: f64,
    gradient: Tensor,
}

/// How a training pass differs from a plain one.
#[derive(Clone, Copy, Debug, Default)]
struct Noise {
    dropout: Option<f64>,
    /// Probability of reading the true previous token.
    teacher: Option<f64>,
    /// Dropout of what the output layer reads.
    output: Option<f64>,
    /// Label smoothing.
    smoothing: f64,
}

fn pass<T: Number>(model: &Seq2Seq, batch: &SeqBatch, noise: Noise) -> Pass {
    let flat = Tensor::zeros::<T>([model.params().layout().len()]);
    let mut tape = Tape::with_flat_gradients(flat);
    let params = model.params().bind(&mut tape);
    let inputs = model.inputs(batch).unwrap();
    let model = model.clone().with_dropout(noise.dropout.unwrap_or(0.0));
    let model = model.with_teacher_forcing(noise.teacher.unwrap_or(1.0));
    let model = model.with_output_dropout(noise.output);
    let model = model.with_label_smoothing(noise.smoothing);
    let loss = model.loss(&mut tape, &params, &inputs, Some(&Draws::new(9, 3)));
    let loss = loss.unwrap().minimised().clone();
    let seed = Tensor::scalar(T::ONE);
    Pass {
        loss: loss.value().item().unwrap(),
        gradient: tape.backward(&loss, seed).unwrap().into_flat().unwrap(),
    }
}

/// Asserts that each number is within `tolerance` times the largest one wanted.
fn close(what: &str, got: &[f64], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}: length");
    let scale = want.iter().fold(0.0f64, |m, x| m.max(x.abs()));
    for (i, (&g, &w)) in got.iter().zip(want).enumerate() {
        let error = (g - w).abs() / scale.max(1e-30);
        assert!(
            error <= tolerance,
            "{what}[{i}]: {g} is not {w} (relative error {error:e})"
        );
    }
}

/// The same sizes, but two layers of a Transformer.
fn sizes_of(kind: ModelKind, sizes: Seq2SeqSizes) -> Seq2SeqSizes {
    match kind {
        ModelKind::Transformer => Seq2SeqSizes { layers: 2, ..sizes },
        _ => sizes,
    }
}

fn for_each_kind(f: impl Fn(ModelKind)) {
    ModelKind::ALL.into_iter().for_each(f);
}

/// The models whose decoder can read its own predictions in training.
fn for_each_recurrent_kind(f: impl Fn(ModelKind)) {
    let recurrent = |kind: &ModelKind| *kind != ModelKind::Transformer;
    ModelKind::ALL.into_iter().filter(recurrent).for_each(f);
}
