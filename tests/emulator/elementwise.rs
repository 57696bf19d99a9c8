//! kernels/elementwise.cu

use crate::support::*;
use half::f16;
use rnnx::device::driver::Launch;

/// Rounding of the inputs' arithmetic in f32 besides that of the storage type.
const ARITHMETIC: f32 = 4e-7;

fn binary<T: Storage>(kernel: &str, f: fn(f64, f64) -> f64) {
    let name = format!("{kernel}_{}", T::SUFFIX);
    for n in SIZES {
        let (a, b) = (values::<T>(n, 1, 0.99), values::<T>(n, 2, 0.99));
        let bufs = [
            store::<T>(&a),
            store::<T>(&b),
            fresh::<T>(n),
            number(n as u64),
        ];
        let out = run(Launch::per_element(&name, n as u64), &bufs);
        let want: Vec<f64> = a
            .iter()
            .zip(&b)
            .map(|(&a, &b)| f(a.into(), b.into()))
            .collect();
        assert_close(&name, &load::<T>(&out[2]), &want, T::ROUNDING, ARITHMETIC);
    }
}

fn unary<T: Storage>(kernel: &str, f: fn(f64) -> f64) {
    let name = format!("{kernel}_{}", T::SUFFIX);
    for n in SIZES {
        let x = values::<T>(n, 3, 6.0);
        let bufs = [store::<T>(&x), fresh::<T>(n), number(n as u64)];
        let out = run(Launch::per_element(&name, n as u64), &bufs);
        let want: Vec<f64> = x.iter().map(|&x| f(x.into())).collect();
        assert_close(&name, &load::<T>(&out[1]), &want, T::ROUNDING, ARITHMETIC);
    }
}

fn scale<T: Storage>() {
    let name = format!("scale_{}", T::SUFFIX);
    for n in SIZES {
        let x = values::<T>(n, 3, 6.0);
        let bufs = [
            store::<T>(&x),
            fresh::<T>(n),
            number(-0.3f32),
            number(n as u64),
        ];
        let out = run(Launch::per_element(&name, n as u64), &bufs);
        let want: Vec<f64> = x
            .iter()
            .map(|&x| f64::from(x) * f64::from(-0.3f32))
            .collect();
        assert_close(&name, &load::<T>(&out[1]), &want, T::ROUNDING, 0.0);
    }
}

fn all<T: Storage>() {
    scale::<T>();
    binary::<T>("add", |a, b| a + b);
    binary::<T>("sub", |a, b| a - b);
    binary::<T>("mul", |a, b| a * b);
    binary::<T>("sigmoid_bwd", |dy, y| dy * y * (1.0 - y));
    binary::<T>("tanh_bwd", |dy, y| dy * (1.0 - y * y));
    unary::<T>("sigmoid_fwd", |x| 1.0 / (1.0 + (-x).exp()));
    unary::<T>("tanh_fwd", f64::tanh);
}

#[test]
fn elementwise_f32() {
    all::<f32>();
}

#[test]
fn elementwise_f16() {
    all::<f16>();
}

/// A segment of a larger buffer that does not start at a multiple of 16 bytes takes single loads.
#[test]
fn segments_that_are_not_aligned() {
    use rnnx::device::driver::Driver;
    use rnnx::device::emulated::Emulated;
    let device = Emulated::new(0);
    let x = values::<f32>(64, 6, 1.0);
    let [from, to] = [0, 1].map(|_| device.alloc(256).unwrap());
    device.upload(from, bytemuck::cast_slice(&x)).unwrap();
    device.fill(to, 0, 256).unwrap();
    let (a, c) = (from.offset(4), to.offset(12));
    let args = [a.into(), a.into(), c.into(), 40u64.into()];
    device
        .launch(&Launch::per_element("add_f32", 40), &args)
        .unwrap();
    let mut bytes = vec![0; 256];
    device.download(&mut bytes, to).unwrap();
    let y = load::<f32>(&bytes);
    for (i, &y) in y.iter().enumerate() {
        let want = if (3..43).contains(&i) {
            2.0 * x[i - 2]
        } else {
            0.0
        };
        assert_eq!(y, want, "{i}");
    }
}
