//! kernels/gelu.cu

use crate::support::*;
use half::f16;
use rnnx::device::driver::Launch;

/// A cubic, an exponential and a quotient in f32, of arguments up to 6.
const ARITHMETIC: f32 = 4e-6;

fn sigmoid_of(x: f64) -> f64 {
    sigmoid((8.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3)))
}

fn forward_and_backward<T: Storage>() {
    for n in SIZES {
        let (x, dy) = (values::<T>(n, 1, 6.0), values::<T>(n, 2, 1.0));
        let name = format!("gelu_fwd_{}", T::SUFFIX);
        let bufs = [store::<T>(&x), fresh::<T>(n), number(n as u64)];
        let out = run(Launch::per_element(&name, n as u64), &bufs);
        let wide = || x.iter().map(|&x| f64::from(x));
        let want: Vec<f64> = wide().map(|x| x * sigmoid_of(x)).collect();
        assert_close(&name, &load::<T>(&out[1]), &want, T::ROUNDING, ARITHMETIC);

        let name = format!("gelu_bwd_{}", T::SUFFIX);
        let bufs = [
            store::<T>(&dy),
            store::<T>(&x),
            fresh::<T>(n),
            number(n as u64),
        ];
        let out = run(Launch::per_element(&name, n as u64), &bufs);
        let slope = |x: f64| {
            let s = sigmoid_of(x);
            let inner = (8.0 / std::f64::consts::PI).sqrt() * (1.0 + 3.0 * 0.044715 * x * x);
            s + x * s * (1.0 - s) * inner
        };
        let want: Vec<f64> = wide()
            .zip(&dy)
            .map(|(x, &d)| slope(x) * f64::from(d))
            .collect();
        assert_close(&name, &load::<T>(&out[2]), &want, T::ROUNDING, ARITHMETIC);
    }
}

#[test]
fn gelu_f32() {
    forward_and_backward::<f32>();
}

#[test]
fn gelu_f16() {
    forward_and_backward::<f16>();
}

/// Far out the gradient is 0 or that of y, whatever the cubic is.
#[test]
fn far_out() {
    let x = [-1e20f32, -6e4, 6e4, 1e20, f32::NAN];
    let bufs = [give(&[2.0f32; 5]), give(&x), fresh::<f32>(5), number(5u64)];
    let out = run(Launch::per_element("gelu_bwd_f32", 5), &bufs);
    let dx = get::<f32>(&out[2]);
    assert_eq!(dx[..4], [0.0, 0.0, 2.0, 2.0]);
    assert!(dx[4].is_nan());
}
