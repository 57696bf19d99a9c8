use super::{ODD, assert_refused, check_op, f32s, f64s};
use crate::support::random;
use rnnx::autograd::{Tape, Var};
use rnnx::ops::{add, matmul, project};
use rnnx::tensor::Tensor;

fn constant(t: Tensor) -> Var {
    Var::constant(t)
}

/// Stored operands of op(a) op(b) = `[m, n]`.
fn operands(m: usize, k: usize, n: usize, trans_a: bool, trans_b: bool) -> [Tensor; 2] {
    [
        random(0, if trans_a { [k, m] } else { [m, k] }),
        random(1, if trans_b { [n, k] } else { [k, n] }),
    ]
}

#[test]
fn every_transposition() {
    for (trans_a, trans_b) in [(false, false), (false, true), (true, false), (true, true)] {
        for (m, k, n) in [(1, 1, 1), (3, 5, 4), (7, 33, 1), (1, 7, 33)] {
            let inputs = operands(m, k, n, trans_a, trans_b);
            let op = format!("matmul {m} {k} {n} {trans_a} {trans_b}");
            check_op(&op, &inputs, |tape, v| {
                Ok(vec![matmul(tape, &v[0], &v[1], trans_a, trans_b)?])
            });
        }
    }
}

#[test]
fn odd_sizes_and_products_that_use_all_threads() {
    for m in ODD {
        let inputs = operands(m, 33, 257, false, true);
        check_op(&format!("matmul {m} 33 257"), &inputs, |tape, v| {
            Ok(vec![matmul(tape, &v[0], &v[1], false, true)?])
        });
    }
    let inputs = operands(130, 70, 95, true, false);
    check_op("matmul 130 70 95", &inputs, |tape, v| {
        Ok(vec![matmul(tape, &v[0], &v[1], true, false)?])
    });
}

#[test]
fn rows_of_more_extents() {
    let inputs = [random(0, [3, 2, 5]), random(1, [4, 5])];
    check_op("matmul of [3, 2, 5]", &inputs, |tape, v| {
        let y = matmul(tape, &v[0], &v[1], false, true)?;
        assert_eq!(y.value().dims(), [6, 4]);
        Ok(vec![y])
    });
}

#[test]
fn one_operand_twice_and_in_two_ops() {
    check_op("matmul x x", &[random(0, [5, 5])], |tape, v| {
        // Twice, so that every gradient is added to one that has come before.
        let mut sum = v[0].clone();
        for k in 0..8 {
            let product = matmul(tape, &v[0], &v[0], k & 1 == 1, k & 2 == 2)?;
            sum = add(tape, &sum, &product)?;
        }
        Ok(vec![sum])
    });
}

#[test]
fn known_values() {
    let mut tape = Tape::new();
    let a = tape.leaf(f64s(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [2, 3]));
    let b = constant(f64s(&[1.0, 0.0, -1.0, 2.0, 0.5, 1.0], [3, 2]));
    let c = matmul(&mut tape, &a, &b, false, false).unwrap();
    assert_eq!(c.value().data::<f64>().unwrap(), [0.5, 7.0, 2.0, 16.0]);
    let seed = f64s(&[1.0, 0.0, 0.0, 1.0], [2, 2]);
    let mut grads = tape.backward(&c, seed).unwrap();
    let da = grads.take(a.slot()).unwrap();
    assert_eq!(da.data::<f64>().unwrap(), [1.0, -1.0, 0.5, 0.0, 2.0, 1.0]);
}

/// A sum of no products is zero, also where the memory was used before.
#[test]
fn no_products() {
    let mut tape = Tape::new();
    let (a, b) = (tape.leaf(f32s(&[], [2, 0])), constant(f32s(&[], [0, 3])));
    let c = matmul(&mut tape, &a, &b, false, false).unwrap();
    assert_eq!(c.value().data::<f32>().unwrap(), [0.0; 6]);
}

#[test]
fn refused() {
    let mut tape = Tape::new();
    let a = constant(random(0, [2, 3]));
    for (b, trans_b) in [(random(1, [2, 3]), false), (random(1, [3, 2]), true)] {
        let result = matmul(&mut tape, &a, &constant(b), false, trans_b);
        assert_refused(result, &["matmul", "[2, 3]", "[2, 3]"]);
    }
    let result = matmul(&mut tape, &a, &constant(random(1, [3, 2, 1])), false, false);
    assert_refused(result, &["matmul", "[2, 3]", "[3, 2, 1]"]);
    let cube = constant(random(1, [1, 2, 3]));
    let result = matmul(&mut tape, &cube, &a, true, false);
    assert_refused(result, &["matmul", "[1, 2, 3]", "[2, 3]"]);
    let single = constant(f32s(&[0.0; 6], [3, 2]));
    let result = matmul(&mut tape, &a, &single, false, false);
    assert_refused(result, &["matmul", "f64", "f32"]);
    let ids = constant(super::u32s(&[0; 6], [2, 3]));
    let result = matmul(&mut tape, &ids, &a, false, true);
    assert_refused(result, &["matmul", "u32"]);
}

/// On a tape of steps a weight is packed, and the product of a row is the same beside whatever others.
#[test]
fn projections_are_products_with_a_transposed_weight() {
    let (x, w) = (
        constant(random(0, [2, 7, 33])),
        constant(random(1, [70, 33])),
    );
    let want = matmul(&mut Tape::new(), &x, &w, false, true).unwrap();
    let same = project(&mut Tape::inference(), &x, &w).unwrap();
    assert_eq!(
        same.value().data::<f64>().unwrap(),
        want.value().data::<f64>().unwrap()
    );
    let mut steps = Tape::of_steps();
    for _ in 0..2 {
        let packed = project(&mut steps, &x, &w).unwrap();
        assert_eq!(packed.value().dims(), [14, 70]);
        let pairs = packed.value().data::<f64>().unwrap().iter();
        for (got, want) in pairs.zip(want.value().data::<f64>().unwrap()) {
            // Sums of 33 products in another order.
            assert!((got - want).abs() < 1e-13, "{got} is not {want}");
        }
        let row = constant(x.value().slice(33, [1, 33]).unwrap());
        let alone = project(&mut steps, &row, &w).unwrap();
        let all = packed.value().data::<f64>().unwrap();
        assert_eq!(alone.value().data::<f64>().unwrap(), &all[70..140]);
    }
    // What does not fit is refused, whatever the tape.
    let single = constant(f32s(&[0.0; 33], [1, 33]));
    assert_refused(project(&mut steps, &single, &w), &["matmul", "f64", "f32"]);
    let wide = constant(random(2, [3, 34]));
    assert_refused(project(&mut steps, &wide, &w), &["matmul", "[3, 34]"]);
}
