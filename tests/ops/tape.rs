use super::{assert_refused, check_op, f32s, f64s, u32s};
use crate::support::{assert_close, gradcheck, random};
use rnnx::Result;
use rnnx::autograd::{Backward, Grads, Slot, Tape, Var};
use rnnx::ops::{add, add_bias, embedding, matmul, mul, sum, tanh};
use rnnx::tensor::Tensor;

// ---- the checks themselves -----------------------------------------------------------------

/// y = x^2 with a gradient that is off by a factor.
fn square(tape: &mut Tape, x: &Var, factor: f64) -> Result<Var> {
    let data: Vec<f64> = x.value().data::<f64>()?.iter().map(|x| x * x).collect();
    let y = Tensor::from_slice(&data, x.value().shape().clone())?;
    let y = tape.output(y, [x.slot()]);
    if y.slot().is_some() {
        tape.push(Square {
            x: x.clone(),
            y: y.slot(),
            factor,
        });
    }
    Ok(y)
}

struct Square {
    x: Var,
    y: Option<Slot>,
    factor: f64,
}

impl Backward for Square {
    fn name(&self) -> &'static str {
        "square"
    }

    fn backward(self: Box<Self>, grads: &mut Grads) -> Result<()> {
        let Some(dy) = grads.take(self.y) else {
            return Ok(());
        };
        let pairs = dy.data::<f64>()?.iter().zip(self.x.value().data::<f64>()?);
        let dx: Vec<f64> = pairs.map(|(d, x)| 2.0 * d * x * self.factor).collect();
        grads.add(self.x.slot(), Tensor::from_slice(&dx, dy.shape().clone())?)
    }
}

#[test]
fn gradcheck_accepts_a_right_gradient() {
    for n in [5, 1000] {
        gradcheck("square", &[random(0, [n])], |tape, v| {
            Ok(vec![square(tape, &v[0], 1.0)?])
        });
    }
}

#[test]
#[should_panic(expected = "gradcheck of square: element 0 of input 1 [5]")]
fn gradcheck_finds_an_error_of_one_percent() {
    gradcheck("square", &[random(0, [5]), random(1, [5])], |tape, v| {
        Ok(vec![square(tape, &v[0], 1.0)?, square(tape, &v[1], 1.01)?])
    });
}

/// One wrong element of many: directions see it wherever it is.
#[test]
#[should_panic(expected = "gradcheck of one element: direction 0 of input 0 [1001]")]
fn gradcheck_finds_one_wrong_element() {
    gradcheck("one element", &[random(0, [1001])], |tape, v| {
        let y = square(tape, &v[0], 1.0)?;
        // The last element goes in without a gradient, as if its share had been forgotten.
        let last = Var::constant(v[0].value().slice(1000, [1])?);
        Ok(vec![y, tanh(tape, &last)?])
    });
}

#[test]
#[should_panic(expected = "sums: element 1 of [3] is 2.5e0, expected 2e0; they differ by 5.0e-1")]
fn assert_close_names_the_worst_element() {
    assert_close(
        "sums",
        &f64s(&[1.0, 2.5, 3.1], [3]),
        &f64s(&[1.0, 2.0, 3.0], [3]),
        1e-3,
    );
}

#[test]
#[should_panic(expected = "element 0 of [2] is NaN")]
fn assert_close_refuses_nan() {
    assert_close(
        "sums",
        &f64s(&[f64::NAN, 2.0], [2]),
        &f64s(&[1.0, 2.0], [2]),
        1e-3,
    );
}

// ---- the tape ------------------------------------------------------------------------------

#[test]
fn diamonds() {
    check_op("a diamond", &[random(0, [4, 4])], |tape, v| {
        let a = tanh(tape, &v[0])?;
        let left = matmul(tape, &a, &v[0], false, true)?;
        let right = mul(tape, &a, &a)?;
        let joined = add(tape, &left, &right)?;
        Ok(vec![add(tape, &joined, &joined)?])
    });
    check_op("a chain of diamonds", &[random(0, [3])], |tape, v| {
        let mut x = v[0].clone();
        for _ in 0..4 {
            let y = tanh(tape, &x)?;
            x = add(tape, &x, &y)?;
        }
        Ok(vec![x])
    });
}

/// A value and the same value in another shape have one gradient, in the value's own shape.
#[test]
fn reshaped_values() {
    let inputs = [random(0, [4, 3]), random(1, [3, 6])];
    check_op("reshape of an output", &inputs, |tape, v| {
        let y = matmul(tape, &v[0], &v[1], false, false)?; // [4, 6]
        Ok(vec![tanh(tape, &y.reshape([3, 8])?)?])
    });
    check_op("reshape of a leaf", &inputs[..1], |tape, v| {
        Ok(vec![tanh(tape, &v[0].reshape([12])?)?, tanh(tape, &v[0])?])
    });
    let mut tape = Tape::new();
    let x = tape.leaf(random(0, [4, 3]));
    let y = tanh(&mut tape, &x.reshape([12]).unwrap()).unwrap();
    let mut grads = tape.backward(&y, random(1, [12])).unwrap();
    assert_eq!(grads.take(x.slot()).unwrap().dims(), [4, 3]);
    assert_refused(x.reshape([5]), &["reshape", "[4, 3]", "[5]"]);
}

#[test]
fn constants_have_no_gradient() {
    let mut tape = Tape::new();
    let (x, c) = (tape.leaf(random(0, [3])), Var::constant(random(1, [3])));
    let from_constant = tanh(&mut tape, &c).unwrap();
    assert!(from_constant.slot().is_none());
    let y = mul(&mut tape, &x, &from_constant).unwrap();
    assert!(y.slot().is_some());
    let unused = tape.leaf(random(2, [3]));
    let mut grads = tape.backward(&y, f64s(&[1.0; 3], [3])).unwrap();
    assert_eq!(
        grads.take(x.slot()).unwrap().data::<f64>().unwrap(),
        from_constant.value().data::<f64>().unwrap()
    );
    assert!(grads.take(unused.slot()).is_none());
    assert!(grads.take(c.slot()).is_none());
}

#[test]
fn a_seed_scales_the_gradient() {
    let gradient = |scale: f32| {
        let mut tape = Tape::new();
        let x = tape.leaf(f32s(&[1.0, 2.0], [2]));
        let y = mul(&mut tape, &x, &x).unwrap();
        let loss = sum(&mut tape, &y).unwrap();
        let mut grads = tape.backward(&loss, Tensor::scalar(scale)).unwrap();
        grads
            .take(x.slot())
            .unwrap()
            .data::<f32>()
            .unwrap()
            .to_vec()
    };
    assert_eq!(gradient(1.0), [2.0, 4.0]);
    assert_eq!(gradient(1024.0), [2048.0, 4096.0]);
}

#[test]
fn refused() {
    let constant = Var::constant(random(0, [2]));
    let result = Tape::new().backward(&constant, random(1, [2]));
    assert_refused(result, &["backward", "depends on nothing"]);
    let mut tape = Tape::inference();
    let x = tape.leaf(random(0, [2]));
    assert_refused(
        tape.backward(&x, random(1, [2])),
        &["backward", "depends on nothing"],
    );
    let mut tape = Tape::new();
    let x = tape.leaf(random(0, [2]));
    assert_refused(
        tape.backward(&x, random(1, [3])),
        &["backward", "[3]", "[2]"],
    );
    let mut tape = Tape::new();
    let x = tape.leaf(random(0, [2]));
    let y = mul(&mut tape, &x, &x).unwrap();
    assert_refused(tape.backward(&y, f32s(&[1.0; 2], [2])), &["f64", "f32"]);
    let mut tape = Tape::new();
    let parameter = tape.parameter(random(0, [2]), 0);
    let result = tape.backward(&parameter, random(1, [2]));
    assert_refused(result, &["gradient", "without flat gradients"]);
    assert_refused(
        Grads::default().into_flat(),
        &["gradient", "no flat gradients"],
    );
}

/// A value is of the tape that made it: on another one it is refused, not taken for a value there.
#[test]
fn values_of_another_tape() {
    let mut other = Tape::new();
    let theirs: Vec<Var> = (0..3).map(|k| other.leaf(random(k, [2]))).collect();
    let last = &theirs[2];
    let mut tape = Tape::new();
    let x = tape.leaf(random(0, [2]));
    let y = mul(&mut tape, &x, last).unwrap();
    let result = tape.backward(&y, random(1, [2]));
    assert_refused(result, &["mul: gradient", "of another tape"]);

    let result = Tape::new().backward(last, random(1, [2]));
    assert_refused(result, &["gradient", "of another tape"]);

    let mut tape = Tape::new();
    let x = tape.leaf(random(0, [2]));
    let y = tanh(&mut tape, &x).unwrap();
    let mut grads = tape.backward(&y, random(1, [2])).unwrap();
    assert!(grads.take(last.slot()).is_none());
    assert!(grads.take(x.slot()).is_some());

    // Without a backward pass it does not matter where a value comes from.
    assert!(tanh(&mut Tape::inference(), last).is_ok());
}

// ---- parameters ----------------------------------------------------------------------------

/// Memory that was used before: every element that is not written stays at 9.
fn used(n: usize) -> Tensor {
    f64s(&vec![9.0; n], [n])
}

#[test]
fn parameters_of_a_flat_tensor() {
    // a [2, 3] at 0, unused [2] at 6, b [3] at 8, table [2, 3] at 11
    let (a, b, table) = (random(0, [2, 3]), random(1, [3]), random(2, [2, 3]));
    let (x, ids) = (random(3, [4, 2]), u32s(&[0, 0, 1, 0], [4]));
    let model = |tape: &mut Tape, v: &[Var]| -> Result<Var> {
        let y = matmul(tape, &Var::constant(x.clone()), &v[0], false, false)?;
        let y = add_bias(tape, y, &v[1])?;
        let y = tanh(tape, &y)?;
        let y = add_bias(tape, y, &v[1])?; // the bias a second time
        let e = embedding(tape, &v[2], &ids)?;
        mul(tape, &y, &e)
    };
    let seed = random(4, [4, 3]);
    let mut tape = Tape::new();
    let leaves = [a.clone(), b.clone(), table.clone()].map(|t| tape.leaf(t));
    let y = model(&mut tape, &leaves).unwrap();
    let mut grads = tape.backward(&y, seed.clone()).unwrap();
    let expected = leaves.map(|v| grads.take(v.slot()).unwrap());

    let mut tape = Tape::with_flat_gradients(used(18));
    let unused = tape.parameter(random(5, [2]), 6);
    let parameters = [(a, 0), (b, 8), (table, 11)].map(|(t, at)| tape.parameter(t, at));
    let y = model(&mut tape, &parameters).unwrap();
    let flat = tape.backward(&y, seed).unwrap().into_flat().unwrap();
    assert!(unused.slot().is_some());
    let part = |at: usize, like: &Tensor| flat.slice(at, like.shape().clone()).unwrap();
    for (at, expected) in [0, 8, 11].into_iter().zip(&expected) {
        assert_close(
            &format!("flat from {at}"),
            &part(at, expected),
            expected,
            0.0,
        );
    }
    assert_eq!(flat.data::<f64>().unwrap()[6..8], [0.0; 2]);
    // Behind the last parameter nothing is touched.
    assert_eq!(flat.data::<f64>().unwrap()[17], 9.0);
}

/// A parameter in another shape is still the same parameter, and add moves into its segment.
#[test]
fn a_parameter_used_directly() {
    let mut tape = Tape::with_flat_gradients(used(4));
    let p = tape.parameter(f64s(&[1.0, 2.0, 3.0], [3]), 1);
    let other = tape.parameter(f64s(&[5.0], [1]), 0);
    let column = p.reshape([3, 1]).unwrap();
    let y = add(&mut tape, &column, &column).unwrap();
    let y = mul(&mut tape, &y, &column).unwrap(); // 2 p^2
    assert!(other.slot().is_some());
    let grads = tape
        .backward(&y, f64s(&[1.0, 10.0, 100.0], [3, 1]))
        .unwrap();
    let flat = grads.into_flat().unwrap();
    assert_eq!(flat.data::<f64>().unwrap(), [0.0, 4.0, 80.0, 1200.0]);
}

#[test]
fn a_parameter_that_does_not_fit_is_refused() {
    let mut tape = Tape::with_flat_gradients(used(4));
    let p = tape.parameter(random(0, [3]), 2);
    let y = tanh(&mut tape, &p).unwrap();
    let result = tape.backward(&y, random(1, [3]));
    assert_refused(result, &["gradient", "2", "[3]", "4"]);
    let mut tape = Tape::with_flat_gradients(f32s(&[0.0; 4], [4]));
    let p = tape.parameter(random(0, [3]), 0);
    let y = tanh(&mut tape, &p).unwrap();
    assert_refused(tape.backward(&y, random(1, [3])), &["f32", "f64"]);
}
