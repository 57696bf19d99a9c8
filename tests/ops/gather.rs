//! The op of tests/ops/embedding.rs where the table is an activation.

use super::{assert_refused, check_op, f64s, ids, u32s};
use crate::support::random;
use rnnx::autograd::{Tape, Var};
use rnnx::ops::{gather, mul, tanh};

/// All rows in another order: the gradient goes back where it came from.
#[test]
fn a_permutation() {
    let order: Vec<u32> = (0..101).map(|i| i * 37 % 101).collect();
    let rows = u32s(&order, [101]);
    check_op(
        "gather of a permutation",
        &[random(0, [101, 6])],
        |tape, v| {
            let x = tanh(tape, &v[0])?;
            Ok(vec![gather(tape, &x, &rows)?])
        },
    );
}

/// Some rows, in a shape of their own, of a table that is used beside them.
#[test]
fn some_rows() {
    let rows = u32s(&[6, 0, 6, 3, 1, 6], [2, 3]);
    check_op("gather of some rows", &[random(0, [8, 5])], |tape, v| {
        let y = gather(tape, &v[0], &rows)?;
        assert_eq!(y.value().dims(), [2, 3, 5]);
        let square = mul(tape, &v[0], &v[0])?;
        Ok(vec![y, square])
    });
}

#[test]
fn the_inverse_order_restores() {
    let order = [4, 1, 5, 0, 2, 3];
    let mut inverse = [0; 6];
    for (from, &to) in order.iter().enumerate() {
        inverse[to as usize] = from as u32;
    }
    let mut tape = Tape::new();
    let x = tape.leaf(random(0, [6, 3]));
    let there = gather(&mut tape, &x, &u32s(&order, [6])).unwrap();
    let back = gather(&mut tape, &there, &u32s(&inverse, [6])).unwrap();
    let data = |v: &Var| v.value().data::<f64>().unwrap().to_vec();
    assert_ne!(data(&there), data(&x));
    assert_eq!(data(&back), data(&x));
    let seed = random(1, [6, 3]);
    let dx = tape.backward(&back, seed.clone()).unwrap().take(x.slot());
    let dx = dx.expect("a gradient");
    assert_eq!(dx.data::<f64>().unwrap(), seed.data::<f64>().unwrap());
}

/// One row of each sequence, from the size of an activation.
#[test]
fn one_row_each_of_many() {
    let rows = ids(5, [128], 2432);
    check_op(
        "gather of 128 rows of 2432",
        &[random(0, [2432, 8])],
        |tape, v| Ok(vec![gather(tape, &v[0], &rows)?]),
    );
}

#[test]
fn refused() {
    let mut tape = Tape::new();
    let x = Var::constant(f64s(&[0.0; 6], [3, 2]));
    let result = gather(&mut tape, &x, &u32s(&[0, 3], [2]));
    assert_refused(result, &["gather", "id 3", "3 rows"]);
    let flat = Var::constant(random(0, [6]));
    let result = gather(&mut tape, &flat, &u32s(&[0], [1]));
    assert_refused(result, &["gather", "[6]"]);
}
