//! The whole 2-layer character model: f64 finite differences for every parameter, and PyTorch's
//! logits, loss, gradients and clipped Adam steps (`tests/golden/charlm.py`).

mod dropout;

use rnnx::autograd::Tape;
use rnnx::nn::CellKind;
use rnnx::optim::{Adam, AdamConfig, Clip};
use rnnx::programs::charlm::data::CharBatch;
use rnnx::programs::charlm::model::{CharLm, CharLmSizes};
use rnnx::rng::{Purpose, Stream};
use rnnx::tensor::Tensor;
use rnnx::train::model::{Draws, Model};
use rnnx::train::step::{objective, score};
use serde_json::Value;

/// f64 against PyTorch's f64: only the order of sums differs.
const F64_VALUE: f64 = 1e-12;
/// ... and five Adam steps later, which divide by roots of small numbers.
const F64_AFTER_ADAM: f64 = 1e-10;
/// f32 outputs and losses, relative to the largest value: 2^-24 over a few hundred additions.
const F32_VALUE: f64 = 1e-5;
/// f32 gradients, whose sums cancel more.
const F32_GRADIENT: f64 = 1e-4;
/// Differences of fourth order in f64 with step 1e-5: truncation 1e-12 (a tanh RNN with large weights
/// has third derivatives of 1e5, which second order would show), rounding 1e-11, relative to 1.
const DIFFERENCE: f64 = 1e-8;

/// A number type the model is run in.
trait Number: rnnx::tensor::Stored + rnnx::device::Dispatch {}
impl Number for f32 {}
impl Number for f64 {}

fn golden() -> Value {
    serde_json::from_str(include_str!("../golden/charlm.json")).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|x| x.as_f64().unwrap())
        .collect()
}

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

/// A part of the golden, with what it shares with the whole file: the model whose embedding is tied, or
/// the other.
fn part(tied: bool) -> Value {
    let mut golden = golden();
    if let (true, Value::Object(of_tied)) = (tied, golden["tied"].take()) {
        golden.as_object_mut().unwrap().extend(of_tied);
    }
    golden["tied"] = tied.into();
    golden
}

/// The golden's model: parameter k holds 0.5 * sin(0.7 i + 1.3 k + 0.1) at flat index i.
fn model<T: Number>(golden: &Value) -> CharLm {
    let size = |key: &str| golden[key].as_u64().unwrap() as usize;
    let sizes = CharLmSizes {
        cell: CellKind::Lstm,
        vocab: size("V"),
        embedding: size("E"),
        hidden: size("H"),
        layers: 2,
        tied: golden["tied"].as_bool().unwrap(),
    };
    let mut model = CharLm::new::<T>(sizes, 1);
    let layout = model.params().layout().clone();
    let names = golden["names"].as_array().unwrap();
    assert_eq!(layout.segments().len(), names.len());
    let flat = model.params_mut().values_mut().data_mut::<T>().unwrap();
    for (k, s) in layout.segments().iter().enumerate() {
        assert_eq!(s.name, names[k].as_str().unwrap());
        for (i, to) in flat[s.offset..][..s.shape.numel()].iter_mut().enumerate() {
            *to = T::from_f64(0.5 * (0.7 * i as f64 + 1.3 * k as f64 + 0.1).sin());
        }
    }
    model
}

/// Ids and targets `[T, B]`.
fn batch(golden: &Value) -> (Tensor, Tensor) {
    let shape = ["T", "B"].map(|key| golden[key].as_u64().unwrap() as usize);
    let ids = |key: &str| {
        let ids: Vec<u32> = numbers(&golden[key]).iter().map(|&x| x as u32).collect();
        Tensor::from_slice(&ids, shape).unwrap()
    };
    (ids("ids"), ids("targets"))
}

struct Pass {
    loss: f64,
    ce: f64,
    correct: usize,
    gradient: Tensor,
}

fn pass<T: Number>(model: &CharLm, ids: &Tensor, targets: &Tensor, l2: f64, seed: u64) -> Pass {
    let model = model.clone().with_l2(l2);
    let batch = CharBatch {
        ids: ids.clone(),
        targets: targets.clone(),
    };
    let mut tape = Tape::with_flat_gradients(Tensor::zeros::<T>([model.params().layout().len()]));
    let params = model.params().bind(&mut tape);
    let draws = Draws::new(seed, 0);
    let total = objective(&model, &mut tape, &params, &batch, &draws).unwrap();
    let scores = score(&model, &batch).unwrap();
    let seed = Tensor::scalar(T::ONE);
    Pass {
        loss: total.value().item().unwrap(),
        ce: scores.ce,
        correct: scores.correct,
        gradient: tape.backward(&total, seed).unwrap().into_flat().unwrap(),
    }
}

fn segment<T: Number>(model: &CharLm, flat: &Tensor, name: &str) -> Vec<f64> {
    let layout = model.params().layout();
    let s = layout.segments().iter().find(|s| s.name == name).unwrap();
    let data = &flat.data::<T>().unwrap()[s.offset..][..s.shape.numel()];
    data.iter().map(|x| x.to_f64()).collect()
}

fn forward_matches<T: Number>(tied: bool, value: f64, gradient: f64) {
    let golden = part(tied);
    let model = model::<T>(&golden);
    let (ids, targets) = batch(&golden);
    let want = &golden["forward"];

    let mut tape = Tape::inference();
    let params = model.params().bind(&mut tape);
    let (logits, _) = model.forward(&mut tape, &params, &ids, None, None).unwrap();
    let logits: Vec<f64> = logits
        .value()
        .data::<T>()
        .unwrap()
        .iter()
        .map(|x| x.to_f64())
        .collect();
    close("logits", &logits, &numbers(&want["logits"]), value);

    let got = pass::<T>(&model, &ids, &targets, golden["l2"].as_f64().unwrap(), 0);
    close(
        "loss",
        &[got.loss],
        &[want["loss"].as_f64().unwrap()],
        value,
    );
    close("ce", &[got.ce], &[want["ce"].as_f64().unwrap()], value);
    let share = got.correct as f64 / ids.numel() as f64;
    assert_eq!(share, want["accuracy"].as_f64().unwrap());
    for (name, wanted) in want["gradients"].as_object().unwrap() {
        let found = segment::<T>(&model, &got.gradient, name);
        close(name, &found, &numbers(wanted), gradient);
    }
}

#[test]
fn forward_and_gradients_match_pytorch_in_f64() {
    for tied in [false, true] {
        forward_matches::<f64>(tied, F64_VALUE, F64_VALUE);
    }
}

#[test]
fn forward_and_gradients_match_pytorch_in_f32() {
    for tied in [false, true] {
        forward_matches::<f32>(tied, F32_VALUE, F32_GRADIENT);
    }
}

fn adam_matches(key: &str, clip: Clip) {
    for tied in [false, true] {
        adam_matches_of(&part(tied), key, clip);
    }
}

fn adam_matches_of(golden: &Value, key: &str, clip: Clip) {
    let want = &golden[key];
    let mut model = model::<f64>(golden);
    let (ids, targets) = batch(golden);
    let config = AdamConfig {
        learning_rate: golden["learning_rate"].as_f64().unwrap(),
        beta1: golden["betas"][0].as_f64().unwrap(),
        beta2: golden["betas"][1].as_f64().unwrap(),
        epsilon: golden["epsilon"].as_f64().unwrap(),
        ..AdamConfig::torch(0.0)
    };
    let mut adam = Adam::new::<f64>(config, model.params().layout());
    let l2 = golden["l2"].as_f64().unwrap();
    for (step, wanted) in numbers(&want["losses"]).into_iter().enumerate() {
        let got = pass::<f64>(&model, &ids, &targets, l2, 0);
        close(
            &format!("loss before step {step}"),
            &[got.loss],
            &[wanted],
            F64_AFTER_ADAM,
        );
        let clipping = adam
            .update(model.params_mut(), &got.gradient, clip)
            .unwrap();
        if let Some(norm) = want["norms"][step].as_f64() {
            close("global norm", &[clipping.norm], &[norm], F64_AFTER_ADAM);
            assert!(
                clipping.factors.iter().all(|&f| f < 1.0),
                "the clip must bite"
            );
        } else {
            let squares: f64 = numbers(&want["norms"][step]).iter().map(|n| n * n).sum();
            close(
                "global norm",
                &[clipping.norm],
                &[squares.sqrt()],
                F64_AFTER_ADAM,
            );
            assert!(
                clipping.factors.iter().any(|&f| f < 1.0),
                "the clip must bite"
            );
        }
    }
    let last = pass::<f64>(&model, &ids, &targets, l2, 0).loss;
    close(
        "loss after",
        &[last],
        &[want["loss_after"].as_f64().unwrap()],
        F64_AFTER_ADAM,
    );
    for (name, wanted) in want["parameters"].as_object().unwrap() {
        let p = segment::<f64>(&model, model.params().values(), name);
        let squares: f64 = p.iter().map(|x| x * x).sum();
        let wanted_squares = wanted["sum_of_squares"].as_f64().unwrap();
        close(name, &[squares], &[wanted_squares], F64_AFTER_ADAM);
        let sum_error = (p.iter().sum::<f64>() - wanted["sum"].as_f64().unwrap()).abs();
        assert!(
            sum_error < F64_AFTER_ADAM * squares.max(1.0),
            "{name}: sum is off by {sum_error:e}"
        );
        close(name, &p[..5], &numbers(&wanted["first"]), F64_AFTER_ADAM);
    }
}

#[test]
fn five_adam_steps_with_clipping_per_tensor_match_pytorch() {
    adam_matches("adam_clip_per_tensor", Clip::PerTensor { max: 0.05 });
}

#[test]
fn five_adam_steps_with_global_clipping_match_pytorch() {
    adam_matches(
        "adam_clip_global",
        Clip::Global {
            max: 0.05,
            epsilon: 0.0,
        },
    );
}

/// Every parameter of the whole model, dropout included. `seq` below the vocabulary takes the
/// embedding's path, above it the gate table's.
fn gradient_check(sizes: CharLmSizes, seq: usize, rows: usize) {
    let model = CharLm::new::<f64>(sizes, 3).with_dropout(0.3);
    check_gradients_of(model, seq, rows);
}

fn check_gradients_of(mut model: CharLm, seq: usize, rows: usize) {
    let sizes = model.sizes();
    let mut random = Stream::new(5, Purpose::Sample, 0).reader();
    // Larger weights than at the start of training, so that the gates leave their linear part.
    let values = model.params_mut().values_mut().data_mut::<f64>().unwrap();
    values
        .iter_mut()
        .for_each(|x| *x = 2.0 * *x + 0.2 * (random.uniform() - 0.5));
    let mut ids = || {
        let ids: Vec<u32> = (0..seq * rows)
            .map(|_| random.below(sizes.vocab as u32))
            .collect();
        Tensor::from_slice(&ids, [seq, rows]).unwrap()
    };
    let (ids, targets) = (ids(), ids());
    let (l2, seed) = (1e-2, 9);
    let gradient = pass::<f64>(&model, &ids, &targets, l2, seed).gradient;
    let layout = model.params().layout().clone();
    let step = 1e-5;
    for s in layout.segments() {
        let mut largest = 0.0f64;
        for i in s.offset..s.offset + s.shape.numel() {
            let mut loss_at = |delta: f64| {
                let values = model.params_mut().values_mut().data_mut::<f64>().unwrap();
                let before = values[i];
                values[i] = before + delta;
                let loss = pass::<f64>(&model, &ids, &targets, l2, seed).loss;
                model.params_mut().values_mut().data_mut::<f64>().unwrap()[i] = before;
                loss
            };
            let near = loss_at(step) - loss_at(-step);
            let far = loss_at(2.0 * step) - loss_at(-2.0 * step);
            let difference = (8.0 * near - far) / (12.0 * step);
            let analytic = gradient.data::<f64>().unwrap()[i];
            largest = largest.max(analytic.abs());
            let error = (analytic - difference).abs();
            assert!(
                error < DIFFERENCE,
                "{}[{}]: backward gives {analytic}, differences give {difference}",
                s.name,
                i - s.offset
            );
        }
        assert!(
            largest > 1e4 * DIFFERENCE,
            "{}: gradients are too small to be tested",
            s.name
        );
    }
}

#[test]
fn whole_model_gradients_with_the_gate_table() {
    let sizes = CharLmSizes {
        cell: CellKind::Lstm,
        vocab: 6,
        embedding: 3,
        hidden: 5,
        layers: 2,
        tied: false,
    };
    gradient_check(sizes, 7, 3);
}

#[test]
fn whole_model_gradients_with_the_embedding() {
    let sizes = CharLmSizes {
        cell: CellKind::Lstm,
        vocab: 13,
        embedding: 4,
        hidden: 6,
        layers: 2,
        tied: false,
    };
    gradient_check(sizes, 4, 3);
}

#[test]
fn whole_model_gradients_with_three_layers() {
    let sizes = CharLmSizes {
        cell: CellKind::Lstm,
        vocab: 5,
        embedding: 2,
        hidden: 3,
        layers: 3,
        tied: false,
    };
    gradient_check(sizes, 5, 2);
}

#[test]
fn whole_model_gradients_of_the_other_cells() {
    for cell in [CellKind::Gru, CellKind::Rnn] {
        let sizes = |vocab| CharLmSizes {
            cell,
            vocab,
            embedding: 3,
            hidden: 5,
            layers: 2,
            tied: false,
        };
        // With the gate table, and with the embedding.
        gradient_check(sizes(6), 7, 3);
        gradient_check(sizes(13), 4, 2);
    }
}

#[test]
fn whole_model_gradients_with_tied_embeddings() {
    let sizes = |cell, vocab| CharLmSizes {
        cell,
        vocab,
        embedding: 5,
        hidden: 5,
        layers: 2,
        tied: true,
    };
    // With the gate table, and with the embedding.
    gradient_check(sizes(CellKind::Lstm, 6), 7, 3);
    gradient_check(sizes(CellKind::Gru, 13), 4, 3);
}
