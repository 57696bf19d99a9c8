//! Every parameter of each whole model against central differences in f64, with dropout, with the decoder's
//! own predictions among its inputs, and with what is copied.

use super::extended::{self, batch_of};
use super::{Noise, batch, for_each_recurrent_kind, pass, random_pairs};
use rnnx::Error;
use rnnx::data::words::EOS;
use rnnx::programs::seq2seq::data::SeqBatch;
use rnnx::programs::seq2seq::model::{ModelKind, Seq2Seq, Seq2SeqSizes};
use rnnx::rng::{Purpose, Stream};
use rnnx::train::model::{Draws, Model};
use rnnx::train::step::score;

/// Central differences with step 6e-7: rounding some 1e-9 relative to 1, and truncation up to 4e-9 where rows of
/// three numbers are normalised behind large weights (4e-8 with a step of 2e-6).
const DIFFERENCE: f64 = 1e-8;
const STEP: f64 = 6e-7;

const SIZES: Seq2SeqSizes = Seq2SeqSizes {
    source_vocab: 9,
    target_vocab: 8,
    embedding: 3,
    hidden: 5,
    layers: 1,
    heads: 3,
    copy: false,
    tied: false,
};

/// The models whose decoder can read its own predictions in training.
fn recurrent() -> Vec<ModelKind> {
    let kinds = ModelKind::ALL.into_iter();
    kinds
        .filter(|kind| *kind != ModelKind::Transformer)
        .collect()
}

fn check(kinds: &[ModelKind], noise: Noise) {
    check_of(kinds, SIZES, 2.5, noise);
}

/// With weights so many times as large as at the start of training: the attention leaves its nearly
/// uniform start.
fn check_of(kinds: &[ModelKind], sizes: Seq2SeqSizes, factor: f64, noise: Noise) {
    let batch = batch(&random_pairs(sizes, 5, 5));
    for &kind in kinds {
        check_batch(kind, sizes, factor, &batch, noise);
    }
}

fn check_batch(kind: ModelKind, sizes: Seq2SeqSizes, factor: f64, batch: &SeqBatch, noise: Noise) {
    let mut model = Seq2Seq::new::<f64>(kind, sizes, 3);
    let values = model.params_mut().values_mut().data_mut::<f64>().unwrap();
    values.iter_mut().for_each(|x| *x *= factor);
    let gradient = pass::<f64>(&model, batch, noise).gradient;
    let gradient = gradient.data::<f64>().unwrap();
    let layout = model.params().layout().clone();
    for s in layout.segments() {
        let mut largest = 0.0f64;
        let of_segment = gradient.iter().enumerate().skip(s.offset);
        for (i, &analytic) in of_segment.take(s.shape.numel()) {
            let mut loss_at = |delta: f64| {
                let before = model.params().values().data::<f64>().unwrap()[i];
                let set = |model: &mut Seq2Seq, x: f64| {
                    let values = model.params_mut().values_mut();
                    values.data_mut::<f64>().unwrap()[i] = x;
                };
                set(&mut model, before + delta);
                let loss = pass::<f64>(&model, batch, noise).loss;
                set(&mut model, before);
                loss
            };
            let difference = (loss_at(STEP) - loss_at(-STEP)) / (2.0 * STEP);
            largest = largest.max(analytic.abs());
            assert!(
                (analytic - difference).abs() < DIFFERENCE,
                "{kind} {}[{}]: backward gives {analytic}, differences give {difference}",
                s.name,
                i - s.offset
            );
        }
        assert!(
            largest > 1e4 * DIFFERENCE,
            "{kind} {}: gradients are too small to be tested",
            s.name
        );
    }
}

#[test]
fn whole_models_with_dropout() {
    let noise = Noise {
        dropout: Some(0.3),
        ..Noise::default()
    };
    check(&ModelKind::ALL, noise);
}

#[test]
fn whole_models_that_read_their_own_predictions() {
    let noise = Noise {
        dropout: Some(0.2),
        teacher: Some(0.5),
        ..Noise::default()
    };
    check(&recurrent(), noise);
}

#[test]
fn a_transformer_reads_no_predictions() {
    let model = Seq2Seq::new::<f32>(ModelKind::Transformer, SIZES, 1).with_teacher_forcing(0.5);
    let inputs = model.inputs(&batch(&random_pairs(SIZES, 5, 5))).unwrap();
    let mut tape = rnnx::autograd::Tape::inference();
    let params = model.params().bind(&mut tape);
    let result = model.loss(&mut tape, &params, &inputs, Some(&Draws::new(9, 3)));
    let Err(Error::Op { message, .. }) = result else {
        panic!("this must be refused");
    };
    assert!(message.contains("teacher forcing is 1"), "{message}");
}

/// Three recurrent layers: one that reads the first one's outputs, and one that reads sums.
#[test]
fn whole_models_of_three_layers() {
    let sizes = Seq2SeqSizes {
        source_vocab: 7,
        target_vocab: 7,
        embedding: 2,
        hidden: 2,
        layers: 3,
        ..SIZES
    };
    let noise = Noise {
        dropout: Some(0.2),
        teacher: Some(0.5),
        ..Noise::default()
    };
    check_of(&recurrent(), sizes, 2.0, noise);
}

/// With smoothed labels, and with dropout before an output layer of either kind alone.
#[test]
fn whole_models_with_smoothed_labels_and_output_dropout() {
    for tied in [false, true] {
        let sizes = Seq2SeqSizes {
            source_vocab: 7,
            target_vocab: 7,
            embedding: 3,
            hidden: 3,
            tied,
            ..SIZES
        };
        let noise = Noise {
            output: Some(0.3),
            smoothing: 0.2,
            ..Noise::default()
        };
        check_of(&ModelKind::ALL, sizes, 2.0, noise);
    }
}

/// Models that copy, their own output layer and one that is the embedding, too; with their own predictions
/// among what they read, where they can, some of which are no words.
#[test]
fn whole_models_that_copy() {
    for (kind, teacher) in [
        (ModelKind::Attention, Some(0.5)),
        (ModelKind::Transformer, None),
    ] {
        for tied in [false, true] {
            let sizes = Seq2SeqSizes {
                target_vocab: 9,
                hidden: 4,
                heads: 1,
                copy: true,
                tied,
                ..SIZES
            };
            let layout = Seq2Seq::layout(kind, sizes);
            let names: Vec<&str> = layout.segments().iter().map(|s| &*s.name).collect();
            assert!(
                names.ends_with(&["copy.gate.weight", "copy.gate.bias"]),
                "{names:?}"
            );
            assert_eq!(names.contains(&"out.weight"), !tied, "{names:?}");
            let batch = batch_of(&extended::pairs(sizes, 4));
            let is_word = |id: &u32| (*id as usize) < sizes.target_vocab;
            assert!(!batch.targets.iter().all(is_word) && batch.inputs.iter().all(is_word));
            let noise = Noise {
                dropout: Some(0.3),
                teacher,
                ..Noise::default()
            };
            check_batch(kind, sizes, 2.5, &batch, noise);
        }
    }
}

/// What the output layer drops unless that is set: as much as others where embeddings are tied, and else
/// nothing. And a batch that is scored has neither of the two.
#[test]
fn output_dropout_and_smoothing_are_for_training() {
    for tied in [false, true] {
        let sizes = Seq2SeqSizes { tied, ..SIZES };
        let batch = batch(&random_pairs(sizes, 20, 6));
        let model = Seq2Seq::new::<f64>(ModelKind::Lstm, sizes, 3);
        let loss = |output: Option<f64>, smoothing: f64| {
            let noise = Noise {
                dropout: Some(0.3),
                output,
                smoothing,
                ..Noise::default()
            };
            pass::<f64>(&model, &batch, noise).loss
        };
        let (unset, none, some) = (loss(None, 0.0), loss(Some(0.0), 0.0), loss(Some(0.3), 0.0));
        assert_ne!(none, some);
        assert_eq!(unset, if tied { some } else { none }, "tied: {tied}");
        assert_ne!(unset, loss(None, 0.1));
        let inputs = model.inputs(&batch).unwrap();
        let plain = score(&model, &inputs).unwrap();
        let model = model.clone().with_output_dropout(Some(0.5));
        let other = score(&model.with_label_smoothing(0.5), &inputs).unwrap();
        assert_eq!((plain.loss, plain.ce), (other.loss, other.ce));
    }
}

/// What is predicted before the training pass is what that would predict: both drop the same of what their
/// layers read. The likeliest token of a step is the target that has the least loss there.
#[test]
fn predictions_are_those_of_the_training_pass() {
    let sizes = Seq2SeqSizes { layers: 3, ..SIZES };
    let mut changed = 0;
    for kind in recurrent() {
        for seed in 0..6 {
            let mut model = Seq2Seq::new::<f64>(kind, sizes, seed);
            let values = model.params_mut().values_mut().data_mut::<f64>().unwrap();
            values.iter_mut().for_each(|x| *x *= 2.0);
            let loss = |batch: &SeqBatch, teacher: Option<f64>| {
                let noise = Noise {
                    dropout: Some(0.5),
                    teacher,
                    ..Noise::default()
                };
                pass::<f64>(&model, batch, noise).loss
            };
            let mut batch = batch(&[(vec![5, 7, 4], vec![4, 6, 5])]);
            let (taught, free) = (loss(&batch, None), loss(&batch, Some(0.0)));
            for t in 0..3 {
                let of = |token: &u32| {
                    let mut batch = batch.clone();
                    batch.targets[t] = *token;
                    loss(&batch, None)
                };
                let tokens = EOS..sizes.target_vocab as u32;
                let likeliest = tokens.min_by(|a, b| of(a).total_cmp(&of(b)));
                batch.inputs[t + 1] = likeliest.unwrap();
            }
            // The same numbers, from one pass and from two.
            let read = loss(&batch, None);
            assert!((free - read).abs() < 1e-12, "{kind} {seed}: {free} {read}");
            changed += usize::from(free != taught);
        }
    }
    assert!(changed > 20, "{changed} of 24 read something else");
}

/// Some of the decoder's inputs are its own predictions, the more the lower the ratio.
#[test]
fn a_ratio_between_mixes_the_two() {
    let pairs = random_pairs(SIZES, 40, 6);
    let batch = batch(&pairs);
    for_each_recurrent_kind(|kind| {
        let model = Seq2Seq::new::<f64>(kind, SIZES, 3);
        let loss = |teacher: Option<f64>| {
            let noise = Noise {
                teacher,
                ..Noise::default()
            };
            pass::<f64>(&model, &batch, noise).loss
        };
        assert_eq!(loss(None), loss(Some(1.0)), "{kind}");
        let (all, half, none) = (loss(Some(1.0)), loss(Some(0.5)), loss(Some(0.0)));
        assert!(
            all != half && half != none && all != none,
            "{kind}: {all} {half} {none}"
        );
        assert_eq!(half, loss(Some(0.5)), "{kind}: the same coins");
    });
    // The coins are fair: 32-bit words against the ratio.
    let coins = Stream::new(9, Purpose::TeacherForcing, 3);
    let heads = (0..10_000).filter(|&i| coins.word(i) >= 1 << 31).count();
    assert!((4_800..5_200).contains(&heads), "{heads} of 10000"); // 4 standard errors
}
