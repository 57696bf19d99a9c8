use super::{assert_refused, f32s, f64s, u32s};
use crate::support::{gradcheck, random};
use half::f16;
use rnnx::autograd::{Tape, Var};
use rnnx::dtype::DType;
use rnnx::ops::cast;
use rnnx::ops::cast::convert;
use rnnx::tensor::Tensor;

fn f16_bits(t: &Tensor) -> Vec<u16> {
    let half = convert(t, DType::F16).expect("a floating tensor");
    let half = half.data::<f16>().expect("f16");
    half.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn f64_to_f32_rounds_to_even() {
    let ulp = f64::from(f32::EPSILON);
    let x = f64s(
        &[
            1.0 + 0.5 * ulp,
            1.0 + 1.5 * ulp,
            1.0 + 0.500_001 * ulp,
            1e40,
            -1e-50,
        ],
        [5],
    );
    let y = convert(&x, DType::F32).unwrap();
    let eps = f32::EPSILON;
    let expected = [1.0, 1.0 + 2.0 * eps, 1.0 + eps, f32::INFINITY, -0.0];
    assert_eq!(y.data::<f32>().unwrap(), expected);
}

/// (value, bits of the nearest f16; ties to even)
const TO_F16: [(f64, u16); 12] = [
    (1.0, 0x3C00),
    (-2.0, 0xC000),
    (65_504.0, 0x7BFF),
    (65_519.0, 0x7BFF),
    (65_520.0, 0x7C00),                 // halfway to the next power: infinity
    (1.0 + 1.0 / 2048.0, 0x3C00),       // tie, down to even
    (1.0 + 3.0 / 2048.0, 0x3C02),       // tie, up to even
    (1.0 + 1.001 / 2048.0, 0x3C01),     // above the tie
    (5.960_464_477_539_063e-8, 0x0001), // the smallest subnormal
    (2.980_232_238_769_531_2e-8, 0),    // half of it: tie, down to zero
    (2.99e-8, 0x0001),
    (-0.0, 0x8000),
];

#[test]
fn f32_and_f64_to_f16_round_to_even() {
    let (wide, bits): (Vec<f64>, Vec<u16>) = TO_F16.into_iter().unzip();
    let n = wide.len();
    assert_eq!(f16_bits(&f64s(&wide, [n])), bits);
    let narrow: Vec<f32> = wide.iter().map(|&x| x as f32).collect();
    assert_eq!(f16_bits(&f32s(&narrow, [n])), bits);
}

/// Just beside a tie, where a detour over f32 or a cut of the last bits would land on the tie.
#[test]
fn f64_to_f16_rounds_once() {
    let tiny = 2f64.powi(-40);
    let tie = 1.0 + 1.0 / 2048.0;
    let x = [
        tie + tiny,
        tie - tiny,
        -tie - tiny,
        1.0 + 3.0 / 2048.0 - tiny,
    ];
    assert_eq!(f16_bits(&f64s(&x, [4])), [0x3C01, 0x3C00, 0xBC01, 0x3C01]);
    let tie = 2f64.powi(-25); // half of the smallest subnormal
    let x = [
        tie * (1.0 + tiny),
        tie * (1.0 - tiny),
        1e-300,
        65_520.0 * (1.0 - tiny),
        1e300,
    ];
    assert_eq!(f16_bits(&f64s(&x, [5])), [1, 0, 0, 0x7BFF, 0x7C00]);
    // f32 has bits that f16::from_f64 in software would cut off.
    let x = f32::from_bits((1.0f32 + 1.0 / 2048.0).to_bits() + 1);
    assert_eq!(f16_bits(&f32s(&[x], [1])), [0x3C01]);
    assert!(f16::from_bits(f16_bits(&f64s(&[f64::NAN], [1]))[0]).is_nan());
}

#[test]
fn every_f16_survives_f32_and_f64() {
    let all: Vec<f16> = (0..=u16::MAX)
        .map(f16::from_bits)
        .filter(|x| !x.is_nan())
        .collect();
    let bits: Vec<u16> = all.iter().map(|x| x.to_bits()).collect();
    let half = Tensor::from_slice(&all, [all.len()]).unwrap();
    for wide in [DType::F32, DType::F64] {
        assert_eq!(f16_bits(&convert(&half, wide).unwrap()), bits, "{wide}");
    }
}

#[test]
fn the_gradient_has_the_inputs_type() {
    for (from, to) in [
        (DType::F64, DType::F32),
        (DType::F64, DType::F16),
        (DType::F32, DType::F16),
        (DType::F16, DType::F32),
        (DType::F32, DType::F64),
    ] {
        let mut tape = Tape::new();
        let x = tape.leaf(convert(&f64s(&[1.5, -0.25, 3.0], [3]), from).unwrap());
        let y = cast(&mut tape, &x, to).unwrap();
        assert_eq!(y.value().dtype(), to);
        let seed = convert(&f64s(&[1.0, -2.0, 0.5], [3]), to).unwrap();
        let mut grads = tape.backward(&y, seed).unwrap();
        let dx = grads.take(x.slot()).unwrap();
        assert_eq!(dx.dtype(), from, "{from} to {to}");
        assert_eq!(super::values(&dx), [1.0, -2.0, 0.5], "{from} to {to}");
    }
}

#[test]
fn to_its_own_type_it_is_the_identity() {
    let inputs = [random(0, [7])];
    gradcheck("cast to f64", &inputs, |tape, v| {
        Ok(vec![cast(tape, &v[0], DType::F64)?])
    });
    let constant = Var::constant(inputs[0].clone());
    let y = cast(&mut Tape::new(), &constant, DType::F32).unwrap();
    assert!(y.slot().is_none());
    let mut tape = Tape::inference();
    let x = tape.leaf(inputs[0].clone());
    assert!(cast(&mut tape, &x, DType::F32).unwrap().slot().is_none());
}

#[test]
fn refused() {
    let mut tape = Tape::new();
    let ids = Var::constant(u32s(&[1], [1]));
    assert_refused(cast(&mut tape, &ids, DType::F32), &["cast", "indices"]);
    let x = Var::constant(f32s(&[1.0], [1]));
    assert_refused(cast(&mut tape, &x, DType::U32), &["cast", "indices"]);
}
