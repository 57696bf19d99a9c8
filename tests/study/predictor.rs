//! Models as predictors: what they say before anything is read, after a reset, and after a return.

use rnnx::nn::CellKind;
use rnnx::programs::charlm::generate::generator::Generator;
use rnnx::programs::charlm::study::predictor::{Oracle, Predictor, Recurrent, Uniform};

use super::weights::{Sizes, weights};

const V: usize = 7;

fn said(predictor: &mut dyn Predictor) -> Vec<f32> {
    let mut probabilities = vec![0.0; predictor.vocab()];
    predictor.predict(&mut probabilities);
    probabilities
}

fn read(predictor: &mut dyn Predictor, ids: &[u32]) {
    for &id in ids {
        predictor.read(id);
    }
}

/// The softmax in f64 of the logits after these characters from a zero state.
fn wanted(generator: &mut Generator, ids: &[u16]) -> Vec<f64> {
    generator.reset();
    let mut logits = Vec::new();
    for &id in ids {
        logits = generator.step(&[id]).to_vec();
    }
    let sum: f64 = logits.iter().map(|&x| f64::from(x).exp()).sum();
    logits.iter().map(|&x| f64::from(x).exp() / sum).collect()
}

#[test]
fn a_character_lm_reads_from_a_zero_state() {
    for cell in CellKind::ALL {
        let sizes = Sizes {
            v: V,
            e: 5,
            h: 19,
            layers: 2,
        };
        let weights = weights(cell, sizes, 3);
        let mut generator = Generator::new(&weights, 1).unwrap();
        let mut model = Recurrent::new(Generator::new(&weights, 1).unwrap(), 4);
        assert_eq!(model.vocab(), V);
        let mut check = |model: &mut Recurrent, ids: &[u16]| {
            for (p, want) in said(model).into_iter().zip(wanted(&mut generator, ids)) {
                assert!((f64::from(p) - want).abs() < 1e-6, "{cell}: {p} {want}");
            }
        };
        // Before anything is read: behind the character that a text begins after, which is not read.
        check(&mut model, &[4]);
        read(&mut model, &[1, 2]);
        check(&mut model, &[1, 2]);
        // A return is to the bit, wherever it is from.
        model.hold();
        let held = said(&mut model);
        read(&mut model, &[5]);
        let next = said(&mut model);
        for away in [&[6][..], &[3, 3, 0], &[]] {
            read(&mut model, away);
            model.rewind();
            assert_eq!(said(&mut model), held, "{cell}");
            read(&mut model, &[5]);
            assert_eq!(said(&mut model), next, "{cell}");
        }
        model.reset();
        check(&mut model, &[4]);
        read(&mut model, &[1]);
        check(&mut model, &[1]);
    }
}

#[test]
fn the_oracle_knows_its_file_and_nothing_else() {
    let ids = [2, 0, 1];
    let mut oracle = Oracle::new(&ids, 3);
    let (one, alike) = (
        |id: usize| {
            let mut one = [0.0f32; 3];
            one[id] = 1.0;
            one
        },
        [1.0f32 / 3.0; 3],
    );
    assert_eq!(said(&mut oracle), one(2));
    read(&mut oracle, &[2]);
    oracle.hold();
    assert_eq!(said(&mut oracle), one(0));
    read(&mut oracle, &[1]); // another character
    assert_eq!(said(&mut oracle), alike);
    oracle.rewind();
    read(&mut oracle, &[0, 1]); // to the end
    assert_eq!(said(&mut oracle), alike);
    oracle.reset();
    assert_eq!(said(&mut oracle), one(2));
    assert_eq!(said(&mut Uniform { vocab: 3 }), alike);
}
