//! The models that copy, with additive attention and of attention alone: gradients of the whole model, the
//! emulated device, and decoding of tokens that are no words.

use super::{batch, random_pairs};
use rnnx::data::words::{EOS, UNK};
use rnnx::device::Gpu;
use rnnx::device::emulated::Emulated;
use rnnx::files::state::LossScaler;
use rnnx::optim::{Adam, AdamConfig, Clip};
use rnnx::programs::seq2seq::copying::Extended;
use rnnx::programs::seq2seq::data::SeqBatch;
use rnnx::programs::seq2seq::decode::{
    DecodeOptions, Hypothesis, Search, SourceIds, decode, decode_n_best,
};
use rnnx::programs::seq2seq::model::{ModelKind, Seq2Seq, Seq2SeqSizes};
use rnnx::train::model::Model;
use rnnx::train::step::{Step, score};

use super::{Noise, Number, pass};

/// Central differences with step 2e-6: truncation below 2e-9 also where rows of three numbers are
/// normalised, rounding 1e-10, relative to 1.
const DIFFERENCE: f64 = 1e-8;
const STEP: f64 = 2e-6;
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

fn model<T: Number>(sizes: Seq2SeqSizes) -> Seq2Seq {
    of_kind::<T>(ModelKind::Attention, sizes)
}

fn of_kind<T: Number>(kind: ModelKind, sizes: Seq2SeqSizes) -> Seq2Seq {
    Seq2Seq::new::<T>(kind, sizes, 3)
}

/// A pair whose source and target have unknown tokens.
pub struct Pair {
    source: Vec<u32>,
    target: Vec<u32>,
    extended: Extended,
}

/// Random pairs. Of the target's tokens every other one stands in its source, a third of which is
/// unknown.
pub fn pairs(sizes: Seq2SeqSizes, count: usize) -> Vec<Pair> {
    let v = sizes.target_vocab as u32;
    let pair = |(source, target): (Vec<u32>, Vec<u32>)| {
        let place = |j: usize, id: u32| match j % 3 {
            0 => v + (id % 4),
            _ => 4 + id % (v - 4),
        };
        let of_source: Vec<u32> = source
            .iter()
            .enumerate()
            .map(|(j, &id)| place(j, id))
            .collect();
        let of_target = target.iter().enumerate().map(|(i, &id)| match i % 2 {
            0 => of_source[i % of_source.len()],
            _ => [id, UNK][usize::from(id == 5)],
        });
        let of_target: Vec<u32> = of_target.collect();
        let known = of_target.iter().map(|&id| if id < v { id } else { UNK });
        Pair {
            target: known.collect(),
            source,
            extended: Extended {
                source: of_source,
                target: of_target,
                unknown: ["p", "q", "r", "s"].map(str::to_owned).to_vec(),
            },
        }
    };
    random_pairs(sizes, count, 6)
        .into_iter()
        .map(pair)
        .collect()
}

pub fn batch_of(pairs: &[Pair]) -> SeqBatch {
    let plain: Vec<_> = pairs
        .iter()
        .map(|p| (p.source.clone(), p.target.clone()))
        .collect();
    let extended: Vec<&Extended> = pairs.iter().map(|p| &p.extended).collect();
    batch(&plain).with_copies(&extended).unwrap()
}

fn sources(pairs: &[Pair]) -> Vec<SourceIds<'_>> {
    let of = |pair| {
        let Pair {
            source, extended, ..
        }: &Pair = pair;
        SourceIds {
            ids: source,
            extended: Some(extended),
        }
    };
    pairs.iter().map(of).collect()
}

/// Every parameter against central differences in f64, with dropout and with the decoder's own
/// predictions among its inputs.
#[test]
fn gradients_of_whole_models() {
    gradients(ModelKind::Attention, Some(0.5));
    gradients(ModelKind::Transformer, None);
}

fn gradients(kind: ModelKind, teacher: Option<f64>) {
    let sizes = Seq2SeqSizes {
        source_vocab: 9,
        embedding: 3,
        hidden: 4,
        ..SIZES
    };
    let batch = batch_of(&pairs(sizes, 4));
    assert!(
        batch
            .targets
            .iter()
            .any(|&id| id as usize >= SIZES.target_vocab)
    );
    assert!(
        batch
            .inputs
            .iter()
            .all(|&id| (id as usize) < SIZES.target_vocab)
    );
    let mut model = of_kind::<f64>(kind, sizes);
    let values = model.params_mut().values_mut().data_mut::<f64>().unwrap();
    values.iter_mut().for_each(|x| *x *= 2.5);
    let noise = Noise {
        dropout: Some(0.3),
        teacher,
        ..Noise::default()
    };
    let gradient = pass::<f64>(&model, &batch, noise).gradient;
    let gradient = gradient.data::<f64>().unwrap();
    let layout = model.params().layout().clone();
    let names: Vec<&str> = layout.segments().iter().map(|s| &*s.name).collect();
    assert!(
        names.ends_with(&["copy.gate.weight", "copy.gate.bias"]),
        "{names:?}"
    );
    for s in layout.segments() {
        let mut largest = 0.0f64;
        let of_segment = gradient.iter().enumerate().skip(s.offset);
        for (i, &analytic) in of_segment.take(s.shape.numel()) {
            let mut loss_at = |delta: f64| {
                let values = model.params_mut().values_mut();
                let value = &mut values.data_mut::<f64>().unwrap()[i];
                let before = std::mem::replace(value, *value + delta);
                let loss = pass::<f64>(&model, &batch, noise).loss;
                let values = model.params_mut().values_mut();
                values.data_mut::<f64>().unwrap()[i] = before;
                loss
            };
            let difference = (loss_at(STEP) - loss_at(-STEP)) / (2.0 * STEP);
            largest = largest.max(analytic.abs());
            let name = &s.name;
            assert!(
                (analytic - difference).abs() < DIFFERENCE,
                "{kind} {name}[{}]: backward gives {analytic}, differences give {difference}",
                i - s.offset
            );
        }
        assert!(
            largest > 1e4 * DIFFERENCE,
            "{kind} {}: too small to be tested",
            s.name
        );
    }
}

fn training(kind: ModelKind, sizes: Seq2SeqSizes, rate: f64, epsilon: f64) -> Step<Seq2Seq> {
    let model = of_kind::<f32>(kind, sizes);
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
    let cpu = of_kind::<f32>(kind, SIZES);
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
    let mut model = model::<f32>(sizes);
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
        Pair {
            source,
            target: vec![6, UNK],
            extended: Extended {
                source: held,
                target: vec![6, asked],
                unknown: ["p", "q", "r", "s", "t"].map(str::to_owned).to_vec(),
            },
        }
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
    let model = model::<f32>(SIZES);
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
