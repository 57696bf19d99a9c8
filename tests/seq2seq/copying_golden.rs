//! PyTorch's numbers of the model that copies (`tests/golden/copying.py`): mixtures, loss, gradients, Adam
//! steps and outputs.

use super::extended::{Pair, batch_of, sources};
use super::golden::{F32, F32_AFTER_ADAM, F32_GRADIENT, F64, by_pair, check_adam, ids, numbers};
use super::{Noise, Number, close, pass};
use rnnx::autograd::Tape;
use rnnx::device::Gpu;
use rnnx::device::emulated::Emulated;
use rnnx::optim::{Adam, AdamConfig, Clip};
use rnnx::programs::seq2seq::copying::Extended;
use rnnx::programs::seq2seq::decode::{DecodeOptions, decode};
use rnnx::programs::seq2seq::model::{Inputs, ModelKind, Seq2Seq, Seq2SeqSizes};
use rnnx::train::model::Model;
use rnnx::train::step::Step;
use serde_json::Value;

fn golden() -> Value {
    serde_json::from_str(include_str!("../golden/copying.json")).unwrap()
}

fn size(golden: &Value, key: &str) -> usize {
    golden[key].as_u64().unwrap() as usize
}

fn pairs(golden: &Value) -> Vec<Pair> {
    let vocab = size(golden, "target_vocabulary") as u32;
    let pair = |pair: &Value| {
        let (held, target) = (ids(&pair["held"]), ids(&pair["target"]));
        let unknown = held
            .iter()
            .max()
            .map_or(0, |id| (id + 1).saturating_sub(vocab));
        let extended = Extended {
            source: held,
            target,
            unknown: (0..unknown).map(|k| format!("unknown {k}")).collect(),
        };
        Pair::new(ids(&pair["source"]), extended, vocab)
    };
    golden["pairs"]
        .as_array()
        .unwrap()
        .iter()
        .map(pair)
        .collect()
}

fn model<T: Number>(golden: &Value) -> Seq2Seq {
    let sizes = Seq2SeqSizes {
        source_vocab: size(golden, "source_vocabulary"),
        target_vocab: size(golden, "target_vocabulary"),
        embedding: size(golden, "embedding_dim"),
        hidden: size(golden, "hidden_size"),
        layers: 1,
        heads: 1,
        copy: true,
        tied: false,
    };
    let model = Seq2Seq::new::<T>(ModelKind::Attention, sizes, 1);
    super::golden::with_weights::<T>(model, &golden["weights"])
}

fn forward_matches<T: Number>(value: f64, gradient: f64) {
    let golden = golden();
    let pairs = pairs(&golden);
    let batch = batch_of(&pairs);
    let model = model::<T>(&golden);
    let mut tape = Tape::inference();
    let params = model.params().bind(&mut tape);
    let inputs = Inputs::new(&batch, model.vocab(), None).unwrap();
    let out = model.logits(&mut tape, &params, &inputs).unwrap();
    let words = model.vocab().1;
    let width = |pair: usize| words + pairs[pair].extended.unknown.len();
    let found = by_pair::<T>(out.logits.value(), &batch, width);
    for (pair, found) in found.iter().enumerate() {
        let want = numbers(&golden["log_p"][pair]);
        close(&format!("log p of pair {pair}"), found, &want, value);
    }
    let got = pass::<T>(&model, &batch, Noise::default());
    close(
        "loss",
        &[got.loss],
        &[golden["loss"].as_f64().unwrap()],
        value,
    );
    let flat = got.gradient.data::<T>().unwrap();
    for s in model.params().layout().segments() {
        let found = flat[s.offset..][..s.shape.numel()].iter();
        let found: Vec<f64> = found.map(|x| x.to_f64()).collect();
        let want = numbers(&golden["gradients"][&s.name]);
        assert!(
            want.iter().any(|x| x.abs() > 1e-4),
            "{}: nothing to compare",
            s.name
        );
        close(&format!("gradient of {}", s.name), &found, &want, gradient);
    }
}

#[test]
fn forward_and_gradients_match_pytorch_in_f64() {
    forward_matches::<f64>(F64, F64);
}

#[test]
fn forward_and_gradients_match_pytorch_in_f32() {
    forward_matches::<f32>(F32, F32_GRADIENT);
}

fn adam(golden: &Value) -> AdamConfig {
    AdamConfig::torch(golden["learning_rate"].as_f64().unwrap())
}

#[test]
fn adam_steps_match_pytorch() {
    let golden = golden();
    let batch = batch_of(&pairs(&golden));
    check_adam(&golden["adam"], adam(&golden), &batch, || {
        model::<f64>(&golden)
    });
}

/// The same by `Step`, in f32, on the CPU and on the emulated device.
#[test]
fn training_steps_match_pytorch() {
    let golden = golden();
    let batch = batch_of(&pairs(&golden));
    let emulated = Gpu::new(Emulated::new(0));
    for want in golden["adam"].as_array().unwrap() {
        for gpu in [None, Some(&emulated)] {
            let model = model::<f32>(&golden);
            let adam = Adam::new::<f32>(adam(&golden), model.params().layout());
            let max = want["clip"].as_f64().unwrap();
            let mut step = Step::new(model, adam, Clip::Global { max, epsilon: 1e-6 }, 1);
            if let Some(gpu) = gpu {
                step = step.to_gpu(gpu, None).unwrap();
            }
            let inputs = step.model().inputs(&batch).unwrap();
            let norms = numbers(&want["norms"]);
            for (n, (loss, norm)) in numbers(&want["losses"]).iter().zip(norms).enumerate() {
                let got = step.train(&inputs, n as u64).unwrap();
                let what = format!("clip {max}, {}, step {n}", gpu.map_or("cpu", |_| "gpu"));
                close(&what, &[got.loss], &[*loss], F32_AFTER_ADAM);
                close(&what, &[got.grad_norm], &[norm], F32_AFTER_ADAM);
            }
        }
    }
}

#[test]
fn greedy_outputs_are_pytorchs() {
    let golden = golden();
    let pairs = pairs(&golden);
    let model = model::<f32>(&golden);
    let max_length = size(&golden, "max_length");
    let outputs = decode(&model, &sources(&pairs), DecodeOptions::greedy(max_length)).unwrap();
    let mut copied = 0;
    for (output, want) in outputs.iter().zip(golden["greedy"].as_array().unwrap()) {
        assert_eq!(output.tokens, ids(want));
        assert_eq!(output.ended, output.tokens.len() < max_length);
        let words = model.vocab().1;
        copied += output
            .tokens
            .iter()
            .filter(|&&id| id as usize >= words)
            .count();
    }
    assert!(copied > 2, "{copied} tokens that are no words");
}
