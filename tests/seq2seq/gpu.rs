//! The models on the emulated device against the CPU: loss, gradient and update of a step.

use super::{batch, for_each_kind, for_each_recurrent_kind, random_pairs};
use rnnx::device::Gpu;
use rnnx::device::emulated::Emulated;
use rnnx::files::state::LossScaler;
use rnnx::files::tensors::TensorFile;
use rnnx::optim::{Adam, AdamConfig, Clip};
use rnnx::programs::seq2seq::decode::{DecodeOptions, Search, decode};
use rnnx::programs::seq2seq::model::{ModelKind, Seq2Seq, Seq2SeqSizes};
use rnnx::train::model::{Draws, Model};
use rnnx::train::ring::Ring;
use rnnx::train::scores::Scores;
use rnnx::train::step::Step;
use std::sync::Arc;

/// f32 on both sides: other orders of sums, and activations of other polynomials.
const F32: f64 = 2e-5;
/// Half precision keeps 11 bits: 5e-4 a rounding, a few of them in a row.
const F16: f64 = 1e-2;

const SIZES: Seq2SeqSizes = Seq2SeqSizes {
    source_vocab: 13,
    target_vocab: 11,
    embedding: 5,
    hidden: 9,
    layers: 1,
    heads: 5,
    copy: false,
    tied: false,
};

fn gpu() -> Arc<Gpu> {
    Gpu::new(Emulated::new(0))
}

/// Layers on each side.
const LAYERS: [usize; 2] = [1, 2];

fn step(kind: ModelKind, teacher_forcing: f64) -> Step<Seq2Seq> {
    step_of(kind, 1, teacher_forcing)
}

fn step_of(kind: ModelKind, layers: usize, teacher_forcing: f64) -> Step<Seq2Seq> {
    let sizes = Seq2SeqSizes { layers, ..SIZES };
    let model = Seq2Seq::new::<f32>(kind, sizes, 5);
    // A large epsilon keeps an update proportional to the gradient's moments, so that it shows the
    // gradient's own error.
    let config = AdamConfig {
        epsilon: 1.0,
        ..AdamConfig::torch(1.0)
    };
    let adam = Adam::new::<f32>(config, model.params().layout());
    // Both numbers show in the factor.
    let clip = Clip::Global {
        max: 0.5,
        epsilon: 0.25,
    };
    let model = model.with_dropout(0.3);
    Step::new(model.with_teacher_forcing(teacher_forcing), adam, clip, 2)
}

/// Two training steps: their scores, and the weights after them.
fn two_steps(mut step: Step<Seq2Seq>) -> (Vec<Scores>, TensorFile) {
    let pairs = random_pairs(SIZES, 10, 6);
    let scores = (0..2).map(|n| {
        let pairs = &pairs[5 * n..][..5];
        let inputs = step.model().inputs(&batch(pairs)).unwrap();
        step.train(&inputs, n as u64).unwrap()
    });
    (scores.collect(), step.model().export().unwrap())
}

fn compare(kind: ModelKind, teacher: f64, scaler: Option<LossScaler>, tolerance: f64) {
    for layers in LAYERS {
        compare_of((kind, layers), teacher, scaler, tolerance);
    }
}

fn compare_of(
    (kind, layers): (ModelKind, usize),
    teacher: f64,
    scaler: Option<LossScaler>,
    tolerance: f64,
) {
    let (want, weights) = two_steps(step_of(kind, layers, teacher));
    let on_gpu = step_of(kind, layers, teacher).to_gpu(&gpu(), scaler);
    let (got, found) = two_steps(on_gpu.unwrap());
    for (got, want) in got.iter().zip(&want) {
        assert!(
            (got.loss - want.loss).abs() < tolerance * want.loss,
            "{kind}: {got:?}"
        );
        let error = (got.grad_norm - want.grad_norm).abs();
        assert!(
            error < tolerance * want.grad_norm,
            "{kind}: {got:?} {want:?}"
        );
        assert_eq!(got.tokens, want.tokens);
        assert!(!got.skipped);
    }
    for (name, want) in &weights.tensors {
        let largest = want.data.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        for (got, want) in found.tensors[name].data.iter().zip(&want.data) {
            let error = f64::from((got - want).abs());
            assert!(
                error <= tolerance * f64::from(largest),
                "{kind} {name}: {got} is not {want}"
            );
        }
    }
}

#[test]
fn steps_in_fp32() {
    for_each_kind(|kind| compare(kind, 1.0, None, F32));
}

#[test]
fn steps_that_read_their_own_predictions() {
    for_each_recurrent_kind(|kind| compare(kind, 0.5, None, F32));
}

/// The two that an output layer has in training alone: the figures are the plain cross-entropy and the
/// whole loss, on both devices.
#[test]
fn steps_with_smoothed_labels_and_output_dropout() {
    let scaler = LossScaler {
        scale: 1024.0,
        ..LossScaler::FIRST
    };
    let pairs = random_pairs(SIZES, 5, 6);
    for (scaler, tolerance) in [(None, F32), (Some(scaler), F16)] {
        for kind in [ModelKind::Lstm, ModelKind::Attention] {
            let two_steps = |gpu: Option<&Arc<Gpu>>| {
                let model = Seq2Seq::new::<f32>(kind, SIZES, 5).with_dropout(0.3);
                let model = model
                    .with_output_dropout(Some(0.4))
                    .with_label_smoothing(0.2);
                let adam = Adam::new::<f32>(AdamConfig::torch(1e-3), model.params().layout());
                let clip = Clip::Global {
                    max: 0.5,
                    epsilon: 1e-6,
                };
                let mut step = Step::new(model, adam, clip, 2);
                if let Some(gpu) = gpu {
                    step = step.to_gpu(gpu, scaler).unwrap();
                }
                let inputs = step.model().inputs(&batch(&pairs)).unwrap();
                [0, 1].map(|n| step.train(&inputs, n).unwrap())
            };
            let gpu = gpu();
            for (got, want) in two_steps(Some(&gpu)).iter().zip(two_steps(None)) {
                assert!((want.loss - want.ce).abs() > 1e-3, "{want:?}");
                for (got, want) in [
                    (got.loss, want.loss),
                    (got.ce, want.ce),
                    (got.grad_norm, want.grad_norm),
                ] {
                    let error = (got - want).abs();
                    assert!(error < tolerance * want, "{kind}: {got} is not {want}");
                }
            }
        }
    }
}

#[test]
fn steps_in_fp16() {
    let scaler = LossScaler {
        scale: 1024.0,
        ..LossScaler::FIRST
    };
    for_each_kind(|kind| compare(kind, 1.0, Some(scaler), F16));
}

#[test]
fn decoding_gives_the_same_outputs() {
    let pairs = random_pairs(SIZES, 5, 6);
    let sources: Vec<&[u32]> = pairs.iter().map(|p| &p.0[..]).collect();
    for layers in LAYERS {
        decodes_alike(&sources, layers);
    }
}

fn decodes_alike(sources: &[&[u32]], layers: usize) {
    for_each_kind(|kind| {
        let cpu = step_of(kind, layers, 1.0);
        let on_gpu = step_of(kind, layers, 1.0).to_gpu(&gpu(), None).unwrap();
        for search in [Search::Greedy, Search::Beam(3)] {
            let options = DecodeOptions {
                search,
                ..DecodeOptions::greedy(5)
            };
            let want = decode(cpu.model(), sources, options).unwrap();
            let got = decode(on_gpu.model(), sources, options).unwrap();
            for (got, want) in got.iter().zip(&want) {
                assert_eq!(got.tokens, want.tokens, "{kind} {search:?}");
                assert!((got.score - want.score).abs() < F32, "{kind} {search:?}");
            }
        }
    });
}

/// Steps whose numbers a GPU counts itself drop what those drop that are given them.
#[test]
fn steps_that_the_device_counts() {
    let pairs = random_pairs(SIZES, 5, 6);
    let weights = |counted: bool| {
        let gpu = gpu();
        let mut step = step(ModelKind::Attention, 0.5).to_gpu(&gpu, None).unwrap();
        let ring = Ring::new(&gpu).unwrap();
        ring.begin(0, 3).unwrap();
        for n in 3..5 {
            let inputs = step.model().inputs(&batch(&pairs)).unwrap();
            let draws = match counted {
                true => ring.draws(2, n),
                false => Draws::new(2, n),
            };
            let issued = step.issue(&inputs, &draws).unwrap();
            ring.record(&step, &issued).unwrap();
        }
        let weights = step.model().export().unwrap();
        let all = weights.tensors.into_values().map(|tensor| tensor.data);
        all.collect::<Vec<_>>()
    };
    assert!(weights(true) == weights(false));
}
