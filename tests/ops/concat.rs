use super::{assert_refused, check_op, f64s, u32s};
use crate::support::random;
use rnnx::autograd::{Tape, Var};
use rnnx::dtype::DType;
use rnnx::ops::cast::convert;
use rnnx::ops::{concat, tanh};

/// Rows around those of one task (64), and parts of several widths.
#[test]
fn odd_sizes() {
    for rows in [1, 7, 64, 65, 200] {
        for widths in [&[1][..], &[3], &[1, 2], &[7, 33, 1], &[5, 5, 2, 9]] {
            let parts = widths.iter().zip(0..).map(|(&w, k)| random(k, [rows, w]));
            let op = format!("concat of {rows} rows of {widths:?}");
            check_op(&op, &parts.collect::<Vec<_>>(), |tape, v| {
                let y = concat(tape, &v.iter().collect::<Vec<_>>())?;
                assert_eq!(y.value().dims(), [rows, widths.iter().sum()]);
                Ok(vec![y])
            });
        }
    }
}

#[test]
fn known_values() {
    let mut tape = Tape::new();
    let a = tape.leaf(f64s(&[1.0, 2.0, 3.0, 4.0], [2, 2]));
    let b = tape.leaf(f64s(&[5.0, 6.0], [2, 1]));
    let y = concat(&mut tape, &[&a, &b]).unwrap();
    let want = [1.0, 2.0, 5.0, 3.0, 4.0, 6.0];
    assert_eq!(y.value().data::<f64>().unwrap(), want);
    let seed = f64s(&[10.0, 20.0, 30.0, 40.0, 50.0, 60.0], [2, 3]);
    let mut grads = tape.backward(&y, seed).unwrap();
    let da = grads.take(a.slot()).unwrap();
    assert_eq!(da.data::<f64>().unwrap(), [10.0, 20.0, 40.0, 50.0]);
    let db = grads.take(b.slot()).unwrap();
    assert_eq!(db.data::<f64>().unwrap(), [30.0, 60.0]);
}

/// A part that stands twice, has another use, or wants no gradient.
#[test]
fn one_part_twice() {
    let inputs = [random(0, [9, 4]), random(1, [9, 2])];
    check_op("concat of a, b, a", &inputs, |tape, v| {
        let y = concat(tape, &[&v[0], &v[1], &v[0]])?;
        Ok(vec![y, tanh(tape, &v[0])?])
    });
    check_op("concat with a constant", &inputs[..1], |tape, v| {
        let fixed = convert(&random(2, [9, 3]), v[0].value().dtype())?;
        Ok(vec![concat(tape, &[&Var::constant(fixed), &v[0]])?])
    });
    let mut tape = Tape::new();
    let [a, b] = inputs.map(Var::constant);
    assert!(concat(&mut tape, &[&a, &b]).unwrap().slot().is_none());
}

#[test]
fn refused() {
    let run = |parts: &[rnnx::tensor::Tensor]| {
        let parts: Vec<Var> = parts.iter().cloned().map(Var::constant).collect();
        concat(&mut Tape::new(), &parts.iter().collect::<Vec<_>>())
    };
    let a = random(0, [3, 2]);
    assert_refused(run(&[]), &["concat", "no parts"]);
    for other in [
        random(1, [4, 2]),
        random(1, [3]),
        random(1, [3, 2, 1]),
        random(1, [3, 0]),
        random(1, []),
    ] {
        let shape = other.shape().to_string();
        let parts = ["concat", "[3, 2]", &shape, "[rows, w]"];
        assert_refused(run(&[a.clone(), other.clone()]), &parts);
        assert_refused(run(&[other, a.clone()]), &parts);
    }
    let single = convert(&a, DType::F32).unwrap();
    assert_refused(run(&[a, single]), &["concat", "f64", "f32"]);
    let indices = u32s(&[0; 6], [3, 2]);
    assert_refused(run(&[indices.clone(), indices]), &["concat", "u32"]);
}
