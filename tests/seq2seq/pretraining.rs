//! The models as language models of their targets: what they read, what of them learns, and what they have
//! of it once they read sources.

use super::{Noise, Pairs, batch, for_each_kind, pass, random_pairs, sizes_of};
use rnnx::device::Gpu;
use rnnx::device::emulated::Emulated;
use rnnx::files::state::LossScaler;
use rnnx::optim::{Adam, AdamConfig, Clip};
use rnnx::programs::seq2seq::model::{ModelKind, Seq2Seq, Seq2SeqSizes};
use rnnx::train::model::Model;
use rnnx::train::step::{Step, score};
use std::ops::Range;

const SIZES: Seq2SeqSizes = Seq2SeqSizes {
    target_vocab: 9,
    ..super::SIZES
};
/// f32 on both sides: other orders of sums, and activations of other polynomials.
const F32: f64 = 2e-5;
/// Half precision keeps 11 bits: 5e-4 a rounding, a few of them in a row.
const F16: f64 = 1e-2;

/// Whether a parameter stands between the sources and the decoder's own layers.
fn is_of_sources(name: &str) -> bool {
    let before = ["encoder.", "bridge.", "attention.", "copy."];
    // Of a Transformer's decoder: the queries of the attention on the source are normalised by themselves, and
    // what it adds is its bias alone.
    let of_layer = [
        "multihead_attn.in_proj",
        "multihead_attn.out_proj.weight",
        "norm2.",
    ];
    before.iter().any(|start| name.starts_with(start))
        || name.starts_with("decoder.layers.") && of_layer.iter().any(|part| name.contains(part))
}

/// The columns of a weight that read a context, which is zero, beside what is not.
fn of_context(kind: ModelKind, name: &str) -> Range<usize> {
    let (e, h) = (SIZES.embedding, SIZES.hidden);
    match (kind, name) {
        (ModelKind::Rnn | ModelKind::Gru, "decoder.rnn.weight_ih_l0") => e..e + h,
        (ModelKind::Attention, "decoder.rnn.weight_ih_l0") => e..e + 2 * h,
        (ModelKind::Attention, "out.weight" | "out.hidden.weight") => h..3 * h,
        _ => 0..0,
    }
}

/// Models of this kind, plain ones and others.
fn models(kind: ModelKind) -> Vec<Seq2Seq> {
    let more = Seq2SeqSizes {
        layers: 3,
        copy: kind.attends(),
        tied: true,
        ..SIZES
    };
    let sizes = [sizes_of(kind, SIZES), more];
    sizes
        .map(|sizes| Seq2Seq::new::<f64>(kind, sizes, 3))
        .into()
}

#[test]
fn what_only_sources_reach_has_no_gradient_and_all_else_has() {
    let pairs = random_pairs(SIZES, 9, 7);
    let noise = Noise {
        dropout: Some(0.2),
        ..Noise::default()
    };
    for_each_kind(|kind| {
        for model in models(kind) {
            let model = model.without_source();
            let gradient = pass::<f64>(&model, &batch(&pairs), noise).gradient;
            let gradient = gradient.data::<f64>().unwrap();
            for segment in model.params().layout().segments() {
                let part = &gradient[segment.offset..][..segment.shape.numel()];
                let is_zero = part.iter().all(|g| *g == 0.0);
                let name = &segment.name;
                assert_eq!(is_zero, is_of_sources(name), "{kind}: {name}");
                let context = of_context(kind, name);
                for row in part.chunks(segment.shape.last()) {
                    let mut columns = row[context.clone()].iter();
                    assert!(columns.all(|g| *g == 0.0), "{kind}: {name}");
                }
            }
        }
    });
}

/// A model whose encoder gives zeros, as all of its weights are, is the same.
#[test]
fn it_starts_from_zero_whatever_the_source() {
    let pairs = random_pairs(SIZES, 9, 7);
    let other: Pairs = pairs.iter().map(|p| (vec![4], p.1.clone())).collect();
    for_each_kind(|kind| {
        let model = Seq2Seq::new::<f64>(kind, sizes_of(kind, SIZES), 3);
        let loss = |model: &Seq2Seq, pairs: &Pairs| {
            let inputs = model.inputs(&batch(pairs)).unwrap();
            score(model, &inputs).unwrap().loss
        };
        // Its own, as the other one's values change.
        let alone = Seq2Seq::new::<f64>(kind, sizes_of(kind, SIZES), 3).without_source();
        let found = loss(&alone, &pairs);
        assert_eq!(found, loss(&alone, &other), "{kind}");
        assert_ne!(found, loss(&model, &pairs), "{kind}");
        let mut zero = model;
        let segments = zero.params().layout().segments().to_vec();
        let values = zero.params_mut().values_mut().data_mut::<f64>().unwrap();
        for segment in segments {
            if ["encoder.", "bridge."]
                .iter()
                .any(|s| segment.name.starts_with(s))
            {
                values[segment.offset..][..segment.shape.numel()].fill(0.0);
            }
        }
        let want = loss(&zero, &pairs);
        assert!(
            (found - want).abs() < 1e-12,
            "{kind}: {found} is not {want}"
        );
    });
}

/// What a model that copies has besides takes no part: neither in the loss nor in batches.
#[test]
fn one_that_copies_is_one_that_does_not() {
    let pairs = random_pairs(SIZES, 9, 7);
    for kind in [ModelKind::Attention, ModelKind::Transformer] {
        let losses = [false, true].map(|copy| {
            let sizes = Seq2SeqSizes {
                copy,
                ..sizes_of(kind, SIZES)
            };
            let model = Seq2Seq::new::<f64>(kind, sizes, 3).without_source();
            assert!(!model.copies());
            score(&model, &model.inputs(&batch(&pairs)).unwrap())
                .unwrap()
                .loss
        });
        assert_eq!(losses[0], losses[1], "{kind}");
    }
}

#[test]
fn steps_on_the_emulated_device() {
    let pairs = random_pairs(SIZES, 6, 6);
    let scaler = LossScaler {
        scale: 1024.0,
        ..LossScaler::FIRST
    };
    for (scaler, tolerance) in [(None, F32), (Some(scaler), F16)] {
        for kind in [ModelKind::Gru, ModelKind::Attention, ModelKind::Transformer] {
            let step = |gpu: bool| {
                let model = Seq2Seq::new::<f32>(kind, SIZES, 5).without_source();
                let adam = Adam::new::<f32>(AdamConfig::torch(1e-3), model.params().layout());
                let mut step = Step::new(model, adam, Clip::Off, 2);
                if gpu {
                    step = step.to_gpu(&Gpu::new(Emulated::new(0)), scaler).unwrap();
                }
                let inputs = step.model().inputs(&batch(&pairs)).unwrap();
                step.train(&inputs, 0).unwrap()
            };
            let (got, want) = (step(true), step(false));
            for (got, want) in [(got.loss, want.loss), (got.grad_norm, want.grad_norm)] {
                assert!(
                    (got - want).abs() < tolerance * want,
                    "{kind}: {got} {want}"
                );
            }
        }
    }
}

// ---- what it is good for ---------------------------------------------------------------------

/// A world in which each token has one that follows it: the source says where to begin.
mod chain {
    use super::Pairs;
    use rnnx::programs::seq2seq::model::Seq2SeqSizes;

    /// Tokens but the special ones.
    const TOKENS: u32 = 16;

    pub const SIZES: Seq2SeqSizes = Seq2SeqSizes {
        source_vocab: 4 + TOKENS as usize,
        target_vocab: 4 + TOKENS as usize,
        embedding: 16,
        hidden: 24,
        layers: 1,
        heads: 4,
        copy: false,
        tied: false,
    };

    /// A pair that begins with a token: 7 and 16 have no common divisor, so that every token comes.
    fn pair(first: u32) -> (Vec<u32>, Vec<u32>) {
        let target = (0..6).map(|i| 4 + (first + 7 * i) % TOKENS);
        (vec![4 + first], target.collect())
    }

    pub fn all() -> Pairs {
        (0..TOKENS).map(pair).collect()
    }

    /// A few of them.
    pub fn described() -> Pairs {
        [0, 3, 5].map(pair).into()
    }

    /// Others.
    pub fn held_out() -> Pairs {
        [9, 10, 14].map(pair).into()
    }
}

/// Trains a model on pairs, for so many steps.
fn trained(model: Seq2Seq, pairs: &Pairs, steps: u64) -> Seq2Seq {
    let adam = Adam::new::<f32>(AdamConfig::torch(5e-3), model.params().layout());
    let clip = Clip::Global {
        max: 5.0,
        epsilon: 1e-6,
    };
    let inputs = model.inputs(&batch(pairs)).unwrap();
    let mut step = Step::new(model, adam, clip, 1);
    for n in 0..steps {
        step.train(&inputs, n).unwrap();
    }
    step.model().clone()
}

/// After as many steps on the same few pairs a decoder that knew what follows what writes others with a loss of
/// 0.9 to 2 nats a token less than one that did not.
#[test]
fn a_decoder_that_knows_the_language_needs_fewer_pairs() {
    for_each_kind(|kind| {
        let fresh = || Seq2Seq::new::<f32>(kind, chain::SIZES, 1);
        let learned = trained(fresh().without_source(), &chain::all(), 120);
        let mut known = fresh();
        known.import(&learned.export().unwrap()).unwrap();
        let loss = |model: Seq2Seq| {
            let model = trained(model, &chain::described(), 10);
            let inputs = model.inputs(&batch(&chain::held_out())).unwrap();
            score(&model, &inputs).unwrap().loss
        };
        let (with, without) = (loss(known), loss(fresh()));
        assert!(with < without - 0.6, "{kind}: {with}, without {without}");
    });
}
