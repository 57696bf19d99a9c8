use super::{assert_refused, check_op, f32s, f64s};
use crate::support::{random, values};
use rnnx::autograd::{Tape, Var};
use rnnx::ops::{add, layer_norm};

/// torch's.
const EPSILON: f64 = 1e-5;

#[test]
fn gradients_and_threads() {
    // 150 rows are more than two groups of rows.
    for (rows, columns) in [(1, 3), (7, 33), (33, 7), (150, 5), (5, 257)] {
        let inputs = [
            random(0, [rows, columns]),
            random(1, [columns]),
            random(2, [columns]),
        ];
        check_op(
            &format!("layer_norm {rows} {columns}"),
            &inputs,
            |tape, v| Ok(vec![layer_norm(tape, &v[0], &v[1], &v[2], EPSILON)?]),
        );
    }
}

/// A row of one element is its own mean: y is beta, whatever x is.
#[test]
fn one_column() {
    let mut tape = Tape::new();
    let x = tape.leaf(f64s(&[3.0, -7.0], [2, 1]));
    let [gamma, beta] = [2.0, 0.25].map(|x| Var::constant(f64s(&[x], [1])));
    let y = layer_norm(&mut tape, &x, &gamma, &beta, EPSILON).unwrap();
    assert_eq!(values(y.value()), [0.25, 0.25]);
    let mut grads = tape.backward(&y, f64s(&[1.0, 1.0], [2, 1])).unwrap();
    assert_eq!(values(&grads.take(x.slot()).unwrap()), [0.0, 0.0]);
}

/// x has a gradient from elsewhere, to which the op adds its own; and it need not have one.
#[test]
fn a_residual_and_a_constant() {
    let inputs = [random(0, [9, 6]), random(1, [6]), random(2, [6])];
    check_op("x + layer_norm(x)", &inputs, |tape, v| {
        let y = layer_norm(tape, &v[0], &v[1], &v[2], EPSILON)?;
        Ok(vec![add(tape, &v[0], &y)?])
    });
    check_op("layer_norm of a constant", &inputs[1..], |tape, v| {
        let x = rnnx::ops::cast::convert(&inputs[0], v[0].value().dtype())?;
        Ok(vec![layer_norm(
            tape,
            &Var::constant(x),
            &v[0],
            &v[1],
            EPSILON,
        )?])
    });
}

#[test]
fn known_values() {
    let mut tape = Tape::inference();
    let x = Var::constant(f64s(&[1.0, 2.0, 3.0, 6.0], [1, 4]));
    let gamma = Var::constant(f64s(&[1.0, 1.0, 1.0, 2.0], [4]));
    let beta = Var::constant(f64s(&[0.0, 0.0, 0.0, 1.0], [4]));
    // Mean 3, variance 14 / 4.
    let y = layer_norm(&mut tape, &x, &gamma, &beta, 0.0).unwrap();
    let r = 1.0 / 3.5f64.sqrt();
    let want = [-2.0 * r, -r, 0.0, 6.0 * r + 1.0];
    for (y, want) in values(y.value()).iter().zip(want) {
        assert!((y - want).abs() < 1e-15, "{y} is not {want}");
    }
}

#[test]
fn refused() {
    let mut tape = Tape::new();
    let x = Var::constant(random(0, [2, 3]));
    let [two, three] = [2, 3].map(|n| Var::constant(random(0, [n])));
    let single = Var::constant(f32s(&[0.0; 3], [3]));
    let result = layer_norm(&mut tape, &x, &two, &three, EPSILON);
    assert_refused(result, &["layer_norm", "gamma [2]", "[2, 3]"]);
    let result = layer_norm(&mut tape, &x, &three, &two, EPSILON);
    assert_refused(result, &["layer_norm", "beta [2]"]);
    let result = layer_norm(&mut tape, &x, &three, &single, EPSILON);
    assert_refused(result, &["layer_norm", "f64", "f32"]);
    let nothing = || Var::constant(random(0, [2, 0]));
    let none = Var::constant(random(0, [0]));
    let result = layer_norm(&mut tape, &nothing(), &none, &none, EPSILON);
    assert_refused(result, &["layer_norm", "[2, 0]"]);
}
