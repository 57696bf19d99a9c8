use super::{ODD, assert_refused, check_op, f32s, f64s, u32s};
use crate::support::random;
use rnnx::autograd::{Tape, Var};
use rnnx::ops::{add, dropout, variational_dropout};
use rnnx::rng::{Purpose, Stream};

fn stream() -> Stream {
    Stream::new(5, Purpose::Dropout, 9).lane(1)
}

/// Which of n elements the formula keeps: those whose word is at least p * 2^32.
fn kept(stream: Stream, p: f64, n: usize) -> Vec<bool> {
    let threshold = (p * 2f64.powi(32)) as u32;
    (0..n as u64).map(|i| stream.word(i) >= threshold).collect()
}

/// Dropout of ones in f64.
fn of_ones(stream: Stream, p: f64, n: usize) -> Vec<f64> {
    let ones = Var::constant(f64s(&vec![1.0; n], [n]));
    let y = dropout(&mut Tape::inference(), &ones, p, stream).unwrap();
    y.value().data::<f64>().unwrap().to_vec()
}

#[test]
fn gradients_and_threads() {
    for n in ODD.into_iter().chain([2 * (1 << 14) + 33]) {
        check_op(&format!("dropout {n}"), &[random(0, [n])], |tape, v| {
            Ok(vec![dropout(tape, &v[0], 0.3, stream())?])
        });
    }
    check_op(
        "dropout of one value twice",
        &[random(0, [70])],
        |tape, v| {
            let a = dropout(tape, &v[0], 0.5, stream())?;
            let b = dropout(tape, &v[0], 0.5, stream().lane(2))?;
            Ok(vec![add(tape, &a, &b)?])
        },
    );
}

#[test]
fn an_element_is_kept_by_its_word() {
    // Beyond two tasks, not a multiple of 64.
    for n in [1, 63, 64, 65, 257, 2 * (1 << 14) + 33] {
        for p in [0.01, 0.2, 0.5, 0.9] {
            let scale = 1.0 / (1.0 - p);
            let kept = kept(stream(), p, n);
            let expected: Vec<f64> = kept.iter().map(|&k| if k { scale } else { 0.0 }).collect();
            assert_eq!(of_ones(stream(), p, n), expected, "n = {n}, p = {p}");
        }
    }
}

#[test]
fn the_gradient_is_the_scaled_mask() {
    let n = 257;
    let mut tape = Tape::new();
    let x = tape.leaf(random(0, [n]));
    let y = dropout(&mut tape, &x, 0.3, stream()).unwrap();
    let mut grads = tape.backward(&y, f64s(&vec![1.0; n], [n])).unwrap();
    let dx = grads.take(x.slot()).unwrap();
    assert_eq!(dx.data::<f64>().unwrap(), of_ones(stream(), 0.3, n));
}

#[test]
fn f32_and_f64_have_one_mask() {
    let n = 1000;
    let ones = Var::constant(f32s(&vec![1.0; n], [n]));
    let y = dropout(&mut Tape::inference(), &ones, 0.4, stream()).unwrap();
    let narrow: Vec<bool> = y
        .value()
        .data::<f32>()
        .unwrap()
        .iter()
        .map(|&y| y != 0.0)
        .collect();
    let wide: Vec<bool> = of_ones(stream(), 0.4, n)
        .iter()
        .map(|&y| y != 0.0)
        .collect();
    assert_eq!(narrow, wide);
}

/// Every step keeps what the first one keeps, which is what dropout of that step alone keeps.
#[test]
fn variational_dropout_repeats_one_mask() {
    // Beyond a task, below and above a word of the mask, and one step.
    for shape in [[5, 3, 7], [3, 1, 64], [2, 3, (1 << 14) + 5], [1, 2, 40]] {
        let (n, period) = (shape.iter().product::<usize>(), shape[1] * shape[2]);
        let op = format!("variational_dropout {shape:?}");
        if n < 1000 {
            check_op(&op, &[random(0, shape)], |tape, v| {
                Ok(vec![variational_dropout(tape, &v[0], 0.3, stream(), None)?])
            });
        }
        let ones = Var::constant(f64s(&vec![1.0; n], shape));
        let y = variational_dropout(&mut Tape::inference(), &ones, 0.3, stream(), None).unwrap();
        let step = of_ones(stream(), 0.3, period);
        let y = y.value().data::<f64>().unwrap();
        assert!(y.chunks(period).all(|y| y == step), "{shape:?}");
    }
}

#[test]
fn frequencies_and_mean() {
    let n = 200_000;
    for p in [0.05, 0.3, 0.5, 0.8] {
        let y = of_ones(stream(), p, n);
        let dropped = y.iter().filter(|&&y| y == 0.0).count() as f64;
        // 4 standard deviations of a binomial count.
        let four_sigma = 4.0 * (n as f64 * p * (1.0 - p)).sqrt();
        assert!(
            (dropped - n as f64 * p).abs() < four_sigma,
            "p = {p}: {dropped}"
        );
        // A kept one counts 1 / (1 - p), so the mean's deviation is that much wider.
        let mean = y.iter().sum::<f64>() / n as f64;
        assert!(
            (mean - 1.0).abs() < four_sigma / (1.0 - p) / n as f64,
            "p = {p}: {mean}"
        );
    }
}

#[test]
fn masks_differ_by_lane_step_and_seed() {
    let base = Stream::new(5, Purpose::Dropout, 9);
    let mask = |stream| of_ones(stream, 0.5, 256);
    assert_eq!(mask(base), mask(base));
    for other in [
        base.lane(1),
        Stream::new(5, Purpose::Dropout, 10),
        Stream::new(6, Purpose::Dropout, 9),
    ] {
        let equal = mask(base)
            .iter()
            .zip(mask(other))
            .filter(|(a, b)| *a == b)
            .count();
        // Half of 256 agree by chance; 4 standard deviations are 32.
        assert!((96..=160).contains(&equal), "{equal} of 256 agree");
    }
}

#[test]
fn without_probability_it_is_the_identity() {
    let mut tape = Tape::new();
    let x = tape.leaf(random(0, [7]));
    let y = dropout(&mut tape, &x, 0.0, stream()).unwrap();
    assert_eq!(y.slot(), x.slot());
    assert_eq!(
        y.value().data::<f64>().unwrap(),
        x.value().data::<f64>().unwrap()
    );
}

#[test]
fn refused() {
    let mut tape = Tape::new();
    let x = Var::constant(random(0, [7]));
    for (p, name) in [(1.0, "1"), (-0.1, "-0.1"), (f64::NAN, "NaN"), (2.5, "2.5")] {
        assert_refused(
            dropout(&mut tape, &x, p, stream()),
            &["dropout", name, "[0, 1)"],
        );
    }
    let result = variational_dropout(&mut tape, &x, 1.0, stream(), None);
    assert_refused(result, &["dropout", "1", "[0, 1)"]);
    let ids = Var::constant(u32s(&[1], [1]));
    assert_refused(dropout(&mut tape, &ids, 0.5, stream()), &["dropout", "u32"]);
}
