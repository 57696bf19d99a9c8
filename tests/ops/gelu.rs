use super::{ODD, assert_refused, check_op, f32s, f64s, u32s};
use crate::support::{random, values};
use rnnx::autograd::{Tape, Var};
use rnnx::ops::{gelu, mul, scale};

/// More than two parallel tasks, the last one partial.
const LONG: usize = 2 * (1 << 14) + 33;

#[test]
fn gradients_and_threads() {
    for n in ODD.into_iter().chain([LONG]) {
        let inputs = [random(0, [n])];
        check_op(&format!("gelu {n}"), &inputs, |tape, v| {
            let x = scale(tape, &v[0], 4.0)?;
            Ok(vec![gelu(tape, &x)?])
        });
    }
    check_op("x gelu(x)", &[random(0, [7])], |tape, v| {
        let y = gelu(tape, &v[0])?;
        Ok(vec![mul(tape, &v[0], &y)?])
    });
}

/// torch.nn.functional.gelu(x, approximate="tanh") of PyTorch 2.11 in f64, and its gradient.
#[test]
fn torchs_numbers() {
    let x = [-5.0, -1.5, -0.25, 0.0, 0.75, 2.0, 8.0];
    let want = [
        [
            -2.2917961972623857e-07,
            -0.10042842301976707,
            -0.100324649298315,
            0.0,
            0.5799605551656203,
            1.954597694087775,
            8.0,
        ],
        [
            -1.5463619879596227e-06,
            -0.12771079315143308,
            0.30464590484893955,
            0.5,
            0.9989382561374143,
            1.0860992566236183,
            1.0,
        ],
    ];
    let mut tape = Tape::new();
    let x = tape.leaf(f64s(&x, [7]));
    let y = gelu(&mut tape, &x).unwrap();
    let mut grads = tape.backward(&y, f64s(&[1.0; 7], [7])).unwrap();
    let dx = grads.take(x.slot()).unwrap();
    for (got, want) in [(y.value(), want[0]), (&dx, want[1])] {
        for (got, want) in values(got).iter().zip(want) {
            // torch rounds 1 + tanh(z) as it stands.
            assert!((got - want).abs() < 2e-15, "{got} is not {want}");
        }
    }
}

/// Far out y is x or nothing, and the gradient 1 or nothing.
#[test]
fn far_out() {
    let mut tape = Tape::new();
    let x = tape.leaf(f32s(&[-6e4, -100.0, 100.0, 6e4], [4]));
    let y = gelu(&mut tape, &x).unwrap();
    let y_data = values(y.value());
    assert!(y_data[..2].iter().all(|y| y.abs() < 1e-30), "{y_data:?}");
    assert_eq!(y_data[2..], [100.0, 6e4]);
    let mut grads = tape.backward(&y, f32s(&[2.0; 4], [4])).unwrap();
    let dx = values(&grads.take(x.slot()).unwrap());
    assert!(dx[..2].iter().all(|d| d.abs() < 1e-20), "{dx:?}");
    assert_eq!(dx[2..], [2.0, 2.0]);
    // Where the cubes are no numbers any more, and not a number itself.
    let mut tape = Tape::new();
    let x = tape.leaf(f32s(&[-1e20, -1e13, 1e13, 1e20, f32::NAN], [5]));
    let y = gelu(&mut tape, &x).unwrap();
    let mut grads = tape.backward(&y, f32s(&[2.0; 5], [5])).unwrap();
    let dx = values(&grads.take(x.slot()).unwrap());
    assert!(dx[..2].iter().all(|d| d.abs() < 1e-20), "{dx:?}");
    assert_eq!(dx[2..4], [2.0, 2.0]);
    assert!(dx[4].is_nan());
}

#[test]
fn refused() {
    let mut tape = Tape::new();
    let ids = Var::constant(u32s(&[0; 6], [2, 3]));
    assert_refused(gelu(&mut tape, &ids), &["gelu", "u32"]);
}
