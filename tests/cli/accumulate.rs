//! Steps whose gradients come from several batches: the same as one batch as large as all of them.

use serde_json::Value;

use super::schedule::{events, of_kind};
use super::seq2seq;
use super::support::{Place, assert_same_run, state_number};

/// Loss, cross-entropy, accuracy and norm of each step.
fn figures(place: &Place, run: &str) -> Vec<[f64; 4]> {
    let events = events(&place.path(run));
    let of = |e: &&Value| ["loss", "ce", "accuracy", "grad_norm"].map(|k| e[k].as_f64().unwrap());
    of_kind(&events, "step").iter().map(of).collect()
}

#[track_caller]
fn assert_near(a: &[[f64; 4]], b: &[[f64; 4]], tolerance: f64) {
    assert_eq!(a.len(), b.len());
    assert!(a.len() > 3);
    for (n, (a, b)) in a.iter().zip(b).enumerate() {
        for (x, y) in a.iter().zip(b) {
            assert!(
                (x - y).abs() <= tolerance * x.abs(),
                "step {n}: {a:?} and {b:?}"
            );
        }
    }
}

/// Sums in another order, in f32, carried through some steps of Adam.
const ROUNDING: f64 = 2e-4;

/// Kernels and CPU loops sum in other orders, in f32, and dropout makes the losses of small batches
/// differ more; carried through some steps of Adam.
const DEVICES: f64 = 1e-3;
/// Activations and products have the 11 bits of f16: half a unit in the last place is 5e-4, and a step
/// has some ten of them in a row.
const HALF: f64 = 5e-3;

const STEPS: &str = "--dropout 0 --log-every 1 --max-steps 6 --quiet";

#[test]
fn batches_that_are_added_up_are_as_one() {
    let place = Place::new();
    let clipped = "--clip-norm 0.05 --l2 0.01";
    for (run, flags) in [
        ("whole", "--batch-size 6"),
        ("halves", "--batch-size 3 --accumulate 2"),
        ("sixths", "--batch-size 1 --accumulate 6"),
    ] {
        place.train(run, &format!("{STEPS} {clipped} {flags}")).ok();
    }
    let whole = figures(&place, "whole");
    assert_near(&whole, &figures(&place, "halves"), ROUNDING);
    assert_near(&whole, &figures(&place, "sixths"), ROUNDING);
    assert!(
        whole.iter().all(|f| f[3] > 0.05),
        "nothing is clipped: {whole:?}"
    );
}

#[test]
fn batches_with_different_numbers_of_tokens_count_by_token() {
    let place = seq2seq::place();
    // Of 22 pairs the last step has four, the last of its batches one.
    for (run, flags) in [
        ("whole", "--batch-size 9"),
        ("parts", "--batch-size 3 --accumulate 3"),
    ] {
        let flags = format!("--model attention --clip-norm 0.5 {STEPS} {flags}");
        seq2seq::train(&place, run, &flags).ok();
    }
    let whole = figures(&place, "whole");
    assert_near(&whole, &figures(&place, "parts"), ROUNDING);
}

#[test]
fn a_run_that_goes_on_has_the_same_bits() {
    let place = Place::new();
    let flags = "--batch-size 2 --accumulate 3 --schedule cosine --epochs 2 --checkpoint-every 3 \
                 --keep 99";
    place.train("whole", &format!("{flags} --quiet")).ok();
    // Steps are the optimizer's: of 32 to 35 windows, five times six.
    assert_eq!(state_number(&place.path("whole"), "step"), 10);
    place.train("parts", &format!("{flags} --quiet")).ok();
    super::schedule::die_after(&place.path("parts"), 3);
    place.run("train-charlm --resume --out parts --quiet").ok();
    assert_same_run(&place.path("whole"), &place.path("parts"));
    place
        .run("train-charlm --resume --out parts --accumulate 2")
        .fails(2, &["accumulate = 2", "accumulate = 3"]);
    let place = seq2seq::place();
    let flags = "--model lstm --batch-size 3 --accumulate 3 --quiet --max-steps";
    seq2seq::train(&place, "whole", &format!("{flags} 7")).ok();
    for steps in ["2", "5 --resume", "7 --resume"] {
        seq2seq::train(&place, "parts", &format!("{flags} {steps}")).ok();
    }
    assert_same_run(&place.path("whole"), &place.path("parts"));
}

#[test]
fn a_gpu_adds_up_the_same_with_a_graph_and_without() {
    let place = Place::new();
    let flags = "--batch-size 3 --accumulate 2 --log-every 1 --max-steps 6 --quiet";
    place.train("cpu", &format!("{flags} --device cpu")).ok();
    let gpu = format!("{flags} --device emulated");
    place.train("f32", &format!("{gpu} --precision fp32")).ok();
    place.train("f16", &gpu).ok();
    let args = super::support::train_args("single", &gpu);
    let mut command = place.command(&args);
    super::support::Done::of(command.env("RNNX_GRAPH", "off").output().unwrap()).ok();
    // With dropout: each batch has masks of its own, the same on every device.
    let cpu = figures(&place, "cpu");
    assert_near(&cpu, &figures(&place, "f32"), DEVICES);
    let [f16, single] = ["f16", "single"].map(|run| figures(&place, run));
    assert_eq!(f16, single);
    for (a, b) in cpu.iter().zip(&f16) {
        assert!((a[0] - b[0]).abs() < HALF * a[0], "{a:?} and {b:?}");
    }
    let place = seq2seq::place();
    let flags =
        "--model attention --batch-size 3 --accumulate 3 --log-every 1 --max-steps 6 --quiet";
    for (run, device) in [("cpu", "cpu"), ("gpu", "emulated --precision fp32")] {
        seq2seq::train(&place, run, &format!("{flags} --device {device}")).ok();
    }
    assert_near(&figures(&place, "cpu"), &figures(&place, "gpu"), DEVICES);
}
