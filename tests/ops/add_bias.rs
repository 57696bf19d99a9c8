use super::{assert_refused, check_op, f32s};
use crate::support::random;
use rnnx::autograd::{Tape, Var};
use rnnx::ops::{add_bias, matmul, tanh};

#[test]
fn bias_of_rows() {
    // 600 rows are more than two groups of rows.
    for (rows, columns) in [(1, 1), (7, 33), (33, 7), (600, 5), (257, 95)] {
        let inputs = [random(0, [rows, columns]), random(1, [columns])];
        check_op(&format!("add_bias {rows} {columns}"), &inputs, |tape, v| {
            Ok(vec![add_bias(tape, v[0].clone(), &v[1])?])
        });
    }
}

#[test]
fn one_value_twice() {
    check_op("bias of itself", &[random(0, [7])], |tape, v| {
        Ok(vec![add_bias(tape, v[0].clone(), &v[0])?])
    });
}

/// add_bias overwrites its input only where nobody needs it any more.
#[test]
fn bias_in_place() {
    let inputs = [random(0, [3, 4]), random(1, [4]), random(2, [4, 4])];
    check_op("tanh, then add_bias", &inputs[..2], |tape, v| {
        let y = tanh(tape, &v[0])?; // saved for its own gradient
        Ok(vec![add_bias(tape, y, &v[1])?])
    });
    check_op("matmul, then add_bias twice", &inputs, |tape, v| {
        let y = matmul(tape, &v[0], &v[2], false, false)?;
        let y = add_bias(tape, y, &v[1])?;
        Ok(vec![add_bias(tape, y, &v[1])?])
    });

    let mut tape = Tape::inference();
    let kept = f32s(&[1.0, 2.0], [1, 2]);
    let bias = Var::constant(f32s(&[10.0, 20.0], [2]));
    let y = add_bias(&mut tape, Var::constant(kept.clone()), &bias).unwrap();
    assert_eq!(y.value().data::<f32>().unwrap(), [11.0, 22.0]);
    assert_eq!(kept.data::<f32>().unwrap(), [1.0, 2.0]);
    let address = y.value().data::<f32>().unwrap().as_ptr();
    let y = add_bias(&mut tape, y, &bias).unwrap();
    assert_eq!(y.value().data::<f32>().unwrap(), [21.0, 42.0]);
    assert_eq!(y.value().data::<f32>().unwrap().as_ptr(), address);
}

#[test]
fn refused() {
    let mut tape = Tape::new();
    let x = Var::constant(random(0, [2, 3]));
    let bias = Var::constant(random(0, [2]));
    let result = add_bias(&mut tape, x.clone(), &bias);
    assert_refused(result, &["add_bias", "[2]", "[2, 3]"]);
    let single = Var::constant(f32s(&[0.0; 3], [3]));
    let result = add_bias(&mut tape, x, &single);
    assert_refused(result, &["add_bias", "f64", "f32"]);
    let nothing = || Var::constant(f32s(&[], [0]));
    let result = add_bias(&mut tape, Var::constant(f32s(&[], [2, 0])), &nothing());
    assert_refused(result, &["add_bias", "[0]", "[2, 0]"]);
}
