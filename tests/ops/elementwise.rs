use super::{ODD, assert_refused, check_op, f32s, f64s, u32s};
use crate::support::random;
use rnnx::autograd::{Tape, Var};
use rnnx::ops::{add, mul, scale, sigmoid, sub, tanh};

/// More than two parallel tasks, the last one partial.
const LONG: usize = 2 * (1 << 14) + 33;

#[test]
fn add_sub_mul_and_scale() {
    for n in ODD.into_iter().chain([LONG]) {
        let inputs = [random(0, [n]), random(1, [n])];
        check_op(&format!("add {n}"), &inputs, |tape, v| {
            Ok(vec![add(tape, &v[0], &v[1])?])
        });
        check_op(&format!("sub {n}"), &inputs, |tape, v| {
            Ok(vec![sub(tape, &v[0], &v[1])?])
        });
        check_op(&format!("scale {n}"), &inputs[..1], |tape, v| {
            Ok(vec![scale(tape, &v[0], -0.3)?])
        });
        check_op(&format!("mul {n}"), &inputs, |tape, v| {
            Ok(vec![mul(tape, &v[0], &v[1])?])
        });
    }
}

#[test]
fn sigmoid_and_tanh() {
    for n in ODD.into_iter().chain([LONG]) {
        let inputs = [random(0, [n])];
        check_op(&format!("sigmoid {n}"), &inputs, |tape, v| {
            Ok(vec![sigmoid(tape, &v[0])?])
        });
        check_op(&format!("tanh {n}"), &inputs, |tape, v| {
            Ok(vec![tanh(tape, &v[0])?])
        });
    }
}

#[test]
fn one_value_twice() {
    let inputs = [random(0, [7]), random(1, [7])];
    check_op("x + x", &inputs[..1], |tape, v| {
        Ok(vec![add(tape, &v[0], &v[0])?])
    });
    check_op("x - 3x", &inputs[..1], |tape, v| {
        let three = scale(tape, &v[0], 3.0)?;
        Ok(vec![sub(tape, &v[0], &three)?])
    });
    check_op("x * x", &inputs[..1], |tape, v| {
        Ok(vec![mul(tape, &v[0], &v[0])?])
    });
    check_op("one value in three ops", &inputs, |tape, v| {
        let product = mul(tape, &v[0], &v[1])?;
        let s = sigmoid(tape, &v[0])?;
        let sum = add(tape, &product, &s)?;
        Ok(vec![mul(tape, &sum, &v[0])?, tanh(tape, &v[0])?])
    });
}

#[test]
fn known_values() {
    let mut tape = Tape::new();
    let x = tape.leaf(f64s(&[0.0, 3f64.ln(), -1000.0, 1000.0], [4]));
    let y = sigmoid(&mut tape, &x).unwrap();
    assert_eq!(y.value().data::<f64>().unwrap(), [0.5, 0.75, 0.0, 1.0]);
    let mut grads = tape.backward(&y, f64s(&[1.0; 4], [4])).unwrap();
    let dx = grads.take(x.slot()).unwrap();
    assert_eq!(dx.data::<f64>().unwrap(), [0.25, 0.1875, 0.0, 0.0]);

    let mut tape = Tape::new();
    let x = tape.leaf(f32s(&[0.0, -1000.0, 1000.0, 1e-6], [4]));
    let y = tanh(&mut tape, &x).unwrap();
    let y_data = y.value().data::<f32>().unwrap();
    assert_eq!(y_data[..3], [0.0, -1.0, 1.0]);
    assert!((y_data[3] - 1e-6).abs() < 1e-12, "{}", y_data[3]);
    let mut grads = tape.backward(&y, f32s(&[2.0; 4], [4])).unwrap();
    let dx = grads.take(x.slot()).unwrap();
    assert_eq!(dx.data::<f32>().unwrap(), [2.0, 0.0, 0.0, 2.0]);
}

#[test]
fn refused() {
    let mut tape = Tape::new();
    let x = Var::constant(random(0, [2, 3]));
    let other = Var::constant(random(0, [3, 2]));
    let single = Var::constant(f32s(&[0.0; 6], [2, 3]));
    let ids = Var::constant(u32s(&[0; 6], [2, 3]));
    assert_refused(add(&mut tape, &x, &other), &["add", "[2, 3]", "[3, 2]"]);
    assert_refused(sub(&mut tape, &x, &other), &["sub", "[2, 3]", "[3, 2]"]);
    assert_refused(mul(&mut tape, &x, &other), &["mul", "[2, 3]", "[3, 2]"]);
    assert_refused(add(&mut tape, &x, &single), &["add", "f64", "f32"]);
    assert_refused(mul(&mut tape, &ids, &ids), &["mul", "u32"]);
    assert_refused(scale(&mut tape, &ids, 2.0), &["scale", "u32"]);
    assert_refused(sigmoid(&mut tape, &ids), &["sigmoid", "u32"]);
    assert_refused(tanh(&mut tape, &ids), &["tanh", "u32"]);
}
