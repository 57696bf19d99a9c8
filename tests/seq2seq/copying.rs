//! The models that copy, with additive attention and of attention alone: the emulated device, and decoding of
//! tokens that are no words.

use super::batch;
use super::extended::{Pair, batch_of, pairs, sources};
use rnnx::autograd::Tape;
use rnnx::data::words::{EOS, SOS, UNK};
use rnnx::device::Gpu;
use rnnx::device::emulated::Emulated;
use rnnx::files::state::LossScaler;
use rnnx::optim::{Adam, AdamConfig, Clip};
use rnnx::programs::seq2seq::copying::Extended;
use rnnx::programs::seq2seq::data::{SeqBatch, SourceBatch};
use rnnx::programs::seq2seq::decode::{
    DecodeOptions, Hypothesis, Search, SourceIds, decode, decode_n_best,
};
use rnnx::programs::seq2seq::model::{ModelKind, Seq2Seq, Seq2SeqSizes, Source};
use rnnx::tensor::Tensor;
use rnnx::train::model::Model;
use rnnx::train::step::{Step, score};

/// The models that attend, which can copy.
const KINDS: [ModelKind; 2] = [ModelKind::Attention, ModelKind::Transformer];
/// f32 on both sides: other orders of sums, and activations of other polynomials.
const F32: f64 = 2e-5;
/// Half precision keeps 11 bits: 5e-4 a rounding, a few of them in a row.
const F16: f64 = 1e-2;

const SIZES: Seq2SeqSizes = Seq2SeqSizes {
    source_vocab: 12,
    target_vocab: 9,
    embedding: 6,
    hidden: 7,
    layers: 1,
    heads: 1,
    copy: true,
    tied: false,
};

fn model(sizes: Seq2SeqSizes) -> Seq2Seq {
    of_kind(ModelKind::Attention, sizes)
}

fn of_kind(kind: ModelKind, sizes: Seq2SeqSizes) -> Seq2Seq {
    Seq2Seq::new::<f32>(kind, sizes, 3)
}

fn training(kind: ModelKind, sizes: Seq2SeqSizes, rate: f64, epsilon: f64) -> Step<Seq2Seq> {
    let model = of_kind(kind, sizes);
    let config = AdamConfig {
        epsilon,
        ..AdamConfig::torch(rate)
    };
    let adam = Adam::new::<f32>(config, model.params().layout());
    let clip = Clip::Global {
        max: 5.0,
        epsilon: 1e-6,
    };
    Step::new(model, adam, clip, 2)
}

/// Two steps on the emulated device give the scores and the weights of two steps on the CPU.
#[test]
fn steps_on_a_gpu() {
    KINDS.into_iter().for_each(two_steps_on_a_gpu);
}

fn two_steps_on_a_gpu(kind: ModelKind) {
    let gpu = Gpu::new(Emulated::new(0));
    let pairs = pairs(SIZES, 10);
    let two_steps = |mut step: Step<Seq2Seq>| {
        let scores = [0, 5].map(|first| {
            let inputs = step
                .model()
                .inputs(&batch_of(&pairs[first..first + 5]))
                .unwrap();
            step.train(&inputs, first as u64).unwrap()
        });
        (scores, step.model().export().unwrap())
    };
    let start = || training(kind, SIZES, 1.0, 1.0);
    let before = start().model().export().unwrap();
    let (want, weights) = two_steps(start());
    let half = LossScaler {
        scale: 1024.0,
        ..LossScaler::FIRST
    };
    for (scaler, tolerance) in [(None, F32), (Some(half), F16)] {
        let (got, found) = two_steps(start().to_gpu(&gpu, scaler).unwrap());
        for (got, want) in got.iter().zip(&want) {
            let error = (got.loss - want.loss).abs();
            assert!(error < tolerance * want.loss, "{got:?} {want:?}");
            let error = (got.grad_norm - want.grad_norm).abs();
            assert!(error < tolerance * want.grad_norm, "{got:?} {want:?}");
            assert_eq!(got.tokens, want.tokens);
        }
        for (name, want) in &weights.tensors {
            // What an update leaves of a number may be small beside both.
            let both = want.data.iter().chain(&before.tensors[name].data);
            let largest = both.fold(0.0f32, |m, x| m.max(x.abs()));
            for (got, want) in found.tensors[name].data.iter().zip(&want.data) {
                let error = f64::from((got - want).abs());
                let bound = tolerance * f64::from(largest);
                assert!(error <= bound, "{kind} {name}: {got} is not {want}");
            }
        }
    }
}

/// What greedy search and a beam write on the emulated device is what they write on the CPU.
#[test]
fn decoding_on_a_gpu() {
    KINDS.into_iter().for_each(decodes_alike_on_a_gpu);
}

fn decodes_alike_on_a_gpu(kind: ModelKind) {
    let pairs = pairs(SIZES, 5);
    let cpu = of_kind(kind, SIZES);
    let mut on_gpu = cpu.clone();
    let gpu = Gpu::new(Emulated::new(0));
    on_gpu.params_mut().to_gpu(&gpu, false).unwrap();
    for search in [Search::Greedy, Search::Beam(3)] {
        let options = DecodeOptions {
            search,
            ..DecodeOptions::greedy(5)
        };
        let want = decode(&cpu, &sources(&pairs), options).unwrap();
        let got = decode(&on_gpu, &sources(&pairs), options).unwrap();
        for (got, want) in got.iter().zip(&want) {
            assert_eq!((&got.tokens, &got.copied), (&want.tokens, &want.copied));
            assert!((got.score - want.score).abs() < F32, "{kind} {search:?}");
        }
    }
}

/// The score of an output is what the loss says of it as a target, and a wide beam finds the best of
/// all outputs: words, tokens of the source and those that are both.
#[test]
fn scores_are_losses_and_a_wide_beam_is_exhaustive() {
    let sizes = Seq2SeqSizes {
        target_vocab: 6,
        ..SIZES
    };
    let mut model = model(sizes);
    let values = model.params_mut().values_mut().data_mut::<f32>().unwrap();
    values.iter_mut().for_each(|x| *x *= 3.0);
    let (v, source) = (6u32, [5u32, 7, 9, 11]);
    let extended = Extended {
        source: vec![v, 4, v + 1, v],
        target: Vec::new(),
        unknown: ["p", "q"].map(str::to_owned).to_vec(),
    };
    let likelihood = |tokens: &[u32]| {
        let known: Vec<u32> = tokens
            .iter()
            .map(|&id| if id < v { id } else { UNK })
            .collect();
        let target = Extended {
            target: tokens.to_vec(),
            ..extended.clone()
        };
        let pair = SeqBatch::new(&[(&source, &known)]).unwrap();
        let inputs = model
            .inputs(&pair.with_copies(&[&target]).unwrap())
            .unwrap();
        -score(&model, &inputs).unwrap().loss
    };
    // Outputs of one and two tokens that end.
    let tokens = [UNK, 4, 5, v, v + 1];
    let two = tokens.iter().flat_map(|&a| tokens.map(|b| vec![a, b]));
    let all: Vec<Vec<u32>> = tokens.iter().map(|&a| vec![a]).chain(two).collect();
    let best = all
        .iter()
        .max_by(|a, b| likelihood(a).total_cmp(&likelihood(b)));
    let options = DecodeOptions {
        search: Search::Beam(60),
        ..DecodeOptions::greedy(3)
    };
    let source = SourceIds {
        ids: &source,
        extended: Some(&extended),
    };
    let found = decode_n_best(&model, &[source], options, 60)
        .unwrap()
        .remove(0);
    let short = found.iter().filter(|h| h.ended && !h.tokens.is_empty());
    for hypothesis in short.clone() {
        let want = likelihood(&hypothesis.tokens);
        assert!(
            (hypothesis.score - want).abs() < F32,
            "{hypothesis:?}: {want}"
        );
        assert!(hypothesis.tokens.iter().all(|&id| id != EOS && id < v + 2));
    }
    assert_eq!(short.map(|h| &h.tokens).next(), best);
}

/// A token is said to be copied where copying has the larger part in its probability, from the position with
/// the largest share of the attention.
#[test]
fn what_is_said_to_be_copied_is_mostly_that() {
    let pairs = pairs(SIZES, 9);
    let (mut copied, mut partly) = (0, 0);
    for (kind, seed) in KINDS
        .into_iter()
        .flat_map(|kind| (0..6).map(move |seed| (kind, seed)))
    {
        let mut model = Seq2Seq::new::<f32>(kind, SIZES, seed);
        let values = model.params_mut().values_mut().data_mut::<f32>().unwrap();
        values.iter_mut().for_each(|x| *x *= 1.5);
        let outputs = decode(&model, &sources(&pairs), DecodeOptions::greedy(6)).unwrap();
        let ids: Vec<&[u32]> = pairs.iter().map(|p| &p.source[..]).collect();
        let held: Vec<&[u32]> = pairs.iter().map(|p| &p.extended.source[..]).collect();
        let batch = SourceBatch::new(&ids).unwrap().with_copies(&held).unwrap();
        let source = Source::new(&batch, model.vocab().0, None).unwrap();
        let mut tape = Tape::inference();
        let params = model.params().bind(&mut tape);
        let mut from = model.encode(&mut tape, &params, &source, None).unwrap();
        let mut last = vec![SOS; pairs.len()];
        for t in 0..6 {
            let tokens = model.tokens(&last).unwrap();
            let out = model.step(&mut tape, &params, &from, &tokens).unwrap();
            let row = |t: &Tensor, row: usize| -> Vec<f64> {
                let width = t.shape().last();
                let numbers = t.data::<f32>().unwrap()[row * width..][..width].iter();
                numbers.map(|&x| f64::from(x)).collect()
            };
            for (n, output) in outputs.iter().enumerate().filter(|o| t < o.1.tokens.len()) {
                let (token, place) = (output.tokens[t], output.copied.as_ref().unwrap()[t]);
                let alpha = row(out.alpha.as_ref().unwrap(), n);
                let gate = row(out.gate.as_ref().unwrap(), n)[0];
                let p = row(out.logits.value(), n)[token as usize].exp();
                let share = |j: usize| if held[n][j] == token { alpha[j] } else { 0.0 };
                let all: f64 = (0..held[n].len()).map(share).sum();
                let part = all / (1.0 + gate.exp()) / p;
                match place {
                    Some(j) => {
                        assert!(part > 0.5 - F32, "{kind} {seed}: {part}");
                        assert!((0..held[n].len()).all(|k| share(k) <= share(j) + F32));
                        copied += 1;
                    }
                    None => {
                        assert!(part < 0.5 + F32, "{kind} {seed}: {part}");
                        partly += usize::from(part > 0.1);
                    }
                }
                last[n] = token;
            }
            from = out.state;
        }
    }
    assert!(
        copied > 20 && partly > 20,
        "{copied} copied, {partly} partly"
    );
}

/// Unknown tokens that stand anywhere in a source are learnt by heart only by copying; each output says
/// where its tokens are from.
#[test]
fn each_model_learns_to_copy() {
    learns_to_copy(ModelKind::Attention, 1e-2);
    learns_to_copy(ModelKind::Transformer, 3e-3);
}

fn learns_to_copy(kind: ModelKind, rate: f64) {
    let sizes = Seq2SeqSizes {
        source_vocab: 8,
        target_vocab: 8,
        embedding: 16,
        hidden: 24,
        layers: 1,
        heads: 2,
        copy: true,
        tied: false,
    };
    // "7 ? 6" asks for the unknown token behind 7, among other unknown ones.
    let pair = |place: usize| {
        let mut source = vec![UNK; 5];
        source[place] = 7;
        let mut held: Vec<u32> = (8..13).collect();
        held[place] = 7;
        let asked = held[place + 1];
        let extended = Extended {
            source: held,
            target: vec![6, asked],
            unknown: ["p", "q", "r", "s", "t"].map(str::to_owned).to_vec(),
        };
        Pair::new(source, extended, 8)
    };
    let pairs: Vec<Pair> = (0..4).map(pair).collect();
    let mut step = training(kind, sizes, rate, 1e-8);
    let inputs = step.model().inputs(&batch_of(&pairs)).unwrap();
    for n in 0..150 {
        step.train(&inputs, n).unwrap();
    }
    let scores = score(step.model(), &inputs).unwrap();
    assert_eq!(scores.correct as f64, scores.tokens, "{kind}: {scores:?}");
    for search in [Search::Greedy, Search::Beam(4)] {
        let options = DecodeOptions {
            search,
            ..DecodeOptions::greedy(4)
        };
        let outputs = decode(step.model(), &sources(&pairs), options).unwrap();
        for (place, (output, pair)) in outputs.iter().zip(&pairs).enumerate() {
            let Hypothesis { tokens, copied, .. } = output;
            assert_eq!(*tokens, pair.extended.target, "{kind} {search:?}");
            assert_eq!(*copied, Some(vec![None, Some(place + 1)]), "{search:?}");
        }
    }
}

#[test]
fn refused() {
    let model = model(SIZES);
    let options = DecodeOptions::greedy(3);
    let plain: &[u32] = &[5, 6];
    let error = decode(&model, &[plain], options).unwrap_err().to_string();
    assert!(error.contains("extended ids of the source"), "{error}");
    let pair = pairs(SIZES, 1).remove(0);
    let other = Extended {
        source: vec![4; pair.source.len() + 1],
        ..pair.extended.clone()
    };
    let batch = batch(&[(pair.source, pair.target)]);
    let shorter = Extended {
        target: Vec::new(),
        ..pair.extended.clone()
    };
    for extended in [&[&other][..], &[&shorter], &[], &[&pair.extended; 2]] {
        let copying = batch.clone().with_copies(extended);
        let error = copying.unwrap_err().to_string();
        assert!(error.contains("not as many"), "{error}");
    }
    let copying = batch_of(&pairs(SIZES, 5));
    model.inputs(&copying).unwrap();
    // A model that does not copy has no class for what is copied.
    for kind in ModelKind::ALL {
        let sizes = Seq2SeqSizes {
            copy: false,
            ..SIZES
        };
        let plain = Seq2Seq::new::<f32>(kind, sizes, 1);
        let error = plain.inputs(&copying).unwrap_err().to_string();
        assert!(error.contains("does not copy"), "{kind}: {error}");
    }
}
