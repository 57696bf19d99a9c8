//! The character LM on the emulated device against the CPU: loss and every gradient of a step.

use rnnx::autograd::Tape;
use rnnx::device::Gpu;
use rnnx::device::emulated::Emulated;
use rnnx::files::state::LossScaler;
use rnnx::files::tensors::TensorFile;
use rnnx::nn::CellKind;
use rnnx::optim::{Adam, AdamConfig, Clip};
use rnnx::programs::charlm::data::CharBatch;
use rnnx::programs::charlm::model::{CharLm, CharLmSizes};
use rnnx::rng::{Purpose, Stream};
use rnnx::tensor::Tensor;
use rnnx::train::model::{Draws, Model};
use rnnx::train::scores::Scores;
use rnnx::train::step::Step;
use std::sync::Arc;

/// f32 on both sides: other orders of sums, and activations of other polynomials.
const F32: f64 = 2e-5;
/// Half precision keeps 11 bits: 5e-4 a rounding, a few of them in a row.
const F16: f64 = 1e-2;

const SIZES: CharLmSizes = CharLmSizes {
    cell: CellKind::Lstm,
    vocab: 13,
    embedding: 5,
    hidden: 9,
    layers: 2,
    tied: false,
};

fn batch(steps: usize, rows: usize) -> CharBatch {
    let mut random = Stream::new(4, Purpose::Sample, 0).reader();
    let mut ids = || {
        let ids: Vec<u32> = (0..steps * rows)
            .map(|_| random.below(SIZES.vocab as u32))
            .collect();
        Tensor::from_slice(&ids, [steps, rows]).unwrap()
    };
    CharBatch {
        ids: ids(),
        targets: ids(),
    }
}

/// Loss, number of hits, and the flat gradient over `scale`.
fn pass(
    model: &CharLm,
    batch: &CharBatch,
    gpu: Option<&Arc<Gpu>>,
    scale: f32,
) -> (f64, f64, Vec<f32>) {
    let place = |t: Tensor| match gpu {
        Some(gpu) => t.to_gpu(gpu).unwrap(),
        None => t,
    };
    let flat = place(Tensor::zeros::<f32>([model.params().layout().len()]));
    let mut tape = Tape::with_flat_gradients(flat);
    let params = model.params().bind(&mut tape);
    let batch = batch.clone().to_device(gpu).unwrap();
    let loss = model
        .loss(&mut tape, &params, &batch, Some(&Draws::new(3, 7)))
        .unwrap();
    let figures = (
        loss.ce.value().item().unwrap(),
        loss.correct.item().unwrap(),
    );
    let seed = place(Tensor::scalar(scale));
    let flat = tape.backward(&loss.ce, seed).unwrap().into_flat().unwrap();
    let flat = flat.to_cpu().unwrap();
    let gradient = flat
        .data::<f32>()
        .unwrap()
        .iter()
        .map(|g| g / scale)
        .collect();
    (figures.0, figures.1, gradient)
}

fn compare(mixed: bool, steps: usize, rows: usize, tolerance: f64) {
    let model = CharLm::new::<f32>(SIZES, 3).with_dropout(0.2);
    compare_of(model, mixed, steps, rows, tolerance);
}

fn compare_of(model: CharLm, mixed: bool, steps: usize, rows: usize, tolerance: f64) {
    let batch = batch(steps, rows);
    let (ce, _, gradient) = pass(&model, &batch, None, 1.0);
    let mut bits: Option<Vec<u32>> = None;
    for schedule in 0..3 {
        let gpu = Gpu::new(Emulated::new(schedule));
        let mut on_gpu = model.clone();
        on_gpu.params_mut().to_gpu(&gpu, mixed).unwrap();
        let scale = if mixed { 1024.0 } else { 1.0 };
        let (gpu_ce, _, gpu_gradient) = pass(&on_gpu, &batch, Some(&gpu), scale);
        assert!(
            (ce - gpu_ce).abs() < tolerance * ce,
            "loss {gpu_ce}, on the CPU {ce}"
        );
        for s in model.params().layout().segments() {
            let range = s.offset..s.offset + s.shape.numel();
            let (want, got) = (&gradient[range.clone()], &gpu_gradient[range]);
            let largest = want.iter().fold(0.0f32, |m, x| m.max(x.abs()));
            for (i, (w, g)) in want.iter().zip(got).enumerate() {
                let error = f64::from((w - g).abs() / largest);
                assert!(
                    error < tolerance,
                    "{}[{i}]: {g}, on the CPU {w} ({error:e})",
                    s.name
                );
            }
        }
        let these: Vec<u32> = gpu_gradient.iter().map(|g| g.to_bits()).collect();
        assert_eq!(
            *bits.get_or_insert_with(|| these.clone()),
            these,
            "schedule {schedule}"
        );
    }
}

/// What a few training steps leave: each step's figures, and the weights.
fn train(device: Option<(Arc<Gpu>, Option<LossScaler>)>, steps: u64) -> (Vec<Scores>, TensorFile) {
    let model = CharLm::new::<f32>(SIZES, 3);
    let config = AdamConfig::keras(1e-2);
    let adam = Adam::new::<f32>(config, model.params().layout());
    let model = model.with_dropout(0.2).with_l2(1e-2);
    let mut step = Step::new(model, adam, Clip::PerTensor { max: 0.02 }, 5);
    if let Some((gpu, scaler)) = &device {
        step = step.to_gpu(gpu, *scaler).unwrap();
    }
    let gpu = device.as_ref().map(|(gpu, _)| gpu);
    let batch = batch(6, 4).to_device(gpu).unwrap();
    let scores = (0..steps).map(|n| step.train(&batch, n).unwrap()).collect();
    (scores, step.model().export().unwrap())
}

fn same_training(scaler: Option<LossScaler>, tolerance: f64) {
    let (want, _) = train(None, 6);
    let gpu = Gpu::new(Emulated::new(0));
    let (got, _) = train(Some((gpu, scaler)), 6);
    for (n, (w, g)) in want.iter().zip(&got).enumerate() {
        for (what, w, g) in [
            ("loss", w.loss, g.loss),
            ("ce", w.ce, g.ce),
            ("norm", w.grad_norm, g.grad_norm),
        ] {
            let error = (w - g).abs() / w.abs();
            assert!(
                error < tolerance,
                "step {n}: {what} {g}, on the CPU {w} ({error:e})"
            );
        }
        assert!(g.loss > g.ce, "the L2 term counts");
    }
    assert!(want[5].ce < want[0].ce, "the steps must learn");
}

#[test]
fn training_steps_in_f32_agree_with_the_cpu() {
    same_training(None, 1e-4);
}

#[test]
fn training_steps_in_f16_agree_with_the_cpu() {
    let scaler = LossScaler {
        scale: 1024.0,
        ..LossScaler::FIRST
    };
    same_training(Some(scaler), F16);
}

#[test]
fn an_overflow_skips_the_step_and_halves_the_scale() {
    // Gradients of a loss times 2^30 do not fit into f16.
    let scaler = LossScaler {
        scale: f64::from(1u32 << 30),
        good_steps: 7,
        skipped: 2,
    };
    let gpu = Gpu::new(Emulated::new(0));
    let before = CharLm::new::<f32>(SIZES, 3).export().unwrap();
    let (scores, after) = train(Some((gpu, Some(scaler))), 1);
    let left = scores[0].scaler.unwrap();
    assert!(scores[0].skipped && scores[0].loss.is_finite());
    assert_eq!(
        (left.scale, left.good_steps, left.skipped),
        (f64::from(1u32 << 29), 0, 3)
    );
    for (name, tensor) in &before.tensors {
        assert_eq!(
            tensor.data, after.tensors[name].data,
            "{name} must not change"
        );
    }
}

#[test]
fn two_thousand_good_steps_double_the_scale() {
    let scaler = LossScaler {
        scale: 256.0,
        good_steps: 1999,
        skipped: 0,
    };
    let gpu = Gpu::new(Emulated::new(0));
    let (scores, _) = train(Some((gpu, Some(scaler))), 2);
    let scales: Vec<_> = scores.iter().map(|s| s.scaler.unwrap()).collect();
    assert_eq!((scales[0].scale, scales[0].good_steps), (512.0, 0));
    assert_eq!((scales[1].scale, scales[1].good_steps), (512.0, 1));
}

#[test]
fn a_second_step_takes_no_new_memory() {
    // Addresses that repeat are what a captured graph needs.
    let gpu = Gpu::new(Emulated::new(0));
    let count = |steps| {
        train(Some((gpu.clone(), Some(LossScaler::FIRST))), steps);
        gpu.blocks_allocated()
    };
    let after_one = count(1);
    assert_eq!(count(4), after_one);
}

#[test]
fn f32_agrees_with_the_cpu() {
    compare(false, 4, 5, F32);
}

#[test]
fn f32_with_the_embedding_agrees_with_the_cpu() {
    compare(false, 3, 4, F32);
}

#[test]
fn f16_agrees_with_the_cpu() {
    compare(true, 4, 5, F16);
}

/// By the gate table, which takes the embedding in full precision, and without it.
#[test]
fn tied_embeddings_and_variational_dropout_agree_with_the_cpu() {
    let sizes = CharLmSizes {
        embedding: SIZES.hidden,
        tied: true,
        ..SIZES
    };
    for variational in [false, true] {
        for (steps, rows) in [(4, 5), (3, 4)] {
            let model = CharLm::new::<f32>(sizes, 3).with_dropout(0.2);
            let model = model.with_variational_dropout(variational);
            compare_of(model.clone(), false, steps, rows, F32);
            compare_of(model, true, steps, rows, F16);
        }
    }
}
