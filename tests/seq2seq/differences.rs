//! Every parameter of each whole model against central differences in f64, with dropout and with
//! the decoder's own predictions among its inputs.

use super::{Noise, batch, for_each_recurrent_kind, pass, random_pairs};
use rnnx::Error;
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
        let mut model = Seq2Seq::new::<f64>(kind, sizes, 3);
        let values = model.params_mut().values_mut().data_mut::<f64>().unwrap();
        values.iter_mut().for_each(|x| *x *= factor);
        let gradient = pass::<f64>(&model, &batch, noise).gradient;
        let gradient = gradient.data::<f64>().unwrap();
        let layout = model.params().layout().clone();
        for s in layout.segments() {
            let mut largest = 0.0f64;
            for (i, &analytic) in gradient
                .iter()
                .enumerate()
                .skip(s.offset)
                .take(s.shape.numel())
            {
                let mut loss_at = |delta: f64| {
                    let values = |model: &mut Seq2Seq, add: f64| {
                        let values = model.params_mut().values_mut();
                        values.data_mut::<f64>().unwrap()[i] += add;
                    };
                    values(&mut model, delta);
                    let loss = pass::<f64>(&model, &batch, noise).loss;
                    values(&mut model, -delta);
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

/// The decoder's inputs are those of the training pass itself: with a ratio of 0, reading the
/// predictions of the training pass changes nothing.
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
