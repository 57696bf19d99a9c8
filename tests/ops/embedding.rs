use super::{ODD, assert_refused, check_op, f32s, f64s, ids, u32s};
use crate::support::random;
use rnnx::autograd::{Tape, Var};
use rnnx::ops::{embedding, tanh};

#[test]
fn odd_sizes() {
    for n in ODD {
        for width in [1, 7, 33] {
            let picked = ids(0, [n], 5); // repeats, and at n = 1 rows that nothing picks
            let op = format!("embedding of {n} ids, {width} wide");
            check_op(&op, &[random(0, [5, width])], |tape, v| {
                Ok(vec![embedding(tape, &v[0], &picked)?])
            });
        }
    }
}

#[test]
fn many_rows() {
    let picked = ids(1, [70, 30], 95);
    check_op(
        "embedding [70, 30] of 95",
        &[random(0, [95, 24])],
        |tape, v| {
            let y = embedding(tape, &v[0], &picked)?;
            assert_eq!(y.value().dims(), [70, 30, 24]);
            Ok(vec![y])
        },
    );
}

#[test]
fn one_table_twice() {
    let (first, second) = (ids(0, [4], 3), ids(1, [2, 3], 3));
    check_op("a table in three ops", &[random(0, [3, 2])], |tape, v| {
        let (a, b) = (
            embedding(tape, &v[0], &first)?,
            embedding(tape, &v[0], &second)?,
        );
        Ok(vec![a, b, tanh(tape, &v[0])?])
    });
}

#[test]
fn known_values() {
    let mut tape = Tape::new();
    let table = tape.leaf(f64s(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [3, 2]));
    let y = embedding(&mut tape, &table, &u32s(&[2, 0, 2], [3])).unwrap();
    assert_eq!(
        y.value().data::<f64>().unwrap(),
        [5.0, 6.0, 1.0, 2.0, 5.0, 6.0]
    );
    let seed = f64s(&[1.0, 10.0, 2.0, 20.0, 4.0, 40.0], [3, 2]);
    let mut grads = tape.backward(&y, seed).unwrap();
    let dtable = grads.take(table.slot()).unwrap();
    assert_eq!(
        dtable.data::<f64>().unwrap(),
        [2.0, 20.0, 0.0, 0.0, 5.0, 50.0]
    );
}

#[test]
fn refused() {
    let mut tape = Tape::new();
    let table = Var::constant(random(0, [3, 2]));
    let result = embedding(&mut tape, &table, &u32s(&[0, 3], [2]));
    assert_refused(result, &["embedding", "id 3", "3 rows"]);
    let flat = Var::constant(random(0, [6]));
    let result = embedding(&mut tape, &flat, &u32s(&[0], [1]));
    assert_refused(result, &["embedding", "[6]", "[V, E]"]);
    let result = embedding(&mut tape, &table, &f32s(&[0.0], [1]));
    assert_refused(result, &["f32", "u32"]);
    let narrow = Var::constant(f32s(&[], [3, 0]));
    let result = embedding(&mut tape, &narrow, &u32s(&[0], [1]));
    assert_refused(result, &["embedding", "[3, 0]"]);
    let indices = Var::constant(u32s(&[0; 6], [3, 2]));
    let result = embedding(&mut tape, &indices, &u32s(&[0], [1]));
    assert_refused(result, &["embedding", "u32"]);
}
