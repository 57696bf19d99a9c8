use super::{assert_refused, check_op, f64s, u32s};
use crate::support::random;
use rnnx::autograd::{Tape, Var};
use rnnx::ops::{add, add_bias, concat, mul, slice, tanh};

/// Every axis, from its start, its middle and its end; rows around those of one task (64).
#[test]
fn every_axis() {
    let shapes: [&[usize]; 5] = [&[9], &[1, 7], &[65, 5], &[200, 3], &[3, 4, 5]];
    for shape in shapes {
        for (axis, &n) in shape.iter().enumerate() {
            for range in [0..1, n / 3..n, n / 2..n / 2 + 1, 0..n] {
                let op = format!("slice {range:?} of axis {axis} of {shape:?}");
                check_op(&op, &[random(0, shape)], |tape, v| {
                    let y = slice(tape, &v[0], axis, range.clone())?;
                    let mut dims = shape.to_vec();
                    dims[axis] = range.len();
                    assert_eq!(y.value().dims(), dims);
                    Ok(vec![y])
                });
            }
        }
    }
}

#[test]
fn known_values() {
    let mut tape = Tape::new();
    let x = tape.leaf(f64s(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [2, 3]));
    let columns = slice(&mut tape, &x, 1, 1..3).unwrap();
    let rows = slice(&mut tape, &x, 0, 1..2).unwrap();
    let data = |v: &Var| v.value().data::<f64>().unwrap().to_vec();
    assert_eq!(data(&columns), [2.0, 3.0, 5.0, 6.0]);
    assert_eq!(data(&rows), [4.0, 5.0, 6.0]);
    let seed = f64s(&[10.0, 20.0, 30.0, 40.0], [2, 2]);
    let dx = tape.backward(&columns, seed).unwrap().take(x.slot());
    let dx = dx.expect("a gradient");
    assert_eq!(
        dx.data::<f64>().unwrap(),
        [0.0, 10.0, 20.0, 0.0, 30.0, 40.0]
    );
}

/// Parts that overlap, and a value that has other uses, before and behind.
#[test]
fn parts_of_one_value() {
    check_op("overlapping parts", &[random(0, [6, 8])], |tape, v| {
        let (a, b) = (slice(tape, &v[0], 1, 0..5)?, slice(tape, &v[0], 1, 3..8)?);
        let square = mul(tape, &v[0], &v[0])?;
        let c = slice(tape, &square, 0, 2..4)?;
        Ok(vec![mul(tape, &a, &b)?, c, tanh(tape, &v[0])?])
    });
    // What slices take apart, concat puts together.
    let x = random(0, [7, 6]);
    let mut tape = Tape::inference();
    let whole = Var::constant(x.clone());
    let parts = [0..1, 1..4, 4..6].map(|r| slice(&mut tape, &whole, 1, r).unwrap());
    let y = concat(&mut tape, &parts.iter().collect::<Vec<_>>()).unwrap();
    assert_eq!(y.value().data::<f64>().unwrap(), x.data::<f64>().unwrap());
}

/// Rows are a view: an op that overwrites its input must copy them.
#[test]
fn rows_share_memory() {
    let inputs = [random(0, [4, 3]), random(1, [3])];
    check_op("add_bias of rows", &inputs, |tape, v| {
        let x = add(tape, &v[0], &v[0])?;
        let rows = slice(tape, &x, 0, 1..3)?;
        let y = add_bias(tape, rows, &v[1])?;
        Ok(vec![y, tanh(tape, &x)?])
    });
}

#[test]
fn refused() {
    let mut tape = Tape::new();
    let x = Var::constant(random(0, [2, 3]));
    for (axis, range) in [(2, 0..1), (0, 1..3), (1, 2..2), (1, 4..5)] {
        let parts = ["slice", &format!("{range:?} along axis {axis}"), "[2, 3]"];
        assert_refused(slice(&mut tape, &x, axis, range.clone()), &parts);
    }
    let nothing = Var::constant(random(0, [2, 3, 0]));
    assert_refused(slice(&mut tape, &nothing, 1, 0..2), &["slice", "[2, 3, 0]"]);
    let scalar = Var::constant(random(0, []));
    assert_refused(slice(&mut tape, &scalar, 0, 0..1), &["slice", "[]"]);
    let ids = Var::constant(u32s(&[0; 6], [2, 3]));
    assert_refused(slice(&mut tape, &ids, 1, 0..1), &["slice", "u32"]);
}
