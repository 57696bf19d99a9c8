//! PyTorch's logits, losses, gradients, Adam steps and outputs (`tests/golden/seq2seq.py`), whose
//! batches are padded where ours are packed.

use super::{Noise, Number, Pairs, batch, close, for_each_kind, for_each_recurrent_kind, pass};
use rnnx::autograd::Tape;
use rnnx::device::Gpu;
use rnnx::device::emulated::Emulated;
use rnnx::optim::{Adam, AdamConfig, Clip};
use rnnx::programs::seq2seq::data::SeqBatch;
use rnnx::programs::seq2seq::decode::{DecodeOptions, decode};
use rnnx::programs::seq2seq::model::{Inputs, ModelKind, Seq2Seq, Seq2SeqSizes};
use rnnx::tensor::Tensor;
use rnnx::train::model::Model;
use rnnx::train::step::Step;
use serde_json::Value;
use std::collections::BTreeSet;

/// f64 against PyTorch's f64: only the order of sums differs.
pub const F64: f64 = 1e-12;
/// ... and a few Adam steps later, which divide by roots of small numbers.
const F64_AFTER_ADAM: f64 = 1e-10;
/// f32 outputs and losses, relative to the largest value: 2^-24 over a few hundred additions.
pub const F32: f64 = 1e-5;
/// f32 losses and norms some Adam steps later, which divide by roots of small numbers.
pub const F32_AFTER_ADAM: f64 = 1e-3;
/// f32 gradients, whose sums cancel more.
pub const F32_GRADIENT: f64 = 1e-4;

fn golden() -> Value {
    serde_json::from_str(include_str!("../golden/seq2seq.json")).unwrap()
}

pub fn numbers(value: &Value) -> Vec<f64> {
    let list = value.as_array().unwrap();
    list.iter().map(|x| x.as_f64().unwrap()).collect()
}

pub fn ids(value: &Value) -> Vec<u32> {
    numbers(value).into_iter().map(|x| x as u32).collect()
}

fn pairs(golden: &Value) -> Pairs {
    let list = golden["pairs"].as_array().unwrap();
    list.iter()
        .map(|p| (ids(&p["source"]), ids(&p["target"])))
        .collect()
}

/// What the golden has of models with this many layers.
fn part(golden: &Value, layers: usize) -> &Value {
    match layers {
        1 => golden,
        _ => {
            assert_eq!(golden["deep"], layers);
            &golden["layers"]
        }
    }
}

/// Recurrent layers on each side: one, and as many as the golden has besides.
const LAYERS: [usize; 2] = [1, 2];

/// The kinds of which the golden has models with this many layers; a Transformer's is among those of one.
fn for_each_kind_of(layers: usize, f: impl Fn(ModelKind)) {
    match layers {
        1 => for_each_kind(f),
        _ => for_each_recurrent_kind(f),
    }
}

fn model<T: Number>(golden: &Value, kind: ModelKind) -> Seq2Seq {
    model_of::<T>(golden, kind, 1)
}

fn model_of<T: Number>(golden: &Value, kind: ModelKind, layers: usize) -> Seq2Seq {
    let size = |key: &str| golden[key].as_u64().unwrap() as usize;
    let sizes = Seq2SeqSizes {
        source_vocab: size("source_vocabulary"),
        target_vocab: size("target_vocabulary"),
        embedding: size("embedding_dim"),
        hidden: size("hidden_size"),
        layers: match kind {
            ModelKind::Transformer => size("deep"),
            _ => layers,
        },
        heads: size("num_heads"),
        copy: false,
        tied: false,
    };
    let model = Seq2Seq::new::<T>(kind, sizes, 1);
    with_weights::<T>(model, &part(golden, layers)[&kind.to_string()]["weights"])
}

/// The model with these weights, which are all of its own.
pub fn with_weights<T: Number>(mut model: Seq2Seq, weights: &Value) -> Seq2Seq {
    let weights = weights.as_object().unwrap();
    let layout = model.params().layout().clone();
    assert_eq!(layout.segments().len(), weights.len());
    let flat = model.params_mut().values_mut().data_mut::<T>().unwrap();
    for s in layout.segments() {
        let values = numbers(&weights[&s.name]);
        assert_eq!(values.len(), s.shape.numel(), "{}", s.name);
        let to = flat[s.offset..].iter_mut();
        to.zip(values).for_each(|(to, x)| *to = T::from_f64(x));
    }
    model
}

/// Rows of a packed tensor `[N, ..]`, pair by pair, `width(pair)` numbers of each.
pub fn by_pair<T: Number>(
    t: &Tensor,
    batch: &SeqBatch,
    width: impl Fn(usize) -> usize,
) -> Vec<Vec<f64>> {
    let (data, columns) = (t.data::<T>().unwrap(), t.shape().last());
    let mut pairs = vec![Vec::new(); batch.order.len()];
    for (row, &pair) in batch.order.iter().enumerate() {
        for at in (0..batch.packing.steps()).filter_map(|t| batch.packing.row(t, row)) {
            let row = &data[at * columns..][..width(pair)];
            pairs[pair].extend(row.iter().map(|x| x.to_f64()));
        }
    }
    pairs
}

fn forward_matches<T: Number>(layers: usize, value: f64, gradient: f64) {
    let golden = golden();
    let pairs = pairs(&golden);
    let batch = batch(&pairs);
    for_each_kind_of(layers, |kind| {
        let want = &part(&golden, layers)[&kind.to_string()];
        let model = model_of::<T>(&golden, kind, layers);
        let mut tape = Tape::inference();
        let params = model.params().bind(&mut tape);
        let inputs = Inputs::new(&batch, model.vocab(), None).unwrap();
        let out = model.logits(&mut tape, &params, &inputs).unwrap();
        let logits = out.logits.value();
        let got = by_pair::<T>(logits, &batch, |_| logits.shape().last());
        for (i, got) in got.iter().enumerate() {
            close(
                &format!("{kind} logits {i}"),
                got,
                &numbers(&want["logits"][i]),
                value,
            );
        }
        assert_eq!(out.alpha.is_some(), kind.attends());
        if let Some(alpha) = &out.alpha {
            let got = by_pair::<T>(alpha, &batch, |pair| pairs[pair].0.len());
            for (i, got) in got.iter().enumerate() {
                close(
                    &format!("{kind} attention {i}"),
                    got,
                    &numbers(&want["attention"][i]),
                    value,
                );
            }
        }
        let got = pass::<T>(&model, &batch, Noise::default());
        let loss = want["loss"].as_f64().unwrap();
        close(&format!("{kind} loss"), &[got.loss], &[loss], value);
        let flat = got.gradient.data::<T>().unwrap();
        for s in model.params().layout().segments() {
            let found = flat[s.offset..][..s.shape.numel()]
                .iter()
                .map(|x| x.to_f64());
            let wanted = numbers(&want["gradients"][&s.name]);
            let what = format!("{kind} gradient of {}", s.name);
            close(&what, &found.collect::<Vec<_>>(), &wanted, gradient);
        }
    });
}

#[test]
fn forward_and_gradients_match_pytorch_in_f64() {
    for layers in LAYERS {
        forward_matches::<f64>(layers, F64, F64);
    }
}

#[test]
fn forward_and_gradients_match_pytorch_in_f32() {
    for layers in LAYERS {
        forward_matches::<f32>(layers, F32, F32_GRADIENT);
    }
}

/// The norm of a flat gradient.
fn norm(gradient: &Tensor) -> f64 {
    let squares = gradient.data::<f64>().unwrap().iter().map(|x| x * x);
    squares.sum::<f64>().sqrt()
}

#[test]
fn without_teacher_forcing_the_decoder_reads_its_predictions() {
    let golden = golden();
    let batch = batch(&pairs(&golden));
    for layers in LAYERS {
        free_running_matches(&golden, &batch, layers);
    }
}

fn free_running_matches(golden: &Value, batch: &SeqBatch, layers: usize) {
    for_each_recurrent_kind(|kind| {
        let model = model_of::<f64>(golden, kind, layers);
        let want = &part(golden, layers)[&kind.to_string()]["free_running"];
        let noise = Noise {
            dropout: None,
            teacher: Some(0.0),
            ..Noise::default()
        };
        let got = pass::<f64>(&model, batch, noise);
        close("loss", &[got.loss], &[want["loss"].as_f64().unwrap()], F64);
        close(
            "norm",
            &[norm(&got.gradient)],
            &[want["norm"].as_f64().unwrap()],
            F64,
        );
    });
}

#[test]
fn adam_steps_with_global_clipping_match_pytorch() {
    let golden = golden();
    let batch = batch(&pairs(&golden));
    let config = AdamConfig {
        learning_rate: golden["learning_rate"].as_f64().unwrap(),
        beta1: golden["betas"][0].as_f64().unwrap(),
        beta2: golden["betas"][1].as_f64().unwrap(),
        epsilon: golden["epsilon"].as_f64().unwrap(),
        ..AdamConfig::torch(0.0)
    };
    assert_eq!(config, AdamConfig::torch(config.learning_rate));
    for_each_kind(|kind| {
        let of_kind = &golden[&kind.to_string()]["adam"];
        check_adam(of_kind, config, &batch, || model::<f64>(&golden, kind));
    });
}

/// Clipped steps in f64 from the weights of `model`, of each clip.
pub fn check_adam(
    golden: &Value,
    config: AdamConfig,
    batch: &SeqBatch,
    model: impl Fn() -> Seq2Seq,
) {
    for want in golden.as_array().unwrap() {
        let mut model = model();
        let mut adam = Adam::new::<f64>(config, model.params().layout());
        let max = want["clip"].as_f64().unwrap();
        let clip = Clip::Global { max, epsilon: 1e-6 };
        let norms = numbers(&want["norms"]);
        for (loss, norm) in numbers(&want["losses"]).iter().zip(norms) {
            let got = pass::<f64>(&model, batch, Noise::default());
            close("loss before a step", &[got.loss], &[*loss], F64_AFTER_ADAM);
            let clipping = adam
                .update(model.params_mut(), &got.gradient, clip)
                .unwrap();
            close("norm", &[clipping.norm], &[norm], F64_AFTER_ADAM);
            assert_eq!(clipping.factors[0] < 1.0, norm > max);
        }
        let after = pass::<f64>(&model, batch, Noise::default()).loss;
        let wanted = want["loss_after"].as_f64().unwrap();
        close("loss after", &[after], &[wanted], F64_AFTER_ADAM);
        let flat = model.params().values().data::<f64>().unwrap();
        for s in model.params().layout().segments() {
            let p = &flat[s.offset..][..s.shape.numel()];
            let (sum, squares) = (p.iter().sum::<f64>(), p.iter().map(|x| x * x).sum::<f64>());
            let wanted = numbers(&want["sums"][&s.name]);
            close(&s.name, &[squares], &[wanted[1]], F64_AFTER_ADAM);
            let error = (sum - wanted[0]).abs();
            assert!(
                error < F64_AFTER_ADAM * squares.max(1.0),
                "{}: {error:e}",
                s.name
            );
        }
    }
}

/// The pairs one by one, whose numbers of tokens differ, added up to PyTorch's step on all of them.
#[test]
fn adam_steps_on_added_up_batches_match_pytorch() {
    let golden = golden();
    let pairs = pairs(&golden);
    let lengths: BTreeSet<usize> = pairs.iter().map(|p| p.1.len()).collect();
    assert!(lengths.len() > 2, "{lengths:?}");
    let config = AdamConfig::torch(golden["learning_rate"].as_f64().unwrap());
    let gpu = Gpu::new(Emulated::new(0));
    for_each_kind(|kind| {
        for want in golden[&kind.to_string()]["adam"].as_array().unwrap() {
            let max = want["clip"].as_f64().unwrap();
            let clip = Clip::Global { max, epsilon: 1e-6 };
            for gpu in [None, Some(&gpu)] {
                let model = model::<f32>(&golden, kind);
                let adam = Adam::new::<f32>(config, model.params().layout());
                let mut step = Step::new(model, adam, clip, 1);
                if let Some(gpu) = gpu {
                    step = step.to_gpu(gpu, None).unwrap();
                }
                let parts = pairs
                    .chunks(1)
                    .map(|pair| step.model().inputs(&batch(pair)));
                let parts: Vec<Inputs> = parts.collect::<rnnx::Result<_>>().unwrap();
                let norms = numbers(&want["norms"]);
                for (n, (loss, norm)) in numbers(&want["losses"]).iter().zip(norms).enumerate() {
                    let got = step.train_all(&parts, 0).unwrap();
                    let what = format!("{kind} step {n}");
                    close(&what, &[got.loss], &[*loss], F32_AFTER_ADAM);
                    close(&what, &[got.grad_norm], &[norm], F32_AFTER_ADAM);
                }
            }
        }
    });
}

#[test]
fn greedy_outputs_are_pytorchs() {
    let golden = golden();
    let pairs = pairs(&golden);
    let sources: Vec<&[u32]> = pairs.iter().map(|p| &p.0[..]).collect();
    let max_length = golden["max_length"].as_u64().unwrap() as usize;
    for layers in LAYERS {
        greedy_matches(&golden, &sources, layers, max_length);
    }
}

fn greedy_matches(golden: &Value, sources: &[&[u32]], layers: usize, max_length: usize) {
    for_each_kind_of(layers, |kind| {
        let model = model_of::<f32>(golden, kind, layers);
        for (key, no_unk) in [("greedy", false), ("greedy_no_unk", true)] {
            let options = DecodeOptions {
                no_unk,
                ..DecodeOptions::greedy(max_length)
            };
            let outputs = decode(&model, sources, options).unwrap();
            let want = &part(golden, layers)[&kind.to_string()][key];
            let want = want.as_array().unwrap();
            for (output, want) in outputs.iter().zip(want) {
                assert_eq!(output.tokens, ids(want), "{kind} {key}");
                assert_eq!(output.ended, output.tokens.len() < max_length);
            }
        }
    });
}
