use super::{ODD, assert_refused, check_op, f32s, u32s};
use crate::support::random;
use rnnx::autograd::{Tape, Var};
use rnnx::ops::{add, mean, sum, sum_squares};

#[test]
fn sums_and_squares() {
    // The last size is more than two parallel tasks.
    for n in ODD.into_iter().chain([2 * (1 << 14) + 33]) {
        let inputs = [random(0, [n])];
        check_op(&format!("sum {n}"), &inputs, |tape, v| {
            Ok(vec![sum(tape, &v[0])?])
        });
        check_op(&format!("mean {n}"), &inputs, |tape, v| {
            Ok(vec![mean(tape, &v[0])?])
        });
        check_op(&format!("sum_squares {n}"), &inputs, |tape, v| {
            Ok(vec![sum_squares(tape, &v[0], 0.3)?])
        });
    }
}

#[test]
fn one_value_in_both() {
    check_op("sum and sum_squares", &[random(0, [3, 4])], |tape, v| {
        let (a, b) = (sum(tape, &v[0])?, sum_squares(tape, &v[0], 2.0)?);
        Ok(vec![add(tape, &a, &b)?, b])
    });
}

#[test]
fn known_values() {
    let mut tape = Tape::new();
    let x = tape.leaf(f32s(&[1.0, -2.0, 3.0], [3]));
    let (total, squares) = (
        sum(&mut tape, &x).unwrap(),
        sum_squares(&mut tape, &x, 0.5).unwrap(),
    );
    let average = mean(&mut tape, &x).unwrap();
    assert_eq!(average.value().data::<f32>().unwrap(), [2.0 / 3.0]);
    assert_eq!(total.value().item().unwrap(), 2.0);
    assert!(total.value().dims().is_empty());
    assert_eq!(squares.value().item().unwrap(), 7.0);
    let mut grads = tape.backward(&squares, f32s(&[10.0], [0; 0])).unwrap();
    let dx = grads.take(x.slot()).unwrap();
    assert_eq!(dx.data::<f32>().unwrap(), [10.0, -20.0, 30.0]);
}

/// The sum runs in f64: a million small terms next to a large one are not lost in f32.
#[test]
fn small_terms_are_not_lost() {
    let mut data = vec![0.25f32; 1 << 20];
    data[0] = 16_777_216.0;
    let x = Var::constant(f32s(&data, [1 << 20]));
    let total = sum(&mut Tape::inference(), &x).unwrap();
    let exact = 16_777_216.0 + 0.25 * f64::from((1 << 20) - 1);
    assert_eq!(total.value().item().unwrap(), f64::from(exact as f32));
}

#[test]
fn refused() {
    let ids = Var::constant(u32s(&[1, 2], [2]));
    assert_refused(sum(&mut Tape::new(), &ids), &["sum:", "u32"]);
    assert_refused(mean(&mut Tape::new(), &ids), &["mean:", "u32"]);
    let nothing = Var::constant(f32s(&[], [3, 0]));
    assert_refused(mean(&mut Tape::new(), &nothing), &["mean:", "[3, 0]"]);
    let result = sum_squares(&mut Tape::new(), &ids, 1.0);
    assert_refused(result, &["sum_squares:", "u32"]);
}
